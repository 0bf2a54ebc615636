//! Mails that tell users what has happened to their factors: whoever did it, they should know.

use crate::auth::email::letter;
use crate::auth::model::User;
use crate::auth::{Auth, AuthError};
use crate::db::Tx;

/// A factor, or a passkey, protects the account from now on.
pub(in crate::auth) async fn enrolled(
    auth: &Auth,
    tx: &Tx,
    user: &User,
    kind: &str,
) -> Result<(), AuthError> {
    tell(auth, tx, "mfa_enrolled_notice", user, kind).await
}

/// A factor has gone.
pub(super) async fn unenrolled(
    auth: &Auth,
    tx: &Tx,
    user: &User,
    kind: &str,
) -> Result<(), AuthError> {
    tell(auth, tx, "mfa_unenrolled_notice", user, kind).await
}

/// An address that nobody has confirmed may be somebody else's.
async fn tell(
    auth: &Auth,
    tx: &Tx,
    template: &str,
    user: &User,
    kind: &str,
) -> Result<(), AuthError> {
    if user.email.is_empty() || user.email_confirmed_at.is_none() {
        return Ok(());
    }
    let name = match kind {
        "totp" => "authenticator app",
        "webauthn" => "security key",
        "recovery_code" => "recovery codes",
        other => other,
    };
    let values = [("FactorType", name)];
    letter::notify(auth, tx, (template, &user.email), user, &values).await
}
