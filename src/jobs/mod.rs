//! The job queue: work that outlives the request that asked for it.
//!
//! A job is a row of schema `jobs`, written in the transaction of whoever enqueues it, from SQL, HTTP, Rust or the
//! command line. A [`Worker`] claims jobs in batches, runs their handlers outside of any transaction, and completes them
//! in batches. The contract is *at least once*: a job whose worker dies runs again, so handlers are idempotent, or are
//! SQL functions, whose effects and completion commit together.
//!
//! Each claim takes a lease, a number that only grows; every later statement about the attempt names it. What was given
//! up and taken over can therefore not be finished twice.

pub mod cron;
mod error;
mod handler;
mod kind;
mod model;
mod queries;
pub mod retention;
mod sql;
mod wake;
pub mod worker;

pub use cron::{Missed, Overlap, Schedule};
pub use error::{JobError, JobsError};
pub use handler::{Handlers, Job, JobContext, JobResult};
pub use kind::{Backoff, Kind};
pub use model::{Enqueued, JobId, NewJob, Status};
pub use worker::{Worker, WorkerOptions};

use crate::db::{Db, Listener, Tx};
use crate::lifecycle::Lifecycle;
use wake::Wake;

/// Largest payload, in bytes of JSON.
pub const MAX_PAYLOAD_BYTES: usize = 262_144;

/// Handle on the queue. Clones share it.
#[derive(Debug, Clone)]
pub struct Jobs {
    db: Db,
    listener: Listener,
    wake: Wake,
}

impl Jobs {
    /// The queue of `db`. Enqueues wake the workers of all nodes for as long as `lifecycle` runs.
    pub fn new(db: Db, listener: Listener, lifecycle: &Lifecycle) -> Self {
        let wake = Wake::start(db.clone(), lifecycle);
        Self { db, listener, wake }
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
        let enqueued = queries::enqueue(tx, job).await?;
        if enqueued.is_new && job.is_due_now() {
            let (wake, queue) = (self.wake.clone(), enqueued.queue.clone());
            tx.after_commit(move || wake.queue(&queue));
        }
        Ok(enqueued)
    }

    /// Enqueues many jobs in one statement; the answers are in the order of `jobs`.
    pub async fn enqueue_many(
        &self,
        tx: &Tx,
        jobs: &[NewJob],
    ) -> Result<Vec<(JobId, bool)>, JobsError> {
        let enqueued = queries::enqueue_many(tx, jobs).await?;
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
