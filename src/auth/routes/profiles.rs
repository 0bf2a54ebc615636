//! `GET /users/{username}`.

use axum::Router;
use axum::extract::State;
use axum::routing::get;

use crate::auth::Auth;
use crate::auth::username::{self, Profile};
use crate::http::{ApiError, Json, Path};

pub(super) fn routes() -> Router<Auth> {
    Router::new().route("/users/{username}", get(show))
}

async fn show(
    State(auth): State<Auth>,
    Path(name): Path<String>,
) -> Result<Json<Profile>, ApiError> {
    Ok(Json(username::profile(&auth, &name).await?))
}
