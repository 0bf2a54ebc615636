//! What clients ask before anybody signs in.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde_json::{Value, json};

use crate::auth::{Auth, oauth, phone};
use crate::error::ErrorCode;
use crate::http::{ApiError, Json};

/// `GET /settings`: what a sign-in form may offer.
pub(super) async fn settings(State(auth): State<Auth>) -> Json<Value> {
    let config = auth.config();
    let mut external = json!({
        "email": true,
        "phone": phone::is_enabled(&auth),
        "anonymous_users": config.auth.anonymous_enabled,
    });
    for (name, is_enabled) in oauth::providers(&config) {
        external[name] = is_enabled.into();
    }
    Json(json!({
        "external": external,
        "disable_signup": config.auth.disable_signup,
        "mailer_autoconfirm": !config.auth.require_email_confirmation,
        "phone_autoconfirm": config.auth.sms_autoconfirm,
        "sms_provider": "",
        "saml_enabled": false,
        "passkeys_enabled": config.auth.passkeys_enabled,
    }))
}

/// `POST /sso`: in the words that clients know, so that they can tell it from a wrong address.
pub(super) async fn sso() -> ApiError {
    ApiError::new(ErrorCode::SamlProviderDisabled, "SAML 2.0 is disabled")
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
