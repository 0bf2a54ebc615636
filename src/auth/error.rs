//! What can go wrong in the auth service, and the public code each case has.

use axum::http::StatusCode;

use super::password_rules::WeakPassword;
use crate::db::{DbError, SqlState};
use crate::error::ErrorCode;
use crate::http::ApiError;
use crate::mail::MailError;

/// A refusal or failure of the auth service.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// A field is missing or has the wrong form. The text never repeats a value.
    #[error("{0}")]
    Invalid(&'static str),
    /// Unknown address, no password or a wrong one.
    #[error("Invalid login credentials")]
    InvalidCredentials,
    /// The address is unconfirmed and the project asks for confirmation.
    #[error("Email not confirmed")]
    EmailNotConfirmed,
    /// The account is banned, said to somebody who has proven to own it.
    #[error("User is banned")]
    UserBanned,
    /// The same, to the bearer of an access token.
    #[error("User is banned")]
    BearerBanned,
    /// The token's user is gone.
    #[error("User from sub claim in JWT does not exist")]
    BearerNotFound,
    /// The token's session was ended.
    #[error("Session from session_id claim in JWT does not exist")]
    SessionNotFound,
    /// The session has reached its time limit.
    #[error("Invalid Refresh Token: Session Expired")]
    SessionExpired,
    /// The refresh token is forged, unknown or of an ended session.
    #[error("Invalid Refresh Token: Refresh Token Not Found")]
    RefreshTokenNotFound,
    /// The refresh token was used before; its session is ended.
    #[error("Invalid Refresh Token: Already Used")]
    RefreshTokenAlreadyUsed,
    /// Refresh met a passing obstacle; the client keeps its session and tries again.
    #[error("The session cannot be refreshed right now; try again")]
    RefreshUnavailable(#[source] DbError),
    /// This client refreshes too often; it keeps its session and tries again.
    #[error("Too many refreshes at once; try again")]
    RefreshThrottled {
        /// When, in seconds.
        retry_after_s: u64,
    },
    /// The client asks too often, or the account's password was wrong too often.
    #[error("Request rate limit reached")]
    TooManyRequests {
        /// When to try again, in seconds.
        retry_after_s: u64,
    },
    /// Too many wrong answers to something that has a code of its own for it.
    #[error("Too many failed attempts; try again later")]
    RefusedUntil {
        /// Its code.
        code: ErrorCode,
        /// When to try again, in seconds.
        retry_after_s: u64,
    },
    /// So many mails to one address, whether or not it has an account.
    #[error("Too many mails to this address; try again in {retry_after_s} seconds")]
    TooManyMails {
        /// When to try again, in seconds.
        retry_after_s: u64,
    },
    /// So many text messages to one number, whether or not it has an account, or in all.
    #[error("Too many text messages; try again in {retry_after_s} seconds")]
    TooManySms {
        /// When to try again, in seconds.
        retry_after_s: u64,
    },
    /// The number is unconfirmed.
    #[error("Phone not confirmed")]
    PhoneNotConfirmed,
    /// The wanted address is not on the allow list, and why.
    #[error("{0}")]
    RedirectRefused(String),
    /// There is no such user.
    #[error("User not found")]
    UserNotFound,
    /// Sign-ups are switched off.
    #[error("Signups not allowed for this instance")]
    SignupDisabled,
    /// Sign-up with an address that has an account.
    #[error("User already registered")]
    UserAlreadyExists,
    /// Another account has the address.
    #[error("A user with this email address has already been registered")]
    EmailExists,
    /// Another account has the phone number.
    #[error("A user with this phone number has already been registered")]
    PhoneExists,
    /// Another account has the user name.
    #[error("A user with this name has already been registered")]
    UsernameExists,
    /// Another account has the id.
    #[error("A user with this id exists")]
    IdExists,
    /// Rows of the project keep the user from being deleted.
    #[error("The user cannot be deleted: rows of the project refer to it")]
    UserReferenced(#[source] DbError),
    /// Phone accounts are not served.
    #[error("Phone signups are disabled")]
    PhoneDisabled,
    /// Anonymous accounts are not served.
    #[error("Anonymous sign-ins are disabled")]
    AnonymousDisabled,
    /// The project is not set up for it.
    #[error("{0}")]
    FeatureDisabled(&'static str),
    /// A refusal that has nothing to tell but its code and text.
    #[error("{1}")]
    Refused(ErrorCode, &'static str),
    /// The new password does not meet the rules.
    #[error("{}", .0.message)]
    WeakPassword(WeakPassword),
    /// An anonymous account has no address to go with a password.
    #[error("Updating password of an anonymous user without an email or phone is not allowed")]
    AnonymousPassword,
    /// The new password is the old one.
    #[error("New password should be different from the old password.")]
    SamePassword,
    /// A change of password needs the current one.
    #[error("Current password required when setting new password.")]
    CurrentPasswordRequired,
    /// The current password is wrong.
    #[error("Current password is incorrect.")]
    CurrentPasswordInvalid,
    /// Only the service key may do this.
    #[error("{0}")]
    NotAdmin(&'static str),
    /// More password work is waiting than the machine can do soon.
    #[error("Too many password requests at once; try again")]
    PasswordQueueFull,
    /// A hook of the project refused.
    #[error("{0}")]
    HookRejected(String),
    /// A hook of the project refused, with a status and text of its own.
    #[error("{message}")]
    HookRefused {
        /// HTTP status, 400 to 599.
        status: u16,
        /// What the client is told.
        message: String,
    },
    /// A hook of the project could not be asked, or did not answer as it should.
    #[error("{message}")]
    HookFailed {
        /// What it is called.
        code: ErrorCode,
        /// What the client is told.
        message: String,
        /// What the log is told.
        cause: String,
    },
    /// A hook of the project decided against the attempt.
    #[error("{1}")]
    Rejected(ErrorCode, String),
    /// Nobody can tell whether a captcha was solved.
    #[error("captcha verification process failed")]
    CaptchaUnavailable(String),
    /// A write of a user failed for a reason of the project's own SQL.
    #[error("Database error saving new user")]
    SavingUser(#[source] DbError),
    /// An access token could not be made.
    #[error("could not issue an access token: {0}")]
    Issuance(String),
    /// Something that does not depend on the request.
    #[error("{0}")]
    Internal(String),
    /// Any other failure of the database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl AuthError {
    /// Whether the request itself was at fault, not its number and not the service.
    pub(super) fn is_refusal(&self) -> bool {
        let status = self.code().status();
        (400..500).contains(&status) && status != 429
    }

    /// The public code.
    pub(super) fn code(&self) -> ErrorCode {
        match self {
            Self::Invalid(_) | Self::RedirectRefused(_) | Self::AnonymousPassword => {
                ErrorCode::ValidationFailed
            }
            Self::InvalidCredentials => ErrorCode::InvalidCredentials,
            Self::EmailNotConfirmed => ErrorCode::EmailNotConfirmed,
            Self::UserBanned | Self::BearerBanned => ErrorCode::UserBanned,
            Self::BearerNotFound | Self::UserNotFound => ErrorCode::UserNotFound,
            Self::SessionNotFound => ErrorCode::SessionNotFound,
            Self::SessionExpired => ErrorCode::SessionExpired,
            Self::RefreshTokenNotFound => ErrorCode::RefreshTokenNotFound,
            Self::RefreshTokenAlreadyUsed => ErrorCode::RefreshTokenAlreadyUsed,
            Self::RefreshUnavailable(_)
            | Self::RefreshThrottled { .. }
            | Self::PasswordQueueFull
            | Self::CaptchaUnavailable(_) => ErrorCode::ServiceUnavailable,
            Self::TooManyRequests { .. } => ErrorCode::OverRequestRateLimit,
            Self::TooManyMails { .. } => ErrorCode::OverEmailSendRateLimit,
            Self::TooManySms { .. } => ErrorCode::OverSmsSendRateLimit,
            Self::PhoneNotConfirmed => ErrorCode::PhoneNotConfirmed,
            Self::SignupDisabled => ErrorCode::SignupDisabled,
            Self::UserAlreadyExists | Self::UsernameExists => ErrorCode::UserAlreadyExists,
            Self::EmailExists => ErrorCode::EmailExists,
            Self::PhoneExists => ErrorCode::PhoneExists,
            Self::IdExists | Self::UserReferenced(_) => ErrorCode::Conflict,
            Self::PhoneDisabled => ErrorCode::PhoneProviderDisabled,
            Self::AnonymousDisabled => ErrorCode::AnonymousProviderDisabled,
            Self::FeatureDisabled(_) => ErrorCode::FeatureDisabled,
            Self::Refused(code, _)
            | Self::RefusedUntil { code, .. }
            | Self::HookFailed { code, .. }
            | Self::Rejected(code, _) => *code,
            Self::WeakPassword(_) => ErrorCode::WeakPassword,
            Self::SamePassword => ErrorCode::SamePassword,
            Self::CurrentPasswordRequired => ErrorCode::CurrentPasswordRequired,
            Self::CurrentPasswordInvalid => ErrorCode::CurrentPasswordInvalid,
            Self::NotAdmin(_) => ErrorCode::NotAdmin,
            Self::HookRejected(_) | Self::HookRefused { .. } => ErrorCode::HookRejected,
            Self::SavingUser(_) | Self::Issuance(_) | Self::Internal(_) | Self::Db(_) => {
                ErrorCode::UnexpectedFailure
            }
        }
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        let public = Self::new(error.code(), error.to_string());
        match error {
            AuthError::Db(cause) | AuthError::SavingUser(cause) if may_pass(&cause) => cause.into(),
            // The service's own role was refused something: no fault of the client, and no reason to sign it out.
            AuthError::Db(cause) => Self::internal(cause),
            AuthError::SavingUser(cause) | AuthError::UserReferenced(cause) => {
                public.with_cause(cause)
            }
            AuthError::RefreshUnavailable(cause) => public.with_retry_after(1).with_cause(cause),
            AuthError::RefreshThrottled { retry_after_s }
            | AuthError::RefusedUntil { retry_after_s, .. }
            | AuthError::TooManyRequests { retry_after_s }
            | AuthError::TooManyMails { retry_after_s }
            | AuthError::TooManySms { retry_after_s } => public.with_retry_after(retry_after_s),
            AuthError::HookRefused { status, .. } => match StatusCode::from_u16(status) {
                Ok(status) => public.with_status(status),
                Err(_) => public,
            },
            AuthError::HookFailed {
                code: ErrorCode::ServiceUnavailable,
                cause,
                ..
            }
            | AuthError::CaptchaUnavailable(cause) => public.with_retry_after(1).with_cause(cause),
            AuthError::HookFailed { cause, .. } => public.with_cause(cause),
            AuthError::PasswordQueueFull | AuthError::Refused(ErrorCode::ServiceUnavailable, _) => {
                public.with_retry_after(1)
            }
            AuthError::Issuance(_) | AuthError::Internal(_) => Self::internal(error),
            AuthError::BearerBanned | AuthError::BearerNotFound => {
                public.with_status(StatusCode::FORBIDDEN)
            }
            AuthError::WeakPassword(weak) => public.with(
                "weak_password",
                serde_json::json!({ "reasons": weak.reasons }),
            ),
            AuthError::AnonymousPassword => public.with_status(StatusCode::UNPROCESSABLE_ENTITY),
            _ => public,
        }
    }
}

impl From<MailError> for AuthError {
    fn from(error: MailError) -> Self {
        match error {
            MailError::Db(error) => Self::Db(error),
            MailError::Recipient => {
                Self::Invalid("Unable to validate email address: invalid format")
            }
            MailError::Template(_) | MailError::TooLarge => Self::Internal(error.to_string()),
        }
    }
}

/// Whether the same request may succeed later.
fn may_pass(error: &DbError) -> bool {
    error.is_transient() || error.code() == Some(&SqlState::QUERY_CANCELED)
}
