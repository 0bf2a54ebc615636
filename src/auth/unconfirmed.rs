//! Accounts that may have been prepared for somebody else: made with an address or number that nobody has confirmed.

use uuid::Uuid;

use super::{Auth, AuthError, queries};
use crate::db::Tx;

/// Somebody asks for the address or number of an account, or has proven it, without the password that is there. Nobody
/// knows who has set that, or linked an identity, so whatever leads into the account goes: its owner will be alone in it.
///
/// Accounts that can be signed in to as they are are in use, and anybody can ask: those stay as they are.
///
/// # Errors
/// The database's.
pub(super) async fn forget(auth: &Auth, tx: &Tx, user_id: Uuid) -> Result<(), AuthError> {
    let settings = &auth.config().auth;
    let is_enough = (
        !settings.require_email_confirmation,
        settings.sms_autoconfirm,
    );
    queries::forget_unconfirmed(tx, user_id, is_enough).await?;
    Ok(())
}
