//! `POST /signup`.

use axum::extract::State;
use serde::Deserialize;
use serde_json::Value;

use crate::auth::Auth;
use crate::auth::limits::Origin;
use crate::auth::model::Client;
use crate::auth::signup::{self, SignUp, SignedUp};
use crate::http::{ApiError, Json};

/// The body; other members are ignored.
#[derive(Deserialize)]
pub(super) struct Body {
    email: Option<String>,
    phone: Option<String>,
    username: Option<String>,
    password: Option<String>,
    data: Option<Value>,
}

pub(super) async fn sign_up(
    State(auth): State<Auth>,
    client: Client,
    origin: Origin,
    Json(body): Json<Body>,
) -> Result<Json<SignedUp>, ApiError> {
    let input = SignUp {
        email: body.email,
        phone: body.phone,
        username: body.username,
        password: body.password,
        data: body.data,
    };
    Ok(Json(signup::sign_up(&auth, input, &client, origin).await?))
}
