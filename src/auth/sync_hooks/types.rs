//! What closures of an embedding program are told, and what they may decide.

use std::sync::Arc;

use serde::Serialize;
use uuid::Uuid;

use crate::auth::model::User;

/// A password that was tried for an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PasswordAttempt {
    /// Whose account.
    pub user_id: Uuid,
    /// Whether it is the right one.
    pub valid: bool,
}

/// What becomes of a sign-in with a password.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Decision {
    /// It goes on: whoever has the right password is signed in.
    #[default]
    Continue,
    /// It is refused, whatever the password.
    Reject {
        /// What the client is told; a general sentence when it is empty.
        message: String,
        /// End all sessions of the user.
        should_logout_user: bool,
    },
}

/// A second factor that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MfaAttempt {
    /// Whose it is.
    pub user_id: Uuid,
    /// Which one.
    pub factor_id: Uuid,
    /// `totp`, `phone` or `webauthn`.
    pub factor_type: String,
    /// Whether the code or answer is right.
    pub valid: bool,
}

/// What becomes of the verification of a second factor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum MfaDecision {
    /// It goes on.
    #[default]
    Continue,
    /// It is refused, and all sessions of the user end. The text is for the client; a general one when it is empty.
    Reject(String),
}

/// A text message to send.
#[derive(Clone, PartialEq)]
pub struct SmsMessage {
    /// To whom; an account that is being made, or whose number is being changed.
    pub user: Arc<User>,
    /// The number, digits only.
    pub phone: String,
    /// The code to be told.
    pub otp: String,
}

impl std::fmt::Debug for SmsMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SmsMessage").finish_non_exhaustive()
    }
}

/// A mail to send.
#[derive(Clone, PartialEq)]
pub struct EmailMessage {
    /// To whom.
    pub user: Arc<User>,
    /// What about.
    pub email_data: EmailData,
}

impl std::fmt::Debug for EmailMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmailMessage").finish_non_exhaustive()
    }
}

/// What a mail is about. Each mail is told of by itself: of a change of address that both addresses confirm there are two,
/// and `token_new` and `token_hash_new` stay empty.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
pub struct EmailData {
    /// The one recipient.
    pub to: String,
    /// The code to be told.
    pub token: String,
    /// What stands in the link.
    pub token_hash: String,
    /// Where the link leads in the end.
    pub redirect_to: String,
    /// `signup`, `invite`, `magiclink`, `recovery`, `email_change`, `email`, `reauthentication`.
    pub email_action_type: String,
    /// The address of the application.
    pub site_url: String,
    /// Empty; Supabase tells of two mails at once.
    pub token_new: String,
    /// Empty, likewise.
    pub token_hash_new: String,
    /// The address before a change.
    pub old_email: String,
    /// The number before a change.
    pub old_phone: String,
    /// The provider of an identity that was linked or removed.
    pub provider: String,
    /// The kind of a factor that was added or removed.
    pub factor_type: String,
}

impl std::fmt::Debug for EmailData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmailData")
            .field("email_action_type", &self.email_action_type)
            .finish_non_exhaustive()
    }
}
