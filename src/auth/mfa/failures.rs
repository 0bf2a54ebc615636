//! Wrong codes: counted per factor, apart from wrong passwords, each followed by a longer delay.
//!
//! A code of six digits is one of three right ones at any time, so a day of guesses at this pace finds it with a chance
//! of about 1 in 10,000. The delay is never for ever: whoever knows the password must not lock the owner out.

use chrono::{DateTime, TimeDelta, Utc};

use crate::auth::AuthError;
use crate::auth::queries::{self, mfa::FactorRow};
use crate::db::Tx;
use crate::error::ErrorCode;

use super::Subject;

/// So many wrong codes in a row end the session that sent them.
const ENDS_SESSION: i32 = 10;

/// A failure is forgotten when this long none has followed.
const FORGOTTEN_AFTER: TimeDelta = TimeDelta::hours(24);

/// None before the 5th failure in a row, then 1 s, 2 s, 4 s, … up to an hour.
fn delay(failures: i32) -> TimeDelta {
    match failures {
        ..5 => TimeDelta::zero(),
        5..17 => TimeDelta::seconds(1 << (failures - 5)),
        _ => TimeDelta::hours(1),
    }
}

fn in_a_row(factor: &FactorRow, now: DateTime<Utc>) -> i32 {
    let is_recent = |at| at > now - FORGOTTEN_AFTER;
    if factor.last_failed_at.is_some_and(is_recent) {
        factor.failures
    } else {
        0
    }
}

/// Refuses an answer that comes too early after wrong ones.
///
/// # Errors
/// [`AuthError::TooManyRequests`].
pub(super) fn check_delay(factor: &FactorRow, now: DateTime<Utc>) -> Result<(), AuthError> {
    let Some(last) = factor.last_failed_at else {
        return Ok(());
    };
    let until = last + delay(in_a_row(factor, now));
    if until <= now {
        return Ok(());
    }
    let millis = u64::try_from((until - now).num_milliseconds()).unwrap_or(0);
    let retry_after_s = millis.div_ceil(1000).max(1);
    Err(if factor.kind == "recovery_code" {
        AuthError::RefusedUntil {
            code: ErrorCode::MfaRecoveryCodesLocked,
            retry_after_s,
        }
    } else {
        AuthError::TooManyRequests { retry_after_s }
    })
}

/// Counts a wrong answer, and ends the session after too many. Its transaction is to be committed.
pub(super) async fn count(tx: &Tx, subject: &Subject, factor: &FactorRow) -> Result<(), AuthError> {
    let failures = in_a_row(factor, subject.now).saturating_add(1);
    queries::mfa::count_failure(tx, factor.id, failures, subject.now).await?;
    if failures >= ENDS_SESSION {
        queries::mfa::end_session(tx, subject.session_id).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_and_has_an_end() {
        let seconds: Vec<i64> = [0, 4, 5, 6, 10, 16, 17, i32::MAX]
            .map(|failures| delay(failures).num_seconds())
            .to_vec();
        assert_eq!(seconds, [0, 0, 1, 2, 32, 2048, 3600, 3600]);
    }
}
