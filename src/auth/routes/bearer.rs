//! Who asks: extractors for a signed-in user, for the service key, and for the client behind the request, as it is logged
//! and as it is counted.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};

use crate::auth::AuthError;
use crate::auth::limits::Origin;
use crate::auth::model::Client;
use crate::auth::user::Bearer;
use crate::error::ErrorCode;
use crate::http::authenticate::Credentials;
use crate::http::{ApiError, ClientIp};
use crate::identity::Caller;
use crate::net::AddressBlock;

/// A caller whose token names a user.
#[derive(Debug)]
pub(in crate::auth) struct SignedIn(Caller);

impl SignedIn {
    /// What the services need to know of it.
    pub(in crate::auth) fn bearer(&self) -> Bearer<'_> {
        Bearer {
            user_id: self.0.user_id().unwrap_or_default(),
            session_id: self.0.session_id(),
            jti: self.0.claim("jti"),
            is_aal2: self.0.claim("aal") == Some("aal2"),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for SignedIn {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let has_bearer = Credentials::from_headers(&parts.headers)?.bearer.is_some();
        if !has_bearer {
            return Err(no_authorization());
        }
        let caller = Caller::from_request_parts(parts, state).await?;
        if caller.user_id().is_some() {
            Ok(Self(caller))
        } else {
            let message = "invalid claim: missing sub claim";
            Err(ApiError::new(ErrorCode::BadJwt, message))
        }
    }
}

/// A caller with the service key.
#[derive(Debug)]
pub(in crate::auth) struct Service;

impl<S: Send + Sync> FromRequestParts<S> for Service {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let credentials = Credentials::from_headers(&parts.headers)?;
        if credentials.bearer.is_none() && credentials.api_key.is_none() {
            return Err(no_authorization());
        }
        let caller = Caller::from_request_parts(parts, state).await?;
        if caller.is_service() {
            Ok(Self)
        } else {
            Err(AuthError::NotAdmin("User not allowed").into())
        }
    }
}

fn no_authorization() -> ApiError {
    let message = "This endpoint requires a valid Bearer token";
    ApiError::new(ErrorCode::NoAuthorization, message).with_status(StatusCode::UNAUTHORIZED)
}

/// Longer `User-Agent` headers are cut.
const MAX_USER_AGENT: usize = 512;

impl<S: Send + Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let user_agent = parts.headers.get(header::USER_AGENT).map(|value| {
            let text = String::from_utf8_lossy(value.as_bytes());
            text.chars().take(MAX_USER_AGENT).collect()
        });
        Ok(Self {
            ip: parts.extensions.get::<ClientIp>().map(|ip| ip.0),
            user_agent,
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Origin {
    type Rejection = Infallible;

    /// Credentials that do not verify are not believed, and no reason to refuse: these routes need none.
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let ip = parts.extensions.get::<ClientIp>().map(|ip| ip.0);
        let caller = Caller::from_request_parts(parts, state).await;
        let is_service = caller.is_ok_and(|caller| caller.is_service());
        Ok(Self(ip.map(AddressBlock::of).filter(|_| !is_service)))
    }
}
