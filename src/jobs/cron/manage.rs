//! What an operator does with schedules, on the owner's connection.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;

use super::{Schedule, Timetable, queries};
use crate::db::{Connection, DbError};
use crate::jobs::JobsError;

/// A schedule as `sb cron list` shows it.
#[derive(Debug, Clone, Serialize)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// The cron expression.
    pub schedule: String,
    /// The zone its times are meant in.
    pub time_zone: String,
    /// The expression in English.
    pub in_words: Option<String>,
    /// Name of the job.
    pub job: String,
    /// The queue, when it is not the kind's.
    pub queue: Option<String>,
    /// `allow`, `skip` or `replace`.
    pub overlap: String,
    /// `skip`, `latest` or `all`.
    pub missed: String,
    /// `false` while paused.
    pub enabled: bool,
    /// `sql`, `config` or `app`.
    pub source: String,
    /// The next three ticks; none while it is paused.
    pub next: Vec<DateTime<Utc>>,
    /// The last tick.
    pub last_fire_at: Option<DateTime<Utc>>,
    /// The last job.
    pub last_job_id: Option<i64>,
    /// What became of it; `None` when it is not kept any more.
    pub last_job_status: Option<String>,
    /// Why it does not fire.
    pub error: Option<String>,
}

/// What a sync did with one schedule.
#[derive(Debug, Clone, Serialize)]
pub struct Change {
    /// Its name.
    pub name: String,
    /// `added`, `changed`, `removed`, or `taken`: SQL has made one of that name, which stands.
    pub change: String,
}

/// One tick that was fired.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Its time.
    pub tick: DateTime<Utc>,
    /// The job, unless there is none.
    pub job_id: Option<i64>,
    /// Where the job waits.
    pub queue: Option<String>,
    /// `enqueued`, `skipped` (the last job is not over) or `failed`.
    pub outcome: String,
    /// Why it failed.
    pub error: Option<String>,
}

/// Every schedule, by name.
pub async fn list(db: &Connection) -> Result<Vec<Listed>, DbError> {
    let listed = queries::list(db).await?.into_iter();
    Ok(listed.map(|(now, listed)| explain(now, listed)).collect())
}

fn explain(now: DateTime<Utc>, mut listed: Listed) -> Listed {
    match Timetable::parse(&listed.schedule, &listed.time_zone) {
        Ok(table) => {
            listed.in_words = Some(table.describe());
            if listed.enabled {
                let ticks = std::iter::successors(table.after(now), |tick| table.after(*tick));
                listed.next = ticks.take(3).collect();
            }
        }
        Err(problem) => {
            listed.error.get_or_insert(problem);
        }
    }
    listed
}

/// Makes the schedules of `sb.toml` what the list says.
///
/// # Errors
/// [`JobsError::WrongState`] when the list is empty and the table is not, unless `allow_empty`: more likely this is not
/// the folder of the project.
pub async fn sync(
    db: &Connection,
    schedules: &[Schedule],
    allow_empty: bool,
) -> Result<Vec<Change>, JobsError> {
    for schedule in schedules {
        schedule.check()?;
    }
    if schedules.is_empty() && !allow_empty {
        let there = queries::count(db, "config").await?;
        if there > 0 {
            return Err(JobsError::WrongState(
                format!("sb.toml has no schedules, and the database has {there} from an sb.toml")
                    .into(),
            ));
        }
    }
    Ok(queries::sync_as_owner(db, "config", &to_json(schedules)).await?)
}

/// Enqueues a schedule's job now, whatever its expression says.
///
/// # Errors
/// [`JobsError::NotFound`] when there is no such schedule.
pub async fn run(db: &Connection, name: &str) -> Result<Option<Run>, JobsError> {
    let run = queries::run_now(db, name).await?;
    if let Some(queue) = run.as_ref().and_then(|run| run.queue.as_deref()) {
        queries::notify(db, queue).await?;
    }
    Ok(run)
}

/// Pauses a schedule, or lets it go on with the ticks to come.
///
/// # Errors
/// [`JobsError::NotFound`] when there is no such schedule.
pub async fn set_enabled(db: &Connection, name: &str, enabled: bool) -> Result<(), JobsError> {
    if queries::set_enabled(db, name, enabled).await? {
        return Ok(());
    }
    Err(JobsError::NotFound(
        format!("schedule \"{name}\" does not exist").into(),
    ))
}

/// The names of all schedules.
pub async fn names(db: &Connection) -> Result<Vec<String>, DbError> {
    queries::names(db).await
}

pub(super) fn to_json(schedules: &[Schedule]) -> Value {
    schedules.iter().map(Schedule::to_json).collect()
}
