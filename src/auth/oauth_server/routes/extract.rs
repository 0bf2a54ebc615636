//! What OAuth requests carry: forms, client credentials, tokens.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};

use crate::auth::oauth_server::bearer::Owner;
use crate::auth::oauth_server::error::{OAuthError, invalid_request};
use crate::auth::oauth_server::parameters::{Parameters, Unreadable};
use crate::auth::{Auth, AuthError};
use crate::error::ErrorCode;
use crate::http::ApiError;
use crate::http::authenticate::Credentials;

/// A form or a JSON object.
pub(super) struct Body(pub(super) Parameters);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = OAuthError;

    async fn from_request(request: Request, state: &S) -> Result<Self, OAuthError> {
        let kind = text(request.headers(), header::CONTENT_TYPE).map(str::to_ascii_lowercase);
        let is_json = kind.is_some_and(|kind| kind.starts_with("application/json"));
        let bytes = bytes::Bytes::from_request(request, state)
            .await
            .map_err(|rejection| match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => OAuthError::Failed(ApiError::new(
                    ErrorCode::RequestEntityTooLarge,
                    "The request body is too large",
                )),
                _ => invalid_request("The body could not be read"),
            })?;
        let read = if is_json {
            Parameters::from_json(&bytes)
        } else {
            Parameters::from_form(&bytes)
        };
        read.map(Self)
            .map_err(|Unreadable(problem)| invalid_request(problem))
    }
}

/// The `Authorization` header of a client, if there is one.
pub(super) struct ClientHeader(pub(super) Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for ClientHeader {
    type Rejection = OAuthError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, OAuthError> {
        let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
        match (values.next().map(|value| value.to_str()), values.next()) {
            (None, _) => Ok(Self(None)),
            (Some(Ok(value)), None) => Ok(Self(Some(value.to_owned()))),
            _ => Err(invalid_request(
                "The header authorization must appear once, as plain text",
            )),
        }
    }
}

/// The bearer token of a request, if there is one.
pub(super) struct BearerToken(pub(super) Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for BearerToken {
    type Rejection = OAuthError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, OAuthError> {
        let credentials = Credentials::from_headers(&parts.headers);
        let credentials =
            credentials.map_err(|_| OAuthError::BearerToken("This needs a bearer token"))?;
        Ok(Self(credentials.bearer.map(str::to_owned)))
    }
}

impl FromRequestParts<Auth> for Owner {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, auth: &Auth) -> Result<Self, ApiError> {
        let token = Credentials::from_headers(&parts.headers)?.bearer;
        let missing = AuthError::Refused(
            ErrorCode::NoAuthorization,
            "This endpoint requires a valid Bearer token",
        );
        Ok(Self::from_token(auth, token.ok_or(missing)?)?)
    }
}

/// The `Origin` header: the page that asks, where a page does. One that cannot be read is none of ours.
pub(super) struct PageOrigin(pub(super) Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for PageOrigin {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        _: &S,
    ) -> Result<Self, std::convert::Infallible> {
        let origin = parts.headers.get(header::ORIGIN);
        let text = origin.map(|origin| origin.to_str().unwrap_or("null").to_owned());
        Ok(Self(text))
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}
