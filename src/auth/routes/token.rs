//! `POST /token` and its short form `POST /refresh`.

use axum::extract::State;
use serde::Deserialize;

use super::bearer::SignedIn;
use crate::auth::limits::Origin;
use crate::auth::model::{Client, TokenResponse};
use crate::auth::oauth::{self, IdTokenGrant};
use crate::auth::session::{self, PasswordGrant};
use crate::auth::user::Bearer;
use crate::auth::{Auth, AuthError, flow};
use crate::error::ErrorCode;
use crate::http::{ApiError, Json, Query};

#[derive(Deserialize)]
pub(super) struct Grant {
    grant_type: Option<String>,
}

/// The body of any grant; other members are ignored.
#[derive(Deserialize)]
pub(super) struct Body {
    email: Option<String>,
    phone: Option<String>,
    username: Option<String>,
    password: Option<String>,
    refresh_token: Option<String>,
    auth_code: Option<String>,
    code_verifier: Option<String>,
    provider: Option<String>,
    id_token: Option<String>,
    access_token: Option<String>,
    nonce: Option<String>,
    client_id: Option<String>,
    issuer: Option<String>,
    #[serde(default)]
    link_identity: bool,
}

/// Without `grant_type` it is a password sign-in.
pub(super) async fn grant(
    State(auth): State<Auth>,
    signed_in: Result<SignedIn, ApiError>,
    client: Client,
    origin: Origin,
    Query(grant): Query<Grant>,
    Json(body): Json<Body>,
) -> Result<Json<TokenResponse>, ApiError> {
    match grant.grant_type.as_deref() {
        None | Some("password") => sign_in(&auth, body, &client, origin).await,
        Some("refresh_token") => exchange(&auth, body, &client, origin).await,
        Some("pkce") => exchange_code(&auth, body, &client, origin).await,
        Some("id_token") => {
            let caller = signed_in.ok();
            let bearer = caller.as_ref().map(SignedIn::bearer);
            sign_in_with_id_token(&auth, body, bearer, (&client, origin)).await
        }
        Some("web3") => {
            let message = "Web3 provider is disabled";
            Err(AuthError::Refused(ErrorCode::Web3ProviderDisabled, message).into())
        }
        Some(_) => {
            let message = "unsupported_grant_type";
            Err(AuthError::Refused(ErrorCode::InvalidCredentials, message).into())
        }
    }
}

pub(super) async fn refresh(
    State(auth): State<Auth>,
    client: Client,
    origin: Origin,
    Json(body): Json<Body>,
) -> Result<Json<TokenResponse>, ApiError> {
    exchange(&auth, body, &client, origin).await
}

async fn sign_in(
    auth: &Auth,
    body: Body,
    client: &Client,
    origin: Origin,
) -> Result<Json<TokenResponse>, ApiError> {
    let grant = PasswordGrant {
        email: body.email,
        phone: body.phone,
        username: body.username,
        password: body.password.unwrap_or_default(),
    };
    Ok(Json(
        session::sign_in_with_password(auth, grant, client, origin).await?,
    ))
}

async fn sign_in_with_id_token(
    auth: &Auth,
    body: Body,
    bearer: Option<Bearer<'_>>,
    from: (&Client, Origin),
) -> Result<Json<TokenResponse>, ApiError> {
    let grant = IdTokenGrant {
        provider: body.provider,
        id_token: body.id_token,
        access_token: body.access_token,
        nonce: body.nonce,
        issuer: body.issuer,
        client_id: body.client_id,
        link_identity: body.link_identity,
    };
    Ok(Json(
        oauth::sign_in_with_id_token(auth, grant, bearer, from).await?,
    ))
}

async fn exchange(
    auth: &Auth,
    body: Body,
    client: &Client,
    origin: Origin,
) -> Result<Json<TokenResponse>, ApiError> {
    let token = body.refresh_token.unwrap_or_default();
    if token.is_empty() {
        return Err(AuthError::Invalid("refresh_token required").into());
    }
    Ok(Json(session::refresh(auth, &token, client, origin).await?))
}

async fn exchange_code(
    auth: &Auth,
    body: Body,
    client: &Client,
    origin: Origin,
) -> Result<Json<TokenResponse>, ApiError> {
    let code = body.auth_code.unwrap_or_default();
    let verifier = body.code_verifier.unwrap_or_default();
    let pair = (code.as_str(), verifier.as_str());
    Ok(Json(flow::exchange(auth, pair, client, origin).await?))
}
