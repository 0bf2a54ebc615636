//! Accounts with phone numbers: signing up, signing in with a code, changing the number.
//!
//! Codes travel in text messages, which a hook of the project sends ([`crate::auth::sync_hooks`]); without one there are
//! no phone accounts. What holds:
//! - A code is issued in a transaction, and sent when that is committed: nothing is held while a message is sent.
//! - Codes are counted per code and per number before they are compared, and messages per number and in all: they cost
//!   the project money.
//! - Until a number is confirmed, nobody knows who set the account's password. Whoever asks for a code without that
//!   password removes it and all else that leads in, so an account that was prepared for a victim is worth nothing.

pub(super) mod change;
pub(super) mod code;
pub(super) mod request;
pub(super) mod sign_up;
pub(super) mod verify;

use super::Auth;
use super::address::Phone;

/// Whether there are phone accounts.
pub(super) fn is_enabled(auth: &Auth) -> bool {
    let settings = &auth.config().auth;
    auth.extensions().sends_sms() || settings.sms_autoconfirm || settings.sms_test_otp.is_some()
}

/// Whether a number can be told a code.
fn can_be_told(auth: &Auth, phone: &Phone) -> bool {
    auth.extensions().sends_sms() || code::of_test(auth, phone).is_some()
}
