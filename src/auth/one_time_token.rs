//! One-time tokens: what is sent by mail to prove that somebody reads an address.
//!
//! A mail carries two independent secrets. The token in its link is random, 256 bits, signed, and stored as SHA-256. The code
//! to type has few digits; it is stored as an HMAC that binds it to its row, user, purpose and address, and it is worth
//! nothing after five tries. Both are one row: using the one ends the other, and a newer mail ends the older. The tries
//! of one address are counted over all its codes, so that asking for new ones does not give more.

use aws_lc_rs::constant_time;
use chrono::TimeDelta;
use uuid::Uuid;

use super::mail_limits;
use super::queries::{self, FoundToken, TokenRow};
use super::secrets::token_hash;
use super::{Auth, AuthError, signed};
use crate::clock::random_bytes;
use crate::config;
use crate::db::Tx;
use crate::keys::secrets::Family;

/// Tries at one code.
const MAX_ATTEMPTS: i16 = 5;

/// Marks the link of a flow that ends with a code. What it does is told by the row, not by this.
const PKCE_PREFIX: &str = "pkce_";

/// What a token is good for, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Confirms a sign-up.
    Signup,
    /// Accepts an invitation.
    Invite,
    /// Signs in.
    MagicLink,
    /// Signs in to set a new password.
    Recovery,
    /// Confirms a change of address, from the present one.
    EmailChangeCurrent,
    /// Confirms a change of address, from the new one.
    EmailChangeNew,
    /// Confirms that it is still the user who is signed in.
    Reauthentication,
    /// Signs in with a number, and confirms it.
    Sms,
    /// Confirms a new number.
    PhoneChange,
}

impl Purpose {
    /// Its name in the database.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Signup => "signup",
            Self::Invite => "invite",
            Self::MagicLink => "magiclink",
            Self::Recovery => "recovery",
            Self::EmailChangeCurrent => "email_change_current",
            Self::EmailChangeNew => "email_change_new",
            Self::Reauthentication => "reauthentication",
            Self::Sms => "sms",
            Self::PhoneChange => "phone_change",
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        let all = [
            Self::Signup,
            Self::Invite,
            Self::MagicLink,
            Self::Recovery,
            Self::EmailChangeCurrent,
            Self::EmailChangeNew,
            Self::Reauthentication,
            Self::Sms,
            Self::PhoneChange,
        ];
        all.into_iter().find(|purpose| purpose.as_str() == text)
    }

    /// What a client calls it: `type` in a link and in the body of `POST /verify`.
    pub(super) const fn link_type(self) -> &'static str {
        match self {
            Self::EmailChangeCurrent | Self::EmailChangeNew => "email_change",
            other => other.as_str(),
        }
    }

    /// Both answer the same request, whichever fitted when it was made.
    fn replaces(self) -> &'static [&'static str] {
        match self {
            Self::Signup | Self::MagicLink => &["signup", "magiclink"],
            _ => &[],
        }
    }

    fn lifetime(self, settings: &config::Auth) -> TimeDelta {
        let own = match self {
            Self::Signup => settings.signup_confirm_token_ttl,
            Self::MagicLink => settings.magic_link_token_ttl,
            Self::Recovery => settings.recover_token_ttl,
            Self::EmailChangeCurrent | Self::EmailChangeNew => settings.email_change_token_ttl,
            Self::Invite | Self::Reauthentication => None,
            Self::Sms | Self::PhoneChange => Some(settings.sms_otp_ttl),
        };
        seconds(own.unwrap_or(settings.otp_ttl))
    }
}

/// A year is the longest.
fn seconds(count: u64) -> TimeDelta {
    const LONGEST: i64 = 31_536_000;
    TimeDelta::seconds(i64::try_from(count).unwrap_or(LONGEST).min(LONGEST))
}

/// The longest any link lives: a flow that one goes on with must not end before.
pub(super) fn longest_lifetime(settings: &config::Auth) -> TimeDelta {
    seconds(settings.longest_link_ttl())
}

/// A token to issue.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewToken<'a> {
    pub(super) user_id: Uuid,
    pub(super) purpose: Purpose,
    /// Where it is sent.
    pub(super) address: &'a str,
    /// The flow that its link goes on with.
    pub(super) flow_id: Option<Uuid>,
}

/// The two secrets of a mail. `Debug` shows neither.
pub(super) struct Issued {
    /// For the link.
    pub(super) token: String,
    /// To type.
    pub(super) code: String,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Issued")
    }
}

/// Issues a token; the user's older one for the same purpose is worth nothing from here on.
///
/// # Errors
/// [`AuthError::Db`], [`AuthError::Internal`].
pub(super) async fn issue(auth: &Auth, tx: &Tx, new: NewToken<'_>) -> Result<Issued, AuthError> {
    let settings = &auth.config().auth;
    let prefix = if new.flow_id.is_some() {
        PKCE_PREFIX
    } else {
        ""
    };
    let token = format!("{prefix}{}", signed::issue(auth, Family::Links)?);
    let code = random_code(settings.otp_length);
    let row = row(auth, new, &code);
    let code_expires_at = settings.otp_token_ttl.map_or(row.expires_at, |ttl| {
        (row.at + seconds(ttl)).min(row.expires_at)
    });
    // Nobody is mailed a link to prove that it is still there.
    let has_link = new.purpose != Purpose::Reauthentication;
    let row = TokenRow {
        token_hash: has_link.then(|| token_hash(without_prefix(&token))),
        code_expires_at,
        ..row
    };
    queries::write_token(tx, &row).await?;
    Ok(Issued { token, code })
}

