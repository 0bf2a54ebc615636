//! Runs one job at a time.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::complete::{Outcome, Ticket};
use super::{Running, Shared, Stop, lock};
use crate::db::Canceller;
use crate::identity::Caller;
use crate::jobs::handler::{JobContext, JobResult};
use crate::jobs::model::Claimed;
use crate::jobs::{JobError, sql};

/// How an attempt left the handler.
enum Left {
    /// The handler answered.
    Answered(JobResult),
    /// The job was finished in its own transaction.
    Completed,
    /// It was stopped from outside.
    Stopped,
    /// Its time was over.
    TimedOut(Duration),
}

/// Until the worker has drained.
pub(super) async fn run(shared: Arc<Shared>) {
    while let Ok(permit) = shared.available.acquire().await {
        permit.forget();
        let Some((job, stop, why)) = shared.begin() else {
            continue;
        };
        if shared.draining.is_cancelled() {
            shared.send(Outcome::released(Ticket::of(&job)));
            lock(&shared.inflight).remove(&job.id);
        } else {
            attempt(&shared, job, stop, &why).await;
        }
        shared.room.notify_one();
    }
}

async fn attempt(shared: &Arc<Shared>, job: Claimed, stop: CancellationToken, why: &Reason) {
    let (id, ticket) = (job.id, Ticket::of(&job));
    let span = tracing::info_span!(
        "job",
        job.id = id,
        job.name = loggable(&job.name),
        job.attempt = job.attempts
    );
    let metrics = &shared.jobs.metrics;
    metrics.started(job.due.elapsed());
    let started = Instant::now();
    let left = execute(shared, &job, stop).instrument(span.clone()).await;
    let took = started.elapsed();
    let completed = matches!(left, Left::Completed);
    let outcome = match left {
        Left::Completed => {
            if job.keyed {
                shared.jobs.wake.wake_here();
            }
            None
        }
        Left::Answered(Ok(result)) => Some(Outcome::succeeded(ticket, result)),
        Left::Answered(Err(error)) => Some(Outcome::failed(ticket, error)),
        Left::TimedOut(limit) => {
            let text = format!("the attempt took longer than {} s", limit.as_secs_f64());
            Some(Outcome::failed(ticket, JobError::Failed(text)))
        }
        Left::Stopped => match *lock(why) {
            Some(Stop::Cancelled) => Some(Outcome::cancelled(ticket)),
            Some(Stop::Lost) => None,
            _ => Some(Outcome::released(ticket)),
        },
    };
    span.in_scope(|| log(outcome.as_ref(), took));
    let is_known = shared.handlers.find(&job.name).is_some();
    metrics.finished(&job.name, is_known, word(completed, outcome.as_ref()), took);
    // First the outcome, then the place: whoever sees the place empty finds the outcome sent.
    if let Some(outcome) = outcome {
        shared.send(outcome);
    }
    lock(&shared.inflight).remove(&id);
    shared.note_duration(took);
}

/// Of an address only the origin: what comes after it may be a secret.
fn loggable(name: &str) -> &str {
    let is_address = name.starts_with("http://") || name.starts_with("https://");
    let rest = name.find("://").filter(|_| is_address).map(|at| at + 3);
    let end = rest.and_then(|rest| Some(rest + name[rest..].find(['/', '?', '#'])?));
    &name[..end.unwrap_or(name.len())]
}

fn word(completed: bool, outcome: Option<&Outcome>) -> &'static str {
    match outcome {
        Some(Outcome::Ended { outcome, .. }) => outcome,
        Some(_) => "succeeded",
        None if completed => "succeeded",
        None => "lost",
    }
}

fn log(outcome: Option<&Outcome>, took: Duration) {
    let duration_ms = took.as_secs_f64() * 1_000.0;
    match outcome {
        None | Some(Outcome::Succeeded(..) | Outcome::Flush) => {
            tracing::debug!(duration_ms, "done");
        }
        Some(Outcome::Ended { outcome, error, .. }) => {
            let error = error.as_deref().unwrap_or_default();
            tracing::warn!(duration_ms, outcome, error, "job {outcome}");
        }
    }
}

