//! The arithmetic of the sealed audit log.
//!
//! A **seal** covers a batch of entries. It holds their digest, and a MAC over itself and the MAC of the seal before,
//! with a key that is derived from the master key and so is not in the database. Where the older part was removed for
//! its age, an **anchor** holds the MAC of the last seal that went.

use aws_lc_rs::{constant_time, digest, hmac};
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// An entry as its seal covers it: the very text of the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RawEntry {
    pub(super) id: Uuid,
    pub(super) created_at: Option<DateTime<Utc>>,
    pub(super) ip_address: String,
    pub(super) payload: Option<String>,
}

/// What the next seal continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) number: i64,
    pub(super) mac: Vec<u8>,
}

/// A seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seal {
    pub(super) number: i64,
    pub(super) sealed_at: DateTime<Utc>,
    pub(super) entries: i32,
    /// The latest time of an entry.
    pub(super) newest_at: DateTime<Utc>,
    pub(super) digest: Vec<u8>,
    pub(super) mac: Vec<u8>,
}

/// Where a chain begins whose older part was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Anchor {
    /// The last seal that was removed.
    pub(super) number: i64,
    /// The latest time of an entry that it covered.
    pub(super) newest_at: DateTime<Utc>,
    pub(super) seal_mac: Vec<u8>,
    pub(super) pruned_at: DateTime<Utc>,
    pub(super) mac: Vec<u8>,
}

/// What seals are made and checked with.
#[derive(Clone)]
pub(super) struct ChainKey(hmac::Key);

impl std::fmt::Debug for ChainKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[audit key]")
    }
}

impl ChainKey {
    /// From a secret that all nodes share and the database does not know.
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// Seals a batch of at least one entry after `previous`.
    pub(super) fn seal(
        &self,
        previous: Option<&Link>,
        entries: &[RawEntry],
        now: DateTime<Utc>,
    ) -> Seal {
        let newest_at = entries.iter().filter_map(|entry| entry.created_at).max();
        let mut seal = Seal {
            number: previous.map_or(1, |link| link.number + 1),
            sealed_at: now,
            entries: i32::try_from(entries.len()).unwrap_or(i32::MAX),
            newest_at: newest_at.unwrap_or(now),
            digest: digest_of(entries),
            mac: Vec::new(),
        };
        seal.mac = self.seal_mac(&seal, previous);
        seal
    }

    /// Whether a seal is ours and follows `previous`.
    pub(super) fn is_genuine(&self, seal: &Seal, previous: Option<&Link>) -> bool {
        let mac = self.seal_mac(seal, previous);
        constant_time::verify_slices_are_equal(&mac, &seal.mac).is_ok()
    }

    fn seal_mac(&self, seal: &Seal, previous: Option<&Link>) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(b"sb audit seal 1");
        context.update(&seal.number.to_be_bytes());
        context.update(&seal.sealed_at.timestamp_micros().to_be_bytes());
        context.update(&seal.entries.to_be_bytes());
        context.update(&seal.newest_at.timestamp_micros().to_be_bytes());
        context.update(&seal.digest);
        context.update(previous.map_or(&[], |link| link.mac.as_slice()));
        context.sign().as_ref().to_vec()
    }

    /// Makes the chain begin after `last`.
    pub(super) fn anchor(
        &self,
        last: Link,
        newest_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Anchor {
        let mut anchor = Anchor {
            number: last.number,
            newest_at,
            seal_mac: last.mac,
            pruned_at: now,
            mac: Vec::new(),
        };
        anchor.mac = self.anchor_mac(&anchor);
        anchor
    }

    /// Whether an anchor is ours.
    pub(super) fn is_genuine_anchor(&self, anchor: &Anchor) -> bool {
        let mac = self.anchor_mac(anchor);
        constant_time::verify_slices_are_equal(&mac, &anchor.mac).is_ok()
    }

    fn anchor_mac(&self, anchor: &Anchor) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(b"sb audit anchor 1");
        context.update(&anchor.number.to_be_bytes());
        context.update(&anchor.newest_at.timestamp_micros().to_be_bytes());
        context.update(&anchor.seal_mac);
        context.update(&anchor.pruned_at.timestamp_micros().to_be_bytes());
        context.sign().as_ref().to_vec()
    }
}

