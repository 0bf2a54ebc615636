//! `GET /sessions`, `DELETE /sessions/{id}` and the same for the service key.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{delete, get};
use serde_json::{Value, json};
use uuid::Uuid;

use super::bearer::{Service, SignedIn};
use crate::auth::model::Client;
use crate::auth::{Auth, sessions};
use crate::http::{ApiError, Json, Path};

pub(super) fn routes() -> Router<Auth> {
    Router::new()
        .route("/sessions", get(list))
        .route("/sessions/{id}", delete(end))
        .route(
            "/admin/users/{id}/sessions",
            get(list_of_user).delete(end_all),
        )
}

async fn list(caller: SignedIn, State(auth): State<Auth>) -> Result<Json<Value>, ApiError> {
    let devices = sessions::own(&auth, caller.bearer()).await?;
    Ok(Json(json!({ "sessions": devices })))
}

async fn end(
    caller: SignedIn,
    State(auth): State<Auth>,
    client: Client,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, ApiError> {
    sessions::end_own(&auth, caller.bearer(), id, &client).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn list_of_user(
    _: Service,
    State(auth): State<Auth>,
    Path(id): Path<Uuid>,
) -> Result<Json<Value>, ApiError> {
    let devices = sessions::of_user(&auth, id).await?;
    Ok(Json(json!({ "sessions": devices })))
}

async fn end_all(
    _: Service,
    State(auth): State<Auth>,
    client: Client,
    Path(id): Path<Uuid>,
) -> Result<Json<Value>, ApiError> {
    let ended = sessions::end_all(&auth, id, &client).await?;
    Ok(Json(json!({ "revoked": ended })))
}
