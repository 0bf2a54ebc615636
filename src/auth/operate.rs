//! What the command line does with accounts, by address, number, user name or id.

use serde_json::json;
use uuid::Uuid;

use super::address::{Email, Phone};
use super::admin::{self, NewAccount};
use super::audit::{self, Action};
use super::model::{Client, TokenResponse, User};
use super::username::Username;
use super::{Auth, AuthError, queries, sessions, token};

/// The id of the account with an id, address, number or user name.
///
/// # Errors
/// [`AuthError::UserNotFound`]; [`AuthError::Invalid`] for what is none of them.
pub(super) async fn resolve(auth: &Auth, who: &str) -> Result<Uuid, AuthError> {
    if let Ok(id) = Uuid::parse_str(who) {
        return Ok(id);
    }
    let connection = auth.db().auth().connection().await?;
    let found = if let Ok(phone) = Phone::parse(who) {
        queries::find_credentials_by_phone(&connection, phone.as_str(), None).await?
    } else if let Ok(name) = Username::parse(who) {
        queries::find_credentials_by_username(&connection, name.as_str(), None).await?
    } else {
        let email = Email::parse(who)?;
        queries::find_credentials_by_email(&connection, email.as_str(), None).await?
    };
    Ok(found.ok_or(AuthError::UserNotFound)?.user_id)
}

/// Bans an account for a duration such as `24h`, or lifts its ban (`none`).
///
/// # Errors
/// [`AuthError::UserNotFound`], [`AuthError::Invalid`].
pub async fn ban_user(
    auth: &Auth,
    who: &str,
    duration: &str,
    client: &Client,
) -> Result<User, AuthError> {
    let change = NewAccount {
        ban_duration: Some(duration.to_owned()),
        ..NewAccount::default()
    };
    admin::update(auth, resolve(auth, who).await?, change, client).await
}

/// Gives an account a password, which ends its sessions.
///
/// # Errors
/// [`AuthError::UserNotFound`], [`AuthError::WeakPassword`].
pub async fn set_password(
    auth: &Auth,
    who: &str,
    password: String,
    client: &Client,
) -> Result<User, AuthError> {
    let change = NewAccount {
        password: Some(password),
        ..NewAccount::default()
    };
    admin::update(auth, resolve(auth, who).await?, change, client).await
}

/// Gives an account a role, which its next tokens name.
///
/// # Errors
/// [`AuthError::UserNotFound`], [`AuthError::Invalid`].
pub async fn set_role(
    auth: &Auth,
    who: &str,
    role: String,
    client: &Client,
) -> Result<User, AuthError> {
    let change = NewAccount {
        role: Some(role),
        ..NewAccount::default()
    };
    admin::update(auth, resolve(auth, who).await?, change, client).await
}

/// Ends the sessions of an account and tells how many there were.
///
/// # Errors
/// [`AuthError::UserNotFound`].
pub async fn log_out_user(auth: &Auth, who: &str, client: &Client) -> Result<u64, AuthError> {
    sessions::end_all(auth, resolve(auth, who).await?, client).await
}

/// Opens a session for an account, as for trying out its rights. It is listed, can be ended, and is logged.
///
/// # Errors
/// [`AuthError::UserNotFound`], [`AuthError::UserBanned`], [`AuthError::Issuance`].
pub async fn mint_token(
    auth: &Auth,
    who: &str,
    client: &Client,
) -> Result<TokenResponse, AuthError> {
    const METHOD: &str = "service_role";
    let (user_id, now) = (resolve(auth, who).await?, auth.clock().now());
    let tx = auth.db().auth().begin().await?;
    let opened = async {
        let user = queries::read_user(&tx, user_id).await?;
        let user = user
            .filter(|user| user.deleted_at.is_none())
            .ok_or(AuthError::UserNotFound)?;
        if user.is_banned(now) {
            return Err(AuthError::UserBanned);
        }
        let session = token::new_session(METHOD, now);
        queries::insert_session(&tx, user_id, &session, (client, now)).await?;
        let traits = json!({ "user_id": user.id, "session_id": session.id, "provider": METHOD });
        let actor = (Uuid::nil(), METHOD);
        let payload = audit::payload(Action::Login, actor, &traits);
        queries::log(&tx, &payload, (client, now)).await?;
        Ok((user, session))
    };
    let opened = opened.await;
    let (user, session) = tx.finish(opened).await?;
    token::issue(auth, user, &session, METHOD).await
}
