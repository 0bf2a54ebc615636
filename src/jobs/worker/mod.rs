//! The worker: claims in batches, runs without a transaction, completes in batches.
//!
//! ```text
//! fetch ──► buffer ──► runners (one job each) ──► complete
//!   ▲                     │ set_progress             │
//!   └── woken, due, poll  └── cancelled by           └── one statement for many jobs
//!                             heartbeat or notice
//! ```
//!
//! A worker shows every few seconds that it lives. One that misses [`MISSED_BEATS`] is removed by any other, and
//! its jobs run again elsewhere; should it come back, it notices, stops what it runs and begins anew under another id.

mod complete;
mod fetch;
mod heartbeat;
mod progress;
mod run;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(super) use progress::Progress;

use super::handler::Handlers;
use super::model::{Claimed, JobId};
use super::{Jobs, JobsError, queries};
use crate::db::DbError;
use crate::lifecycle::Lifecycle;
use complete::{Outcome, Ticket};

/// A worker that misses so many heartbeats is dead.
const MISSED_BEATS: u32 = 4;

/// How a worker works.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// Name for people, such as host and process id.
    pub name: String,
    /// Queues to serve; empty means every queue there is.
    pub queues: Vec<String>,
    /// Jobs that run at a time.
    pub concurrency: usize,
    /// Longest pause between two looks at the queue.
    pub poll_interval: Duration,
    /// Pause between two signs of life.
    pub heartbeat: Duration,
    /// How long running jobs may take to end when the worker stops.
    pub drain_timeout: Duration,
    /// How long an attempt may take when neither job nor kind says.
    pub timeout: Duration,
    /// Days that finished jobs are kept.
    pub history_days: u16,
    /// Days that dead letters are kept.
    pub dead_days: u16,
}

/// A running worker.
#[derive(Debug, Clone)]
pub struct Worker {
    shared: Arc<Shared>,
    tasks: TaskTracker,
}

/// What the tasks of one worker share.
#[derive(Debug)]
struct Shared {
    jobs: Jobs,
    handlers: Handlers,
    names: Vec<String>,
    patterns: Vec<String>,
    options: WorkerOptions,
    /// The current registration; another one after a silence.
    id: AtomicI64,
    /// Claimed, not begun.
    buffer: Mutex<VecDeque<Claimed>>,
    /// One permit for each job in the buffer.
    available: Semaphore,
    inflight: Mutex<HashMap<JobId, Running>>,
    /// Jobs that have ended, which the database does not know yet.
    unwritten: Mutex<HashSet<JobId>>,
    /// The answer to a claim may have been lost.
    suspect: AtomicBool,
    /// A job ended, so there may be room for more.
    room: Notify,
    /// Microseconds a job took lately.
    mean_us: AtomicU64,
    /// When a job last ended.
    last_end: Mutex<Instant>,
    outcomes: mpsc::UnboundedSender<Outcome>,
    progress: Progress,
    /// No more claims.
    draining: CancellationToken,
    /// Nothing is left: the other tasks may end.
    drained: CancellationToken,
    /// A job was put off to a later time since the fetcher last looked.
    postponed: AtomicBool,
    /// Somebody else has our jobs.
    lost: AtomicBool,
}

/// A job that runs.
#[derive(Debug)]
struct Running {
    stop: CancellationToken,
    why: Arc<Mutex<Option<Stop>>>,
}

/// Why a running job is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// Somebody cancelled it.
    Cancelled,
    /// The worker ends; another one goes on.
    Released,
    /// It is not ours any more.
    Lost,
}

