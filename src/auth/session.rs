//! Sessions: password sign-in, refresh and sign-out.

use chrono::TimeDelta;
use serde_json::json;
use uuid::Uuid;

use super::address::{Email, Phone};
use super::audit::{self, Action};
use super::audit_log;
use super::limits::{self, Account, Attempt, Origin};
use super::model::{Client, Session, TokenResponse, User};
use super::queries::{self, Credentials, Device, RefreshLimits, Refreshed, SignIn, Within};
use super::sync_hooks::{self, PasswordAttempt};
use super::user::Bearer;
use super::username::Username;
use super::{Auth, AuthError, evenly, password_rules, token};
use crate::config;
use crate::db::{DbError, SqlState};
use crate::hooks::Event;
use crate::net::AddressBlock;

pub(super) use super::queries::Scope;

/// What a password sign-in presents; the address wins over the number.
#[derive(Clone)]
pub(super) struct PasswordGrant {
    /// Address as typed.
    pub(super) email: Option<String>,
    /// Phone number as typed.
    pub(super) phone: Option<String>,
    /// User name as typed, which counts where the project has user names.
    pub(super) username: Option<String>,
    /// Password.
    pub(super) password: String,
}

/// Signs in with a password. Whether an account exists, has no password, or has another one makes no difference, in
/// the answer or in the work done; a ban is told only to who knows the password.
///
/// # Errors
/// [`AuthError::InvalidCredentials`], [`AuthError::UserBanned`], [`AuthError::EmailNotConfirmed`],
/// [`AuthError::TooManyRequests`], [`AuthError::PasswordQueueFull`].
pub(super) async fn sign_in_with_password(
    auth: &Auth,
    grant: PasswordGrant,
    client: &Client,
    origin: Origin,
) -> Result<TokenResponse, AuthError> {
    let name = Name::parse(&grant, auth.config().auth.usernames_enabled)?;
    let provider = name.provider();
    let checked = check_credentials(auth, &name, &grant.password, client, origin);
    let (account, checked_hash, attempt) = evenly::refusals(checked).await?;
    let checked_hash = renew_hash(auth, account.user_id, &grant.password, checked_hash).await?;
    let now = auth.clock().now();
    let session = token::new_session("password", now);
    let traits = json!({ "provider": provider });
    let actor = (account.user_id, account.name.as_str());
    let new = SignIn {
        session: &session,
        client,
        audit: &audit::payload(Action::Login, actor, &traits),
        attempt: attempt.key(),
        is_only_session: auth.config().auth.sessions_single_per_user,
        at: now,
    };
    let Some(user) = open_session(auth, account.user_id, &checked_hash, &new).await? else {
        // The password was changed, or the account deleted, while it was being checked.
        attempt.fail(auth).await?;
        return Err(AuthError::InvalidCredentials);
    };
    let name = password_rules::name_in(&user.user_metadata);
    let known = [user.email.as_str(), name];
    let weak_password = password_rules::look_at(auth, &grant.password, &known).await;
    let tokens = token::issue(auth, user, &session, "password", client).await?;
    Ok(TokenResponse {
        weak_password,
        ..tokens
    })
}

/// A hash that was imported, or made with other settings, is replaced now that the password is at hand. The sign-in does
/// not depend on it.
async fn renew_hash(
    auth: &Auth,
    user_id: Uuid,
    password: &str,
    hash: String,
) -> Result<String, AuthError> {
    if !auth.passwords().is_outdated(&hash) {
        return Ok(hash);
    }
    let Ok(renewed) = auth.passwords().hash(password).await else {
        return Ok(hash);
    };
    let connection = auth.db().auth().connection().await?;
    let replaced = queries::replace_hash(&connection, user_id, (&hash, &renewed)).await?;
    Ok(if replaced > 0 { renewed } else { hash })
}

/// Opens the session and tells whoever wants to know, both or neither. `None` when the password is not the checked one
/// any more.
async fn open_session(
    auth: &Auth,
    user_id: Uuid,
    checked_hash: &str,
    new: &SignIn<'_>,
) -> Result<Option<User>, AuthError> {
    let hooks = auth.extensions();
    if !hooks.listens(Event::UserLogin) {
        // Usually nobody does, and one statement is all.
        let connection = auth.db().auth().connection().await?;
        let within = Within::Statement(&connection);
        let user = queries::sign_in(within, user_id, checked_hash, new).await?;
        if user.is_some() {
            return Ok(user);
        }
    }
    let tx = auth.db().auth().begin().await?;
    let opened = async {
        let within = Within::Transaction(&tx);
        let user = queries::sign_in(within, user_id, checked_hash, new).await?;
        if let Some(user) = &user {
            hooks.emit(&tx, Event::UserLogin, (user, new.at)).await?;
        }
        Ok(user)
    };
    let opened = opened.await;
    tx.finish(opened).await
}

