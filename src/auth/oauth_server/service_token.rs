//! Tokens for one service and one minute, which the service checks with the published keys alone.
//!
//! Such a token says for whom a call is made and nothing more: no role, no session, another audience. So it opens nothing
//! of this project, and a service that it is shown to cannot use it elsewhere.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::bearer::is_for;
use crate::auth::{Auth, AuthError};
use crate::clock::random_token;
use crate::error::ErrorCode;

/// Seconds such a token lives.
const LIFE: i64 = 60;

/// A service token.
#[derive(Serialize)]
pub(super) struct ServiceToken {
    token: String,
    token_type: &'static str,
    aud: String,
    expires_in: i64,
    expires_at: i64,
}

/// A token for `audience` in the name of `subject`: a user's id, or `service_role` for who holds the service key.
///
/// # Errors
/// `feature_disabled` when no audience is allowed; `unexpected_audience` when this one is not.
pub(super) fn issue(
    auth: &Auth,
    subject: &str,
    audience: Option<&str>,
) -> Result<ServiceToken, AuthError> {
    let config = auth.config();
    if config.auth.service_token_audiences.is_empty() {
        let text = "No service is named in auth.service_token_audiences";
        return Err(AuthError::FeatureDisabled(text));
    }
    let audience = audience
        .filter(|audience| !audience.is_empty())
        .ok_or(AuthError::Invalid("aud is required"))?;
    if !is_allowed(auth, audience) {
        let text = "aud is not one of auth.service_token_audiences";
        return Err(AuthError::Refused(ErrorCode::UnexpectedAudience, text));
    }
    let now = auth.clock().now().timestamp();
    let claims = json!({
        "iss": config.issuer(),
        "sub": subject,
        "aud": audience,
        "iat": now,
        "exp": now + LIFE,
        "jti": random_token::<16>(),
    });
    let claims = claims.as_object().cloned().unwrap_or_default();
    Ok(ServiceToken {
        token: auth.sign(&claims).map_err(AuthError::Issuance)?,
        token_type: "bearer",
        aud: audience.to_owned(),
        expires_in: LIFE,
        expires_at: now + LIFE,
    })
}

/// The audience of users' own tokens is none, whatever the setting says: such a token would be taken for one of those.
fn is_allowed(auth: &Auth, audience: &str) -> bool {
    let config = auth.config();
    let mut allowed = config.auth.service_token_audiences.iter();
    audience != config.jwt.aud && allowed.any(|one| one == audience)
}

/// What a service token says, if it is genuine, for `audience` and not over. Other tokens are none, whatever they are
/// for.
pub(super) fn verify(auth: &Auth, token: &str, audience: &str) -> Option<Map<String, Value>> {
    let claims = auth.verify(token)?;
    let is_other = ["role", "session_id", "client_id", "at_hash", "nonce"]
        .iter()
        .any(|name| claims.contains_key(*name));
    let is_service_token = !is_other && is_allowed(auth, audience) && is_for(&claims, audience);
    is_service_token.then_some(claims)
}
