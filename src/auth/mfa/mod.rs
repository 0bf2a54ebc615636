//! Second factors: authenticator apps, security keys, phones, recovery codes.
//!
//! A factor is enrolled unverified, challenged, and verified by an answer; from then on it protects the account. A
//! session in which a factor was verified is at `aal2`, all others are at `aal1`: those cannot change how the user
//! signs in, nor its factors. What holds:
//! - A session counts as `aal2` only if its row and the token at hand both say so: a token from before the verification
//!   stays what it was, and one from before a factor was removed loses what it had.
//! - A code is accepted once, on whichever node; wrong ones are counted in the transaction that looks at them, and from
//!   the 5th in a row on each is followed by a longer delay. The 10th ends the session as well.
//! - Refresh tokens from before a verification never give an `aal2` session.
//! - Everything that decides by a user's factors does so under a lock of the user.
//!
//! Factors that are phones get their codes by text message, which a hook of the project sends.

mod challenge;
mod enroll;
mod failures;
pub(super) mod notice;
mod recovery_codes;
mod routes;
mod secrets;
mod totp;
mod unenroll;
mod verify;
mod webauthn;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

pub(super) use routes::routes;
pub(super) use secrets::Secrets;

use super::model::{Factor, User};
use super::queries::{self, LiveSession};
use super::user::{self, Bearer};
use super::{Auth, AuthError};
use crate::db::Tx;
use crate::error::ErrorCode;

/// How long a challenge, and a factor that was begun, wait.
const PATIENCE: TimeDelta = TimeDelta::minutes(5);

/// Refuses what an account with a second factor does only in a session that has verified one: changing the address, the
/// number or the password, linking and unlinking identities, factors and passkeys.
///
/// # Errors
/// 401 `insufficient_aal`.
pub(super) fn require_aal(
    user: &User,
    bearer: Bearer<'_>,
    session: Option<LiveSession>,
) -> Result<(), AuthError> {
    let is_aal2 = bearer.is_aal2 && session.is_some_and(|session| session.is_aal2);
    if is_aal2 || !is_protected(user) {
        Ok(())
    } else {
        Err(insufficient_aal())
    }
}

/// The same where there is no session yet, which can have verified nothing.
///
/// # Errors
/// 401 `insufficient_aal`.
pub(super) fn require_unprotected(user: &User) -> Result<(), AuthError> {
    if is_protected(user) {
        Err(insufficient_aal())
    } else {
        Ok(())
    }
}

fn is_protected(user: &User) -> bool {
    user.factors.iter().any(Factor::is_verified)
}

fn insufficient_aal() -> AuthError {
    let message = "AAL2 session is required, as MFA is enabled for this user";
    AuthError::Refused(ErrorCode::InsufficientAal, message)
}

/// The user and the session of a request that only a session can make.
pub(super) struct Subject {
    /// As of now, or of the lock.
    pub(super) user: User,
    /// The session.
    pub(super) session_id: Uuid,
    /// Whether the session and the token at hand have seen a second factor.
    is_aal2: bool,
    /// When the request is made.
    pub(super) now: DateTime<Utc>,
}

impl Subject {
    /// The subject of a token whose user and session were read.
    ///
    /// # Errors
    /// As [`user::live`]; [`AuthError::SessionNotFound`] for a token without a session.
    pub(super) fn new(
        auth: &Auth,
        bearer: Bearer<'_>,
        found: Option<(User, Option<LiveSession>)>,
    ) -> Result<Self, AuthError> {
        let (user, session) = user::live(auth, bearer, found)?;
        let (Some(session_id), Some(session)) = (bearer.session_id, session) else {
            return Err(AuthError::SessionNotFound);
        };
        Ok(Self {
            user,
            session_id,
            is_aal2: bearer.is_aal2 && session.is_aal2,
            now: auth.clock().now(),
        })
    }

    /// Reads the subject in `tx` and keeps its user locked until the end.
    ///
    /// # Errors
    /// As [`Subject::new`].
    pub(super) async fn lock(auth: &Auth, tx: &Tx, bearer: Bearer<'_>) -> Result<Self, AuthError> {
        queries::mfa::lock_user(tx, bearer.user_id).await?;
        let found = queries::find_user_in(tx, bearer.user_id, bearer.session_id).await?;
        Self::new(auth, bearer, found)
    }

    /// As [`require_aal`].
    ///
    /// # Errors
    /// 401 `insufficient_aal`.
    pub(super) fn require_aal(&self) -> Result<(), AuthError> {
        if self.is_aal2 || !is_protected(&self.user) {
            Ok(())
        } else {
            Err(insufficient_aal())
        }
    }

    /// Refuses a session without a second factor, also where none protects the account yet.
    fn require_aal2(&self) -> Result<(), AuthError> {
        if self.is_aal2 {
            Ok(())
        } else {
            Err(insufficient_aal())
        }
    }
}

/// A name that somebody chose.
///
/// # Errors
/// [`AuthError::Invalid`].
pub(super) fn friendly_name(text: Option<&str>) -> Result<&str, AuthError> {
    let name = text.unwrap_or_default().trim();
    if name.contains('\0') || name.chars().count() > 120 {
        let message = "friendly_name must have at most 120 characters";
        return Err(AuthError::Invalid(message));
    }
    Ok(name)
}

/// Whether a phone can get its codes.
fn can_send(auth: &Auth) -> bool {
    auth.extensions().sends_sms() || auth.config().auth.sms_test_otp.is_some()
}

fn factor_not_found() -> AuthError {
    AuthError::Refused(ErrorCode::MfaFactorNotFound, "Factor not found")
}

fn verification_failed(message: &'static str) -> AuthError {
    AuthError::Refused(ErrorCode::MfaVerificationFailed, message)
}
