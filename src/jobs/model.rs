//! Jobs as Rust sees them.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::kind::Backoff;

/// Id of a job.
pub type JobId = i64;

/// State of a job, as in `jobs.status`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Waits for its time, or for its next attempt.
    Scheduled,
    /// May run now.
    Queued,
    /// Claimed by a worker.
    Running,
    /// Done.
    Succeeded,
    /// Dead: used up its attempts, or was given up.
    Failed,
    /// Cancelled.
    Cancelled,
}

impl Status {
    /// The value of `jobs.status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A job to enqueue. Its members are the parameters of `jobs.enqueue`; `None` is the default there.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct NewJob {
    /// A handler's name, `sql:schema.function`, or an http(s) address.
    pub name: String,
    /// What the handler gets.
    pub payload: Value,
    /// The queue; otherwise the kind's, otherwise `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// With name and user at most one unfinished job has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// How long the key stays taken after the job has succeeded, in seconds.
    #[serde(
        skip_serializing_if = "Option::is_none",
        rename = "unique_for",
        serialize_with = "as_interval"
    )]
    pub unique_for: Option<Duration>,
    /// For whom it runs. Only trusted callers choose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<Uuid>,
    /// As which role it runs; otherwise `service_role`. Only trusted callers choose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Version of the payload's form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i32>,
    /// Attempts before it is dead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<i32>,
    /// How the pause between attempts grows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// The first pause, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff_base_s: Option<f64>,
    /// The longest pause, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff_max_s: Option<f64>,
    /// Not before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_at: Option<DateTime<Utc>>,
    /// Not before this long from now.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "as_interval"
    )]
    pub delay: Option<Duration>,
    /// Smaller runs earlier; otherwise 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// At most `concurrency_limit` jobs with this key run at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency_key: Option<String>,
    /// Otherwise 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency_limit: Option<i32>,
    /// Seconds one attempt may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<i32>,
    /// What enqueues it: `cron:NAME` or `hook:NAME`.
    #[serde(skip)]
    pub source: Option<String>,
}

impl NewJob {
    /// A job with nothing but name and payload.
    pub fn new(name: impl Into<String>, payload: Value) -> Self {
        Self {
            name: name.into(),
            payload,
            ..Self::default()
        }
    }

    pub(super) fn is_due_now(&self) -> bool {
        self.run_at.is_none() && self.delay.is_none_or(|delay| delay.is_zero())
    }
}

#[expect(clippy::ref_option, reason = "the signature serde calls")]
fn as_interval<S: serde::Serializer>(value: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(duration) => to.serialize_str(&format!("{} seconds", duration.as_secs_f64())),
        None => to.serialize_none(),
    }
}

/// What an enqueue answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enqueued {
    /// The new job, or the one that has the idempotency key.
    pub id: JobId,
    /// Where it waits.
    pub queue: String,
    /// Whether it was added now.
    pub is_new: bool,
}

/// A job that this worker holds.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) id: JobId,
    pub(super) lease: i32,
    pub(super) name: String,
    pub(super) version: i32,
    pub(super) payload: Box<RawValue>,
    pub(super) role: String,
    pub(super) claims: Option<serde_json::Map<String, Value>>,
    pub(super) attempts: i32,
    pub(super) max_attempts: i32,
    pub(super) timeout_s: Option<i32>,
    pub(super) source: Option<String>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) priority: i16,
    pub(super) run_at: DateTime<Utc>,
    /// It has a concurrency key.
    pub(super) keyed: bool,
    pub(super) due: Due,
}

/// Since when a claimed job has been due: the database's clock until the claim, this process' from then on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Due {
    before: Duration,
    claimed_at: Instant,
}

impl Due {
    pub(super) fn new(before_s: f64) -> Self {
        Self {
            before: Duration::try_from_secs_f64(before_s).unwrap_or_default(),
            claimed_at: Instant::now(),
        }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.before + self.claimed_at.elapsed()
    }
}
