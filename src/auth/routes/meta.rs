//! What clients ask before anybody signs in.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde_json::{Value, json};

use crate::auth::{Auth, oauth};
use crate::http::Json;

/// `GET /settings`: what a sign-in form may offer.
pub(super) async fn settings(State(auth): State<Auth>) -> Json<Value> {
    let config = auth.config();
    let mut external = json!({ "email": true, "phone": false, "anonymous_users": false });
    for (name, is_enabled) in oauth::providers(&config) {
        external[name] = is_enabled.into();
    }
    Json(json!({
        "external": external,
        "disable_signup": config.auth.disable_signup,
        "mailer_autoconfirm": !config.auth.require_email_confirmation,
        "phone_autoconfirm": false,
        "sms_provider": "",
        "saml_enabled": false,
        "passkeys_enabled": config.auth.passkeys_enabled,
    }))
}

/// `GET /health`.
pub(super) async fn health() -> Json<Value> {
    Json(json!({
        "version": concat!("v", env!("CARGO_PKG_VERSION")),
        "name": "sb",
        "description": "sb auth service",
    }))
}

/// `GET /.well-known/jwks.json`: kept for a minute, so that a revoked key is not trusted for long.
pub(super) async fn jwks(State(auth): State<Auth>) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "public, max-age=60"),
    ];
    (headers, auth.jwks().to_string())
}
