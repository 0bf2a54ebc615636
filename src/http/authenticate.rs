//! From headers to a [`Caller`].
//!
//! This module does not know how tokens are verified: `app.rs` hands it an [`Authenticator`]. The middleware only puts
//! it at hand; the work is done by whoever extracts a [`Caller`], so routes that need none pay nothing, and the
//! extractor works in any router, an embedding author's too.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;

use super::ApiError;
use crate::error::ErrorCode;
use crate::identity::Caller;

/// Verifies credentials: the bearer token, if there is one, and the API key, if there is one.
pub type Authenticator = Arc<dyn Fn(Credentials<'_>) -> Result<Caller, ApiError> + Send + Sync>;

/// What a request presents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// The token of `Authorization: Bearer …`.
    pub bearer: Option<&'a str>,
    /// The `apikey` header.
    pub api_key: Option<&'a str>,
}

impl<'a> Credentials<'a> {
    /// Reads the headers.
    ///
    /// # Errors
    /// `no_authorization` when there is an `Authorization` header that is no bearer token; `validation_failed` when a
    /// header stands there twice or is no plain text: it must never count as absent, since then the other one decides.
    pub fn from_headers(headers: &'a HeaderMap) -> Result<Self, ApiError> {
        let bearer = match single(headers, "authorization")? {
            None | Some("") => None,
            Some(value) => match value.split_once(' ') {
                Some((scheme, token))
                    if scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() =>
                {
                    Some(token.trim())
                }
                _ => {
                    let message = "This endpoint requires a valid Bearer token";
                    return Err(ApiError::new(ErrorCode::NoAuthorization, message));
                }
            },
        };
        Ok(Self {
            bearer,
            api_key: single(headers, "apikey")?.filter(|key| !key.is_empty()),
        })
    }
}

fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    match (value.to_str(), values.next()) {
        (Ok(text), None) => Ok(Some(text)),
        _ => Err(ApiError::new(
            ErrorCode::ValidationFailed,
            format!("The header {name} must appear once, as plain text"),
        )),
    }
}

/// The request extension that carries the authenticator.
#[derive(Clone)]
pub struct Authenticate(pub Authenticator);

impl std::fmt::Debug for Authenticate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authenticate")
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        if let Some(caller) = parts.extensions.get::<Self>() {
            return Ok(caller.clone());
        }
        let Authenticate(authenticator) = parts
            .extensions
            .get::<Authenticate>()
            .cloned()
            .ok_or_else(|| ApiError::internal("the authentication layer is missing"))?;
        let caller = authenticator(Credentials::from_headers(&parts.headers)?)?;
        parts.extensions.insert(caller.clone());
        Ok(caller)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_header_that_cannot_be_read_is_not_absent() {
        let key = ("apikey", &b"sb_secret_x"[..]);
        for (headers, expected) in [
            (vec![key], Ok((None, Some("sb_secret_x")))),
            (
                vec![key, ("authorization", b"Bearer t")],
                Ok((Some("t"), Some("sb_secret_x"))),
            ),
            (
                vec![key, ("authorization", b"")],
                Ok((None, Some("sb_secret_x"))),
            ),
            (
                vec![key, ("authorization", b"Bearer \xff")],
                Err(ErrorCode::ValidationFailed),
            ),
            (
                vec![
                    ("authorization", b"Bearer a"),
                    ("authorization", b"Bearer b"),
                ],
                Err(ErrorCode::ValidationFailed),
            ),
            (
                vec![("apikey", b"a"), ("apikey", b"b")],
                Err(ErrorCode::ValidationFailed),
            ),
            (
                vec![key, ("authorization", b"Basic eDp4")],
                Err(ErrorCode::NoAuthorization),
            ),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(name, HeaderValue::from_bytes(value).unwrap());
            }
            let read = Credentials::from_headers(&map);
            let read = read.map(|found| (found.bearer, found.api_key));
            assert_eq!(read.map_err(|error| error.code()), expected);
        }
    }
}
