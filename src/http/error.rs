//! The one place that turns errors into HTTP.
//!
//! A body is `{ "code", "message", "details"?, "hint"? }`. A status of 500 or above says nothing of the cause: the
//! cause rides in a response extension, and the request log prints it once, beside the request id.

use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::db::{DbError, SqlState};
use crate::error::ErrorCode;

/// An error on its way to a client.
#[derive(Debug, Clone)]
pub struct ApiError {
    code: ErrorCode,
    status: StatusCode,
    message: String,
    extra: Map<String, Value>,
    retry_after_s: Option<u64>,
    cause: Option<Arc<str>>,
}

impl ApiError {
    /// An error with the code's own status.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            status: StatusCode::from_u16(code.status()).expect("every code has a valid status"),
            message: message.into(),
            extra: Map::new(),
            retry_after_s: None,
            cause: None,
        }
    }

    /// A failure whose cause is for the log only.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        Self::new(ErrorCode::UnexpectedFailure, "Internal Server Error").with_cause(cause)
    }

    /// Another status than the code's own, where clients expect it.
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// What to do about it.
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        self.with("hint", hint.into())
    }

    /// A further member of the body.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(name.to_owned(), value.into());
        self
    }

    /// When to try again, in seconds.
    pub fn with_retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The cause, for the log.
    pub fn with_cause(mut self, cause: impl std::fmt::Display) -> Self {
        self.cause = Some(cause.to_string().into());
        self
    }

    /// The public code.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The public text.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The members beside code and message.
    pub fn extra(&self) -> &Map<String, Value> {
        &self.extra
    }

    /// What the log says of it.
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}

impl std::error::Error for ApiError {}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = json!({ "code": self.code.as_str(), "message": self.message });
        if let Some(members) = body.as_object_mut() {
            members.extend(self.extra.clone());
        }
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            HeaderName::from_static("x-sb-error-code"),
            HeaderValue::from_static(self.code.as_str()),
        );
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<DbError> for ApiError {
    fn from(error: DbError) -> Self {
        if error.is_transient() {
            return Self::new(
                ErrorCode::ServiceUnavailable,
                "The database is not available right now; try again",
            )
            .with_retry_after(1)
            .with_cause(&error);
        }
        match (&error, error.code()) {
            (DbError::RoleNotAllowed(_), _) => Self::new(
                ErrorCode::BadJwt,
                "The token names a role that may not be used",
            )
            .with_cause(&error),
            (_, Some(&SqlState::QUERY_CANCELED)) => {
                Self::new(ErrorCode::RequestTimeout, "The database took too long")
                    .with_cause(&error)
            }
            (_, Some(&SqlState::INSUFFICIENT_PRIVILEGE)) => Self::new(
                ErrorCode::InsufficientPrivilege,
                "The database refused this for your role",
            )
            .with_cause(&error),
            _ => Self::internal(&error),
        }
    }
}
