//! Token buckets in the memory of a node, for refreshes: a refresh token cannot be guessed, so nothing is lost when nodes
//! count apart, and a write to the database would cost a good part of a refresh.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};

use crate::net::AddressBlock;

/// No more clients are remembered: some megabytes.
const MAX_CLIENTS: usize = 65_536;

/// A bucket per client, each kept as the moment when it will be full: a full one need not be remembered.
#[derive(Debug, Default)]
pub(super) struct Buckets(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    full_at: HashMap<AddressBlock, DateTime<Utc>>,
    /// What the moments were reckoned with; they mean nothing under other settings.
    rate: (TimeDelta, TimeDelta),
}

impl Buckets {
    /// Takes a token from a client's bucket, which gets one per `step` and is full after `window`, or tells when there
    /// will be one.
    pub(super) fn take(
        &self,
        client: AddressBlock,
        (step, window): (TimeDelta, TimeDelta),
        now: DateTime<Utc>,
    ) -> Result<(), DateTime<Utc>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.rate != (step, window) {
            *state = State {
                rate: (step, window),
                ..State::default()
            };
        }
        let known = state.full_at.get(&client).copied();
        let full_at = known.map_or(now, |full_at| full_at.max(now)) + step;
        if full_at > now + window {
            return Err(full_at - window);
        }
        if known.is_none() && state.full_at.len() >= MAX_CLIENTS {
            forget(&mut state.full_at, now);
        }
        state.full_at.insert(client, full_at);
        Ok(())
    }
}

/// Makes room for at least half of [`MAX_CLIENTS`], so that looking at all of them stays rare. When so many are active
/// at once, all get a full bucket: refusing them would sign nobody out, but letting an attacker choose whom to refuse
/// is worse than not counting for a moment.
fn forget(full_at: &mut HashMap<AddressBlock, DateTime<Utc>>, now: DateTime<Utc>) {
    full_at.retain(|_, full_at| *full_at > now);
    if full_at.len() > MAX_CLIENTS / 2 {
        full_at.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: (TimeDelta, TimeDelta) = (TimeDelta::seconds(20), TimeDelta::seconds(60));

    fn client(number: u32) -> AddressBlock {
        AddressBlock::of(std::net::Ipv4Addr::from_bits(number).into())
    }

    #[test]
    fn a_bucket_gives_all_at_once_and_refills_evenly() {
        let buckets = Buckets::default();
        let now = DateTime::UNIX_EPOCH;
        for _ in 0..3 {
            assert_eq!(buckets.take(client(1), RATE, now), Ok(()));
        }
        let next = now + TimeDelta::seconds(20);
        assert_eq!(buckets.take(client(1), RATE, now), Err(next));
        assert_eq!(buckets.take(client(2), RATE, now), Ok(()));
        assert_eq!(buckets.take(client(1), RATE, next), Ok(()));
        assert!(buckets.take(client(1), RATE, next).is_err());
        let more = (TimeDelta::seconds(10), TimeDelta::seconds(60));
        assert_eq!(buckets.take(client(1), more, next), Ok(()));
    }

    /// Attack 43, however many keys there are: remove `forget`, and the map grows with each.
    #[test]
    fn memory_is_bounded_and_an_active_client_is_remembered() {
        let buckets = Buckets::default();
        let count = || buckets.0.lock().unwrap().full_at.len();
        let max = u32::try_from(MAX_CLIENTS).unwrap();
        let mut now = DateTime::UNIX_EPOCH;
        for number in 1..max {
            buckets.take(client(number), RATE, now).unwrap();
        }
        // The others' buckets are full again by then; this one's is not.
        now += TimeDelta::seconds(20);
        for _ in 0..3 {
            buckets.take(client(0), RATE, now).unwrap();
        }
        assert_eq!(count(), MAX_CLIENTS);
        buckets.take(client(max), RATE, now).unwrap();
        assert_eq!(count(), 2);
        assert!(buckets.take(client(0), RATE, now).is_err());
        for number in 0..3 * max {
            let _ = buckets.take(client(number), RATE, now);
            assert!(count() <= MAX_CLIENTS);
        }
    }
}