/// Issues a code without a link; the user's older one for the same purpose is worth nothing from here on.
///
/// # Errors
/// [`AuthError::Db`].
pub(super) async fn issue_code(
    auth: &Auth,
    tx: &Tx,
    new: NewToken<'_>,
    code: &str,
) -> Result<(), AuthError> {
    queries::write_token(tx, &row(auth, new, code)).await?;
    Ok(())
}

/// A token without a link, whose code is good as long as itself.
fn row<'a>(auth: &Auth, new: NewToken<'a>, code: &str) -> TokenRow<'a> {
    let (id, now) = (Uuid::new_v4(), auth.clock().now());
    let expires_at = now + new.purpose.lifetime(&auth.config().auth);
    TokenRow {
        id,
        user_id: new.user_id,
        token_type: new.purpose.as_str(),
        replaces: new.purpose.replaces(),
        relates_to: new.address,
        token_hash: None,
        code_hash: code_hash(auth, id, new, code),
        flow_id: new.flow_id,
        at: now,
        code_expires_at: expires_at,
        expires_at,
    }
}

fn code_hash(auth: &Auth, id: Uuid, of: NewToken<'_>, code: &str) -> Vec<u8> {
    auth.secrets().code_hash(&[
        id.as_bytes(),
        of.user_id.as_bytes(),
        of.purpose.as_str().as_bytes(),
        of.address.as_bytes(),
        code.as_bytes(),
    ])
}

fn without_prefix(token: &str) -> &str {
    token.strip_prefix(PKCE_PREFIX).unwrap_or(token)
}

/// Whether the link belongs to a client that waits for a code; for the shape of an error only.
pub(super) fn is_pkce(token: &str) -> bool {
    token.starts_with(PKCE_PREFIX)
}

/// Every code of `digits` digits is equally likely.
pub(super) fn random_code(digits: u32) -> String {
    let digits = digits.clamp(6, 10);
    let count = 10_u64.pow(digits);
    // What lies beyond the last multiple would make some codes likelier.
    let limit = u64::MAX - u64::MAX % count;
    let number = std::iter::repeat_with(|| u64::from_be_bytes(random_bytes()))
        .find(|number| *number < limit)
        .expect("the iterator does not end");
    format!("{:0width$}", number % count, width = digits as usize)
}

/// A token that was used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) user_id: Uuid,
    pub(super) purpose: Purpose,
    /// The flow that goes on now.
    pub(super) flow_id: Option<Uuid>,
}

/// Uses up the token of a link. `None` for one that is unknown, used, replaced, too old or for another purpose.
///
/// # Errors
/// [`AuthError::Db`].
pub(super) async fn use_link(
    auth: &Auth,
    tx: &Tx,
    purposes: &[Purpose],
    token: &str,
) -> Result<Option<Used>, AuthError> {
    let token = without_prefix(token);
    if !signed::is_ours(auth, Family::Links, token) {
        return Ok(None);
    }
    let hash = token_hash(token);
    let types: Vec<&str> = purposes.iter().map(|purpose| purpose.as_str()).collect();
    let now = auth.clock().now();
    let found = queries::take_token_by_hash(tx, &hash, &types, now).await?;
    Ok(found.as_ref().and_then(used))
}

/// Uses up a typed code. `None` for a wrong one, which is counted: the transaction must be committed then, too.
///
/// # Errors
/// [`AuthError::TooManyRequests`] when codes of the address were wrong too often.
pub(super) async fn use_code(
    auth: &Auth,
    tx: &Tx,
    purposes: &[Purpose],
    (address, code): (&str, &str),
) -> Result<Option<Used>, AuthError> {
    let guess = mail_limits::begin_guess(auth, tx, address).await?;
    let types: Vec<&str> = purposes.iter().map(|purpose| purpose.as_str()).collect();
    let now = auth.clock().now();
    let tried = queries::try_codes(tx, address, &types, MAX_ATTEMPTS, now).await?;
    // All are compared, so that the time tells nothing of which one it was.
    let fitting = tried
        .into_iter()
        .filter(|found| fits(auth, found, address, code));
    let Some(found) = fitting.fold(None, |first, found| first.or(Some(found))) else {
        return Ok(None);
    };
    queries::take_token_by_id(tx, found.id).await?;
    guess.was_right(tx).await?;
    Ok(used(&found))
}

fn fits(auth: &Auth, found: &FoundToken, address: &str, code: &str) -> bool {
    let (Some(purpose), Some(stored)) = (Purpose::from_text(&found.token_type), &found.code_hash)
    else {
        return false;
    };
    let of = NewToken {
        user_id: found.user_id,
        purpose,
        address,
        flow_id: None,
    };
    let hash = code_hash(auth, found.id, of, code);
    constant_time::verify_slices_are_equal(&hash, stored).is_ok()
}

fn used(found: &FoundToken) -> Option<Used> {
    Some(Used {
        user_id: found.user_id,
        purpose: Purpose::from_text(&found.token_type)?,
        flow_id: found.flow_id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_their_digits_and_leading_zeros() {
        for digits in 6..=10 {
            for _ in 0..200 {
                let code = random_code(digits);
                assert_eq!(code.len(), digits as usize, "{code}");
                assert!(code.bytes().all(|byte| byte.is_ascii_digit()), "{code}");
            }
        }
        assert_eq!((random_code(0).len(), random_code(99).len()), (6, 10));
    }

    #[test]
    fn a_prefix_is_no_part_of_the_token() {
        assert_eq!(without_prefix("pkce_abc"), "abc");
        assert_eq!(without_prefix("abc"), "abc");
        assert!(is_pkce("pkce_abc") && !is_pkce("abc"));
    }
}
