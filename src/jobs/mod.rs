//! The job queue: work that outlives the request that asked for it.
//!
//! A job is a row of schema `jobs`, written in the transaction of whoever enqueues it, from SQL, HTTP, Rust or the
//! command line. A [`Worker`] claims jobs in batches, runs their handlers outside of any transaction, and completes them
//! in batches. The contract is *at least once*: a job whose worker dies runs again, so handlers are idempotent, or are
//! SQL functions, whose effects and completion commit together.
//!
//! Each claim takes a lease, a number that only grows; every later statement about the attempt names it. What was given
//! up and taken over can therefore not be finished twice.

pub(crate) mod control;
pub mod cron;
pub(crate) mod duration;
mod error;
mod handler;
mod kind;
mod metrics;
mod model;
mod queries;
pub mod retention;
mod routes;
mod service;
mod sql;
mod wake;
pub mod worker;

pub use cron::{Missed, Overlap, Schedule};
pub use error::{JobError, JobsError, Refusal};
pub use handler::{Handlers, Job, JobContext, JobResult};
pub use kind::{Backoff, Kind};
pub use model::{Enqueued, JobId, NewJob, Status};
pub(crate) use routes::router;
pub use worker::{Worker, WorkerOptions};

use crate::db::{Db, Listener, Tx};
use std::time::Duration;

use crate::lifecycle::Lifecycle;
use crate::telemetry::Metrics;
use metrics::JobMetrics;
use serde_json::value::RawValue;
use wake::Wake;

/// Largest payload, in bytes of JSON.
pub const MAX_PAYLOAD_BYTES: usize = 262_144;

/// Handle on the queue. Clones share it.
#[derive(Debug, Clone)]
pub struct Jobs {
    db: Db,
    listener: Listener,
    wake: Wake,
    metrics: JobMetrics,
}

impl Jobs {
    /// The queue of `db`. Enqueues wake the workers of all nodes for as long as `lifecycle` runs.
    pub fn new(db: Db, listener: Listener, lifecycle: &Lifecycle) -> Self {
        let wake = Wake::start(db.clone(), lifecycle);
        let metrics = JobMetrics::default();
        Self {
            db,
            listener,
            wake,
            metrics,
        }
    }

    /// Makes known what handlers ask for, so that an enqueue from anywhere follows it.
    pub(crate) async fn register(&self, handlers: &Handlers) -> Result<(), JobsError> {
        let tx = self.db.jobs().begin().await?;
        let kinds: Vec<_> = handlers.kinds().collect();
        let registered = queries::register_kinds(&tx, &kinds).await;
        Ok(tx.finish(registered).await?)
    }

    /// Enqueues a job in the caller's transaction, as the caller. Workers are woken when it commits.
    ///
    /// # Errors
    /// [`JobsError::Invalid`] for options out of range and queues that do not exist, [`JobsError::Forbidden`] when no
    /// policy lets the caller enqueue.
    pub async fn enqueue(&self, tx: &Tx, job: &NewJob) -> Result<Enqueued, JobsError> {
        let (enqueued, _) = control::insert(tx, job, false).await?;
        self.wake_after(tx, job, &enqueued);
        Ok(enqueued)
    }

    /// The same, with the job as it is stored now.
    pub(crate) async fn enqueue_and_show(
        &self,
        tx: &Tx,
        job: &NewJob,
    ) -> Result<(Enqueued, Box<RawValue>), JobsError> {
        let (enqueued, shown) = control::insert(tx, job, true).await?;
        self.wake_after(tx, job, &enqueued);
        Ok((enqueued, shown.expect("it was asked for")))
    }

    /// Wakes the workers of `queue` once `tx` commits, for what a SQL function enqueued in it.
    pub(crate) fn wake_after_commit(&self, tx: &Tx, queue: String) {
        let wake = self.wake.clone();
        tx.after_commit(move || wake.queue(&queue));
    }

    fn wake_after(&self, tx: &Tx, job: &NewJob, enqueued: &Enqueued) {
        if enqueued.is_new && job.is_due_now() {
            let (wake, queue) = (self.wake.clone(), enqueued.queue.clone());
            tx.after_commit(move || wake.queue(&queue));
        }
    }

    /// Adds the metrics of the queue, and of a worker in this process, to `metrics`.
    pub(crate) fn register_metrics(&self, metrics: &Metrics) {
        self.metrics.register(metrics);
    }

    /// Brings the metrics that come from the database up to date, if that can be done quickly.
    pub(crate) async fn refresh_metrics(&self, lifecycle: &Lifecycle) {
        self.metrics.refresh(&self.db, lifecycle).await;
    }

    /// Whether a worker runs, or ran, in this process.
    pub(crate) fn has_worker(&self) -> bool {
        self.metrics.has_worker()
    }

    /// Whether some worker has shown itself within `age`, asked of the database within `within`.
    ///
    /// # Errors
    /// What is wrong, for the log.
    pub(crate) async fn check_worker(&self, age: Duration, within: Duration) -> Result<(), String> {
        let ask = async { control::newest_heartbeat(&self.db.jobs().connection().await?).await };
        match tokio::time::timeout(within, ask).await {
            Err(_) => Err("the database did not answer in time".to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Ok(Ok(None)) => Err("no worker is registered".to_owned()),
            Ok(Ok(Some(newest))) if newest > age => {
                Err(format!("the last heartbeat is {} s old", newest.as_secs()))
            }
            Ok(Ok(Some(_))) => Ok(()),
        }
    }

    /// Enqueues many jobs in one statement; the answers are in the order of `jobs`.
    pub async fn enqueue_many(
        &self,
        tx: &Tx,
        jobs: &[NewJob],
    ) -> Result<Vec<(JobId, bool)>, JobsError> {
        let enqueued = control::insert_many(tx, jobs).await?;
        let wake = self.wake.clone();
        let mut queues: Vec<String> = jobs
            .iter()
            .map(|job| job.queue.clone().unwrap_or_else(|| "default".to_owned()))
            .collect();
        queues.sort_unstable();
        queues.dedup();
        tx.after_commit(move || queues.iter().for_each(|queue| wake.queue(queue)));
        Ok(enqueued)
    }
}
