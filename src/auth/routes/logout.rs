//! `POST /logout`.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;

use super::bearer::SignedIn;
use crate::auth::model::Client;
use crate::auth::session::{self, Scope};
use crate::auth::{Auth, AuthError};
use crate::http::{ApiError, Json, Query};

#[derive(Deserialize)]
pub(super) struct Options {
    scope: Option<String>,
}

/// The body is optional, and so are its members.
#[derive(Deserialize)]
pub(super) struct Body {
    scope: Option<String>,
    refresh_token: Option<String>,
}

/// Who signs out is told by the bearer token, or by a refresh token in the body where there is no good bearer.
pub(super) async fn sign_out(
    signed_in: Result<SignedIn, ApiError>,
    State(auth): State<Auth>,
    client: Client,
    Query(options): Query<Options>,
    Json(body): Json<Body>,
) -> Result<StatusCode, ApiError> {
    let scope = scope(options.scope.or(body.scope).as_deref())?;
    match (signed_in, body.refresh_token) {
        (Ok(caller), _) => session::sign_out(&auth, caller.bearer(), scope, &client).await?,
        (Err(_), Some(token)) if !token.is_empty() => {
            session::sign_out_with_refresh_token(&auth, &token, scope, &client).await?;
        }
        (Err(refusal), _) => return Err(refusal),
    }
    Ok(StatusCode::NO_CONTENT)
}

fn scope(text: Option<&str>) -> Result<Scope, AuthError> {
    match text {
        None | Some("" | "global") => Ok(Scope::Global),
        Some("local") => Ok(Scope::Local),
        Some("others") => Ok(Scope::Others),
        Some(_) => Err(AuthError::Invalid(
            "scope must be one of global, local, others",
        )),
    }
}
