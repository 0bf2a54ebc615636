//! `POST /logout`.

use axum::extract::FromRequest as _;
use axum::extract::{FromRequestParts as _, Request, State};
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

/// Who signs out is told by the bearer token, or by a refresh token in the body where there is no bearer.
pub(super) async fn sign_out(
    State(auth): State<Auth>,
    client: Client,
    Query(options): Query<Options>,
    request: Request,
) -> Result<StatusCode, ApiError> {
    let (mut parts, body) = request.into_parts();
    let signed_in = SignedIn::from_request_parts(&mut parts, &auth).await;
    let Json(body) = Json::<Body>::from_request(Request::from_parts(parts, body), &auth).await?;
    let scope = scope(options.scope.or(body.scope).as_deref())?;
    match (signed_in, body.refresh_token) {
        (Ok(caller), _) => {
            let bearer = caller.bearer();
            let who = (bearer.user_id, bearer.session_id);
            session::sign_out(&auth, who, scope, &client).await?;
        }
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
