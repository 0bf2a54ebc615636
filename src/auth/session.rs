//! Sessions: password sign-in, refresh and sign-out.

use chrono::TimeDelta;
use serde_json::json;
use uuid::Uuid;

use super::address::{Email, Phone};
use super::audit::{self, Action};
use super::limits::{self, Account, Attempt, Origin};
use super::model::{Client, TokenResponse, User};
use super::queries::{self, Credentials, Device, RefreshLimits, Refreshed, SignIn, Within};
use super::user::Bearer;
use super::{Auth, AuthError, token};
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
    let (account, checked_hash, attempt) = check_credentials(auth, &grant, client, origin).await?;
    let now = auth.clock().now();
    let session = token::new_session("password", now);
    let is_email = grant.email.is_some_and(|email| !email.is_empty());
    let traits = json!({ "provider": if is_email { "email" } else { "phone" } });
    let actor = (account.user_id, account.name.as_str());
    let new = SignIn {
        session: &session,
        client,
        audit: &audit::payload(Action::Login, actor, &traits),
        attempt: attempt.key(),
        at: now,
    };
    let Some(user) = open_session(auth, account.user_id, &checked_hash, &new).await? else {
        // The password was changed, or the account deleted, while it was being checked.
        attempt.fail(auth).await?;
        return Err(AuthError::InvalidCredentials);
    };
    token::issue(auth, user, &session, "password").await
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
    grant: &PasswordGrant,
    client: &Client,
    origin: Origin,
) -> Result<(Credentials, String, Attempt), AuthError> {
    let name = Name::parse(grant)?;
    let mut found = find_credentials(auth, &name, client).await?;
    let hash = found.as_mut().and_then(|found| found.password_hash.take());
    let network = client.ip.map(AddressBlock::of);
    let known_device = network.filter(|_| found.as_ref().is_some_and(|f| f.is_known_device));
    let attempt = limits::begin_attempt(auth, name.account(), known_device, origin).await?;
    let verified = auth
        .passwords()
        .verify(&grant.password, hash.as_deref())
        .await;
    let is_right = match verified {
        Ok(is_right) => is_right,
        Err(error) => {
            attempt.undo(auth).await?;
            return Err(error);
        }
    };
    let (Some(account), Some(hash), true) = (found, hash, is_right) else {
        attempt.fail(auth).await?;
        return Err(AuthError::InvalidCredentials);
    };
    if let Err(error) = may_sign_in(auth, &account) {
        attempt.succeed(auth).await?;
        return Err(error);
    }
    Ok((account, hash, attempt))
}

/// What keeps an account out although its password is right.
fn may_sign_in(auth: &Auth, account: &Credentials) -> Result<(), AuthError> {
    let now = auth.clock().now();
    if account.banned_until.is_some_and(|until| until > now) {
        return Err(AuthError::UserBanned);
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
    /// No account has it.
    Malformed(&'a str),
}

impl<'a> Name<'a> {
    fn parse(grant: &'a PasswordGrant) -> Result<Self, AuthError> {
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

    fn account(&self) -> Account<'_> {
        match self {
            Self::Email(email) => Account::Email(email),
            Self::Phone(phone) => Account::Phone(phone),
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
        live_since: now - seconds(auth.config().auth.refresh_token_ttl),
    });
    let connection = auth.db().auth().connection().await?;
    Ok(match name {
        Name::Email(email) => {
            queries::find_credentials_by_email(&connection, email.as_str(), device).await?
        }
        Name::Phone(phone) => {
            queries::find_credentials_by_phone(&connection, phone.as_str(), device).await?
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
    let presented = auth
        .mac_key()
        .open(refresh_token)
        .ok_or(AuthError::RefreshTokenNotFound)?;
    let settings = &auth.config().auth;
    let limits = RefreshLimits {
        ttl: seconds(settings.refresh_token_ttl),
        reuse_interval: seconds(settings.refresh_token_reuse_interval),
    };
    let refreshed = async {
        let connection = auth.db().auth().connection().await?;
        let token = (presented.session_id, presented.counter);
        queries::refresh(&connection, token, limits, auth.clock().now(), client).await
    };
    match refreshed.await.map_err(unavailable)? {
        Refreshed::Current(session, user) => {
            token::issue(auth, *user, &session, "token_refresh").await
        }
        Refreshed::Unknown => Err(AuthError::RefreshTokenNotFound),
        Refreshed::Banned => Err(AuthError::UserBanned),
        Refreshed::Expired => Err(AuthError::SessionExpired),
        Refreshed::Reused | Refreshed::Outdated => Err(AuthError::RefreshTokenAlreadyUsed),
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
