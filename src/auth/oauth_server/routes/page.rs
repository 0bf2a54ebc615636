//! The built-in page and its files.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::auth::Auth;
use crate::auth::oauth_server::page;
use crate::http::{ApiError, Query};

#[derive(Deserialize)]
pub(super) struct Which {
    authorization_id: Option<String>,
}

pub(super) async fn html(
    State(auth): State<Auth>,
    Query(which): Query<Which>,
) -> Result<Response, ApiError> {
    let id = which.authorization_id;
    // A NUL is no text to Postgres.
    let id = id.filter(|id| id.bytes().all(|byte| byte.is_ascii_graphic()));
    let (html, is_pending) = page::html(&auth, id.as_deref()).await?;
    let status = if is_pending {
        StatusCode::OK
    } else {
        StatusCode::NOT_FOUND
    };
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, page::CSP),
        // For browsers that do not know frame-ancestors.
        (header::X_FRAME_OPTIONS, "DENY"),
        // The address holds the id of the request.
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((status, headers, html).into_response())
}

pub(super) async fn script() -> impl IntoResponse {
    file("text/javascript; charset=utf-8", page::SCRIPT)
}

pub(super) async fn style() -> impl IntoResponse {
    file("text/css; charset=utf-8", page::STYLE)
}

fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "public, max-age=300"),
    ];
    (headers, text)
}