/// The account, the hash its password was found to match, and the attempt that found it.
async fn check_credentials(
    auth: &Auth,
    name: &Name<'_>,
    password: &str,
    client: &Client,
    origin: Origin,
) -> Result<(Credentials, String, Attempt), AuthError> {
    let mut found = find_credentials(auth, name, client).await?;
    let hash = found.as_mut().and_then(|found| found.password_hash.take());
    let network = client.ip.map(AddressBlock::of);
    let known_device = network.filter(|_| found.as_ref().is_some_and(|f| f.is_known_device));
    let attempt = limits::begin_attempt(auth, name.account(), known_device, origin).await?;
    let verified = auth.passwords().verify(password, hash.as_deref()).await;
    let is_right = match verified {
        Ok(is_right) => is_right,
        Err(error) => {
            attempt.undo(auth).await?;
            return Err(error);
        }
    };
    let tried = found.as_ref().filter(|_| hash.is_some());
    if let Some(user_id) = tried.map(|account| account.user_id)
        && let Err(error) = tell_of_password(auth, client, user_id, is_right).await
    {
        match error {
            // Nobody said that it was wrong.
            AuthError::HookFailed { .. } if is_right => attempt.undo(auth).await?,
            _ => attempt.fail(auth).await?,
        }
        return Err(error);
    }
    let (Some(hash), true) = (hash, is_right) else {
        attempt.fail(auth).await?;
        audit_log::sign_in_failed(auth, found.as_ref(), name.provider(), client).await?;
        return Err(AuthError::InvalidCredentials);
    };
    // A hash was somebody's.
    let account = found.ok_or(AuthError::InvalidCredentials)?;
    if let Err(error) = may_sign_in(auth, &account, name) {
        attempt.succeed(auth).await?;
        return Err(error);
    }
    Ok((account, hash, attempt))
}

/// Hooks are told of the passwords that are tried for accounts, and may refuse them.
async fn tell_of_password(
    auth: &Auth,
    client: &Client,
    user_id: Uuid,
    valid: bool,
) -> Result<(), AuthError> {
    if !auth.extensions().watches_passwords() {
        return Ok(());
    }
    let attempt = PasswordAttempt { user_id, valid };
    sync_hooks::points::check_password_attempt(auth, client, attempt).await
}

/// What keeps an account out although its password is right.
fn may_sign_in(auth: &Auth, account: &Credentials, name: &Name<'_>) -> Result<(), AuthError> {
    let now = auth.clock().now();
    if account.banned_until.is_some_and(|until| until > now) {
        return Err(AuthError::UserBanned);
    }
    if let Name::Phone(_) = name {
        // Numbers are handed on from one person to the next, so unlike addresses each is confirmed.
        let is_confirmed = account.is_phone_confirmed || auth.config().auth.sms_autoconfirm;
        return if is_confirmed {
            Ok(())
        } else {
            Err(AuthError::PhoneNotConfirmed)
        };
    }
    if auth.config().auth.require_email_confirmation && !account.is_confirmed {
        return Err(AuthError::EmailNotConfirmed);
    }
    Ok(())
}

/// Under which name somebody signs in.
enum Name<'a> {
    Email(Email),
    Phone(Phone),
    Username(Username),
    /// No account has it.
    Malformed(&'a str),
}

impl<'a> Name<'a> {
    fn parse(grant: &'a PasswordGrant, usernames: bool) -> Result<Self, AuthError> {
        if let Some(name) = grant.username.as_deref().filter(|name| !name.is_empty())
            && usernames
            && grant.email.is_none()
            && grant.phone.is_none()
        {
            return Ok(Username::parse(name).map_or(Self::Malformed(name), Self::Username));
        }
        match (&grant.email, &grant.phone) {
            (Some(email), _) if !email.is_empty() => {
                Ok(Email::parse(email).map_or(Self::Malformed(email), Self::Email))
            }
            (_, Some(phone)) if !phone.is_empty() => {
                Ok(Phone::parse(phone).map_or(Self::Malformed(phone), Self::Phone))
            }
            _ => Err(AuthError::Invalid("missing email or phone")),
        }
    }

    /// The word for it in the audit log.
    fn provider(&self) -> &'static str {
        match self {
            Self::Phone(_) => "phone",
            Self::Username(_) => "username",
            Self::Email(_) | Self::Malformed(_) => "email",
        }
    }

    fn account(&self) -> Account<'_> {
        match self {
            Self::Email(email) => Account::Email(email),
            Self::Phone(phone) => Account::Phone(phone),
            Self::Username(name) => Account::Username(name),
            Self::Malformed(text) => Account::Unknown(text),
        }
    }
}

async fn find_credentials(
    auth: &Auth,
    name: &Name<'_>,
    client: &Client,
) -> Result<Option<Credentials>, AuthError> {
    let now = auth.clock().now();
    let device = client.ip.map(|ip| Device {
        network: AddressBlock::of(ip).bounds(),
        now,
        live_since: now - session_limits(&auth.config().auth).ttl,
    });
    let connection = auth.db().auth().connection().await?;
    Ok(match name {
        Name::Email(email) => {
            queries::find_credentials_by_email(&connection, email.as_str(), device).await?
        }
        Name::Phone(phone) => {
            queries::find_credentials_by_phone(&connection, phone.as_str(), device).await?
        }
        Name::Username(name) => {
            queries::find_credentials_by_username(&connection, name.as_str(), device).await?
        }
        Name::Malformed(_) => None,
    })
}

