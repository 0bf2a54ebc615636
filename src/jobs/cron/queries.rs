//! All SQL of schedules. The scheduler's runs as role `sb_jobs`, an operator's as the owner.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::manage::{Change, Listed, Run};
use crate::db::{Connection, DbError, Row, SystemConnection};

/// Whether the lease was still ours.
pub(super) async fn renew_lease(
    db: &SystemConnection,
    owner: Uuid,
    epoch: i64,
    lease: Duration,
) -> Result<bool, DbError> {
    let changed = db
        .execute(
            "update jobs.leader l
               set expires_at = jobs.now() + make_interval(secs => $3)
               where l.name = 'cron'
                 and l.owner = $1
                 and l.epoch = $2",
            &[&owner, &epoch, &lease.as_secs_f64()],
        )
        .await?;
    Ok(changed == 1)
}

/// The epoch of a lease that is ours from now on.
pub(super) async fn take_lease(
    db: &SystemConnection,
    owner: Uuid,
    lease: Duration,
) -> Result<Option<i64>, DbError> {
    let row = db
        .query_opt(
            "insert into jobs.leader as l (name, owner, epoch, expires_at)
               values ('cron', $1, 1, jobs.now() + make_interval(secs => $2))
               on conflict (name) do update
                 set owner = excluded.owner,
                     epoch = l.epoch + 1,
                     expires_at = excluded.expires_at
                 where l.expires_at <= jobs.now()
                   or l.owner = excluded.owner
               returning l.epoch",
            &[&owner, &lease.as_secs_f64()],
        )
        .await?;
    Ok(row.map(|row| row.get(0)))
}

/// How long the lease will last unless it is renewed.
pub(super) async fn lease_left(db: &SystemConnection) -> Result<Duration, DbError> {
    let row = db
        .query_opt(
            "select extract(epoch from l.expires_at - jobs.now())::float8
               from jobs.leader l
               where l.name = 'cron'",
            &[],
        )
        .await?;
    Ok(row.map_or(Duration::ZERO, |row| seconds(row.get(0))))
}

pub(super) async fn release_lease(
    db: &SystemConnection,
    owner: Uuid,
    epoch: i64,
) -> Result<(), DbError> {
    db.execute(
        "with released as (
           update jobs.leader l
             set expires_at = jobs.now()
             where l.name = 'cron'
               and l.owner = $1
               and l.epoch = $2
             returning l.name
         )
         select pg_notify('sb_cron', '')
           from released",
        &[&owner, &epoch],
    )
    .await
    .map(drop)
}

/// A schedule whose tick has come, or whose next one is not known yet.
#[derive(Debug)]
pub(super) struct DueSchedule {
    pub(super) name: String,
    pub(super) revision: i64,
    pub(super) cron_expr: String,
    pub(super) time_zone: String,
    pub(super) missed: String,
    pub(super) missed_window_ms: i64,
    pub(super) after_at: DateTime<Utc>,
    pub(super) next_fire_at: Option<DateTime<Utc>>,
}

/// What there is to do, and the time at which that is so.
pub(super) async fn due(
    db: &SystemConnection,
) -> Result<(DateTime<Utc>, Vec<DueSchedule>), DbError> {
    let rows = db
        .query(
            "with clock as materialized (
               select jobs.now() as now
             )
             select k.now
                  , c.name
                  , c.revision
                  , c.cron_expr
                  , c.time_zone
                  , c.missed
                  , (extract(epoch from c.missed_window) * 1000)::bigint as missed_window_ms
                  , c.after_at
                  , c.next_fire_at
               from clock k
               left join jobs.cron_schedules c
                 on c.enabled
                and (c.next_fire_at <= k.now or c.next_fire_at is null and c.error is null)
               order by c.next_fire_at",
            &[],
        )
        .await?;
    let now = rows
        .first()
        .map_or_else(DateTime::default, |row| row.get("now"));
    let schedule = |row: &Row| {
        let name: Option<String> = row.get("name");
        name.map(|name| DueSchedule {
            name,
            revision: row.get("revision"),
            cron_expr: row.get("cron_expr"),
            time_zone: row.get("time_zone"),
            missed: row.get("missed"),
            missed_window_ms: row.get("missed_window_ms"),
            after_at: row.get("after_at"),
            next_fire_at: row.get("next_fire_at"),
        })
    };
    Ok((now, rows.iter().filter_map(schedule).collect()))
}

