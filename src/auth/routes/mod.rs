//! From HTTP to the services and back.

mod admin_users;
mod audit;
pub(super) mod bearer;
mod captcha;
mod logout;
mod mail;
mod meta;
mod openapi;
pub(super) mod page;
mod paging;
mod profiles;
mod sessions;
mod signup;
mod token;
mod user;
mod verify;
mod version;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};

use super::{Auth, oauth_server};
use crate::http::middleware::{method_not_allowed, not_found};

/// The routes of the service, to be mounted at `/auth/v1`.
pub fn router(auth: Auth) -> Router {
    Router::new()
        .route("/signup", post(signup::sign_up))
        .route("/token", post(token::grant))
        .route("/refresh", post(token::refresh))
        .route("/logout", post(logout::sign_out))
        .route("/user", get(user::show).put(user::update))
        .route("/sso", post(meta::sso))
        .route("/settings", get(meta::settings))
        .route("/health", get(meta::health))
        .route("/.well-known/jwks.json", get(meta::jwks))
        .route(
            "/admin/users",
            get(admin_users::list).post(admin_users::create),
        )
        .route(
            "/admin/users/{id}",
            get(admin_users::show)
                .put(admin_users::update)
                .delete(admin_users::delete),
        )
        .merge(oauth_server::routes(&auth))
        .merge(openapi::routes())
        .merge(super::oauth::routes())
        .merge(mail::routes())
        .merge(verify::routes())
        .merge(super::mfa::routes())
        .merge(super::passkeys::routes())
        .merge(sessions::routes())
        .merge(audit::routes())
        .merge(profiles::routes())
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(auth.clone(), captcha::layer))
        .layer(from_fn(version::layer))
        .with_state(auth)
}