/// Exchanges a refresh token. Callers that present one token at the same time all get the same successor.
///
/// # Errors
/// [`AuthError::RefreshTokenNotFound`], [`AuthError::RefreshTokenAlreadyUsed`] (the session is ended then),
/// [`AuthError::SessionExpired`], [`AuthError::UserBanned`]: the session is gone. Obstacles that pass are
/// [`AuthError::RefreshUnavailable`] or [`AuthError::RefreshThrottled`], so that no client signs its user out because of
/// them.
pub(super) async fn refresh(
    auth: &Auth,
    refresh_token: &str,
    client: &Client,
    origin: Origin,
) -> Result<TokenResponse, AuthError> {
    limits::count_refresh(auth, origin)?;
    let (session, user) = rotate(auth, refresh_token, client, None).await?;
    token::issue(auth, user, &session, "token_refresh", client).await
}

/// Advances the session of a refresh token: one of an OAuth client when `oauth_client_id` is given, else one of none.
///
/// # Errors
/// Those of [`refresh`].
pub(super) async fn rotate(
    auth: &Auth,
    refresh_token: &str,
    client: &Client,
    oauth_client_id: Option<Uuid>,
) -> Result<(Session, User), AuthError> {
    let presented = auth
        .mac_key()
        .open(refresh_token)
        .ok_or(AuthError::RefreshTokenNotFound)?;
    let limits = RefreshLimits {
        oauth_client_id,
        ..session_limits(&auth.config().auth)
    };
    let refreshed = async {
        let connection = auth.db().auth().connection().await?;
        let token = (presented.session_id, presented.counter);
        queries::refresh(&connection, token, limits, auth.clock().now(), client).await
    };
    match refreshed.await.map_err(unavailable)? {
        Refreshed::Current(session, user) => Ok((session, *user)),
        Refreshed::Unknown => Err(AuthError::RefreshTokenNotFound),
        Refreshed::Banned => Err(AuthError::UserBanned),
        Refreshed::Expired => Err(AuthError::SessionExpired),
        Refreshed::Reused | Refreshed::Outdated => Err(AuthError::RefreshTokenAlreadyUsed),
    }
}

/// Until when sessions go on, from the settings; 0 stands for no limit.
pub(super) fn session_limits(settings: &config::Auth) -> RefreshLimits {
    let limit = |count: u64| seconds(if count == 0 { u64::MAX } else { count });
    RefreshLimits {
        oauth_client_id: None,
        ttl: seconds(settings.refresh_token_ttl).min(limit(settings.sessions_inactivity_timeout)),
        reuse_interval: seconds(settings.refresh_token_reuse_interval),
        age: limit(settings.sessions_timebox),
        newest_only: settings.sessions_single_per_user,
    }
}

/// A statement that was cancelled has done nothing either.
fn unavailable(error: DbError) -> AuthError {
    if error.is_transient() || error.code() == Some(&SqlState::QUERY_CANCELED) {
        AuthError::RefreshUnavailable(error)
    } else {
        AuthError::Db(error)
    }
}

/// Beyond 1000 years the arithmetic of dates ends.
fn seconds(count: u64) -> TimeDelta {
    const LONGEST: i64 = 31_536_000_000;
    TimeDelta::seconds(i64::try_from(count).unwrap_or(LONGEST).min(LONGEST))
}

/// Ends sessions of the bearer: the one of its token, the others, or all.
///
/// # Errors
/// [`AuthError::BearerNotFound`], [`AuthError::SessionNotFound`] when the token's own session has ended.
pub(super) async fn sign_out(
    auth: &Auth,
    bearer: Bearer<'_>,
    scope: Scope,
    client: &Client,
) -> Result<(), AuthError> {
    let connection = auth.db().auth().connection().await?;
    let who = (bearer.user_id, bearer.session_id);
    let log = (auth.clock().now(), client);
    match queries::sign_out(&connection, who, scope, log).await? {
        Some(true) => Ok(()),
        Some(false) => Err(AuthError::SessionNotFound),
        None => Err(AuthError::BearerNotFound),
    }
}

/// The same for who holds a refresh token. One that is unknown, or whose session has ended, changes nothing.
pub(super) async fn sign_out_with_refresh_token(
    auth: &Auth,
    refresh_token: &str,
    scope: Scope,
    client: &Client,
) -> Result<(), AuthError> {
    let Some(presented) = auth.mac_key().open(refresh_token) else {
        return Ok(());
    };
    let session_id = presented.session_id;
    let connection = auth.db().auth().connection().await?;
    if let Some(user_id) = queries::find_session_user(&connection, session_id).await? {
        let log = (auth.clock().now(), client);
        queries::sign_out(&connection, (user_id, Some(session_id)), scope, log).await?;
    }
    Ok(())
}
