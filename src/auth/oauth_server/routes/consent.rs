//! `/oauth/authorize`, and the decision about it.

use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use uuid::Uuid;

use super::extract::{Body, PageOrigin};
use crate::auth::limits::Origin;
use crate::auth::model::Client;
use crate::auth::oauth_server::authorize;
use crate::auth::oauth_server::bearer::Owner;
use crate::auth::oauth_server::consent::{self, Decision, Details, Grant, Redirect};
use crate::auth::oauth_server::error::OAuthError;
use crate::auth::oauth_server::parameters::{Parameters, Unreadable};
use crate::auth::routes::bearer::SignedIn;
use crate::auth::{Auth, AuthError};
use crate::error::ErrorCode;
use crate::http::{ApiError, Json, Path, Query};

pub(super) async fn begin(
    State(auth): State<Auth>,
    origin: Origin,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let query = query.unwrap_or_default();
    let asked = Parameters::from_form(query.as_bytes())
        .map_err(|Unreadable(problem)| AuthError::Invalid(problem))?;
    lead_on(&auth, &asked, origin).await
}

/// OpenID Connect wants it as a form too.
pub(super) async fn begin_with_form(
    State(auth): State<Auth>,
    origin: Origin,
    body: Result<Body, OAuthError>,
) -> Result<Response, ApiError> {
    let Body(asked) = match body {
        Ok(body) => body,
        Err(error) => return Ok(error.into_response()),
    };
    lead_on(&auth, &asked, origin).await
}

async fn lead_on(auth: &Auth, asked: &Parameters, origin: Origin) -> Result<Response, ApiError> {
    let begun = authorize::begin(auth, asked, origin).await;
    let location = begun.map_err(|error| {
        // An unknown client is a fault of the request here, not of the path.
        let error = ApiError::from(error);
        match error.code() {
            ErrorCode::OauthClientNotFound => error.with_status(StatusCode::BAD_REQUEST),
            _ => error,
        }
    })?;
    Ok((StatusCode::FOUND, [(header::LOCATION, location)]).into_response())
}

pub(super) async fn details(
    State(auth): State<Auth>,
    owner: Owner,
    PageOrigin(origin): PageOrigin,
    client: Client,
    Path(id): Path<String>,
) -> Result<Json<Details>, ApiError> {
    consent::check_origin(&auth, origin.as_deref())?;
    Ok(Json(consent::details(&auth, &owner, &id, &client).await?))
}

#[derive(Deserialize)]
pub(super) struct DecisionBody {
    action: Option<String>,
}

pub(super) async fn decide(
    State(auth): State<Auth>,
    owner: Owner,
    PageOrigin(origin): PageOrigin,
    client: Client,
    Path(id): Path<String>,
    Json(body): Json<DecisionBody>,
) -> Result<Json<Redirect>, ApiError> {
    consent::check_origin(&auth, origin.as_deref())?;
    let decision = match body.action.as_deref() {
        Some("approve") => Decision::Approve,
        Some("deny") => Decision::Deny,
        _ => return Err(AuthError::Invalid("action must be 'approve' or 'deny'").into()),
    };
    let decided = consent::decide(&auth, &owner, (&id, decision), &client).await?;
    Ok(Json(decided))
}

pub(super) async fn grants(
    State(auth): State<Auth>,
    caller: SignedIn,
) -> Result<Json<Vec<Grant>>, ApiError> {
    Ok(Json(consent::grants(&auth, caller.bearer()).await?))
}

#[derive(Deserialize)]
pub(super) struct WhichGrant {
    client_id: Option<String>,
}

pub(super) async fn revoke(
    State(auth): State<Auth>,
    caller: SignedIn,
    client: Client,
    Query(which): Query<WhichGrant>,
) -> Result<StatusCode, ApiError> {
    let id = which.client_id.unwrap_or_default();
    let id = Uuid::parse_str(&id).map_err(|_| AuthError::Invalid("client_id must be a UUID"))?;
    consent::revoke(&auth, caller.bearer(), id, &client).await?;
    Ok(StatusCode::NO_CONTENT)
}
