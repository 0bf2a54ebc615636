//! The loop: lead or wait, fire what is due, sleep until the next tick or a change.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use super::due::due;
use super::leader::{Lead, Leader, RENEW};
use super::queries::{self, DueSchedule};
use super::{Missed, Schedule, Timetable, manage};
use crate::config::CronBackend;
use crate::db::{DbError, SystemConnection};
use crate::jobs::{Jobs, JobsError};
use crate::lifecycle::Lifecycle;

/// After an error.
const RETRY: Duration = Duration::from_secs(2);

/// How often `pg_cron`'s entries are compared with ours when nobody says that something has changed.
const COMPARE: Duration = Duration::from_secs(30);

/// How schedules are fired.
#[derive(Debug, Clone)]
pub struct CronOptions {
    /// Who fires them.
    pub backend: CronBackend,
    /// Longest pause between two looks.
    pub poll_interval: Duration,
    /// The program's own schedules.
    pub app: Vec<Schedule>,
    /// Those of `sb.toml`; `None` when there is no such file, which then leaves the table as it is.
    pub config: Option<Vec<Schedule>>,
}

/// Writes the schedules of settings and program, and fires what is due until `lifecycle` stops.
///
/// # Errors
/// [`JobsError::Invalid`] when a schedule or the backend cannot be used.
pub async fn start(
    jobs: &Jobs,
    options: CronOptions,
    lifecycle: &Lifecycle,
) -> Result<(), JobsError> {
    if options.backend == CronBackend::Off {
        return Ok(());
    }
    let db = jobs.db.jobs().connection().await?;
    for (source, schedules) in [
        ("app", Some(&options.app)),
        ("config", options.config.as_ref()),
    ] {
        let Some(schedules) = schedules else { continue };
        for schedule in schedules {
            schedule.check()?;
        }
        let changes = queries::sync(&db, source, &manage::to_json(schedules)).await?;
        for change in changes.iter().filter(|change| change.change == "taken") {
            tracing::warn!(
                schedule = change.name,
                "schedule \"{}\" was made with jobs.schedule, which stands; unschedule it or rename one of them",
                change.name
            );
        }
    }
    if options.backend == CronBackend::PgCron {
        queries::sync_pg_cron(&db, true).await?;
    }
    drop(db);
    let scheduler = Scheduler {
        jobs: jobs.clone(),
        backend: options.backend,
        poll_interval: options.poll_interval,
        leader: Leader::new(),
        compared: None,
    };
    lifecycle.spawn(scheduler.run(lifecycle.stopping()));
    Ok(())
}

struct Scheduler {
    jobs: Jobs,
    backend: CronBackend,
    poll_interval: Duration,
    leader: Leader,
    compared: Option<Instant>,
}

impl Scheduler {
    async fn run(mut self, stopping: tokio_util::sync::CancellationToken) {
        let mut notices = self.jobs.listener.subscribe("sb_cron");
        loop {
            let wait = tokio::select! {
                biased;
                () = stopping.cancelled() => break,
                passed = self.pass() => passed,
            };
            let wait = wait.unwrap_or_else(|error| {
                tracing::warn!(error = %error, "schedules could not be looked at");
                self.leader.concede();
                RETRY
            });
            tokio::select! {
                () = stopping.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
                notice = notices.recv() => {
                    self.compared = None;
                    if matches!(notice, Err(RecvError::Closed)) {
                        break;
                    }
                    // One look answers all that came together.
                    while notices.try_recv().is_ok() {}
                }
            }
        }
        let released = async {
            self.leader
                .release(&self.jobs.db.jobs().connection().await?)
                .await
        };
        if let Err(error) = released.await {
            tracing::debug!(error = %error, "the lease of the schedules could not be given back");
        }
    }

    /// Fires what is due. Returns how long nothing will be.
    async fn pass(&mut self) -> Result<Duration, DbError> {
        let db = self.jobs.db.jobs().connection().await?;
        let lead = self.leader.hold(&db).await?;
        if let Lead::Others(left) = lead {
            return Ok(left.min(self.poll_interval));
        }
        if self.backend == CronBackend::PgCron {
            if self.compared.is_none_or(|at| at.elapsed() >= COMPARE) {
                queries::sync_pg_cron(&db, true).await?;
                self.compared = Some(Instant::now());
            }
            return Ok(RENEW.min(self.poll_interval));
        }
        if lead == Lead::Taken {
            // What pg_cron was told to do, if it ever was.
            queries::sync_pg_cron(&db, false).await?;
        }
        let (now, schedules) = queries::due(&db).await?;
        let mut failed = None;
        for schedule in &schedules {
            match self.act(&db, schedule, now).await {
                Err(error) if error.is_transient() => return Err(error),
                // The others are not to suffer from it.
                Err(error) => failed = Some(error),
                Ok(()) => {}
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let next = queries::until_next(&db).await?;
        Ok(next.unwrap_or(RENEW).min(RENEW).min(self.poll_interval))
    }

    async fn act(
        &self,
        db: &SystemConnection,
        schedule: &DueSchedule,
        now: DateTime<Utc>,
    ) -> Result<(), DbError> {
        let table = match Timetable::parse(&schedule.cron_expr, &schedule.time_zone) {
            Ok(table) => table,
            Err(problem) => return refuse(db, schedule, &problem).await,
        };
        let Some(planned) = schedule.next_fire_at else {
            return match table.after(schedule.after_at) {
                Some(next) => queries::plan(db, schedule, Some(next), None).await,
                None => refuse(db, schedule, "this expression names no time that will come").await,
            };
        };
        let window = TimeDelta::try_milliseconds(schedule.missed_window_ms);
        let policy = (missed(&schedule.missed), window.unwrap_or(TimeDelta::MAX));
        let due = due(&table, policy, planned, now);
        let fired = queries::fire(db, schedule, planned, &due.ticks, due.next).await?;
        for run in fired {
            if let Some(error) = &run.error {
                tracing::error!(
                    schedule = schedule.name,
                    error,
                    "schedule \"{}\" could not enqueue its job: {error}",
                    schedule.name
                );
            }
            if let Some(queue) = &run.queue {
                self.jobs.wake.queue(queue);
            }
        }
        Ok(())
    }
}

fn missed(word: &str) -> Missed {
    match word {
        "skip" => Missed::Skip,
        "all" => Missed::All,
        _ => Missed::Latest,
    }
}

/// The last word on a text that got past the database's own check.
async fn refuse(
    db: &SystemConnection,
    schedule: &DueSchedule,
    problem: &str,
) -> Result<(), DbError> {
    tracing::error!(
        schedule = schedule.name,
        "schedule \"{}\" does not fire: {problem}",
        schedule.name
    );
    queries::plan(db, schedule, None, Some(problem)).await
}
