//! Runs one job at a time.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::complete::Outcome;
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
        let Some(job) = lock(&shared.buffer).pop_front() else {
            continue;
        };
        if shared.draining.is_cancelled() {
            shared.send(Outcome::released(&job));
        } else {
            attempt(&shared, job).await;
        }
        shared.room.notify_one();
    }
}

async fn attempt(shared: &Arc<Shared>, job: Claimed) {
    let (id, lease) = (job.id, job.lease);
    let span = tracing::info_span!(
        "job",
        job.id = id,
        job.name = job.name,
        job.attempt = job.attempts
    );
    let (stop, why) = (CancellationToken::new(), Arc::new(Mutex::new(None)));
    let running = Running {
        stop: stop.clone(),
        why: Arc::clone(&why),
    };
    lock(&shared.inflight).insert(id, running);
    let metrics = &shared.jobs.metrics;
    metrics.started(job.due.elapsed());
    let started = Instant::now();
    let left = execute(shared, &job, stop).instrument(span.clone()).await;
    let took = started.elapsed();
    let completed = matches!(left, Left::Completed);
    let outcome = match left {
        Left::Completed => None,
        Left::Answered(Ok(result)) => Some(Outcome::succeeded(id, lease, result)),
        Left::Answered(Err(error)) => Some(Outcome::failed(id, lease, error)),
        Left::TimedOut(limit) => {
            let text = format!("the attempt took longer than {} s", limit.as_secs_f64());
            Some(Outcome::failed(id, lease, JobError::Failed(text)))
        }
        Left::Stopped => match *lock(&why) {
            Some(Stop::Cancelled) => Some(Outcome::cancelled(id, lease)),
            Some(Stop::Lost) => None,
            _ => Some(Outcome::released(&job)),
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
        None | Some(Outcome::Succeeded { .. } | Outcome::Flush) => {
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
    let mut claims = job.claims.clone().unwrap_or_else(Map::new);
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

impl Shared {
    /// A moving mean, which decides how many jobs are claimed ahead.
    fn note_duration(&self, took: Duration) {
        let took = u64::try_from(took.as_micros())
            .unwrap_or(u64::MAX)
            .min(60_000_000);
        let mean = self.mean_us.load(Ordering::Relaxed);
        self.mean_us
            .store((mean * 15 + took) / 16, Ordering::Relaxed);
    }
}
