//! Limits: how often a client may do what is expensive, and how often an account's password may be guessed.
//!
//! - Per client address, for all nodes together: [`Limited`], token buckets in Postgres.
//! - Per client address, for refreshes: buckets in memory, and never an answer that signs a client out.
//! - Per account: from the 5th wrong password in a row on, each is followed by a longer delay, up to 15 minutes, in
//!   which no password is looked at. It is never for ever, and a success ends it. Addresses without an account are
//!   treated alike. A network in which the account is signed in is counted apart, so that strangers cannot keep the
//!   owner out of a known device.
//!
//! The database sees keyed hashes only.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::address::{Email, Phone};
use super::buckets::Buckets;
use super::model::User;
use super::queries::{self, Admission, AttemptKey, Bucket};
use super::username::Username;
use super::{Auth, AuthError};
use crate::config;
use crate::db::Tx;
use crate::net::AddressBlock;

/// What is limited per client address. A further one needs a name and a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limited {
    /// Password sign-in.
    Token,
    /// Sign-up.
    SignUp,
    /// A client that registers itself.
    OAuthRegister,
    /// A request of an OAuth client, which is stored before anybody is known.
    OAuthAuthorize,
    /// A sign-in with an identity provider that begins.
    OAuth,
    /// Anonymous sign-in.
    Anonymous,
    /// `/otp`, and typed codes.
    Otp,
    /// `/magiclink`.
    MagicLink,
    /// `/recover`.
    Recover,
    /// Links, and what else sends mails.
    Confirm,
    /// Challenges and answers of second factors and passkeys.
    Mfa,
}

impl Limited {
    fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::SignUp => "signup",
            Self::OAuthRegister => "oauth_register",
            Self::OAuthAuthorize => "oauth_authorize",
            Self::OAuth => "oauth",
            Self::Anonymous => "anonymous",
            Self::Otp => "otp",
            Self::MagicLink => "magiclink",
            Self::Recover => "recover",
            Self::Confirm => "confirm",
            Self::Mfa => "mfa",
        }
    }

    fn per_window(self, settings: &config::Auth) -> u32 {
        match self {
            Self::Token => settings.rate_limit_token_per_window,
            Self::SignUp => settings.rate_limit_signup_per_window,
            Self::OAuthRegister => settings.rate_limit_oauth_register_per_window,
            Self::OAuthAuthorize => settings.rate_limit_oauth_authorize_per_window,
            Self::OAuth => settings.rate_limit_oauth_per_window,
            Self::Otp => settings.rate_limit_otp_per_window,
            Self::MagicLink => settings.rate_limit_magiclink_per_window,
            Self::Recover => settings.rate_limit_recover_per_window,
            Self::Confirm => settings.rate_limit_confirm_per_window,
            Self::Mfa => settings.rate_limit_mfa_per_window,
            Self::Anonymous => settings.rate_limit_anonymous_per_hour,
        }
    }

    /// Seconds the number is for.
    fn window(self, settings: &config::Auth) -> u32 {
        match self {
            Self::Anonymous => 3600,
            _ => settings.rate_limit_window_seconds,
        }
    }
}

/// Whose requests are counted together: a client's; those of a service key, and of commands, are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin(pub(super) Option<AddressBlock>);

/// What the limits need to keep between requests.
#[derive(Debug)]
pub(super) struct Limits {
    key: hmac::Key,
    refreshes: Buckets,
    /// Attempts that wait for others on the same account.
    waiting: Semaphore,
    /// Until when there is no room for failures in the audit log, by kind.
    full: Mutex<BTreeMap<&'static str, DateTime<Utc>>>,
}

/// More waiting attempts are told to come back.
const MAX_WAITING: usize = 64;

impl Limits {
    /// Derives the key of the hashes from a secret that all nodes share.
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derived = hmac::sign(&secret, b"limits key");
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()),
            refreshes: Buckets::default(),
            waiting: Semaphore::new(MAX_WAITING),
            full: Mutex::default(),
        }
    }

    /// Whether this node knows that the audit log has no room for a failure of this kind now.
    pub(super) fn is_full(&self, kind: &str, now: DateTime<Utc>) -> bool {
        let full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        full.get(kind).is_some_and(|until| *until > now)
    }

    /// Keeps in mind that it has none before `until`.
    pub(super) fn set_full(&self, kind: &'static str, until: DateTime<Utc>) {
        let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        full.insert(kind, until);
    }

    /// 16 bytes that stand for `value`; `kind` keeps the uses apart.
    pub(super) fn hash(&self, kind: &str, value: &[u8]) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(kind.as_bytes());
        context.update(&[0]);
        context.update(value);
        context.sign().as_ref()[..16].to_vec()
    }
}

