//! The signed-in user: reading and changing itself.

use serde_json::Value;
use uuid::Uuid;

use super::address::{Email, Phone};
use super::audit::{self, Action};
use super::email::sign_up::Confirmation;
use super::email::{change, letter, reauthenticate};
use super::limits::{self, Account, Origin};
use super::metadata::{self, MetadataPatch};
use super::model::{Client, User};
use super::queries::{self, LiveSession, UserChange};
use super::signup::identity_data;
use super::{Auth, AuthError, claims, mfa, password_rules, phone, saving};
use crate::db::{SystemConnection, Tx};

/// Who asks, from a verified access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bearer<'a> {
    pub(super) user_id: Uuid,
    pub(super) session_id: Option<Uuid>,
    pub(super) jti: Option<&'a str>,
    /// Whether the token was issued after a second factor. The session may have been raised or lowered since.
    pub(super) is_aal2: bool,
}

/// The user of a token, if it and the token's session still live.
///
/// # Errors
/// [`AuthError::BearerNotFound`], [`AuthError::SessionNotFound`], [`AuthError::BearerBanned`].
pub(super) async fn current_user(auth: &Auth, bearer: Bearer<'_>) -> Result<User, AuthError> {
    let connection = auth.db().auth().connection().await?;
    let (user, session) = find_live(auth, &connection, bearer).await?;
    note_arrival(&connection, bearer, session).await;
    Ok(user)
}

/// The same for a change of how the user signs in: an account with a second factor must have shown it.
///
/// # Errors
/// Those of [`current_user`], and those of [`mfa::require_aal`].
pub(super) async fn trusted_user(auth: &Auth, bearer: Bearer<'_>) -> Result<User, AuthError> {
    let connection = auth.db().auth().connection().await?;
    let (user, session) = find_live(auth, &connection, bearer).await?;
    mfa::require_aal(&user, bearer, session)?;
    Ok(user)
}

/// The user and the session of a token.
///
/// # Errors
/// As [`current_user`].
pub(super) async fn find_live(
    auth: &Auth,
    connection: &SystemConnection,
    bearer: Bearer<'_>,
) -> Result<(User, Option<LiveSession>), AuthError> {
    let found = queries::find_user(connection, bearer.user_id, bearer.session_id).await?;
    live(auth, bearer, found)
}

/// What was found of a token's user and session, if both live.
///
/// # Errors
/// As [`current_user`].
pub(super) fn live(
    auth: &Auth,
    bearer: Bearer<'_>,
    found: Option<(User, Option<LiveSession>)>,
) -> Result<(User, Option<LiveSession>), AuthError> {
    let (user, session) = found
        .filter(|(user, _)| user.deleted_at.is_none())
        .ok_or(AuthError::BearerNotFound)?;
    if bearer.session_id.is_some() && session.is_none() {
        return Err(AuthError::SessionNotFound);
    }
    if user.is_banned(auth.clock().now()) {
        return Err(AuthError::BearerBanned);
    }
    Ok((user, session))
}

/// A token issued with the current refresh token has come back, so the client has both, and the parent of the refresh
/// token is used up. Written once per refresh; the first tokens of a session have no parent. The answer does not
/// depend on it.
async fn note_arrival(
    connection: &SystemConnection,
    bearer: Bearer<'_>,
    session: Option<LiveSession>,
) {
    let (Some(id), Some(session)) = (bearer.session_id, session) else {
        return;
    };
    let is_current = bearer.jti.and_then(claims::counter) == Some(session.counter);
    if session.seen || session.counter == 0 || !is_current {
        return;
    }
    if let Err(error) = queries::mark_seen(connection, id, session.counter).await {
        tracing::warn!(session.id = %id, error = %error, "could not note that a refresh has arrived");
    }
}

/// What a user asks to change of itself.
#[derive(Clone, Default)]
pub(super) struct UserUpdate {
    pub(super) email: Option<String>,
    pub(super) phone: Option<String>,
    pub(super) password: Option<String>,
    pub(super) current_password: Option<String>,
    pub(super) data: Option<Value>,
    pub(super) app_metadata: Option<Value>,
    /// The code of a re-authentication.
    pub(super) nonce: Option<String>,
    /// Where the link that confirms a new address leads in the end.
    pub(super) redirect_to: Option<String>,
    /// PKCE, for that link.
    pub(super) code_challenge: Option<String>,
    /// PKCE, for that link.
    pub(super) code_challenge_method: Option<String>,
}

