//! Errors as RFC 6749 words them, for the endpoints that programs of others call.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::auth::AuthError;
use crate::db::DbError;
use crate::error::ErrorCode;
use crate::http::ApiError;

/// A refusal or failure of an OAuth endpoint.
#[derive(Debug)]
pub(super) enum OAuthError {
    /// `{ "error", "error_description" }` with status 400.
    Refused(&'static str, &'static str),
    /// The client is unknown or did not prove to be itself. Whether it tried with a header: then it is told so in one.
    Client(&'static str, bool),
    /// The bearer token is of no use here (RFC 6750).
    BearerToken(&'static str),
    /// What is no matter of OAuth.
    Failed(ApiError),
}

/// The code or token is wrong, used or of somebody else.
pub(super) fn invalid_grant(description: &'static str) -> OAuthError {
    OAuthError::Refused("invalid_grant", description)
}

/// Something is missing or has the wrong form.
pub(super) fn invalid_request(description: &'static str) -> OAuthError {
    OAuthError::Refused("invalid_request", description)
}

impl From<AuthError> for OAuthError {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::RefreshTokenNotFound => invalid_grant("The refresh token is unknown"),
            AuthError::RefreshTokenAlreadyUsed => {
                invalid_grant("The refresh token was used before; its session is ended")
            }
            AuthError::SessionExpired | AuthError::SessionNotFound => {
                invalid_grant("The session is over")
            }
            AuthError::UserBanned
            | AuthError::BearerBanned
            | AuthError::UserNotFound
            | AuthError::BearerNotFound => invalid_grant("The account cannot be used"),
            other => Self::Failed(other.into()),
        }
    }
}

impl From<DbError> for OAuthError {
    fn from(error: DbError) -> Self {
        Self::Failed(AuthError::from(error).into())
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        match self {
            Self::Refused(code, text) => answer(StatusCode::BAD_REQUEST, (code, text), None),
            Self::Client(text, false) => {
                answer(StatusCode::BAD_REQUEST, ("invalid_client", text), None)
            }
            Self::Client(text, true) => {
                let challenge = HeaderValue::from_static("Basic realm=\"oauth\"");
                let error = ("invalid_client", text);
                answer(StatusCode::UNAUTHORIZED, error, Some(challenge))
            }
            Self::BearerToken(text) => {
                let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
                let error = ("invalid_token", text);
                answer(StatusCode::UNAUTHORIZED, error, Some(challenge))
            }
            Self::Failed(error) => {
                let word = match error.code() {
                    ErrorCode::ServiceUnavailable | ErrorCode::OverRequestRateLimit => {
                        "temporarily_unavailable"
                    }
                    _ if error.status().is_server_error() => "server_error",
                    _ => "invalid_request",
                };
                let text = error.message().to_owned();
                let error = error.with("error", word).with("error_description", text);
                error.into_response()
            }
        }
    }
}

fn answer(
    status: StatusCode,
    (code, text): (&str, &str),
    challenge: Option<HeaderValue>,
) -> Response {
    let body = json!({ "error": code, "error_description": text });
    let mut response = (status, Json(body)).into_response();
    if let Some(challenge) = challenge {
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}
