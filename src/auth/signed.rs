//! Texts that leave us and come back: the state of a sign-in at a provider, the token of a mailed link.
//!
//! Each is 256 random bits and a signature over them, as `RANDOM.KID.MAC`, and is found again by its hash. The signature
//! is looked at first: who makes texts up costs no look at the database, and with the revocation of a secret all that it
//! has signed is worth nothing at once.

use super::{Auth, AuthError};
use crate::clock::random_token;
use crate::keys::secrets::Family;

/// A new text.
///
/// # Errors
/// [`AuthError::Internal`] when the family has no secret.
pub(super) fn issue(auth: &Auth, family: Family) -> Result<String, AuthError> {
    let random = random_token::<32>();
    let signature = auth.signatures().sign(family, random.as_bytes());
    let signature = signature.map_err(|error| AuthError::Internal(error.to_string()))?;
    Ok(format!("{random}.{signature}"))
}

/// Whether a text is one that was issued here, with a secret that is in force.
pub(super) fn is_ours(auth: &Auth, family: Family, text: &str) -> bool {
    text.split_once('.').is_some_and(|(random, signature)| {
        let secrets = auth.signatures();
        secrets.verify(family, random.as_bytes(), signature)
    })
}
