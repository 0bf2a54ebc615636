//! What a client can find out by itself: one document serves OpenID Connect Discovery and RFC 8414.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::scope;
use crate::auth::Auth;

/// The metadata. It names only what is done: S256, the algorithms of the published keys, registration where it is on.
pub(super) fn document(auth: &Auth) -> Value {
    let config = auth.config();
    let at = |path: &str| format!("{}/auth/v1{path}", config.api_url());
    let methods = ["client_secret_basic", "client_secret_post", "none"];
    let mut document = json!({
        "issuer": config.issuer(),
        "authorization_endpoint": at("/oauth/authorize"),
        "token_endpoint": at("/oauth/token"),
        "userinfo_endpoint": at("/oauth/userinfo"),
        "revocation_endpoint": at("/oauth/revoke"),
        "introspection_endpoint": at("/oauth/introspect"),
        "jwks_uri": at("/.well-known/jwks.json"),
        "scopes_supported": scope::SUPPORTED,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": algorithms(&auth.jwks()),
        "token_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
        "claims_parameter_supported": false,
        "claims_supported": [
            "sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "at_hash", "email", "email_verified",
            "phone_number", "phone_number_verified", "name", "picture", "preferred_username", "updated_at",
        ],
    });
    if config.auth.oauth_dynamic_registration {
        document["registration_endpoint"] = at("/oauth/clients/register").into();
    }
    document
}

/// The algorithms of the keys that clients are shown.
fn algorithms(jwks: &str) -> BTreeSet<String> {
    let jwks: Value = serde_json::from_str(jwks).unwrap_or_default();
    let keys = jwks["keys"].as_array().into_iter().flatten();
    keys.filter_map(|key| key["alg"].as_str().map(str::to_owned))
        .collect()
}