async fn execute(shared: &Arc<Shared>, job: &Claimed, stop: CancellationToken) -> Left {
    let limit = job
        .timeout_s
        .and_then(|seconds| u64::try_from(seconds).ok())
        .map_or(shared.options.timeout, Duration::from_secs);
    let caller = caller(job);
    if let Some(function) = job.name.strip_prefix(sql::PREFIX) {
        return call_sql(shared, job, function, &caller, limit, stop).await;
    }
    let Some(handler) = shared.handlers.find(&job.name) else {
        // Only what is known is claimed.
        return Left::Answered(Err(JobError::Failed(format!(
            "no handler for {}",
            job.name
        ))));
    };
    let context = JobContext {
        id: job.id,
        name: job.name.as_str().into(),
        version: job.version,
        attempt: job.attempts,
        claim: job.lease,
        max_attempts: job.max_attempts,
        source: job.source.clone(),
        created_at: job.created_at,
        caller,
        db: shared.jobs.db.clone(),
        jobs: shared.jobs.clone(),
        cancelled: stop.clone(),
        timeout: limit,
        progress: shared.progress.with_lease(job.lease),
    };
    let work =
        AssertUnwindSafe(async { handler(context, job.payload.clone()).await }).catch_unwind();
    tokio::select! {
        biased;
        result = work => Left::Answered(result.unwrap_or_else(|panic| Err(panicked(panic.as_ref())))),
        () = stop.cancelled() => Left::Stopped,
        () = tokio::time::sleep(limit) => {
            stop.cancel();
            Left::TimedOut(limit)
        }
    }
}

async fn call_sql(
    shared: &Arc<Shared>,
    job: &Claimed,
    function: &str,
    caller: &Caller,
    limit: Duration,
    stop: CancellationToken,
) -> Left {
    let call = sql::Call {
        function,
        payload: &job.payload,
        caller,
        id: job.id,
        lease: job.lease,
        timeout: limit,
    };
    let canceller: Mutex<Option<Canceller>> = Mutex::default();
    let work = sql::call(&shared.jobs.db, &call, |running| {
        *lock(&canceller) = Some(running);
    });
    let left = tokio::select! {
        biased;
        result = work => match result {
            Ok(()) => return Left::Completed,
            Err(error) => return Left::Answered(Err(error)),
        },
        () = stop.cancelled() => Left::Stopped,
        () = tokio::time::sleep(limit) => Left::TimedOut(limit),
    };
    // The dropped transaction has closed its connection, but the server goes on until it looks.
    let canceller = lock(&canceller).take();
    if let Some(canceller) = canceller
        && let Err(error) = canceller.cancel().await
    {
        tracing::debug!(error = %error, "the statement could not be cancelled");
    }
    left
}

/// Whom the job runs for.
fn caller(job: &Claimed) -> Caller {
    let mut claims = job.claims.clone().unwrap_or_default();
    claims.insert("role".to_owned(), Value::from(job.role.as_str()));
    Caller::from_claims(claims)
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> JobError {
    let text = panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    JobError::Failed(format!("the handler panicked: {text}"))
}

/// Why a job was stopped, once it was.
type Reason = Arc<Mutex<Option<Stop>>>;

impl Shared {
    /// Takes a job out of the buffer. It counts as running before it stops counting as waiting, so that a drain sees it.
    fn begin(&self) -> Option<(Claimed, CancellationToken, Reason)> {
        let mut buffer = lock(&self.buffer);
        let job = buffer.pop_front()?;
        let (stop, why) = (CancellationToken::new(), Reason::default());
        let running = Running {
            stop: stop.clone(),
            why: Arc::clone(&why),
        };
        lock(&self.inflight).insert(job.id, running);
        Some((job, stop, why))
    }

    /// A moving mean, which decides how many jobs are claimed ahead.
    fn note_duration(&self, took: Duration) {
        *lock(&self.last_end) = Instant::now();
        let took = u64::try_from(took.as_micros())
            .unwrap_or(u64::MAX)
            .min(60_000_000);
        let mean = self.mean_us.load(Ordering::Relaxed);
        self.mean_us
            .store((mean * 15 + took) / 16, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::loggable;

    #[test]
    fn of_an_address_only_the_origin_is_logged() {
        assert_eq!(
            loggable("https://a.example:1/SECRET"),
            "https://a.example:1"
        );
        assert_eq!(loggable("http://a.example?SECRET"), "http://a.example");
        assert_eq!(loggable("https://a.example"), "https://a.example");
        assert_eq!(loggable("sql:public.f"), "sql:public.f");
        assert_eq!(loggable("a/b://c"), "a/b://c");
    }
}