/// Counts a request of `origin`.
///
/// # Errors
/// [`AuthError::TooManyRequests`].
pub(super) async fn count(auth: &Auth, limited: Limited, origin: Origin) -> Result<(), AuthError> {
    let Some(bucket) = bucket(auth, limited, origin) else {
        return Ok(());
    };
    let now = auth.clock().now();
    let connection = auth.db().auth().connection().await?;
    let taken = queries::take_token(&connection, &bucket, now).await?;
    taken.map_err(|at| too_many(at, now))
}

/// Counts a refresh, on this node.
///
/// # Errors
/// [`AuthError::RefreshThrottled`].
pub(super) fn count_refresh(auth: &Auth, origin: Origin) -> Result<(), AuthError> {
    let settings = &auth.config().auth;
    let Some(block) = origin.0.filter(|_| settings.rate_limit_enabled) else {
        return Ok(());
    };
    let now = auth.clock().now();
    let window = settings.rate_limit_window_seconds;
    let rate = rate(window, settings.rate_limit_refresh_per_window);
    let taken = auth.limits().refreshes.take(block, rate, now);
    taken.map_err(|at| AuthError::RefreshThrottled {
        retry_after_s: seconds_until(at, now),
    })
}

/// The key of a bucket that no client's address is part of.
pub(super) fn key(auth: &Auth, kind: &str, value: &[u8]) -> Vec<u8> {
    auth.limits().hash(kind, value)
}

/// The key holds the settings too: under other ones the buckets of before mean nothing.
fn bucket(auth: &Auth, limited: Limited, origin: Origin) -> Option<Bucket> {
    let settings = &auth.config().auth;
    let block = origin.0.filter(|_| settings.rate_limit_enabled)?;
    let (step, window) = rate(limited.window(settings), limited.per_window(settings));
    let client = format!("{step} {window} {}", block.bounds().0);
    Some(Bucket {
        key: auth.limits().hash(limited.name(), client.as_bytes()),
        step,
        window,
    })
}

/// One token per …, and all of them within …
fn rate(seconds: u32, per_window: u32) -> (TimeDelta, TimeDelta) {
    let window = TimeDelta::seconds(seconds.into());
    let micros = i64::from(seconds) * 1_000_000;
    let step = TimeDelta::microseconds(micros / i64::from(per_window.max(1)));
    (step, window)
}

