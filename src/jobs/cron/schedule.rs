//! A schedule as a program or a settings file gives it.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Missed, Overlap};
use crate::config::cron::Cron;
use crate::jobs::{JobsError, NewJob};

/// A job that is enqueued at the times a cron expression names.
///
/// ```no_run
/// # use sb::jobs::{NewJob, Overlap, Schedule};
/// let report = NewJob::new("report", serde_json::json!({ "kind": "daily" }));
/// sb::App::new().cron(Schedule::new("daily-report", "30 6 * * mon-fri", report).time_zone("Europe/Berlin"));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule(Cron);

impl Schedule {
    /// A schedule in UTC. Of the job, its name, payload, version, queue, role, user, priority, attempts and timeout are
    /// used.
    pub fn new(name: impl Into<String>, expression: impl Into<String>, job: NewJob) -> Self {
        let defaults = Cron::new(name, expression, job.name);
        Self(Cron {
            payload: job.payload,
            version: job
                .version
                .and_then(|version| version.try_into().ok())
                .unwrap_or(defaults.version),
            queue: job.queue,
            role: job.role,
            user_id: job.user_id,
            priority: job
                .priority
                .and_then(|priority| priority.try_into().ok())
                .unwrap_or_default(),
            max_attempts: job.max_attempts.and_then(|most| most.try_into().ok()),
            timeout_s: job.timeout_s.and_then(|seconds| seconds.try_into().ok()),
            ..defaults
        })
    }

    /// The zone its times are meant in, such as `Europe/Berlin`.
    pub fn time_zone(mut self, zone: impl Into<String>) -> Self {
        self.0.time_zone = zone.into();
        self
    }

    /// What a tick does while the job of the last one is not over; otherwise [`Overlap::Allow`].
    pub fn overlap(mut self, overlap: Overlap) -> Self {
        self.0.overlap = overlap;
        self
    }

    /// What becomes of ticks at which no scheduler ran; otherwise [`Missed::Latest`].
    pub fn missed(mut self, missed: Missed) -> Self {
        self.0.missed = missed;
        self
    }

    /// How far back [`Missed::All`] goes; otherwise a day.
    pub fn missed_window(mut self, window: Duration) -> Self {
        self.0.missed_window = window;
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether the expression and the zone can be used.
    pub(crate) fn check(&self) -> Result<(), JobsError> {
        let checked = self.0.timetable().map(drop);
        checked.map_err(|error| {
            JobsError::Invalid(format!("schedule \"{}\": {error}", self.0.name).into())
        })
    }

    /// What `jobs.sync_schedules` reads.
    pub(super) fn to_json(&self) -> Value {
        let Cron {
            name,
            schedule,
            time_zone,
            job,
            payload,
            version,
            queue,
            role,
            user_id,
            priority,
            max_attempts,
            timeout_s,
            overlap,
            missed,
            missed_window,
        } = &self.0;
        json!({
            "name": name,
            "cron_expr": schedule,
            "time_zone": time_zone,
            "job_name": job,
            "job_version": version,
            "payload": payload,
            "queue": queue,
            "role": role,
            "user_id": user_id,
            "priority": priority,
            "max_attempts": max_attempts,
            "timeout_s": timeout_s,
            "overlap": overlap.as_str(),
            "missed": missed.as_str(),
            "missed_window": format!("{} seconds", missed_window.as_secs_f64()),
        })
    }
}

impl From<Cron> for Schedule {
    fn from(entry: Cron) -> Self {
        Self(entry)
    }
}
