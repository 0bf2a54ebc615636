//! Which credentials go upstream.
//!
//! PostgREST knows bearer tokens only, and verifies them itself. So a JWT passes as it is, and an opaque key
//! (`sb_publishable_…`, `sb_secret_…`), which PostgREST could not read, is exchanged for a token that carries its
//! role. How that is done is not known here: `app.rs` passes the function.
//!
//! The `apikey` header itself goes on, because SQL reads it (`current_setting('request.headers')`), with one
//! exception: a secret key stays here, where no policy or function can see or log it. What they can see is the token it
//! became, in the `authorization` header, for the minutes it lives.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::error::ErrorCode;
use crate::http::ApiError;

const API_KEY: HeaderName = HeaderName::from_static("apikey");

/// What becomes of a presented key or token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exchange {
    /// It goes upstream as it is; PostgREST verifies it.
    Keep,
    /// This JWT goes upstream in its place.
    Token(Arc<str>),
    /// It is unknown or revoked: the request is refused.
    Refused,
}

/// What a presented key or token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It goes upstream, where a JWT is verified.
    Token,
    /// It stands beside a token and goes nowhere: whoever needs it to be good must verify it, in either form.
    Key,
}

/// Decides about one key or token. Called for every request that presents one, so it must not block: the answer
/// to a JWT that goes upstream is [`Exchange::Keep`] unless it has to be signed anew (a legacy HS256 token).
pub type KeyExchange = Arc<dyn Fn(&str, Purpose) -> Exchange + Send + Sync>;

/// Whether a value is an API key by its form.
pub(super) fn looks_like_key(value: &str) -> bool {
    is_opaque(value) || value.starts_with("eyJ")
}

fn is_opaque(value: &str) -> bool {
    value.starts_with("sb_publishable_") || value.starts_with("sb_secret_")
}

/// Replaces `Authorization` in `headers` by what PostgREST is to see.
///
/// # Errors
/// `invalid_api_key` for an unknown key, or for none at all where one is required; `bad_jwt` for a token the
/// exchange refuses; `validation_failed` when a header stands there twice, since two readers might pick differently.
pub(super) fn apply(
    headers: &mut HeaderMap,
    query_key: Option<&str>,
    require_key: bool,
    exchange: &KeyExchange,
) -> Result<(), ApiError> {
    let authorization = single(headers, &header::AUTHORIZATION)?;
    let key = single(headers, &API_KEY)?.or(query_key);
    let bearer = authorization.and_then(bearer);
    if require_key && key.is_none() && !bearer.is_some_and(is_opaque) {
        let message = "No API key found in request";
        return Err(ApiError::new(ErrorCode::InvalidApiKey, message)
            .with_hint("No `apikey` request header or url param was found."));
    }
    let replacement = match (bearer, key) {
        (None, None) => None,
        (Some(token), key) => {
            if let Some(key) = key.filter(|key| *key != token) {
                check(key, require_key, exchange)?;
            }
            exchanged(token, exchange)?
        }
        // Another scheme than Bearer is PostgREST's to judge.
        (None, Some(key)) if authorization.is_some() => {
            check(key, require_key, exchange)?;
            None
        }
        (None, Some(key)) => Some(exchanged(key, exchange)?.unwrap_or_else(|| key.into())),
    };
    let hide_key = key.is_some_and(|key| key.starts_with("sb_secret_"));
    if let Some(token) = replacement {
        let value =
            HeaderValue::try_from(["Bearer ", &token].concat()).map_err(|_| invalid_key())?;
        headers.insert(header::AUTHORIZATION, value);
    }
    if hide_key {
        headers.remove(API_KEY);
    }
    Ok(())
}

/// A key grants nothing beside a token. But an opaque one that was revoked must not look valid, and where a key is
/// required any text will not do.
fn check(key: &str, require_key: bool, exchange: &KeyExchange) -> Result<(), ApiError> {
    if (require_key || is_opaque(key)) && exchange(key, Purpose::Key) == Exchange::Refused {
        return Err(invalid_key());
    }
    Ok(())
}

/// The token to send in place of `token`, if it must be replaced.
fn exchanged(token: &str, exchange: &KeyExchange) -> Result<Option<Arc<str>>, ApiError> {
    match exchange(token, Purpose::Token) {
        // Not even a mistaken exchange lets an opaque key travel as a bearer token.
        Exchange::Keep if !is_opaque(token) => Ok(None),
        Exchange::Token(token) => Ok(Some(token)),
        Exchange::Refused if token.starts_with("eyJ") => {
            Err(ApiError::new(ErrorCode::BadJwt, "The token is not valid")
                .with_status(axum::http::StatusCode::UNAUTHORIZED))
        }
        Exchange::Keep | Exchange::Refused => Err(invalid_key()),
    }
}

fn invalid_key() -> ApiError {
    ApiError::new(ErrorCode::InvalidApiKey, "Invalid API key")
        .with_hint("Double check your API key.")
}

/// The header's value; an empty one counts as absent.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    match (value.to_str(), values.next()) {
        (Ok(text), None) => Ok(Some(text).filter(|text| !text.is_empty())),
        _ => Err(ApiError::new(
            ErrorCode::ValidationFailed,
            format!("The header {name} must appear once, as plain text"),
        )),
    }
}

fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
