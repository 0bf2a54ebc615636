//! Callers whose token was verified lately.
//!
//! A client sends the same token with every request for an hour. A hit saves checking the signature and reading the
//! claims; the expiry is looked at every time. The cache belongs to one key set and goes with it, so a revoked key
//! takes its tokens along.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::identity::Caller;

/// Two generations of this many tokens are kept: about 4 MB of tokens with ordinary claims.
const GENERATION: usize = 1024;

type Digest = [u8; 32];

/// Callers by the SHA-256 of their token.
#[derive(Debug, Default)]
pub(super) struct Verified(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    recent: HashMap<Digest, Entry>,
    older: HashMap<Digest, Entry>,
}

#[derive(Debug)]
struct Entry {
    caller: Caller,
    expires: f64,
}

impl Verified {
    /// The caller of a token that was put here and has not expired at `now`, in seconds since 1970.
    #[expect(
        clippy::cast_precision_loss,
        reason = "seconds of this era are exact in a float"
    )]
    pub(super) fn get(&self, token: &Digest, now: i64) -> Option<Caller> {
        let mut generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = generations.recent.get(token) {
            return (entry.expires > now as f64).then(|| entry.caller.clone());
        }
        let entry = generations.older.remove(token)?;
        let caller = (entry.expires > now as f64).then(|| entry.caller.clone());
        generations.insert(*token, entry);
        caller
    }

    /// Keeps the caller of a verified token until it has not been asked for in a while.
    pub(super) fn put(&self, token: Digest, caller: &Caller) {
        let Some(expires) = caller
            .claims()
            .get("exp")
            .and_then(serde_json::Value::as_f64)
        else {
            return;
        };
        let entry = Entry {
            caller: caller.clone(),
            expires,
        };
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(token, entry);
    }
}

impl Generations {
    /// When the recent generation is full, it becomes the older one, and that one is forgotten.
    fn insert(&mut self, token: Digest, entry: Entry) {
        if self.recent.len() >= GENERATION {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(token, entry);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn caller(exp: i64) -> Caller {
        let claims = json!({ "role": "authenticated", "exp": exp });
        Caller::from_claims(claims.as_object().cloned().unwrap_or_default())
    }

    fn digest(n: usize) -> Digest {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&n.to_be_bytes());
        digest
    }

    #[test]
    fn an_expired_token_is_not_found() {
        let verified = Verified::default();
        verified.put(digest(1), &caller(100));
        assert!(verified.get(&digest(1), 99).is_some());
        assert!(verified.get(&digest(1), 100).is_none());
        assert!(verified.get(&digest(2), 0).is_none());
    }

    #[test]
    fn what_is_used_stays_and_the_rest_is_forgotten() {
        let verified = Verified::default();
        for n in 0..GENERATION * 5 {
            verified.put(digest(n), &caller(100));
            assert!(
                n == 0 || verified.get(&digest(0), 1).is_some(),
                "the used one is gone at {n}"
            );
        }
        assert!(verified.get(&digest(1), 1).is_none());
        let generations = verified.0.lock().unwrap();
        assert!(generations.recent.len() + generations.older.len() <= 2 * GENERATION);
    }
}
