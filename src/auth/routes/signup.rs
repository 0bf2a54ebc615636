//! `POST /signup`.

use axum::extract::State;
use serde::Deserialize;
use serde_json::Value;

use super::mail::RedirectTo;
use crate::auth::Auth;
use crate::auth::limits::Origin;
use crate::auth::model::Client;
use crate::auth::signup::{self, SignUp, SignedUp};
use crate::http::{ApiError, Json, Query};

/// The body; other members are ignored.
#[derive(Deserialize)]
pub(super) struct Body {
    email: Option<String>,
    phone: Option<String>,
    username: Option<String>,
    password: Option<String>,
    data: Option<Value>,
    redirect_url: Option<String>,
    code_challenge: Option<String>,
    code_challenge_method: Option<String>,
}

pub(super) async fn sign_up(
    State(auth): State<Auth>,
    client: Client,
    origin: Origin,
    Query(query): Query<RedirectTo>,
    Json(body): Json<Body>,
) -> Result<Json<SignedUp>, ApiError> {
    let input = SignUp {
        email: body.email,
        phone: body.phone,
        username: body.username,
        password: body.password,
        data: body.data,
        redirect_to: query.redirect_to.or(body.redirect_url),
        code_challenge: body.code_challenge,
        code_challenge_method: body.code_challenge_method,
    };
    Ok(Json(signup::sign_up(&auth, input, &client, origin).await?))
}
