//! A server that is down is asked by one mail at a time, now and then; the others wait outside of the workers.

use std::time::Duration;

use chrono::{DateTime, Utc};

const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// What is known of the server.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// In a row.
    failures: u32,
    /// Nobody asks before.
    until: Option<DateTime<Utc>>,
    /// Somebody asks right now.
    probing: bool,
}

impl Breaker {
    /// Whether to try now, with `patience` for the answer; otherwise how long to wait.
    pub(super) fn admit(&mut self, now: DateTime<Utc>, patience: Duration) -> Result<(), Duration> {
        let Some(until) = self.until else {
            return Ok(());
        };
        if let Ok(wait) = (until - now).to_std()
            && !wait.is_zero()
        {
            return Err(wait);
        }
        self.probing = true;
        self.until = Some(now + patience);
        Ok(())
    }

    /// The server cannot be used. Those who were on their way when the first one failed say nothing new.
    pub(super) fn failed(&mut self, now: DateTime<Utc>) {
        if !self.probing && self.until.is_some_and(|until| now < until) {
            return;
        }
        self.probing = false;
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10));
        self.failures += 1;
        self.until = Some(now + pause.min(LONGEST_PAUSE));
    }

    /// The server works.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    #[test]
    fn a_dead_server_is_asked_by_one_at_a_time_and_less_and_less_often() {
        let mut breaker = Breaker::default();
        assert!(breaker.admit(at(0), PATIENCE).is_ok());
        assert!(breaker.admit(at(0), PATIENCE).is_ok());
        breaker.failed(at(1));
        breaker.failed(at(1));
        assert_eq!(breaker.admit(at(1), PATIENCE), Err(Duration::from_secs(5)));
        assert!(breaker.admit(at(6), PATIENCE).is_ok(), "the probe");
        assert_eq!(breaker.admit(at(6), PATIENCE), Err(PATIENCE));
        breaker.failed(at(7));
        assert_eq!(breaker.admit(at(7), PATIENCE), Err(Duration::from_secs(10)));
        assert!(breaker.admit(at(17), PATIENCE).is_ok());
        breaker.succeeded();
        assert!(breaker.admit(at(17), PATIENCE).is_ok());
        breaker.failed(at(18));
        assert_eq!(breaker.admit(at(18), PATIENCE), Err(Duration::from_secs(5)));
    }

    #[test]
    fn a_probe_that_was_lost_is_followed_by_another() {
        let mut breaker = Breaker::default();
        breaker.failed(at(0));
        assert!(breaker.admit(at(5), PATIENCE).is_ok());
        assert!(breaker.admit(at(20), PATIENCE).is_err());
        assert!(breaker.admit(at(35), PATIENCE).is_ok());
    }

    #[test]
    fn no_pause_is_longer_than_five_minutes() {
        let mut breaker = Breaker::default();
        let mut now = 0;
        for _ in 0..50 {
            breaker.failed(at(now));
            now += 300;
            assert!(breaker.admit(at(now), PATIENCE).is_ok());
        }
    }
}
