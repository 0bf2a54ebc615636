//! The sessions of a user, as a list: for the user, who ends those it does not know, and for the service key.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::audit::{self, Action};
use super::model::{Client, User};
use super::queries::{self, LiveWithin};
use super::session::session_limits;
use super::user::{Bearer, current_user};
use super::{Auth, AuthError};
use crate::error::ErrorCode;

/// A device that is signed in.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub(super) struct Device {
    /// The session's id, as in claim `session_id`.
    pub(super) id: Uuid,
    /// When it was signed in.
    pub(super) created_at: DateTime<Utc>,
    /// When its tokens were last refreshed.
    pub(super) refreshed_at: Option<DateTime<Utc>>,
    /// When it ends unless it ends earlier.
    pub(super) not_after: Option<DateTime<Utc>>,
    /// Authenticator assurance level.
    pub(super) aal: String,
    /// Authentication methods, `[{method, timestamp}]`, newest first.
    pub(super) amr: Value,
    /// Address of the last sign-in or refresh.
    pub(super) ip: Option<std::net::IpAddr>,
    /// `User-Agent` of the last sign-in or refresh.
    pub(super) user_agent: Option<String>,
    /// The OAuth client that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) oauth_client_id: Option<Uuid>,
    /// Whether the request came with a token of this session.
    pub(super) is_current: bool,
}

/// The live sessions of the bearer, the one used last first.
///
/// # Errors
/// Those of [`current_user`].
pub(super) async fn own(auth: &Auth, bearer: Bearer<'_>) -> Result<Vec<Device>, AuthError> {
    let user = current_user(auth, bearer).await?;
    list(auth, user.id, bearer.session_id).await
}

/// The live sessions of any user.
///
/// # Errors
/// [`AuthError::UserNotFound`].
pub(super) async fn of_user(auth: &Auth, user_id: Uuid) -> Result<Vec<Device>, AuthError> {
    let user = super::admin::find(auth, user_id).await?;
    list(auth, user.id, None).await
}

async fn list(auth: &Auth, user_id: Uuid, current: Option<Uuid>) -> Result<Vec<Device>, AuthError> {
    let (now, limits) = (auth.clock().now(), session_limits(&auth.config().auth));
    let within = LiveWithin {
        now,
        used_since: now - limits.ttl,
        made_since: now - limits.age,
    };
    let connection = auth.db().auth().connection().await?;
    let mut devices = queries::list_sessions(&connection, user_id, within).await?;
    for device in &mut devices {
        device.is_current = current == Some(device.id);
    }
    Ok(devices)
}

/// Ends one session of the bearer, be it its own.
///
/// # Errors
/// Those of [`current_user`]; 404 `not_found` when the bearer has no such session.
pub(super) async fn end_own(
    auth: &Auth,
    bearer: Bearer<'_>,
    session_id: Uuid,
    client: &Client,
) -> Result<(), AuthError> {
    let user = current_user(auth, bearer).await?;
    let actor = (user.id, audit::name(&user));
    let traits = json!({ "scope": "session", "session_id": session_id });
    let payload = audit::payload(Action::Logout, actor, &traits);
    match end(auth, &user, Some(session_id), &payload, client).await? {
        0 => Err(AuthError::Refused(ErrorCode::NotFound, "Session not found")),
        _ => Ok(()),
    }
}

/// Ends all sessions of a user and tells how many there were.
///
/// # Errors
/// [`AuthError::UserNotFound`].
pub(super) async fn end_all(auth: &Auth, user_id: Uuid, client: &Client) -> Result<u64, AuthError> {
    let user = super::admin::find(auth, user_id).await?;
    let payload = audit::by_service(Action::Logout, &user);
    end(auth, &user, None, &payload, client).await
}

/// The sessions and the log entry, both or neither.
async fn end(
    auth: &Auth,
    user: &User,
    session_id: Option<Uuid>,
    payload: &Value,
    client: &Client,
) -> Result<u64, AuthError> {
    let tx = auth.db().auth().begin().await?;
    let ended = async {
        let ended = match session_id {
            Some(id) => queries::end_session(&tx, user.id, id).await?,
            None => queries::end_sessions(&tx, user.id, None).await?,
        };
        if ended > 0 || session_id.is_none() {
            queries::log(&tx, payload, (client, auth.clock().now())).await?;
        }
        Ok(ended)
    };
    let ended = ended.await;
    tx.finish(ended).await
}
