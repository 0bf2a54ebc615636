//! The job `sb.retention`: removes what nobody needs any more. An hourly schedule of the program enqueues it.

use serde_json::{Map, Value, json};

use super::cron::{Overlap, Schedule};
use super::{Handlers, JobContext, JobResult, Kind, NewJob, cron, queries};
use crate::config::{self, Config};

/// Name of the job and of its schedule.
pub const NAME: &str = "sb.retention";

/// Rows of one kind that one statement removes.
const PORTION: i32 = 5_000;

/// A worker that knows the job.
pub fn register(handlers: Handlers, config: config::Handle) -> Handlers {
    handlers.add(Kind::new(NAME), move |context, _| {
        let config = config.current();
        async move { run(&context, &config).await }
    })
}

/// Hourly, away from the full hour, at which everybody's schedules begin.
pub fn schedule() -> Schedule {
    Schedule::new(NAME, "17 * * * *", NewJob::new(NAME, json!({}))).overlap(Overlap::Skip)
}

async fn run(context: &JobContext, config: &Config) -> JobResult {
    let db = context.db.jobs().connection().await?;
    let jobs = &config.jobs;
    queries::maintain(&db, jobs.history_days.into(), jobs.dead_days.into()).await?;
    let auth = &config.auth;
    let session_idle = match auth.sessions_inactivity_timeout {
        0 => auth.refresh_token_ttl,
        seconds => seconds.min(auth.refresh_token_ttl),
    };
    let sessions = (session_idle, auth.sessions_timebox);
    let mut removed = Map::new();
    loop {
        let portion =
            cron::remove_expired(&db, jobs.history_days.into(), sessions, PORTION).await?;
        let mut more = false;
        for (kind, count) in portion {
            more |= count >= PORTION.into();
            let sum = removed.get(&kind).and_then(Value::as_i64).unwrap_or(0) + count;
            removed.insert(kind, sum.into());
        }
        if !more {
            return Ok(removed.into());
        }
        context.set_progress(Value::from(removed.clone()));
    }
}
