//! Reading the audit log, for the service key and for users their own part; writing what fails.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::audit::{self, Action};
use super::limits;
use super::model::Client;
use super::queries::{self, Bucket, Credentials};
use super::user::{Bearer, current_user};
use super::{Auth, AuthError};

/// The largest page of entries.
pub(super) const MAX_PER_PAGE: u32 = 1000;

/// An entry as clients see it.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub(super) struct Entry {
    pub(super) id: Uuid,
    pub(super) payload: Value,
    pub(super) ip_address: String,
    pub(super) created_at: Option<DateTime<Utc>>,
}

/// Which entries to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Search<'a> {
    /// All.
    Everything,
    /// Who did it: part of the address, number or name.
    Author(&'a str),
    /// What was done.
    Action(&'a str),
    /// Kind of what was done.
    Type(&'a str),
}

impl<'a> Search<'a> {
    /// Reads `author:ana`, `action:login` or `type:account`.
    ///
    /// # Errors
    /// [`AuthError::Invalid`].
    pub(super) fn parse(query: Option<&'a str>) -> Result<Self, AuthError> {
        let Some(text) = query.filter(|text| !text.is_empty()) else {
            return Ok(Self::Everything);
        };
        match text.split_once(':') {
            _ if text.contains('\0') => None,
            Some(("author", value)) => Some(Self::Author(value)),
            Some(("action", value)) => Some(Self::Action(value)),
            Some(("type", value)) => Some(Self::Type(value)),
            _ => None,
        }
        .ok_or(AuthError::Invalid(
            "query must be author:…, action:… or type:…",
        ))
    }
}

/// A page of entries, newest first, and how many there are on all pages.
pub(super) async fn list(
    auth: &Auth,
    search: Search<'_>,
    (page, per_page): (u32, u32),
) -> Result<(Vec<Entry>, i64), AuthError> {
    let connection = auth.db().auth().connection().await?;
    let entries = queries::list_entries(&connection, search, range(page, per_page)).await?;
    let total = queries::count_entries(&connection, search).await?;
    Ok((entries, total))
}

/// What the log says of the bearer: what it did, and what an operator did to it.
///
/// # Errors
/// Those of [`current_user`].
pub(super) async fn own(
    auth: &Auth,
    bearer: Bearer<'_>,
    (page, per_page): (u32, u32),
) -> Result<(Vec<Entry>, i64), AuthError> {
    let user = current_user(auth, bearer).await?;
    let id = user.id.to_string();
    let connection = auth.db().auth().connection().await?;
    let entries = queries::list_own_entries(&connection, &id, range(page, per_page)).await?;
    let total = queries::count_own_entries(&connection, &id).await?;
    Ok((entries, total))
}

fn range(page: u32, per_page: u32) -> (i64, i64) {
    let limit = i64::from(per_page.clamp(1, MAX_PER_PAGE));
    (limit, i64::from(page.max(1) - 1) * limit)
}

/// A failure each three seconds, a hundred at once: about ten megabytes a day, whoever floods us.
const FAILURE_EVERY: TimeDelta = TimeDelta::seconds(3);
const FAILURES_KEPT: TimeDelta = TimeDelta::seconds(300);

/// Failures of one kind share their room, so that a flood of one hides none of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A wrong password of an account.
    Account,
    /// A password for a name nobody has.
    Nobody,
    /// A link or code that was mailed, or sent to a phone.
    Code,
    /// The end of a sign-in that led elsewhere: a state, a code, a verifier, an ID token.
    Return,
    /// An authenticator's answer.
    Passkey,
    /// An OAuth client that did not prove to be itself.
    OAuthClient,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Nobody => "nobody",
            Self::Code => "code",
            Self::Return => "return",
            Self::Passkey => "passkey",
            Self::OAuthClient => "oauth_client",
        }
    }
}

/// Notes that a password was wrong, unless too many were noted lately. What was typed is not kept: it may be a password.
pub(super) async fn sign_in_failed(
    auth: &Auth,
    account: Option<&Credentials>,
    provider: &'static str,
    client: &Client,
) -> Result<(), AuthError> {
    let traits = json!({ "provider": provider });
    let (kind, actor) = match account {
        Some(found) => (Kind::Account, (found.user_id, found.name.as_str())),
        None => (Kind::Nobody, NOBODY),
    };
    // Always asks the database, whether or not there is room: the time it takes must not tell who has an account.
    let now = auth.clock().now();
    let _ = log_failure(auth, kind, (actor, &traits), (client, now)).await?;
    Ok(())
}

/// Notes that something else was refused, with what `traits` say of it. Being refused costs nothing here, so a flood must
/// not take our connections and wait for one row: while this node knows that there is no room, nobody is asked.
pub(super) async fn refused(
    auth: &Auth,
    kind: Kind,
    traits: &Value,
    client: &Client,
) -> Result<(), AuthError> {
    let now = auth.clock().now();
    if auth.limits().is_full(kind.as_str(), now) {
        return Ok(());
    }
    if let Err(until) = log_failure(auth, kind, (NOBODY, traits), (client, now)).await? {
        auth.limits().set_full(kind.as_str(), until);
    }
    Ok(())
}

/// The same if `answer` is a refusal; limits and failures of ours are not noted.
///
/// # Errors
/// That of `answer`, or why it could not be noted.
pub(super) async fn noted<T>(
    auth: &Auth,
    answer: Result<T, AuthError>,
    (kind, provider): (Kind, &str),
    client: &Client,
) -> Result<T, AuthError> {
    if let Err(error) = &answer
        && error.is_refusal()
    {
        let traits = json!({ "provider": provider, "error_code": error.code().as_str() });
        refused(auth, kind, &traits, client).await?;
    }
    answer
}

const NOBODY: (Uuid, &str) = (Uuid::nil(), "");

/// Notes a failure, or tells when there will be room for one.
async fn log_failure(
    auth: &Auth,
    kind: Kind,
    (actor, traits): ((Uuid, &str), &Value),
    (client, now): (&Client, DateTime<Utc>),
) -> Result<Result<(), DateTime<Utc>>, AuthError> {
    let bucket = Bucket {
        key: limits::key(auth, "login_failed", kind.as_str().as_bytes()),
        step: FAILURE_EVERY,
        window: FAILURES_KEPT,
    };
    let payload = audit::payload(Action::LoginFailed, actor, traits);
    let connection = auth.db().auth().connection().await?;
    Ok(queries::log_sampled(&connection, &bucket, &payload, (client, now)).await?)
}
