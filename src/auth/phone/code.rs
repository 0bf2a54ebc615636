//! Codes for numbers: issued, counted, sent.

use chrono::TimeDelta;
use uuid::Uuid;

use crate::auth::address::Phone;
use crate::auth::limits::seconds_until;
use crate::auth::model::{Client, User};
use crate::auth::one_time_token::{self, NewToken, Purpose};
use crate::auth::queries::{self, Bucket};
use crate::auth::sync_hooks::SmsMessage;
use crate::auth::{Auth, AuthError};
use crate::db::Tx;

/// A code that is to be sent once its transaction is committed. `Debug` does not show it.
pub(in crate::auth) struct Code(String);

impl Code {
    /// A code for a number, which the caller keeps.
    pub(in crate::auth) fn new(auth: &Auth, phone: &Phone) -> Self {
        let length = auth.config().auth.sms_otp_length;
        Self(of_test(auth, phone).unwrap_or_else(|| one_time_token::random_code(length)))
    }

    /// Its digits.
    pub(in crate::auth) fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Code")
    }
}

/// Issues a code for a number in `tx`; the user's older one for the same purpose is worth nothing from here on.
pub(super) async fn issue(
    auth: &Auth,
    tx: &Tx,
    (user_id, purpose): (Uuid, Purpose),
    phone: &Phone,
) -> Result<Code, AuthError> {
    let code = Code::new(auth, phone);
    let new = NewToken {
        user_id,
        purpose,
        address: phone.as_str(),
        flow_id: None,
    };
    one_time_token::issue_code(auth, tx, new, code.expose()).await?;
    queries::stamp_sms(tx, user_id, purpose.as_str(), auth.clock().now()).await?;
    Ok(code)
}

/// Sends a code. A number of the test list knows its code already.
///
/// # Errors
/// [`AuthError::HookRejected`], [`AuthError::HookRefused`], [`AuthError::HookFailed`].
pub(in crate::auth) async fn send(
    auth: &Auth,
    user: User,
    phone: &Phone,
    code: Code,
    client: &Client,
) -> Result<(), AuthError> {
    if of_test(auth, phone).is_some() {
        return Ok(());
    }
    let sms = SmsMessage {
        user: user.into(),
        phone: phone.as_str().to_owned(),
        otp: code.0,
    };
    auth.extensions().run_send_sms(client, sms).await
}

/// The code that `auth.sms_test_otp` gives a number.
pub(super) fn of_test(auth: &Auth, phone: &Phone) -> Option<String> {
    let config = auth.config();
    let list = config.auth.sms_test_otp.as_ref()?;
    find(list.expose(), phone)
}

fn find(list: &str, phone: &Phone) -> Option<String> {
    let pairs = list
        .split(',')
        .filter_map(|pair| pair.split_once([':', '=']));
    let mut codes = pairs.filter_map(|(number, code)| {
        let is_it = Phone::parse(number.trim()).is_ok_and(|number| number == *phone);
        is_it.then(|| code.trim().to_owned())
    });
    codes.next().filter(|code| !code.is_empty())
}

/// Counts a message to a number, whether or not it has an account.
///
/// # Errors
/// [`AuthError::TooManySms`] when the last one is too recent, or there were too many within an hour, to this number or in
/// all.
pub(in crate::auth) async fn count(auth: &Auth, phone: &Phone) -> Result<(), AuthError> {
    let settings = &auth.config().auth;
    if !settings.rate_limit_enabled {
        return Ok(());
    }
    let interval = TimeDelta::seconds(settings.sms_interval_seconds.into());
    let hour = TimeDelta::hours(1);
    let per_hour = |count: u32| hour / i32::try_from(count.max(1)).unwrap_or(i32::MAX);
    let mut limits = vec![
        ("sms interval", phone.as_str(), interval, interval),
        (
            "sms per hour",
            phone.as_str(),
            per_hour(settings.sms_per_hour),
            hour,
        ),
    ];
    if of_test(auth, phone).is_none() {
        let step = per_hour(settings.sms_per_hour_in_all);
        limits.push(("sms in all", "", step, hour));
    }
    let now = auth.clock().now();
    let connection = auth.db().auth().connection().await?;
    for (kind, whose, step, window) in limits.into_iter().filter(|limit| !limit.2.is_zero()) {
        // The key holds the settings too: under other ones the buckets of before mean nothing.
        let key = format!("{step} {window} {whose}");
        let bucket = Bucket {
            key: auth.limits().hash(kind, key.as_bytes()),
            step,
            window,
        };
        if let Err(at) = queries::take_token(&connection, &bucket, now).await? {
            return Err(AuthError::TooManySms {
                retry_after_s: seconds_until(at, now),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_number_has_its_code() {
        let find = |number: &str| {
            let phone = Phone::parse(number).unwrap();
            find("15550001:123456, +15550002=654321,15550003:", &phone)
        };
        assert_eq!(find("+15550001").as_deref(), Some("123456"));
        assert_eq!(find("15550002").as_deref(), Some("654321"));
        assert_eq!(find("15550003"), None);
        assert_eq!(find("15550004"), None);
    }
}