impl Worker {
    /// Registers a worker and starts its tasks. It drains when `lifecycle` stops.
    pub async fn start(
        jobs: Jobs,
        handlers: Handlers,
        options: WorkerOptions,
        lifecycle: &Lifecycle,
    ) -> Result<Self, JobsError> {
        let (names, patterns) = handlers.patterns();
        let (outcomes, receiver) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            progress: Progress::default(),
            jobs,
            handlers,
            names,
            patterns,
            options,
            id: AtomicI64::new(0),
            buffer: Mutex::default(),
            available: Semaphore::new(0),
            inflight: Mutex::default(),
            unwritten: Mutex::default(),
            suspect: AtomicBool::new(false),
            room: Notify::new(),
            mean_us: AtomicU64::new(10_000),
            last_end: Mutex::new(Instant::now()),
            outcomes,
            draining: CancellationToken::new(),
            drained: CancellationToken::new(),
            postponed: AtomicBool::new(false),
            lost: AtomicBool::new(false),
        });
        let connection = shared.jobs.db.jobs().connection().await?;
        let (history, dead) = (shared.options.history_days, shared.options.dead_days);
        // Without today's partition jobs end in the default one; that is no reason not to work.
        if let Err(error) = queries::maintain(&connection, history.into(), dead.into()).await {
            tracing::warn!(error = %error, "the history of jobs could not be prepared");
        }
        drop(connection);
        shared.jobs.register(&shared.handlers).await?;
        shared.register().await?;
        shared.jobs.metrics.worker_started();
        let tasks = TaskTracker::new();
        for _ in 0..shared.options.concurrency.max(1) {
            spawn(&tasks, run::run(Arc::clone(&shared)));
        }
        spawn(&tasks, fetch::run(Arc::clone(&shared)));
        spawn(&tasks, heartbeat::run(Arc::clone(&shared)));
        spawn(&tasks, heartbeat::cancellations(Arc::clone(&shared)));
        spawn(&tasks, progress::run(Arc::clone(&shared)));
        let completer = TaskTracker::new();
        spawn(&completer, complete::run(Arc::clone(&shared), receiver));
        tasks.close();
        completer.close();
        let worker = Self {
            shared,
            tasks: completer.clone(),
        };
        let (draining, stopping) = (worker.clone(), lifecycle.stopping());
        lifecycle.spawn(async move {
            stopping.cancelled().await;
            draining.drain(&tasks, &completer).await;
        });
        Ok(worker)
    }

    /// Completes when the worker has ended.
    pub async fn ended(&self) {
        self.tasks.wait().await;
    }

    /// Jobs that run or wait in this process.
    pub fn inflight(&self) -> usize {
        self.shared.outstanding()
    }

    /// Hands back what has not begun, waits for what runs, hands back what does not end in time.
    async fn drain(&self, tasks: &TaskTracker, completer: &TaskTracker) {
        let shared = &self.shared;
        shared.draining.cancel();
        for job in shared.take_buffer() {
            shared.send(Outcome::released(Ticket::of(&job)));
        }
        let idle = async {
            while shared.running() > 0 {
                shared.room.notified().await;
            }
        };
        if tokio::time::timeout(shared.options.drain_timeout, idle)
            .await
            .is_err()
        {
            tracing::warn!(
                jobs = shared.running(),
                "jobs did not end in time and are handed back"
            );
            shared.stop_all(Stop::Released);
        }
        shared.available.close();
        shared.drained.cancel();
        tasks.wait().await;
        // A claim that was under way when the drain began.
        for job in shared.take_buffer() {
            shared.send(Outcome::released(Ticket::of(&job)));
        }
        shared.send(Outcome::Flush);
        completer.wait().await;
        let connection = shared.jobs.db.jobs().connection().await;
        if let Ok(connection) = connection
            && let Err(error) = queries::unregister_worker(&connection, shared.id()).await
        {
            tracing::debug!(error = %error, "the worker could not be signed off");
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "Worker::drain waits for all of them, and a lifecycle waits for that"
)]
fn spawn(tasks: &TaskTracker, task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(tasks.track_future(task));
}

impl Shared {
    fn id(&self) -> i64 {
        self.id.load(Ordering::Acquire)
    }

    async fn register(&self) -> Result<(), DbError> {
        let tx = self.jobs.db.jobs().begin().await?;
        let concurrency = i32::try_from(self.options.concurrency).unwrap_or(i32::MAX);
        let (name, queues) = (&self.options.name, &self.options.queues);
        let beat = self.options.heartbeat.as_secs_f64();
        let id = queries::register_worker(&tx, name, queues, concurrency, beat).await;
        let id = tx.finish(id).await?;
        self.id.store(id, Ordering::Release);
        self.lost.store(false, Ordering::Release);
        // The fetcher waits for room while we are lost.
        self.room.notify_one();
        Ok(())
    }

    fn send(&self, outcome: Outcome) {
        if let Some(id) = outcome.id() {
            lock(&self.unwritten).insert(id);
        }
        // The completer outlives every sender.
        let _ = self.outcomes.send(outcome);
    }

    fn running(&self) -> usize {
        lock(&self.inflight).len()
    }

    fn outstanding(&self) -> usize {
        lock(&self.buffer).len() + self.running()
    }

    fn take_buffer(&self) -> VecDeque<Claimed> {
        std::mem::take(&mut *lock(&self.buffer))
    }

    fn stop_all(&self, why: Stop) {
        for running in lock(&self.inflight).values() {
            running.stop(why);
        }
    }

    /// Stops a job that runs; one that waits here is not begun.
    fn stop(&self, id: JobId, why: Stop) {
        let waiting = {
            let mut buffer = lock(&self.buffer);
            let at = buffer.iter().position(|job| job.id == id);
            at.and_then(|at| buffer.remove(at))
        };
        if let Some(job) = waiting {
            self.send(Outcome::released(Ticket::of(&job)));
        } else if let Some(running) = lock(&self.inflight).get(&id) {
            running.stop(why);
        }
    }

    /// Jobs that run or wait here.
    fn held(&self) -> Vec<JobId> {
        let mut held: Vec<JobId> = lock(&self.buffer).iter().map(|job| job.id).collect();
        held.extend(lock(&self.inflight).keys());
        held
    }

    fn holds(&self, id: JobId) -> bool {
        lock(&self.buffer).iter().any(|job| job.id == id) || lock(&self.inflight).contains_key(&id)
    }
}

impl Running {
    /// The first reason counts.
    fn stop(&self, why: Stop) {
        lock(&self.why).get_or_insert(why);
        self.stop.cancel();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