/// Whose password is tried.
#[derive(Debug, Clone, Copy)]
pub(super) enum Account<'a> {
    /// The owner of an address.
    Email(&'a Email),
    /// The owner of a number.
    Phone(&'a Phone),
    /// The owner of a user name.
    Username(&'a Username),
    /// Text that is no address.
    Unknown(&'a str),
    /// A signed-in user who changes the password: apart, so that a stolen token and a sign-in page do not block each
    /// other.
    SignedIn(Uuid),
}

impl Account<'_> {
    fn hash(self, limits: &Limits) -> Vec<u8> {
        match self {
            Self::Email(email) => limits.hash("email", email.as_str().as_bytes()),
            Self::Phone(phone) => limits.hash("phone", phone.as_str().as_bytes()),
            Self::Username(name) => limits.hash("username", name.as_str().as_bytes()),
            Self::Unknown(text) => limits.hash("text", text.as_bytes()),
            Self::SignedIn(id) => limits.hash("user", id.as_bytes()),
        }
    }
}

/// An admitted try at a password. It counts as a failure unless it is ended otherwise, also when its client leaves.
#[derive(Debug)]
pub(super) struct Attempt(Option<AttemptKey>);

impl Attempt {
    /// Whose failures a sign-in makes forgotten.
    pub(super) fn key(&self) -> Option<&AttemptKey> {
        self.0.as_ref()
    }

    /// The password was wrong.
    pub(super) async fn fail(self, auth: &Auth) -> Result<(), AuthError> {
        self.end(auth, false).await
    }

    /// The password was not looked at.
    pub(super) async fn undo(self, auth: &Auth) -> Result<(), AuthError> {
        self.end(auth, true).await
    }

    async fn end(self, auth: &Auth, is_undone: bool) -> Result<(), AuthError> {
        if let Some(key) = &self.0 {
            let connection = auth.db().auth().connection().await?;
            queries::end_attempt(&connection, key, is_undone).await?;
        }
        Ok(())
    }

    /// The password was right.
    pub(super) async fn succeed(self, auth: &Auth) -> Result<(), AuthError> {
        if let Some(key) = &self.0 {
            let connection = auth.db().auth().connection().await?;
            queries::forget_failures(&connection, key).await?;
        }
        Ok(())
    }
}

/// Admits a try at the password of `account`, and counts a password sign-in of `origin`. On a `known_device` the account
/// has failures of its own.
///
/// While as many passwords are being checked as may be wrong before a delay, further ones wait for the outcome: clients
/// that sign in with the right password, however many at once, must not be refused for each other's sake.
///
/// # Errors
/// [`AuthError::TooManyRequests`]; [`AuthError::PasswordQueueFull`] when too many wait, or for too long.
pub(super) async fn begin_attempt(
    auth: &Auth,
    account: Account<'_>,
    known_device: Option<AddressBlock>,
    origin: Origin,
) -> Result<Attempt, AuthError> {
    if !auth.config().auth.rate_limit_enabled {
        return Ok(Attempt(None));
    }
    let limits = auth.limits();
    let device = known_device.map(|block| block.bounds().0.to_string());
    let key = AttemptKey {
        account: account.hash(limits),
        device: device.map_or_else(Vec::new, |text| limits.hash("device", text.as_bytes())),
    };
    let bucket = bucket(auth, Limited::Token, origin);
    match try_begin(auth, bucket.as_ref(), &key).await? {
        Admission::Undecided => wait_for_outcome(auth, &key).await?,
        admission => decide(admission, auth.clock().now())?,
    }
    Ok(Attempt(Some(key)))
}

async fn try_begin(
    auth: &Auth,
    bucket: Option<&Bucket>,
    key: &AttemptKey,
) -> Result<Admission, AuthError> {
    let connection = auth.db().auth().connection().await?;
    let now = auth.clock().now();
    Ok(queries::begin_attempt(&connection, bucket, key, now).await?)
}

/// Asks again, less and less often, for about five seconds. Other nodes' checks end too, and nobody would tell.
async fn wait_for_outcome(auth: &Auth, key: &AttemptKey) -> Result<(), AuthError> {
    let waiting = auth.limits().waiting.try_acquire();
    let _place = waiting.map_err(|_| AuthError::PasswordQueueFull)?;
    for millis in [20, 30, 50, 80, 120, 200, 300, 500, 700, 1000, 1000, 1000] {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        match try_begin(auth, None, key).await? {
            Admission::Undecided => {}
            admission => return decide(admission, auth.clock().now()),
        }
    }
    Err(AuthError::PasswordQueueFull)
}

fn decide(admission: Admission, now: DateTime<Utc>) -> Result<(), AuthError> {
    match admission {
        Admission::Admitted => Ok(()),
        Admission::Throttled(until) | Admission::Blocked(until) => Err(too_many(until, now)),
        Admission::Undecided => Err(AuthError::PasswordQueueFull),
    }
}

/// Forgets the failures of an account whose password somebody else has replaced.
pub(super) async fn forget_account(auth: &Auth, tx: &Tx, user: &User) -> Result<(), AuthError> {
    let (email, phone) = (
        Email::parse(&user.email).ok(),
        Phone::parse(&user.phone).ok(),
    );
    let username = user.username.as_deref().map(Username::parse);
    let username = username.and_then(Result::ok);
    let accounts = [
        email.as_ref().map(Account::Email),
        phone.as_ref().map(Account::Phone),
        username.as_ref().map(Account::Username),
    ];
    let hashes = accounts.into_iter().flatten();
    let hashes: Vec<_> = hashes.map(|account| account.hash(auth.limits())).collect();
    queries::forget_accounts(tx, &hashes).await?;
    Ok(())
}

fn too_many(until: DateTime<Utc>, now: DateTime<Utc>) -> AuthError {
    AuthError::TooManyRequests {
        retry_after_s: seconds_until(until, now),
    }
}

/// Whole seconds, at least one.
pub(super) fn seconds_until(at: DateTime<Utc>, now: DateTime<Utc>) -> u64 {
    let millis = u64::try_from((at - now).num_milliseconds()).unwrap_or(0);
    millis.div_ceil(1000).max(1)
}