impl UserUpdate {
    /// Whether it changes how `user` signs in.
    fn changes_credentials(&self, user: &User) -> bool {
        let is_new = |text: &Option<String>, old: &str| {
            let text = text.as_deref().unwrap_or_default();
            !text.is_empty() && text != old
        };
        is_new(&self.email, &user.email)
            || is_new(&self.phone, &user.phone)
            || is_new(&self.password, "")
    }
}

/// Changes the user of a token. A new password ends the user's other sessions.
///
/// # Errors
/// Those of [`current_user`]; `insufficient_aal` for address, number and password when a second factor protects the
/// account and the session has not verified one; [`AuthError::NotAdmin`] for `app_metadata`; [`AuthError::EmailExists`],
/// [`AuthError::FeatureDisabled`], [`AuthError::PhoneDisabled`]; [`AuthError::WeakPassword`],
/// [`AuthError::SamePassword`], [`AuthError::CurrentPasswordRequired`], [`AuthError::CurrentPasswordInvalid`],
/// [`AuthError::TooManyRequests`].
pub(super) async fn update(
    auth: &Auth,
    bearer: Bearer<'_>,
    input: UserUpdate,
    client: &Client,
) -> Result<User, AuthError> {
    if input
        .app_metadata
        .as_ref()
        .is_some_and(|data| !data.is_null())
    {
        let message = "Updating app_metadata requires admin privileges";
        return Err(AuthError::NotAdmin(message));
    }
    let (user, credentials) = {
        let connection = auth.db().auth().connection().await?;
        let (user, session) = find_live(auth, &connection, bearer).await?;
        if input.changes_credentials(&user) {
            mfa::require_aal(&user, bearer, session)?;
        }
        let found = queries::find_credentials(&connection, user.id).await?;
        (user, found.ok_or(AuthError::BearerNotFound)?)
    };
    let email = new_email(&user, input.email.as_deref())?;
    let pkce = (
        input.code_challenge.as_deref(),
        input.code_challenge_method.as_deref(),
    );
    let confirmation = Confirmation::parse(auth, input.redirect_to.as_deref(), pkce)?;
    let phone = phone::change::wanted(auth, &user, input.phone.as_deref())?;
    let user_metadata = MetadataPatch::parse(input.data)?.split();
    let old_hash = credentials.password_hash.as_deref();
    let new_hash = match input.password.as_deref() {
        Some(new) if !new.is_empty() => {
            let current = input.current_password.as_deref();
            if user.is_anonymous && email.is_none() && phone.is_none() {
                return Err(AuthError::AnonymousPassword);
            }
            let start = reauthenticate::session_start(auth, bearer.session_id).await?;
            let name = password_rules::name_in(&user.user_metadata);
            password_rules::check(auth, new, &[&user.email, name]).await?;
            if auth.config().auth.require_reauthentication && !start.is_fresh {
                reauthenticate::check_nonce(auth, &user, input.nonce.as_deref()).await?;
            }
            let old = (old_hash, start.is_recovery);
            Some(new_password(auth, user.id, (new, current), old).await?)
        }
        _ => None,
    };
    let (email, wanted) = match email {
        Some(email) if auth.config().auth.require_email_confirmation => {
            let wanted = change::prepare(auth, &user, email, confirmation).await?;
            (None, Some(wanted))
        }
        email => (email, None),
    };
    let (phone, wanted_phone) = match phone {
        Some(phone) if auth.config().auth.sms_autoconfirm => (Some(phone), None),
        phone => (None, phone),
    };
    let change = UserChange {
        email: email.as_ref().map(Email::as_str),
        email_confirmed: email.is_some(),
        phone: phone.as_ref().map(Phone::as_str),
        phone_confirmed: phone.is_some(),
        password_hash: new_hash.as_deref(),
        checked_hash: old_hash.filter(|_| new_hash.is_some()),
        user_metadata,
        ..UserChange::default()
    };
    let tx = auth.db().auth().begin().await?;
    let changed = change_in(auth, &tx, bearer, (&change, wanted.as_ref()), client).await;
    let user = tx.finish(changed).await?;
    match wanted_phone {
        Some(phone) => phone::change::begin(auth, user.id, &phone, client).await,
        None => Ok(user),
    }
}

