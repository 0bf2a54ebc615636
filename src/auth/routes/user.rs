//! `GET` and `PUT /user`.

use axum::extract::State;
use serde::Deserialize;
use serde_json::Value;

use super::bearer::SignedIn;
use super::mail::RedirectTo;
use crate::auth::Auth;
use crate::auth::model::{Client, User};
use crate::auth::user::{self, UserUpdate};
use crate::http::{ApiError, Json, Query};

pub(super) async fn show(
    caller: SignedIn,
    State(auth): State<Auth>,
) -> Result<Json<User>, ApiError> {
    Ok(Json(user::current_user(&auth, caller.bearer()).await?))
}

/// The body; other members are ignored.
#[derive(Deserialize)]
pub(super) struct Body {
    email: Option<String>,
    phone: Option<String>,
    password: Option<String>,
    current_password: Option<String>,
    data: Option<Value>,
    app_metadata: Option<Value>,
    nonce: Option<String>,
    code_challenge: Option<String>,
    code_challenge_method: Option<String>,
}

pub(super) async fn update(
    caller: SignedIn,
    State(auth): State<Auth>,
    client: Client,
    Query(query): Query<RedirectTo>,
    Json(body): Json<Body>,
) -> Result<Json<User>, ApiError> {
    let input = UserUpdate {
        email: body.email,
        phone: body.phone,
        password: body.password,
        current_password: body.current_password,
        data: body.data,
        app_metadata: body.app_metadata,
        nonce: body.nonce,
        redirect_to: query.redirect_to,
        code_challenge: body.code_challenge,
        code_challenge_method: body.code_challenge_method,
    };
    let updated = user::update(&auth, caller.bearer(), input, &client).await?;
    Ok(Json(updated))
}
