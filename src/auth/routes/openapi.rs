//! `GET /openapi.json`.

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

use crate::auth::{Auth, openapi};
use crate::http::ApiError;
use crate::http::middleware::not_found;

pub(super) fn routes() -> Router<Auth> {
    Router::new().route("/openapi.json", get(show))
}

async fn show(State(auth): State<Auth>) -> Result<impl IntoResponse, ApiError> {
    if auth.config().auth.openapi != Some(true) {
        return Err(not_found().await);
    }
    let headers = [(header::CONTENT_TYPE, "application/json")];
    Ok((headers, openapi::document()))
}
