//! The text of refresh tokens: a counter of a session, authenticated, so that no token is ever stored.
//!
//! `sbr_` and the base64url text of: format version (1 byte), key id (1), session id (16), counter (8, big endian),
//! and the first 16 bytes of an HMAC-SHA256 over what precedes. Whatever fails the check is refused without a look at
//! the database.

use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

const PREFIX: &str = "sbr_";
const VERSION: u8 = 1;
const BODY: usize = 26;
const MAC: usize = 16;

/// What a genuine token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RefreshToken {
    /// The session it belongs to.
    pub(super) session_id: Uuid,
    /// The session's counter when it was issued; never negative.
    pub(super) counter: i64,
}

/// The key that tells genuine tokens from others.
#[derive(Debug)]
pub(super) struct MacKey {
    key: hmac::Key,
    id: u8,
}

impl MacKey {
    /// Derives the key and its id from a secret that all nodes share.
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let id = hmac::sign(&key, b"refresh token key id").as_ref()[0];
        Self { key, id }
    }

    /// The token's text.
    pub(super) fn seal(&self, token: RefreshToken) -> String {
        let mut bytes = [0; BODY + MAC];
        bytes[0] = VERSION;
        bytes[1] = self.id;
        bytes[2..18].copy_from_slice(token.session_id.as_bytes());
        bytes[18..BODY].copy_from_slice(&token.counter.to_be_bytes());
        let mac = hmac::sign(&self.key, &bytes[..BODY]);
        bytes[BODY..].copy_from_slice(&mac.as_ref()[..MAC]);
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Reads a token; `None` for everything this key has not sealed.
    pub(super) fn open(&self, text: &str) -> Option<RefreshToken> {
        let mut bytes = [0; BODY + MAC];
        let length = URL_SAFE_NO_PAD
            .decode_slice(text.strip_prefix(PREFIX)?, &mut bytes)
            .ok()?;
        if length != bytes.len() || bytes[..2] != [VERSION, self.id] {
            return None;
        }
        let mac = hmac::sign(&self.key, &bytes[..BODY]);
        constant_time::verify_slices_are_equal(&mac.as_ref()[..MAC], &bytes[BODY..]).ok()?;
        let counter = i64::from_be_bytes(bytes[18..BODY].try_into().ok()?);
        let session_id = Uuid::from_slice(&bytes[2..18]).ok()?;
        (counter >= 0).then_some(RefreshToken {
            session_id,
            counter,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> RefreshToken {
        RefreshToken {
            session_id: Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef),
            counter: 258,
        }
    }

    #[test]
    fn a_sealed_token_opens() {
        let key = MacKey::new(&[7; 32]);
        let text = key.seal(token());
        assert!(text.starts_with("sbr_") && text.len() == 60, "{text}");
        assert_eq!(key.open(&text), Some(token()));
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let key = MacKey::new(&[7; 32]);
        let text = key.seal(token());
        for at in 0..text.len() {
            let mut forged = text.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            assert_eq!(key.open(&forged), None, "{forged}");
        }
    }

    #[test]
    fn tokens_of_other_keys_and_garbage_are_refused() {
        let key = MacKey::new(&[7; 32]);
        let text = key.seal(token());
        assert_eq!(MacKey::new(&[8; 32]).open(&text), None);
        let longer = format!("{text}AAAA");
        for garbage in [
            "",
            "sbr_",
            "unknown-token",
            &text[..59],
            &text[4..],
            &longer,
            "sbr_\u{e9}",
        ] {
            assert_eq!(key.open(garbage), None, "{garbage}");
        }
        let negative = RefreshToken {
            counter: -1,
            ..token()
        };
        assert_eq!(key.open(&key.seal(negative)), None);
    }
}
