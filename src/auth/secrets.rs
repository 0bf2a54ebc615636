//! Keys of the service: to check what it has handed out, and to seal what it stores.

use aws_lc_rs::{aead, digest, hmac};

use crate::clock::random_bytes;

/// Derived keys. Debug shows nothing of them.
pub(super) struct Secrets {
    codes: hmac::Key,
    seal: aead::LessSafeKey,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

impl Secrets {
    /// Derives the keys from a secret that all nodes share.
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derive = |purpose: &[u8]| hmac::sign(&secret, purpose);
        let cipher = aead::UnboundKey::new(&aead::AES_256_GCM, derive(b"seal key").as_ref())
            .expect("an HMAC has the length of the cipher's key");
        Self {
            codes: hmac::Key::new(hmac::HMAC_SHA256, derive(b"code key").as_ref()),
            seal: aead::LessSafeKey::new(cipher),
        }
    }

    /// What is stored of a short code: it can be checked, and not be found out, without the key. `parts` are what it is
    /// bound to.
    pub(super) fn code_hash(&self, parts: &[&[u8]]) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.codes);
        for part in parts {
            // With its length, so that no two lists of parts read alike.
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        context.sign().as_ref().to_vec()
    }

    /// Encrypts `plaintext` (AES-256-GCM); `belongs_to` must be given again to open it.
    pub(super) fn seal(&self, plaintext: &[u8], belongs_to: &[u8]) -> Vec<u8> {
        let nonce = random_bytes::<{ aead::NONCE_LEN }>();
        let mut body = plaintext.to_vec();
        self.seal
            .seal_in_place_append_tag(
                aead::Nonce::assume_unique_for_key(nonce),
                aead::Aad::from(belongs_to),
                &mut body,
            )
            .expect("what is sealed is far below the cipher's limit");
        [&nonce[..], &body].concat()
    }

    /// Decrypts what [`Secrets::seal`] made; `None` for anything else.
    pub(super) fn open(&self, sealed: &[u8], belongs_to: &[u8]) -> Option<Vec<u8>> {
        let (nonce, body) = sealed.split_first_chunk::<{ aead::NONCE_LEN }>()?;
        let mut body = body.to_vec();
        let nonce = aead::Nonce::assume_unique_for_key(*nonce);
        let opened = self
            .seal
            .open_in_place(nonce, aead::Aad::from(belongs_to), &mut body);
        opened.ok().map(|plaintext| plaintext.to_vec())
    }
}

/// What is stored of a random token of 256 bits.
pub(super) fn token_hash(token: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, token.as_bytes())
        .as_ref()
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_only_where_it_belongs() {
        let secrets = Secrets::new(&[7; 32]);
        let sealed = secrets.seal(b"token", b"flow 1");
        assert_eq!(secrets.open(&sealed, b"flow 1").unwrap(), b"token");
        assert_eq!(secrets.open(&sealed, b"flow 2"), None);
        assert_eq!(Secrets::new(&[8; 32]).open(&sealed, b"flow 1"), None);
        assert_eq!(secrets.open(&sealed[1..], b"flow 1"), None);
        assert_eq!(secrets.open(b"", b"flow 1"), None);
    }

    #[test]
    fn a_code_is_bound_to_its_parts() {
        let secrets = Secrets::new(&[7; 32]);
        let hash = secrets.code_hash(&[b"ab", b"c"]);
        assert_eq!(hash, secrets.code_hash(&[b"ab", b"c"]));
        assert_ne!(hash, secrets.code_hash(&[b"a", b"bc"]));
        assert_ne!(hash, Secrets::new(&[8; 32]).code_hash(&[b"ab", b"c"]));
    }
}
