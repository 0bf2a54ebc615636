//! From a session to the tokens that stand for it.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::model::{Client, Session, TokenResponse, User};
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

/// Signs an access token and seals the refresh token that `session` has now. `method` is how the tokens are obtained:
/// claims providers and hooks are told.
///
/// # Errors
/// [`AuthError::Issuance`], [`AuthError::HookRefused`], [`AuthError::HookFailed`]. The session stays as it is: the same request can be made again.
pub(super) async fn issue(
    auth: &Auth,
    user: User,
    session: &Session,
    method: &'static str,
    client: &Client,
) -> Result<TokenResponse, AuthError> {
    let how = (method, client);
    let (access_token, expires_at) = access_token(auth, &user, session, how, |_| ()).await?;
    Ok(TokenResponse {
        access_token,
        token_type: "bearer",
        expires_in: auth.config().auth.access_token_ttl,
        expires_at,
        refresh_token: refresh_token(auth, session),
        user,
        weak_password: None,
        provider_token: None,
        provider_refresh_token: None,
    })
}

/// The refresh token that `session` has now.
pub(super) fn refresh_token(auth: &Auth, session: &Session) -> String {
    auth.mac_key().seal(RefreshToken {
        session_id: session.id,
        counter: session.counter,
    })
}

/// Signs an access token and tells when it expires. `adjust` makes of an ordinary token one for somebody else, before
/// the project's own claims are added.
///
/// # Errors
/// [`AuthError::Issuance`], [`AuthError::HookRefused`], [`AuthError::HookFailed`].
pub(super) async fn access_token(
    auth: &Auth,
    user: &User,
    session: &Session,
    (method, client): (&'static str, &Client),
    adjust: impl FnOnce(&mut Map<String, Value>),
) -> Result<(String, i64), AuthError> {
    let config = auth.config();
    let (mut claims, expires_at) = claims::base(user, session, &config, auth.clock().now());
    adjust(&mut claims);
    let providers = &auth.extensions().claims;
    let roles = &config.db.allowed_roles;
    let mut claims = claims::extend(claims, providers, (user, method), roles).await?;
    let hooks = auth.extensions();
    if hooks.asks_for_claims() {
        let who = (user.id, method);
        if let Some(answered) = hooks.custom_access_token(client, who, &claims).await? {
            claims = claims::replace(claims, answered, roles)?;
        }
    }
    let token = auth.sign(&claims).map_err(AuthError::Issuance)?;
    Ok((token, expires_at))
}
