//! What callers and operators ask of jobs and queues: look, cancel, retry, pause, purge.
//!
//! The same functions serve a caller's transaction, where policies decide, and the owner's connection of a command.

mod queries;
mod watch;

use std::future::Future;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::{JobsError, Refusal};
use super::model::{Enqueued, JobId, NewJob, Status};
use crate::db::{Connection, DbError, Row, SystemConnection, ToSql, Tx};
pub(super) use queries::{enqueue as insert, enqueue_many as insert_many};
pub(crate) use watch::{KindFailures, Sample};

/// Most jobs one list holds.
pub(crate) const MAX_LIST: i64 = 500;

/// Something that runs statements: a caller's transaction, or a connection.
pub(crate) trait Runs: Sync {
    /// Runs one statement.
    fn rows(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> impl Future<Output = Result<Vec<Row>, DbError>> + Send;
}

impl Runs for Tx {
    async fn rows(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, DbError> {
        self.query(sql, params).await
    }
}

impl Runs for Connection {
    async fn rows(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, DbError> {
        self.query(sql, params).await
    }
}

impl Runs for SystemConnection {
    async fn rows(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, DbError> {
        self.query(sql, params).await
    }
}

/// Which jobs to list, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) status: Option<Status>,
    pub(crate) queue: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) limit: i64,
    pub(crate) offset: i64,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            status: None,
            queue: None,
            name: None,
            limit: 50,
            offset: 0,
        }
    }
}

/// What waits in a queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct QueueState {
    pub(crate) name: String,
    /// Workers claim nothing from it.
    pub(crate) paused: bool,
    /// An enqueue from SQL wakes workers.
    pub(crate) notify: bool,
    pub(crate) queued: i64,
    pub(crate) scheduled: i64,
    pub(crate) running: i64,
    /// Seconds that the oldest claimable job has been due.
    pub(crate) oldest_age_s: Option<f64>,
}

/// A worker that is registered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct WorkerState {
    pub(crate) id: i64,
    pub(crate) name: String,
    /// Empty means every queue.
    pub(crate) queues: Vec<String>,
    pub(crate) concurrency: i32,
    pub(crate) inflight: i32,
    pub(crate) uptime_s: f64,
    /// Seconds since its last sign of life.
    pub(crate) seen_s: f64,
}

/// What a command removes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Purge {
    /// One state; otherwise all in which a job is over.
    pub(crate) status: Option<Status>,
    pub(crate) queue: Option<String>,
}

/// The jobs of the filter as JSON objects with the columns of `jobs.jobs`.
pub(crate) async fn list(on: &impl Runs, filter: &Filter) -> Result<Vec<Box<RawValue>>, JobsError> {
    Ok(queries::list(on, filter).await?)
}

/// One job, as in [`list`].
///
/// # Errors
/// [`JobsError::NotFound`].
pub(crate) async fn find(on: &impl Runs, id: JobId) -> Result<Box<RawValue>, JobsError> {
    let found = queries::find(on, id).await?;
    found.ok_or_else(|| JobsError::NotFound(format!("job {id} does not exist").into()))
}

/// Cancels a job. The answer is its state: `cancelled`, or `running` while its worker stops it.
///
/// # Errors
/// [`JobsError::NotFound`], and [`JobsError::WrongState`] when it is over or being cancelled already.
pub(crate) async fn cancel(on: &impl Runs, id: JobId) -> Result<String, JobsError> {
    Ok(queries::cancel(on, id).await?)
}

/// Runs a failed or cancelled job again, a scheduled one at once. Workers are woken at commit.
///
/// # Errors
/// [`JobsError::NotFound`], and [`JobsError::WrongState`] in any other state.
pub(crate) async fn retry(on: &impl Runs, id: JobId) -> Result<(), JobsError> {
    Ok(queries::retry(on, id).await?)
}

/// Enqueues as the owner of a connection, and wakes workers.
pub(crate) async fn enqueue(on: &impl Runs, job: &NewJob) -> Result<Enqueued, JobsError> {
    let (enqueued, _) = queries::enqueue(on, job, false).await?;
    if enqueued.is_new && job.is_due_now() {
        queries::wake(on, &enqueued.queue).await?;
    }
    Ok(enqueued)
}

/// The ids of the jobs of the filter that are smaller than `below`, newest first.
pub(crate) async fn ids_below(
    on: &impl Runs,
    filter: &Filter,
    below: JobId,
) -> Result<Vec<JobId>, JobsError> {
    Ok(queries::ids_below(on, filter, below).await?)
}

/// The database's clock.
pub(crate) async fn now(on: &impl Runs) -> Result<DateTime<Utc>, JobsError> {
    Ok(queries::now(on).await?)
}

/// Every queue, by name.
pub(crate) async fn queues(on: &impl Runs) -> Result<Vec<QueueState>, JobsError> {
    Ok(queries::queues(on).await?)
}

/// Every registered worker, oldest first.
pub(crate) async fn workers(on: &impl Runs) -> Result<Vec<WorkerState>, JobsError> {
    Ok(queries::workers(on).await?)
}

/// Pauses or resumes a queue; resuming wakes workers. `false`: it was so already.
///
/// # Errors
/// [`JobsError::UnknownQueue`] with the nearest name that exists.
pub(crate) async fn pause(on: &impl Runs, queue: &str, paused: bool) -> Result<bool, JobsError> {
    match queries::pause(on, queue, paused).await? {
        Some(changed) => Ok(changed),
        None => Err(unknown_queue(queue, &queries::queue_names(on).await?)),
    }
}

/// How many jobs a purge would remove.
pub(crate) async fn count(on: &impl Runs, purge: &Purge) -> Result<i64, JobsError> {
    Ok(queries::count(on, purge).await?)
}

/// Removes jobs for good; returns how many.
pub(crate) async fn purge(on: &impl Runs, purge: &Purge) -> Result<i64, JobsError> {
    Ok(queries::purge(on, purge).await?)
}

/// Age of the newest sign of life of any worker; `None` when there is no worker.
pub(crate) async fn newest_heartbeat(on: &impl Runs) -> Result<Option<Duration>, DbError> {
    queries::newest_heartbeat(on).await
}

/// Everything a live view and the metrics show.
pub(crate) async fn sample(on: &impl Runs) -> Result<Sample, DbError> {
    watch::sample(on).await
}

fn unknown_queue(queue: &str, known: &[String]) -> JobsError {
    let hint = match nearest(queue, known.iter().map(String::as_str)) {
        Some(name) => format!("did you mean {name}?"),
        None => format!("there are {}", known.join(", ")),
    };
    JobsError::UnknownQueue(Refusal::with_hint(
        format!("queue \"{queue}\" does not exist"),
        hint,
    ))
}

/// The known word that `word` was probably meant to be.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (strsim::jaro_winkler(word, name), name))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(score, _)| *score > 0.7)
        .map(|(_, name)| name)
}
