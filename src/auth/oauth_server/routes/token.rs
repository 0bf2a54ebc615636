//! What clients call: `/oauth/token`, `/oauth/userinfo`, `/oauth/introspect`, `/oauth/revoke`.

use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Map, Value};

use super::extract::{BearerToken, Body, ClientHeader};
use crate::auth::Auth;
use crate::auth::limits::Origin;
use crate::auth::model::Client;
use crate::auth::oauth_server::bearer::ClientToken;
use crate::auth::oauth_server::client_auth;
use crate::auth::oauth_server::error::OAuthError;
use crate::auth::oauth_server::grant::{self, Tokens};
use crate::auth::oauth_server::tokens::{self, Asker};
use crate::auth::routes::bearer::Service;
use crate::http::{ApiError, Json};

pub(super) async fn grant(
    State(auth): State<Auth>,
    from: Client,
    origin: Origin,
    ClientHeader(header): ClientHeader,
    Body(asked): Body,
) -> Result<Json<Tokens>, OAuthError> {
    let client = client_auth::authenticate(&auth, header.as_deref(), &asked, &from).await?;
    let exchanged = grant::exchange(&auth, &client, &asked, (&from, origin)).await?;
    Ok(Json(exchanged))
}

pub(super) async fn userinfo(
    State(auth): State<Auth>,
    BearerToken(token): BearerToken,
) -> Result<Json<Map<String, Value>>, OAuthError> {
    let token = ClientToken::require(&auth, token.as_deref())?;
    Ok(Json(tokens::userinfo(&auth, &token).await?))
}

/// A client asks about its own tokens, the holder of the service key about all.
pub(super) async fn introspect(
    State(auth): State<Auth>,
    service: Result<Service, ApiError>,
    from: Client,
    ClientHeader(header): ClientHeader,
    Body(asked): Body,
) -> Result<Json<Value>, OAuthError> {
    if service.is_ok() {
        let answer = tokens::introspect(&auth, Asker::Project, &asked).await?;
        return Ok(Json(answer));
    }
    let client = client_auth::authenticate(&auth, header.as_deref(), &asked, &from).await?;
    if client.client_type == "public" {
        // Whoever finds a token could ask in its name.
        let text = "A public client cannot introspect tokens";
        return Err(OAuthError::Client(text, false));
    }
    let answer = tokens::introspect(&auth, Asker::Client(&client), &asked).await?;
    Ok(Json(answer))
}

pub(super) async fn revoke(
    State(auth): State<Auth>,
    from: Client,
    ClientHeader(header): ClientHeader,
    Body(asked): Body,
) -> Result<StatusCode, OAuthError> {
    let client = client_auth::authenticate(&auth, header.as_deref(), &asked, &from).await?;
    tokens::revoke(&auth, &client, &asked).await?;
    Ok(StatusCode::OK)
}
