//! The built-in page and its script.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::auth::Auth;
use crate::auth::oauth_server::page;
use crate::auth::pages::CONSENT_SCRIPT;
use crate::auth::routes::page::answer;
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
    let (page, is_pending) = page::consent(&auth, id.as_deref()).await?;
    let status = if is_pending {
        StatusCode::OK
    } else {
        StatusCode::NOT_FOUND
    };
    Ok(answer(status, page))
}

pub(super) async fn script() -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, "text/javascript; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "public, max-age=300"),
    ];
    (headers, CONSENT_SCRIPT)
}
