//! What a token is good for: `/oauth/userinfo`, `/oauth/introspect`, `/oauth/revoke`.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::bearer::ClientToken;
use super::error::OAuthError;
use super::id_token;
use super::parameters::Parameters;
use crate::auth::queries::oauth_clients::OAuthClient;
use crate::auth::queries::oauth_grants::{self, ClientSession};
use crate::auth::{Auth, AuthError, session, user};

/// What a client may know of the user its token acts for.
///
/// # Errors
/// [`OAuthError::BearerToken`], also when the session is over or the user is banned.
pub(super) async fn userinfo(
    auth: &Auth,
    token: &ClientToken,
) -> Result<Map<String, Value>, OAuthError> {
    let user = user::current_user(auth, token.bearer()).await;
    let user = user.map_err(|error| match error {
        AuthError::BearerNotFound | AuthError::SessionNotFound | AuthError::BearerBanned => {
            OAuthError::BearerToken("The session of the token is over")
        }
        other => other.into(),
    })?;
    Ok(id_token::about_user(&user, &token.scopes()))
}

/// Who wants to know about a token.
#[derive(Clone, Copy)]
pub(super) enum Asker<'a> {
    /// The project itself, with its service key: about any token of a client.
    Project,
    /// A client: about its own tokens.
    Client(&'a OAuthClient),
}

impl Asker<'_> {
    fn may_know(self, client_id: Uuid) -> bool {
        match self {
            Self::Project => true,
            Self::Client(client) => client.id == client_id,
        }
    }
}

/// Whether a token is good now, and what for (RFC 7662). All that is wrong with one is answered alike.
///
/// # Errors
/// [`OAuthError::Failed`].
pub(super) async fn introspect(
    auth: &Auth,
    asker: Asker<'_>,
    input: &Parameters,
) -> Result<Value, OAuthError> {
    let token = input.get("token").unwrap_or_default();
    let answer = match auth.mac_key().open(token) {
        Some(refresh) => {
            about_refresh_token(auth, asker, (refresh.session_id, refresh.counter)).await?
        }
        None => about_access_token(auth, asker, token).await?,
    };
    Ok(answer.unwrap_or_else(|| json!({ "active": false })))
}

async fn about_refresh_token(
    auth: &Auth,
    asker: Asker<'_>,
    (session_id, counter): (Uuid, i64),
) -> Result<Option<Value>, OAuthError> {
    let found = live_session(auth, asker, session_id).await?;
    let found = found.filter(|found| found.counter <= counter);
    Ok(found.map(|found| {
        json!({
            "active": true,
            "token_type": "refresh_token",
            "client_id": found.client_id,
            "sub": found.user_id,
            "scope": found.scopes,
            "iss": auth.config().issuer(),
            "exp": ends_at(auth, &found).timestamp(),
        })
    }))
}

async fn about_access_token(
    auth: &Auth,
    asker: Asker<'_>,
    token: &str,
) -> Result<Option<Value>, OAuthError> {
    let Some(token) = ClientToken::read(auth, token) else {
        return Ok(None);
    };
    let found = live_session(auth, asker, token.session_id).await?;
    if found.is_none_or(|found| found.client_id != token.client_id) {
        return Ok(None);
    }
    let mut answer = json!({ "active": true, "token_type": "bearer" });
    let told = [
        "client_id",
        "sub",
        "scope",
        "iss",
        "aud",
        "iat",
        "exp",
        "jti",
    ];
    for name in told {
        if let Some(value) = token.claims.get(name) {
            answer[name] = value.clone();
        }
    }
    Ok(Some(answer))
}

/// The client's session, unless it is over, its user is banned, or it is none of the asker's business.
async fn live_session(
    auth: &Auth,
    asker: Asker<'_>,
    session_id: Uuid,
) -> Result<Option<ClientSession>, OAuthError> {
    let now = auth.clock().now();
    let connection = auth.db().auth().connection().await?;
    let found = oauth_grants::find_session(&connection, session_id, now).await?;
    Ok(found.filter(|found| {
        asker.may_know(found.client_id) && !found.is_banned && ends_at(auth, found) > now
    }))
}

/// When a session ends if nobody refreshes it.
fn ends_at(auth: &Auth, found: &ClientSession) -> DateTime<Utc> {
    let limits = session::session_limits(&auth.config().auth);
    let unused = found.used_at.checked_add_signed(limits.ttl);
    let too_old = found.created_at.checked_add_signed(limits.age);
    let ends = unused.into_iter().chain(too_old).min();
    ends.unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// Ends the session of a token of the client, whichever of its tokens it is. One that is no token of the client's is
/// worth nothing to it, which is what was asked for (RFC 7009).
///
/// # Errors
/// [`OAuthError::Failed`].
pub(super) async fn revoke(
    auth: &Auth,
    client: &OAuthClient,
    asked: &Parameters,
) -> Result<(), OAuthError> {
    let token = asked.get("token").unwrap_or_default();
    let session_id = match auth.mac_key().open(token) {
        Some(refresh) => Some(refresh.session_id),
        None => ClientToken::read(auth, token).map(|token| token.session_id),
    };
    let Some(session_id) = session_id else {
        return Ok(());
    };
    let tx = auth.db().auth().begin().await?;
    let ended = oauth_grants::end_session(&tx, (session_id, client.id)).await;
    tx.finish(ended).await?;
    Ok(())
}