/// How long until the next tick, or until one that is not planned yet is looked at.
pub(super) async fn until_next(db: &SystemConnection) -> Result<Option<Duration>, DbError> {
    let row = db
        .query_one(
            "with clock as materialized (
               select jobs.now() as now
             )
             select extract(epoch from min(coalesce(c.next_fire_at, k.now) - k.now))::float8
               from clock k
               cross join jobs.cron_schedules c
               where c.enabled
                 and (c.next_fire_at is not null or c.error is null)",
            &[],
        )
        .await?;
    Ok(row.get::<_, Option<f64>>(0).map(seconds))
}

/// Writes when a schedule is due, or why it never is, unless it has changed since.
pub(super) async fn plan(
    db: &SystemConnection,
    schedule: &DueSchedule,
    next: Option<DateTime<Utc>>,
    error: Option<&str>,
) -> Result<(), DbError> {
    db.execute(
        "update jobs.cron_schedules c
           set next_fire_at = $3,
               error = $4
           where c.name = $1
             and c.revision = $2",
        &[&schedule.name, &schedule.revision, &next, &error],
    )
    .await
    .map(drop)
}

/// Fires ticks and moves the schedule on. Nothing comes back when somebody else was faster.
pub(super) async fn fire(
    db: &SystemConnection,
    schedule: &DueSchedule,
    planned: DateTime<Utc>,
    ticks: &[DateTime<Utc>],
    next: Option<DateTime<Utc>>,
) -> Result<Vec<Run>, DbError> {
    let rows = db
        .query(
            "select f.tick
                  , f.job_id
                  , f.queue
                  , f.outcome
                  , f.error
               from jobs.fire_schedule($1, $2, $3, $4, $5) as f",
            &[&schedule.name, &schedule.revision, &planned, &ticks, &next],
        )
        .await?;
    Ok(rows.iter().map(run).collect())
}

fn run(row: &Row) -> Run {
    Run {
        tick: row.get("tick"),
        job_id: row.get("job_id"),
        queue: row.get("queue"),
        outcome: row.get("outcome"),
        error: row.get("error"),
    }
}

/// Makes `pg_cron`'s entries what the table says, or removes them.
pub(super) async fn sync_pg_cron(db: &SystemConnection, active: bool) -> Result<(), DbError> {
    db.execute("select jobs.sync_pg_cron($1)", &[&active])
        .await
        .map(drop)
}

const SYNC: &str = "
    select s.name
         , s.change
      from jobs.sync_schedules($1, $2) as s
      order by s.name";

fn change(row: &Row) -> Change {
    Change {
        name: row.get("name"),
        change: row.get("change"),
    }
}

/// Makes the schedules of one source what the list says.
pub(super) async fn sync(
    db: &SystemConnection,
    source: &str,
    schedules: &Value,
) -> Result<Vec<Change>, DbError> {
    let rows = db.query(SYNC, &[&source, schedules]).await?;
    Ok(rows.iter().map(change).collect())
}

/// The same, by an operator.
pub(super) async fn sync_as_owner(
    db: &Connection,
    source: &str,
    schedules: &Value,
) -> Result<Vec<Change>, DbError> {
    let rows = db.query(SYNC, &[&source, schedules]).await?;
    Ok(rows.iter().map(change).collect())
}