async fn change_in(
    auth: &Auth,
    tx: &Tx,
    bearer: Bearer<'_>,
    (change, wanted): (&UserChange<'_>, Option<&change::Wanted>),
    client: &Client,
) -> Result<User, AuthError> {
    let (id, now) = (bearer.user_id, auth.clock().now());
    // First: whoever uses a token takes its row before the user's.
    if change.password_hash.is_some() || change.email.is_some() {
        queries::burn_tokens(tx, id, None).await?;
    } else if wanted.is_some() {
        queries::burn_tokens(tx, id, Some(&change::HALVES)).await?;
    }
    let changed = queries::update_user(tx, id, change, now).await;
    if changed.map_err(saving)? == 0 {
        // Another request has just changed the password that this one was checked against.
        return Err(AuthError::CurrentPasswordInvalid);
    }
    for (provider, address) in [("email", change.email), ("phone", change.phone)] {
        if let Some(address) = address {
            // It counts as confirmed because nobody asks for a proof.
            let data = identity_data(id, (provider, address), false);
            queries::write_identity(tx, (id, provider), &data, now).await?;
            queries::write_providers(tx, id, now).await?;
        }
    }
    let mut action = Action::Modified;
    if change.password_hash.is_some() {
        queries::end_sessions(tx, id, bearer.session_id).await?;
        action = Action::UpdatedPassword;
    }
    if let Some(wanted) = wanted {
        change::begin(auth, tx, id, wanted, client).await?;
    }
    // Once more, now that nobody else can change the account: the session may have ended, or a factor been verified,
    // while the password was hashed.
    let found = queries::find_user_in(tx, id, bearer.session_id).await?;
    let (user, session) = live(auth, bearer, found)?;
    if change.password_hash.is_some() || change.email.is_some() || wanted.is_some() {
        mfa::require_aal(&user, bearer, session)?;
    }
    let added = change.user_metadata.0.as_object();
    if added.is_some_and(|members| !members.is_empty()) {
        metadata::check_size(&user.user_metadata)?;
    }
    queries::log(tx, &audit::by_user(action, &user), (client, now)).await?;
    if change.password_hash.is_some() {
        limits::forget_account(auth, tx, &user).await?;
    }
    if change.password_hash.is_some() && !user.email.is_empty() {
        let to = ("password_changed_notice", user.email.as_str());
        letter::notify(auth, tx, to, &user, &[]).await?;
    }
    Ok(user)
}

/// The address to change to, if it is another one.
fn new_email(user: &User, text: Option<&str>) -> Result<Option<Email>, AuthError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let email = Email::parse(text)?;
    Ok(Some(email).filter(|email| email.as_str() != user.email))
}

/// Checks a change of password and hashes the new one. Who has recovered the account does not know the old one.
async fn new_password(
    auth: &Auth,
    user_id: Uuid,
    (new, current): (&str, Option<&str>),
    (old_hash, is_recovery): (Option<&str>, bool),
) -> Result<String, AuthError> {
    let settings = &auth.config().auth;
    if let Some(old_hash) = old_hash {
        match current.filter(|text| !text.is_empty()) {
            None if settings.require_current_password && !is_recovery => {
                return Err(AuthError::CurrentPasswordRequired);
            }
            Some(current) if !is_current(auth, user_id, current, old_hash).await? => {
                return Err(AuthError::CurrentPasswordInvalid);
            }
            Some(current) if current == new => return Err(AuthError::SamePassword),
            None if auth.passwords().verify(new, Some(old_hash)).await? => {
                return Err(AuthError::SamePassword);
            }
            // The current one is right and another, or the new one is not it.
            Some(_) | None => {}
        }
    }
    auth.passwords().hash(new).await
}

/// Whoever has taken an access token must not learn the password by trying: wrong ones are followed by the same delays
/// as at a sign-in.
async fn is_current(
    auth: &Auth,
    user_id: Uuid,
    password: &str,
    hash: &str,
) -> Result<bool, AuthError> {
    let account = Account::SignedIn(user_id);
    let attempt = limits::begin_attempt(auth, account, None, Origin(None)).await?;
    let verified = auth.passwords().verify(password, Some(hash)).await;
    match verified {
        Ok(true) => attempt.succeed(auth).await?,
        Ok(false) => attempt.fail(auth).await?,
        Err(_) => attempt.undo(auth).await?,
    }
    verified
}
