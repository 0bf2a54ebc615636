//! Secrets of a sign-in that is under way: sealed in the database, hashed where they are only compared.

use aws_lc_rs::{aead, digest, hmac};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::clock::random_bytes;

const NONCE_LEN: usize = aead::NONCE_LEN;

/// Seals what no reader of the database may have.
#[derive(Debug)]
pub(super) struct Sealer(aead::LessSafeKey);

impl Sealer {
    /// Derives the key from a secret that all nodes share.
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derived = hmac::sign(&secret, b"oauth flow key");
        let key = aead::UnboundKey::new(&aead::AES_256_GCM, derived.as_ref())
            .expect("an HMAC-SHA256 has the cipher's length");
        Self(aead::LessSafeKey::new(key))
    }

    /// Encrypts `value`; `belongs_to` must be given again to open it.
    pub(super) fn seal<T: Serialize>(&self, value: &T, belongs_to: &[u8]) -> Vec<u8> {
        let nonce = random_bytes::<NONCE_LEN>();
        let mut body = serde_json::to_vec(value).expect("plain structures become JSON");
        self.0
            .seal_in_place_append_tag(
                aead::Nonce::assume_unique_for_key(nonce),
                aead::Aad::from(belongs_to),
                &mut body,
            )
            .expect("some hundred bytes are below the cipher's limit");
        [&nonce[..], &body].concat()
    }

    /// Decrypts what [`Sealer::seal`] made; `None` when it was changed or belongs elsewhere.
    pub(super) fn open<T: DeserializeOwned>(&self, sealed: &[u8], belongs_to: &[u8]) -> Option<T> {
        let (nonce, body) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut body = body.to_vec();
        let nonce = aead::Nonce::assume_unique_for_key(*nonce);
        let aad = aead::Aad::from(belongs_to);
        let plain = self.0.open_in_place(nonce, aad, &mut body).ok()?;
        serde_json::from_slice(plain).ok()
    }
}

/// What is needed once the provider answers.
#[derive(Serialize, Deserialize)]
pub(super) struct FlowSecrets {
    /// The verifier of our own code challenge.
    pub(super) verifier: String,
    /// What the ID token must repeat.
    pub(super) nonce: String,
    /// Where the provider was told to send the browser.
    pub(super) redirect_uri: String,
    /// The provider's page, for a browser that has not begun here yet.
    pub(super) provider_url: Option<String>,
}

/// SHA-256: enough for what is random and long.
pub(super) fn hash(secret: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, secret.as_bytes())
        .as_ref()
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_whole_and_where_it_belongs() {
        let sealer = Sealer::new(&[1; 32]);
        let sealed = sealer.seal(&"secret", b"here");
        assert_eq!(
            sealer.open::<String>(&sealed, b"here").as_deref(),
            Some("secret")
        );
        assert_eq!(sealer.open::<String>(&sealed, b"there"), None);
        assert_eq!(
            Sealer::new(&[2; 32]).open::<String>(&sealed, b"here"),
            None
        );
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert_eq!(sealer.open::<String>(&changed, b"here"), None);
        }
        assert_eq!(sealer.open::<String>(b"short", b"here"), None);
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
    }
}
