//! Extractors whose rejections are ours: bad input ends here, with a code and a sentence.

use std::net::IpAddr;

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ApiError;
use crate::error::ErrorCode;

/// A JSON body, in and out. An absent or empty body reads as `{}`, as clients send it that way.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let takes_kind = takes_kind(request.headers());
        let bytes = bytes::Bytes::from_request(request, state)
            .await
            .map_err(|rejection| match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => ApiError::new(
                    ErrorCode::RequestEntityTooLarge,
                    "The request body is too large",
                ),
                _ => ApiError::new(ErrorCode::BadJson, "The request body could not be read"),
            })?;
        if bytes.is_empty() {
            return parse(b"{}");
        }
        if !takes_kind {
            return Err(ApiError::new(
                ErrorCode::UnsupportedMediaType,
                "Send the body as application/json",
            ));
        }
        parse(&bytes)
    }
}

/// Clients written by hand leave the type out, or let the browser call it text. Pages of other sites can send those without
/// asking first, so that `server.cors_origins` would not count: of them only JSON is taken that says so.
fn takes_kind(headers: &HeaderMap) -> bool {
    let is_elsewhere = headers
        .get("sec-fetch-site")
        .is_some_and(|site| site != "same-origin" && site != "none");
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.map(|value| value.as_bytes().to_ascii_lowercase());
    match kind {
        Some(kind) if kind.starts_with(b"application/json") => true,
        Some(kind) if !kind.starts_with(b"text/plain") => false,
        Some(_) | None => !is_elsewhere,
    }
}

/// `serde_json`'s own text could echo a value (a password), so only the place is named.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<Json<T>, ApiError> {
    serde_json::from_slice(bytes).map(Json).map_err(|error| {
        let place = format!("line {} column {}", error.line(), error.column());
        if error.classify() == serde_json::error::Category::Data {
            let field = missing_field(&error).map_or_else(
                || format!("A field of the body has the wrong type ({place})"),
                |field| format!("The body lacks the field {field}"),
            );
            return ApiError::new(ErrorCode::ValidationFailed, field);
        }
        let message = match std::str::from_utf8(bytes) {
            Err(error) => format!("The body is not UTF-8 (byte {})", error.valid_up_to()),
            Ok(_) => format!("Could not parse the body as JSON ({place})"),
        };
        ApiError::new(ErrorCode::BadJson, message)
    })
}

fn missing_field(error: &serde_json::Error) -> Option<String> {
    let text = error.to_string();
    let rest = text.strip_prefix("missing field `")?;
    rest.split_once('`').map(|(name, _)| name.to_owned())
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// The text of a form, as a browser sends it.
#[derive(Debug, Clone, Default)]
pub struct Form(pub String);

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let text = String::from_request(request, state).await;
        text.map(Self)
            .map_err(|rejection| match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => ApiError::new(
                    ErrorCode::RequestEntityTooLarge,
                    "The request body is too large",
                ),
                _ => ApiError::new(ErrorCode::ValidationFailed, "The form could not be read"),
            })
    }
}

/// Query parameters.
#[derive(Debug, Clone, Copy, Default)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query: Result<axum::extract::Query<T>, QueryRejection> =
            axum::extract::Query::from_request_parts(parts, state).await;
        query.map(|query| Self(query.0)).map_err(|_| {
            ApiError::new(
                ErrorCode::ValidationFailed,
                "A query parameter is missing or has the wrong form",
            )
        })
    }
}

/// Path parameters.
#[derive(Debug, Clone, Copy, Default)]
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path: Result<axum::extract::Path<T>, PathRejection> =
            axum::extract::Path::from_request_parts(parts, state).await;
        path.map(|path| Self(path.0)).map_err(|_| {
            ApiError::new(
                ErrorCode::ValidationFailed,
                "The id in the path is not valid",
            )
            .with_status(StatusCode::NOT_FOUND)
        })
    }
}

/// The client's address, behind trusted proxies if there are any. Set by the middleware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientIp(pub IpAddr);

impl<S: Send + Sync> FromRequestParts<S> for ClientIp {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts
            .extensions
            .get::<Self>()
            .copied()
            .ok_or_else(|| ApiError::internal("the client address layer is missing"))
    }
}

/// Turns axum's own JSON rejection into ours, for routers of embedding authors that use `axum::Json`.
impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(ErrorCode::BadJson, "Could not parse the body as JSON").with_cause(rejection)
    }
}