/// How many schedules a source has.
pub(super) async fn count(db: &Connection, source: &str) -> Result<i64, DbError> {
    let row = db
        .query_one(
            "select count(*)
               from jobs.cron_schedules c
               where c.source = $1",
            &[&source],
        )
        .await?;
    Ok(row.get(0))
}

/// Every schedule, and what time it is.
pub(super) async fn list(db: &Connection) -> Result<Vec<(DateTime<Utc>, Listed)>, DbError> {
    let rows = db
        .query(
            "with clock as materialized (
               select jobs.now() as now
             )
             select k.now
                  , c.name
                  , c.cron_expr
                  , c.time_zone
                  , c.job_name
                  , c.queue
                  , c.overlap
                  , c.missed
                  , c.enabled
                  , c.source
                  , c.after_at
                  , c.last_fire_at
                  , c.last_job_id
                  , j.status::text as last_job_status
                  , c.error
               from jobs.cron_schedules c
               cross join clock k
               left join jobs.jobs j
                 on j.id = c.last_job_id
               order by c.name",
            &[],
        )
        .await?;
    let listed = |row: &Row| {
        let listed = Listed {
            name: row.get("name"),
            schedule: row.get("cron_expr"),
            time_zone: row.get("time_zone"),
            in_words: None,
            job: row.get("job_name"),
            queue: row.get("queue"),
            overlap: row.get("overlap"),
            missed: row.get("missed"),
            enabled: row.get("enabled"),
            source: row.get("source"),
            next: Vec::new(),
            last_fire_at: row.get("last_fire_at"),
            last_job_id: row.get("last_job_id"),
            last_job_status: row.get("last_job_status"),
            error: row.get("error"),
        };
        (row.get("now"), listed)
    };
    Ok(rows.iter().map(listed).collect())
}

/// Runs a schedule's job now.
pub(super) async fn run_now(db: &Connection, name: &str) -> Result<Option<Run>, DbError> {
    let row = db
        .query_opt(
            "select r.tick
                  , r.job_id
                  , r.queue
                  , r.outcome
                  , r.error
               from jobs.run_schedule($1, true) as r",
            &[&name],
        )
        .await?;
    Ok(row.as_ref().map(run))
}

/// Wakes the workers of a queue.
pub(super) async fn notify(db: &Connection, queue: &str) -> Result<(), DbError> {
    db.execute("select pg_notify('sb_jobs', $1)", &[&queue])
        .await
        .map(drop)
}

/// Pauses a schedule or lets it go on. Whether there is one of that name.
pub(super) async fn set_enabled(
    db: &Connection,
    name: &str,
    enabled: bool,
) -> Result<bool, DbError> {
    let changed = db
        .execute(
            "update jobs.cron_schedules c
               set enabled = $2
               where c.name = $1",
            &[&name, &enabled],
        )
        .await?;
    Ok(changed == 1)
}

/// The names there are.
pub(super) async fn names(db: &Connection) -> Result<Vec<String>, DbError> {
    let rows = db
        .query(
            "select c.name
               from jobs.cron_schedules c
               order by c.name",
            &[],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// What is removed of each kind, at most `most` at a time. Sessions end after so many seconds without use, and, unless it
/// is 0, at so many seconds of age.
pub(in crate::jobs) async fn remove_expired(
    db: &SystemConnection,
    runs_days: i32,
    (session_idle, session_age): (u64, u64),
    most: i32,
) -> Result<Vec<(String, i64)>, DbError> {
    // No calendar goes back further.
    const LONGEST: u64 = 100_000_000_000;
    let seconds = |count: u64| Duration::from_secs(count.min(LONGEST)).as_secs_f64();
    let age = if session_age == 0 {
        LONGEST
    } else {
        session_age
    };
    let rows = db
        .query(
            "select p.kind
                  , p.removed
               from jobs.remove_expired(
                 make_interval(days => $1), make_interval(secs => $2), make_interval(secs => $3), $4
               ) as p",
            &[&runs_days, &seconds(session_idle), &seconds(age), &most],
        )
        .await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}
