//! Answers at even times.
//!
//! How long a request takes depends on what is found: a wrong code of an address that has one is counted in its row, a new
//! account is written. Where the answer must not tell, it comes at the next of evenly spaced times after the work began,
//! and so does that of the shorter way. No connection and no place in a queue is held meanwhile.

use std::time::Duration;

use tokio::time::Instant;

/// From one such time to the next: longer than a password is hashed, too short to bother a person.
const STEP: Duration = Duration::from_millis(50);

/// The result of `work`, at an even time.
pub(super) async fn answers<T>(work: impl Future<Output = T>) -> T {
    let started = Instant::now();
    let result = work.await;
    wait(started).await;
    result
}

/// The result of `work`; if it is a refusal, at an even time.
pub(super) async fn refusals<T, E>(work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let started = Instant::now();
    let result = work.await;
    if result.is_err() {
        wait(started).await;
    }
    result
}

async fn wait(started: Instant) {
    tokio::time::sleep_until(started + next(started.elapsed())).await;
}

/// The first even time after so much time.
fn next(elapsed: Duration) -> Duration {
    let steps = elapsed.as_nanos() / STEP.as_nanos() + 1;
    STEP.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_of_any_length_ends_at_an_even_time() {
        for (takes, expected) in [(0, 50), (49, 50), (50, 100), (51, 100), (499, 500)] {
            let expected = Duration::from_millis(expected);
            assert_eq!(next(Duration::from_millis(takes)), expected, "{takes}");
        }
    }
}
