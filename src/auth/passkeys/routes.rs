//! `/passkeys`, and the passkeys of others for the service key.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{delete, get, patch, post};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{Challenge, Passkey, authentication, manage, registration};
use crate::auth::limits::Origin;
use crate::auth::model::{Client, TokenResponse};
use crate::auth::routes::bearer::{Service, SignedIn};
use crate::auth::{Auth, AuthError};
use crate::http::{ApiError, Json, Path};

/// The routes of passkeys.
pub(in crate::auth) fn routes() -> Router<Auth> {
    Router::new()
        .route("/passkeys", get(list))
        .route("/passkeys/{id}", patch(rename).delete(remove))
        .route("/passkeys/registration/options", post(register))
        .route("/passkeys/registration/verify", post(registered))
        .route("/passkeys/authentication/options", post(authenticate))
        .route("/passkeys/authentication/verify", post(authenticated))
        .route("/admin/users/{id}/passkeys", get(list_by_service))
        .route(
            "/admin/users/{id}/passkeys/{passkey_id}",
            delete(remove_by_service),
        )
}

async fn register(
    caller: SignedIn,
    State(auth): State<Auth>,
    origin: Origin,
) -> Result<Json<Challenge>, ApiError> {
    let challenge = registration::options(&auth, caller.bearer(), origin).await?;
    Ok(Json(challenge))
}

#[derive(Deserialize)]
struct AnswerBody {
    challenge_id: Option<Uuid>,
    credential: Option<Value>,
    friendly_name: Option<String>,
}

impl AnswerBody {
    fn answer(&mut self) -> Result<(Uuid, Value), AuthError> {
        match (self.challenge_id, self.credential.take()) {
            (Some(id), Some(credential)) => Ok((id, credential)),
            _ => Err(AuthError::Invalid(
                "challenge_id and credential are required",
            )),
        }
    }
}

async fn registered(
    caller: SignedIn,
    State(auth): State<Auth>,
    client: Client,
    Json(mut body): Json<AnswerBody>,
) -> Result<Json<Passkey>, ApiError> {
    let answer = body.answer()?;
    let name = body.friendly_name.as_deref();
    let added = registration::verify(&auth, caller.bearer(), answer, name, &client).await?;
    Ok(Json(added))
}

async fn authenticate(
    State(auth): State<Auth>,
    origin: Origin,
) -> Result<Json<Challenge>, ApiError> {
    Ok(Json(authentication::options(&auth, origin).await?))
}

async fn authenticated(
    State(auth): State<Auth>,
    client: Client,
    origin: Origin,
    Json(mut body): Json<AnswerBody>,
) -> Result<Json<TokenResponse>, ApiError> {
    let answer = body.answer()?;
    let tokens = authentication::verify(&auth, answer, &client, origin).await?;
    Ok(Json(tokens))
}

async fn list(caller: SignedIn, State(auth): State<Auth>) -> Result<Json<Vec<Passkey>>, ApiError> {
    Ok(Json(manage::list(&auth, caller.bearer()).await?))
}

#[derive(Deserialize)]
struct RenameBody {
    friendly_name: Option<String>,
}

async fn rename(
    caller: SignedIn,
    State(auth): State<Auth>,
    client: Client,
    Path(id): Path<Uuid>,
    Json(body): Json<RenameBody>,
) -> Result<Json<Passkey>, ApiError> {
    let wanted = (id, body.friendly_name.as_deref());
    let renamed = manage::rename(&auth, caller.bearer(), wanted, &client).await?;
    Ok(Json(renamed))
}

async fn remove(
    caller: SignedIn,
    State(auth): State<Auth>,
    client: Client,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, ApiError> {
    manage::remove(&auth, caller.bearer(), id, &client).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn list_by_service(
    _: Service,
    State(auth): State<Auth>,
    Path(id): Path<Uuid>,
) -> Result<Json<Vec<Passkey>>, ApiError> {
    Ok(Json(manage::list_by_service(&auth, id).await?))
}

async fn remove_by_service(
    _: Service,
    State(auth): State<Auth>,
    client: Client,
    Path(ids): Path<(Uuid, Uuid)>,
) -> Result<StatusCode, ApiError> {
    manage::remove_by_service(&auth, ids, &client).await?;
    Ok(StatusCode::NO_CONTENT)
}
