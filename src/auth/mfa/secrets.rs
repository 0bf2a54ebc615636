//! The keys that keep what second factors are made of from who reads the database.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

use crate::auth::AuthError;
use crate::keys::MasterKey;

/// Seals the secrets of authenticator apps, and hashes recovery codes.
#[derive(Debug)]
pub(in crate::auth) struct Secrets {
    seal: MasterKey,
    codes: hmac::Key,
}

impl Secrets {
    /// Derives the keys from a secret that all nodes share.
    pub(in crate::auth) fn new(secret: &[u8; 32]) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derive = |purpose: &[u8]| -> [u8; 32] {
            let tag = hmac::sign(&secret, purpose);
            tag.as_ref()
                .try_into()
                .expect("a tag of HMAC-SHA256 has 32 bytes")
        };
        Self {
            seal: MasterKey::from_derived(derive(b"second factors key")),
            codes: hmac::Key::new(hmac::HMAC_SHA256, &derive(b"recovery codes key")),
        }
    }

    /// The text that is stored for the secret of a factor; it opens for this factor only.
    pub(super) fn seal(&self, factor_id: Uuid, secret: &[u8]) -> String {
        STANDARD.encode(self.seal.seal(secret, factor_id.as_bytes()))
    }

    /// The secret of a factor.
    ///
    /// # Errors
    /// [`AuthError::Internal`] when it was sealed with another master key, for another factor, or was changed.
    pub(super) fn open(&self, factor_id: Uuid, sealed: &str) -> Result<Vec<u8>, AuthError> {
        let opened = STANDARD
            .decode(sealed)
            .ok()
            .and_then(|sealed| self.seal.open(&sealed, factor_id.as_bytes()).ok());
        opened.ok_or_else(|| {
            let message = "the secret of a second factor does not open with this master key";
            AuthError::Internal(message.to_owned())
        })
    }

    /// What is stored for a recovery code of a factor.
    pub(super) fn hash_code(&self, factor_id: Uuid, code: &str) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.codes);
        context.update(factor_id.as_bytes());
        context.update(code.as_bytes());
        context.sign().as_ref().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_for_its_factor_only() {
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let secrets = Secrets::new(&[7; 32]);
        let sealed = secrets.seal(one, b"secret");
        assert_eq!(secrets.open(one, &sealed).unwrap(), b"secret");
        assert!(secrets.open(other, &sealed).is_err());
        assert!(Secrets::new(&[8; 32]).open(one, &sealed).is_err());
        assert!(secrets.open(one, "JBSWY3DPEHPK3PXP").is_err());
        let hash = secrets.hash_code(one, "CODE");
        assert_eq!(hash.len(), 32);
        assert_ne!(hash, secrets.hash_code(other, "CODE"));
    }
}
