//! From HTTP to the provider's services and back.

mod clients;
mod consent;
mod extract;
mod metadata;
mod page;
mod service_token;
mod token;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::auth::{Auth, AuthError};
use crate::http::{ApiError, middleware};

/// The routes below `/auth/v1`.
pub(in crate::auth) fn routes(auth: &Auth) -> Router<Auth> {
    Router::new()
        .route(
            "/oauth/authorize",
            get(consent::begin).post(consent::begin_with_form),
        )
        .route("/oauth/authorizations/{id}", get(consent::details))
        .route("/oauth/authorizations/{id}/consent", post(consent::decide))
        .route("/oauth/token", post(token::grant))
        .route(
            "/oauth/userinfo",
            get(token::userinfo).post(token::userinfo),
        )
        .route("/oauth/introspect", post(token::introspect))
        .route("/oauth/revoke", post(token::revoke))
        .route("/oauth/clients/register", post(clients::register))
        .route("/oauth/consent", get(page::html))
        .route("/oauth/consent.js", get(page::script))
        .route(
            "/user/oauth/grants",
            get(consent::grants).delete(consent::revoke),
        )
        .route(
            "/admin/oauth/clients",
            get(clients::list).post(clients::create),
        )
        .route(
            "/admin/oauth/clients/{id}",
            get(clients::show)
                .put(clients::change)
                .delete(clients::remove),
        )
        .route(
            "/admin/oauth/clients/{id}/regenerate_secret",
            post(clients::regenerate_secret),
        )
        .route_layer(from_fn_with_state(auth.clone(), enabled))
        .merge(discovery(auth))
        .route("/token/service", get(service_token::issue))
        .route("/token/verify", post(service_token::verify))
}

/// Where clients look for the metadata of an issuer with a path: before that path (RFC 8414, section 3.1).
pub fn discovery_router(auth: Auth) -> Router {
    Router::new()
        .route(
            "/.well-known/oauth-authorization-server/auth/v1",
            get(metadata::document),
        )
        .route(
            "/.well-known/openid-configuration/auth/v1",
            get(metadata::document),
        )
        .route_layer(from_fn_with_state(auth.clone(), visible))
        .with_state(auth)
}

fn discovery(auth: &Auth) -> Router<Auth> {
    Router::new()
        .route("/.well-known/openid-configuration", get(metadata::document))
        .route(
            "/.well-known/oauth-authorization-server",
            get(metadata::document),
        )
        .route_layer(from_fn_with_state(auth.clone(), visible))
}

/// Answers for the provider only where it is switched on.
async fn enabled(State(auth): State<Auth>, request: Request, next: Next) -> Response {
    if auth.config().auth.oauth_server_enabled {
        return next.run(request).await;
    }
    let text = "The OAuth server is not enabled: set AUTH_OAUTH_SERVER_ENABLED";
    ApiError::from(AuthError::FeatureDisabled(text)).into_response()
}

/// What is switched off is not there to be discovered.
async fn visible(State(auth): State<Auth>, request: Request, next: Next) -> Response {
    if auth.config().auth.oauth_server_enabled {
        return next.run(request).await;
    }
    middleware::not_found().await.into_response()
}
