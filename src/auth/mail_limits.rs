//! Limits of an address: how often it is written to, and how often its codes may be guessed at. Both are counted under
//! a keyed hash of the address, whether or not it has an account.

use chrono::TimeDelta;

use super::address::Email;
use super::limits::seconds_until;
use super::queries::{self, Bucket};
use super::{Auth, AuthError};
use crate::db::Tx;

/// Wrong codes of an address, at once; a day gives as many anew. With codes of six digits that is a chance of 1 in
/// 25,000 to hit one within a day.
const WRONG_CODES: i32 = 20;

/// Counts a mail to an address.
///
/// # Errors
/// [`AuthError::TooManyMails`] when the last one is too recent, or there were too many within an hour.
pub(super) async fn count_mail(auth: &Auth, address: &Email) -> Result<(), AuthError> {
    let settings = &auth.config().auth;
    if !settings.rate_limit_enabled {
        return Ok(());
    }
    let interval = TimeDelta::seconds(settings.mail_interval_seconds.into());
    let hour = TimeDelta::hours(1);
    let per_hour = i32::try_from(settings.mails_per_hour)
        .unwrap_or(i32::MAX)
        .max(1);
    let limits = [
        ("mail interval", interval, interval),
        ("mails per hour", hour / per_hour, hour),
    ];
    let now = auth.clock().now();
    let connection = auth.db().auth().connection().await?;
    for (kind, step, window) in limits.into_iter().filter(|(_, step, _)| !step.is_zero()) {
        let bucket = bucket(auth, kind, address.as_str(), (step, window));
        if let Err(at) = queries::take_token(&connection, &bucket, now).await? {
            return Err(AuthError::TooManyMails {
                retry_after_s: seconds_until(at, now),
            });
        }
    }
    Ok(())
}

/// A code that is being compared. It counts as wrong unless it is said to be right.
pub(super) struct Guess(Bucket);

impl Guess {
    /// The code was right: it is not counted.
    pub(super) async fn was_right(self, tx: &Tx) -> Result<(), AuthError> {
        queries::give_token_back(tx, &self.0).await?;
        Ok(())
    }
}

/// Counts a code for an address before it is compared. Others at the same address wait until the transaction ends.
///
/// # Errors
/// [`AuthError::TooManyRequests`].
pub(super) async fn begin_guess(auth: &Auth, tx: &Tx, address: &str) -> Result<Guess, AuthError> {
    let day = TimeDelta::days(1);
    let bucket = bucket(auth, "wrong codes", address, (day / WRONG_CODES, day));
    let now = auth.clock().now();
    let taken = queries::take_token_in(tx, &bucket, now).await?;
    match taken {
        Ok(()) => Ok(Guess(bucket)),
        Err(at) => Err(AuthError::TooManyRequests {
            retry_after_s: seconds_until(at, now),
        }),
    }
}

/// The key holds the settings too: under other ones the buckets of before mean nothing.
fn bucket(
    auth: &Auth,
    kind: &str,
    address: &str,
    (step, window): (TimeDelta, TimeDelta),
) -> Bucket {
    let key = format!("{step} {window} {address}");
    Bucket {
        key: auth.limits().hash(kind, key.as_bytes()),
        step,
        window,
    }
}
