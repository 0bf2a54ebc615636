//! `GET /token/service` and `POST /token/verify`.

use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::oauth_server::service_token::{self, ServiceToken};
use crate::auth::routes::bearer::{Service, SignedIn};
use crate::auth::{Auth, AuthError, user};
use crate::http::{ApiError, Json, Query};

#[derive(Deserialize)]
pub(super) struct Which {
    aud: Option<String>,
}

/// For a signed-in user, or for the holder of the service key.
pub(super) async fn issue(
    State(auth): State<Auth>,
    signed_in: Result<SignedIn, ApiError>,
    service: Result<Service, ApiError>,
    Query(which): Query<Which>,
) -> Result<Json<ServiceToken>, ApiError> {
    let subject = match (signed_in, service) {
        (Ok(caller), _) => user::current_user(&auth, caller.bearer())
            .await?
            .id
            .to_string(),
        (Err(_), Ok(Service)) => "service_role".to_owned(),
        (Err(refusal), Err(_)) => return Err(refusal),
    };
    let issued = service_token::issue(&auth, &subject, which.aud.as_deref())?;
    Ok(Json(issued))
}

#[derive(Deserialize)]
pub(super) struct Presented {
    token: Option<String>,
    aud: Option<String>,
}

/// For services that cannot check a signature. Whoever holds a token may ask.
pub(super) async fn verify(
    State(auth): State<Auth>,
    Json(presented): Json<Presented>,
) -> Result<Json<Value>, ApiError> {
    let (Some(token), Some(audience)) = (presented.token, presented.aud) else {
        return Err(AuthError::Invalid("token and aud are required").into());
    };
    let Some(mut claims) = service_token::verify(&auth, &token, &audience) else {
        return Ok(Json(json!({ "active": false })));
    };
    claims.insert("active".to_owned(), true.into());
    Ok(Json(Value::Object(claims)))
}
