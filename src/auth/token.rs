//! From a session to the tokens that stand for it.

use chrono::{DateTime, Utc};
use serde_json::json;
use uuid::Uuid;

use super::model::{Session, TokenResponse, User};
use super::refresh_token::RefreshToken;
use super::{Auth, AuthError, claims};

/// A session that is about to be stored.
pub(super) fn new_session(method: &str, now: DateTime<Utc>) -> Session {
    Session {
        id: Uuid::new_v4(),
        aal: "aal1".to_owned(),
        amr: json!([{ "method": method, "timestamp": now.timestamp() }]),
        counter: 0,
    }
}

/// Signs an access token and seals the refresh token that `session` has now.
///
/// # Errors
/// [`AuthError::Issuance`]. The session stays as it is: the same request can be made again.
pub(super) async fn issue(
    auth: &Auth,
    user: User,
    session: &Session,
    method: &'static str,
) -> Result<TokenResponse, AuthError> {
    let config = auth.config();
    let (claims, expires_at) = claims::base(&user, session, &config, auth.clock().now());
    let providers = &auth.extensions().claims;
    let roles = &config.db.allowed_roles;
    let claims = claims::extend(claims, providers, (&user, method), roles).await?;
    Ok(TokenResponse {
        access_token: auth.sign(&claims).map_err(AuthError::Issuance)?,
        token_type: "bearer",
        expires_in: config.auth.access_token_ttl,
        expires_at,
        refresh_token: auth.mac_key().seal(RefreshToken {
            session_id: session.id,
            counter: session.counter,
        }),
        user,
        provider_token: None,
        provider_refresh_token: None,
    })
}
