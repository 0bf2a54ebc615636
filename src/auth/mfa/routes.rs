//! `/factors`, and the factors of others for the service key.

use axum::Router;
use axum::extract::State;
use axum::routing::{delete, get, post};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::challenge::{self, Challenge};
use super::enroll::{self, Enrolled, NewFactor};
use super::recovery_codes::{self, Generated, Status};
use super::unenroll;
use super::verify::{self, Answer};
use crate::auth::admin;
use crate::auth::limits::Origin;
use crate::auth::model::{Client, Factor, TokenResponse};
use crate::auth::routes::bearer::{Service, SignedIn};
use crate::auth::{Auth, AuthError};
use crate::http::{ApiError, Json, Path};

/// The routes of second factors.
pub(in crate::auth) fn routes() -> Router<Auth> {
    Router::new()
        .route("/factors", post(enroll_factor))
        .route("/factors/{id}", delete(unenroll_factor))
        .route("/factors/{id}/challenge", post(challenge_factor))
        .route("/factors/{id}/verify", post(verify_factor))
        .route(
            "/factors/recovery-codes",
            get(show_codes).post(generate_codes).delete(remove_codes),
        )
        .route("/factors/recovery-codes/verify", post(verify_code))
        .route("/factors/recovery-codes/regenerate", post(regenerate_codes))
        .route("/admin/users/{id}/factors", get(list_by_service))
        .route(
            "/admin/users/{id}/factors/{factor_id}",
            delete(remove_by_service),
        )
}

/// The body; other members are ignored.
#[derive(Deserialize)]
struct EnrollBody {
    factor_type: Option<String>,
    friendly_name: Option<String>,
    issuer: Option<String>,
}

async fn enroll_factor(
    caller: SignedIn,
    State(auth): State<Auth>,
    client: Client,
    Json(body): Json<EnrollBody>,
) -> Result<Json<Enrolled>, ApiError> {
    let new = NewFactor {
        factor_type: body.factor_type.unwrap_or_default(),
        friendly_name: body.friendly_name,
        issuer: body.issuer,
    };
    let enrolled = enroll::enroll(&auth, caller.bearer(), new, &client).await?;
    Ok(Json(enrolled))
}

async fn unenroll_factor(
    caller: SignedIn,
    State(auth): State<Auth>,
    client: Client,
    Path(id): Path<Uuid>,
) -> Result<Json<Value>, ApiError> {
    unenroll::unenroll(&auth, caller.bearer(), id, &client).await?;
    Ok(Json(json!({ "id": id })))
}

#[derive(Deserialize)]
struct ChallengeBody {
    webauthn: Option<RelyingParty>,
}

#[derive(Deserialize)]
struct RelyingParty {
    #[serde(rename = "rpId")]
    rp_id: Option<String>,
}

async fn challenge_factor(
    caller: SignedIn,
    State(auth): State<Auth>,
    client: Client,
    origin: Origin,
    Path(id): Path<Uuid>,
    Json(body): Json<ChallengeBody>,
) -> Result<Json<Challenge>, ApiError> {
    let rp_id = body.webauthn.and_then(|party| party.rp_id);
    let which = (id, rp_id.as_deref());
    let made = challenge::challenge(&auth, caller.bearer(), which, &client, origin).await?;
    Ok(Json(made))
}

#[derive(Deserialize)]
struct VerifyBody {
    challenge_id: Option<Uuid>,
    code: Option<String>,
    webauthn: Option<Credential>,
}

#[derive(Deserialize)]
struct Credential {
    credential_response: Option<Value>,
}

impl VerifyBody {
    fn answer(self) -> Result<(Uuid, Answer), AuthError> {
        let id = self
            .challenge_id
            .ok_or(AuthError::Invalid("challenge_id is required"))?;
        let credential = self.webauthn.and_then(|body| body.credential_response);
        let answer = match (credential, self.code) {
            (Some(credential), _) => Answer::Credential(credential),
            (None, Some(code)) => Answer::Code(code),
            (None, None) => return Err(AuthError::Invalid("code or webauthn is required")),
        };
        Ok((id, answer))
    }
}

async fn verify_factor(
    caller: SignedIn,
    State(auth): State<Auth>,
    client: Client,
    origin: Origin,
    Path(id): Path<Uuid>,
    Json(body): Json<VerifyBody>,
) -> Result<Json<TokenResponse>, ApiError> {
    let (challenge_id, answer) = body.answer()?;
    let ids = (id, challenge_id);
    let from = (&client, origin);
    let tokens = verify::verify(&auth, caller.bearer(), ids, answer, from).await?;
    Ok(Json(tokens))
}

async fn show_codes(caller: SignedIn, State(auth): State<Auth>) -> Result<Json<Status>, ApiError> {
    let status = recovery_codes::status(&auth, caller.bearer()).await?;
    Ok(Json(status))
}

#[derive(Deserialize)]
struct GenerateBody {
    friendly_name: Option<String>,
}

async fn generate_codes(
    caller: SignedIn,
    State(auth): State<Auth>,
    client: Client,
    Json(body): Json<GenerateBody>,
) -> Result<Json<Generated>, ApiError> {
    let name = body.friendly_name.as_deref();
    let generated = recovery_codes::generate(&auth, caller.bearer(), name, &client).await?;
    Ok(Json(generated))
}

async fn regenerate_codes(
    caller: SignedIn,
    State(auth): State<Auth>,
    client: Client,
) -> Result<Json<Generated>, ApiError> {
    let generated = recovery_codes::regenerate(&auth, caller.bearer(), &client).await?;
    Ok(Json(generated))
}

async fn remove_codes(
    caller: SignedIn,
    State(auth): State<Auth>,
    client: Client,
) -> Result<Json<Value>, ApiError> {
    let id = recovery_codes::remove(&auth, caller.bearer(), &client).await?;
    Ok(Json(json!({ "id": id })))
}

#[derive(Deserialize)]
struct CodeBody {
    code: Option<String>,
}

async fn verify_code(
    caller: SignedIn,
    State(auth): State<Auth>,
    client: Client,
    origin: Origin,
    Json(body): Json<CodeBody>,
) -> Result<Json<TokenResponse>, ApiError> {
    let code = body.code.unwrap_or_default();
    let from = (&client, origin);
    let tokens = recovery_codes::verify(&auth, caller.bearer(), &code, from).await?;
    Ok(Json(tokens))
}

async fn list_by_service(
    _: Service,
    State(auth): State<Auth>,
    Path(id): Path<Uuid>,
) -> Result<Json<Vec<Factor>>, ApiError> {
    Ok(Json(admin::find(&auth, id).await?.factors))
}

async fn remove_by_service(
    _: Service,
    State(auth): State<Auth>,
    client: Client,
    Path(ids): Path<(Uuid, Uuid)>,
) -> Result<Json<Factor>, ApiError> {
    let removed = unenroll::remove_by_service(&auth, ids, &client).await?;
    Ok(Json(removed))
}