/// One digest for a batch, in its order.
pub(super) fn digest_of(entries: &[RawEntry]) -> Vec<u8> {
    let mut whole = digest::Context::new(&digest::SHA256);
    for entry in entries {
        let mut one = digest::Context::new(&digest::SHA256);
        one.update(b"sb audit entry 1");
        one.update(entry.id.as_bytes());
        let micros = entry
            .created_at
            .map_or(i64::MIN, |at| at.timestamp_micros());
        one.update(&micros.to_be_bytes());
        text(&mut one, Some(&entry.ip_address));
        text(&mut one, entry.payload.as_deref());
        whole.update(one.finish().as_ref());
    }
    whole.finish().as_ref().to_vec()
}

/// With its length, so that nothing can move from one text into the next.
fn text(context: &mut digest::Context, text: Option<&str>) {
    let length = text.map_or(-1, |text| i64::try_from(text.len()).unwrap_or(i64::MAX));
    context.update(&length.to_be_bytes());
    context.update(text.unwrap_or_default().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: u128, payload: &str) -> RawEntry {
        RawEntry {
            id: Uuid::from_u128(n),
            created_at: DateTime::from_timestamp(1_700_000_000, 0),
            ip_address: "192.0.2.1".to_owned(),
            payload: Some(payload.to_owned()),
        }
    }

    #[test]
    fn a_seal_holds_its_entries_and_the_seal_before() {
        let (key, other) = (ChainKey::new(&[7; 32]), ChainKey::new(&[8; 32]));
        let now = DateTime::from_timestamp(1_700_000_100, 0).unwrap();
        let first = key.seal(None, &[entry(1, "a"), entry(2, "b")], now);
        let link = Link {
            number: 1,
            mac: first.mac.clone(),
        };
        let second = key.seal(Some(&link), &[entry(3, "c")], now);
        assert!(key.is_genuine(&first, None) && key.is_genuine(&second, Some(&link)));
        assert!(!other.is_genuine(&first, None));
        assert!(!key.is_genuine(&second, None));
        let edits: [fn(&mut Seal); 5] = [
            |seal| seal.number += 1,
            |seal| seal.sealed_at += chrono::TimeDelta::seconds(1),
            |seal| seal.entries -= 1,
            |seal| seal.newest_at += chrono::TimeDelta::seconds(1),
            |seal| seal.digest[0] ^= 1,
        ];
        for change in edits {
            let mut changed = first.clone();
            change(&mut changed);
            assert!(!key.is_genuine(&changed, None), "{changed:?}");
        }
        let mut anchor = key.anchor(link, first.newest_at, now);
        assert!(key.is_genuine_anchor(&anchor) && !other.is_genuine_anchor(&anchor));
        anchor.number = 0;
        assert!(!key.is_genuine_anchor(&anchor));
    }

    #[test]
    fn whatever_is_changed_in_a_batch_changes_its_digest() {
        let batch = [entry(1, "a"), entry(2, "b")];
        let digest = digest_of(&batch);
        let moved = RawEntry {
            ip_address: "192.0.2.1a".to_owned(),
            payload: Some(String::new()),
            ..entry(1, "")
        };
        for other in [
            vec![entry(2, "b"), entry(1, "a")],
            vec![entry(1, "a")],
            vec![entry(1, "a"), entry(2, "b"), entry(3, "c")],
            vec![entry(1, "ab"), entry(2, "")],
            vec![moved, entry(2, "b")],
        ] {
            assert_ne!(digest_of(&other), digest, "{other:?}");
        }
    }
}
