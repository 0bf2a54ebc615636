//! Handlers: what runs when a job is due.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use super::kind::Kind;
use super::model::JobId;
use super::worker::Progress;
use super::{JobError, Jobs, NewJob};
use crate::db::Db;
use crate::identity::Caller;

/// How an attempt ends: a result that is kept with the job, or an error.
pub type JobResult = Result<Value, JobError>;

/// A kind of job with a typed payload. The value itself is the payload.
pub trait Job: Serialize + DeserializeOwned + Send + 'static {
    /// The name it is enqueued under.
    const NAME: &'static str;

    /// Its defaults: queue, attempts, backoff, timeout.
    fn kind() -> Kind {
        Kind::new(Self::NAME)
    }

    /// Does the work. It may run more than once: make its effects idempotent.
    fn run(self, context: JobContext) -> impl Future<Output = JobResult> + Send;

    /// The job to enqueue.
    ///
    /// # Errors
    /// When the payload cannot be written as JSON.
    fn to_job(&self) -> Result<NewJob, serde_json::Error> {
        Ok(NewJob::new(Self::NAME, serde_json::to_value(self)?))
    }
}

/// What a handler is given besides the payload.
#[derive(Debug, Clone)]
pub struct JobContext {
    /// The job.
    pub id: JobId,
    /// Its name.
    pub name: Arc<str>,
    /// Its version, as enqueued.
    pub version: i32,
    /// This attempt, from 1.
    pub attempt: i32,
    /// Number of this claim, from 1; greater than `attempt` when the job was snoozed or handed back.
    pub claim: i32,
    /// The last attempt there will be.
    pub max_attempts: i32,
    /// What enqueued it: `cron:NAME` or `hook:NAME`.
    pub source: Option<String>,
    /// When it was enqueued.
    pub created_at: chrono::DateTime<chrono::Utc>,
    /// Whom it runs for: role, user and claims from when it was enqueued.
    pub caller: Caller,
    /// The database; `db.begin_job(&context.caller, …)` runs as the caller.
    pub db: Db,
    /// The queue, to enqueue more.
    pub jobs: Jobs,
    /// Cancelled when somebody cancels the job, its time is over or the worker stops. The handler's future is dropped a
    /// moment later.
    pub cancelled: CancellationToken,
    /// How long this attempt may take.
    pub timeout: std::time::Duration,
    pub(super) progress: Progress,
}

impl JobContext {
    /// Shows how far the job is, as any JSON. Written within a second or so; the last value wins.
    pub fn set_progress(&self, progress: Value) {
        self.progress.set(self.id, progress);
    }
}

/// A handler without its type.
pub(super) type Run =
    Arc<dyn Fn(JobContext, Box<RawValue>) -> BoxFuture<'static, JobResult> + Send + Sync>;

/// All kinds of jobs a worker knows.
#[derive(Clone, Default)]
pub struct Handlers {
    by_name: HashMap<String, (Kind, Run)>,
    by_prefix: Vec<(&'static str, Run)>,
}

impl std::fmt::Debug for Handlers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}

impl Handlers {
    /// Adds a typed kind. A payload that does not fit the type fails for good: trying again would not help.
    pub fn job<J: Job>(self) -> Self {
        self.add(J::kind(), |context, payload| async move {
            let job: J = serde_json::from_str(payload.get())
                .map_err(|error| JobError::Discard(format!("the payload does not fit: {error}")))?;
            job.run(context).await
        })
    }

    /// Adds a kind whose handler reads the payload itself. A second one of the same name replaces the first.
    pub fn add<F, R>(mut self, kind: Kind, run: F) -> Self
    where
        F: Fn(JobContext, Box<RawValue>) -> R + Send + Sync + 'static,
        R: Future<Output = JobResult> + Send + 'static,
    {
        let run: Run = Arc::new(move |context, payload| Box::pin(run(context, payload)));
        self.by_name.insert(kind.name.clone(), (kind, run));
        self
    }

    /// Adds a handler for every name that starts with `prefix`.
    pub(crate) fn add_prefix<F, R>(mut self, prefix: &'static str, run: F) -> Self
    where
        F: Fn(JobContext, Box<RawValue>) -> R + Send + Sync + 'static,
        R: Future<Output = JobResult> + Send + 'static,
    {
        self.by_prefix.push((
            prefix,
            Arc::new(move |context, payload| Box::pin(run(context, payload))),
        ));
        self
    }

    /// The handler of a name.
    pub(super) fn find(&self, name: &str) -> Option<&Run> {
        if let Some((_, run)) = self.by_name.get(name) {
            return Some(run);
        }
        let fits = |(prefix, _): &&(&'static str, Run)| name.starts_with(prefix);
        self.by_prefix.iter().find(fits).map(|(_, run)| run)
    }

    /// The kinds with a name of their own.
    pub fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.by_name.values().map(|(kind, _)| kind)
    }

    /// What the claim statement compares names with, as `like` patterns.
    pub(super) fn patterns(&self) -> (Vec<String>, Vec<String>) {
        let names = self.by_name.keys().cloned().collect();
        let prefixes = self.by_prefix.iter().map(|(prefix, _)| *prefix);
        let patterns = prefixes.chain([super::sql::PREFIX]);
        (names, patterns.map(|prefix| format!("{prefix}%")).collect())
    }
}
