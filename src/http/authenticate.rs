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
    /// `no_authorization` when there is an `Authorization` header that is no bearer token.
    pub fn from_headers(headers: &'a HeaderMap) -> Result<Self, ApiError> {
        let text = |name: &str| {
            headers
                .get(name)
                .map(|value| value.to_str().unwrap_or_default())
        };
        let bearer = match text("authorization") {
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
            api_key: text("apikey").filter(|key| !key.is_empty()),
        })
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
