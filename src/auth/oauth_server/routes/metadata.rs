//! Discovery.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use crate::auth::Auth;
use crate::auth::oauth_server::discovery;
use crate::http::Json;

pub(super) async fn document(State(auth): State<Auth>) -> impl IntoResponse {
    let headers = [(header::CACHE_CONTROL, "public, max-age=600")];
    (headers, Json(discovery::document(&auth)))
}
