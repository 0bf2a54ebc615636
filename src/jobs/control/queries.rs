//! All SQL of [`super`].

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;

use super::{Filter, Purge, QueueState, Runs, WorkerState};
use crate::db::{DbError, Json, Row};
use crate::jobs::Backoff;
use crate::jobs::model::{Enqueued, JobId, NewJob, Status};

/// Also returns the whole job as JSON, for callers who want to see it (`whole`).
pub(in crate::jobs) async fn enqueue(
    on: &impl Runs,
    job: &NewJob,
    whole: bool,
) -> Result<(Enqueued, Option<Box<RawValue>>), DbError> {
    let seconds = |duration: Option<std::time::Duration>| duration.map(|it| it.as_secs_f64());
    let (backoff, version) = (job.backoff.map(Backoff::as_str), job.version.unwrap_or(1));
    let priority = job.priority.unwrap_or(0);
    let rows = on
        .rows(
            "select (e.job).id
                  , (e.job).queue
                  , e.is_new
                  , case when $20 then row_to_json(jobs.pending_job(e.job)) end
               from jobs.enqueue(
                 name => $1, payload => $2, queue => $3, idempotency_key => $4, user_id => $5,
                 max_attempts => $6, backoff => $7::text::jobs.backoff, backoff_base_s => $8,
                 backoff_max_s => $9, run_at => $10, version => $11, role => $12,
                 delay => make_interval(secs => $13), priority => $14, concurrency_key => $15,
                 concurrency_limit => $16, timeout_s => $17, unique_for => make_interval(secs => $18),
                 source => $19
               ) as e",
            &[
                &job.name,
                &job.payload,
                &job.queue,
                &job.idempotency_key,
                &job.user_id,
                &job.max_attempts,
                &backoff,
                &job.backoff_base_s,
                &job.backoff_max_s,
                &job.run_at,
                &version,
                &job.role,
                &seconds(job.delay),
                &priority,
                &job.concurrency_key,
                &job.concurrency_limit,
                &job.timeout_s,
                &seconds(job.unique_for),
                &job.source,
                &whole,
            ],
        )
        .await?;
    let row = &rows[0];
    let enqueued = Enqueued {
        id: row.get(0),
        queue: row.get(1),
        is_new: row.get(2),
    };
    Ok((
        enqueued,
        row.get::<_, Option<Json<_>>>(3).map(|Json(job)| job),
    ))
}

pub(in crate::jobs) async fn enqueue_many(
    on: &impl Runs,
    jobs: &[NewJob],
) -> Result<Vec<(JobId, bool)>, DbError> {
    let rows = on
        .rows(
            "select e.id
                  , e.is_new
               from jobs.enqueue_many($1) as e",
            &[&Json(jobs)],
        )
        .await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

pub(super) async fn list(on: &impl Runs, filter: &Filter) -> Result<Vec<Box<RawValue>>, DbError> {
    let status = filter.status.map(Status::as_str);
    let rows = on
        .rows(
            "select row_to_json(j)
               from jobs.jobs j
               where ($1::text is null or j.status = $1::text::jobs.status)
                 and ($2::text is null or j.queue = $2)
                 and ($3::text is null or j.name = $3)
               order by j.id desc
               limit $4
               offset $5",
            &[
                &status,
                &filter.queue,
                &filter.name,
                &filter.limit,
                &filter.offset,
            ],
        )
        .await?;
    Ok(rows.iter().map(document).collect())
}

pub(super) async fn ids_below(
    on: &impl Runs,
    filter: &Filter,
    below: JobId,
) -> Result<Vec<JobId>, DbError> {
    let status = filter.status.map(Status::as_str);
    let rows = on
        .rows(
            "select j.id
               from jobs.jobs j
               where ($1::text is null or j.status = $1::text::jobs.status)
                 and ($2::text is null or j.queue = $2)
                 and ($3::text is null or j.name = $3)
                 and j.id < $5
               order by j.id desc
               limit $4",
            &[&status, &filter.queue, &filter.name, &filter.limit, &below],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

pub(super) async fn now(on: &impl Runs) -> Result<DateTime<Utc>, DbError> {
    Ok(on.rows("select now()", &[]).await?[0].get(0))
}

pub(super) async fn find(on: &impl Runs, id: JobId) -> Result<Option<Box<RawValue>>, DbError> {
    let rows = on
        .rows(
            "select row_to_json(j)
               from jobs.jobs j
               where j.id = $1",
            &[&id],
        )
        .await?;
    Ok(rows.first().map(document))
}

fn document(row: &Row) -> Box<RawValue> {
    row.get::<_, Json<Box<RawValue>>>(0).0
}

pub(super) async fn cancel(on: &impl Runs, id: JobId) -> Result<String, DbError> {
    let rows = on.rows("select jobs.cancel($1)::text", &[&id]).await?;
    Ok(rows[0].get(0))
}

pub(super) async fn retry(on: &impl Runs, id: JobId) -> Result<(), DbError> {
    on.rows("select jobs.retry($1)", &[&id]).await.map(drop)
}

pub(super) async fn queues(on: &impl Runs) -> Result<Vec<QueueState>, DbError> {
    let rows = on
        .rows(
            "with waiting as (
               select p.queue
                    , count(*) filter (where p.status = 'queued') as queued
                    , count(*) filter (where p.status = 'scheduled') as scheduled
                    , count(*) filter (where p.status = 'running') as running
                    , extract(epoch from now() - min(p.run_at) filter (where p.status = 'queued'))::float8
                        as oldest_age_s
                 from jobs.pending p
                 group by p.queue
             )
             select q.name
                  , q.paused_at is not null
                  , q.notify
                  , coalesce(w.queued, 0)
                  , coalesce(w.scheduled, 0)
                  , coalesce(w.running, 0)
                  , greatest(w.oldest_age_s, 0)
               from jobs.queues q
               left join waiting w
                 on w.queue = q.name
               order by q.name",
            &[],
        )
        .await?;
    let state = |row: &Row| QueueState {
        name: row.get(0),
        paused: row.get(1),
        notify: row.get(2),
        queued: row.get(3),
        scheduled: row.get(4),
        running: row.get(5),
        oldest_age_s: row.get(6),
    };
    Ok(rows.iter().map(state).collect())
}

pub(super) async fn queue_names(on: &impl Runs) -> Result<Vec<String>, DbError> {
    let rows = on
        .rows(
            "select q.name
               from jobs.queues q
               order by q.name",
            &[],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

pub(super) async fn workers(on: &impl Runs) -> Result<Vec<WorkerState>, DbError> {
    let rows = on
        .rows(
            "select w.id
                  , w.name
                  , w.queues
                  , w.concurrency
                  , w.inflight
                  , extract(epoch from now() - w.started_at)::float8
                  , extract(epoch from now() - w.seen_at)::float8
               from jobs.workers w
               order by w.id",
            &[],
        )
        .await?;
    let state = |row: &Row| WorkerState {
        id: row.get(0),
        name: row.get(1),
        queues: row.get(2),
        concurrency: row.get(3),
        inflight: row.get(4),
        uptime_s: row.get(5),
        seen_s: row.get(6),
    };
    Ok(rows.iter().map(state).collect())
}

/// Whether anything changed; `None` when there is no such queue.
pub(super) async fn pause(
    on: &impl Runs,
    queue: &str,
    paused: bool,
) -> Result<Option<bool>, DbError> {
    let rows = on
        .rows(
            "with before as materialized (
               select q.name
                    , q.paused_at is not null as paused
                 from jobs.queues q
                 where q.name = $1
                 for update
             ), changed as (
               update jobs.queues q
                 set paused_at = case when $2 then now() end
                 from before b
                 where q.name = b.name
                   and b.paused <> $2
             )
             select b.paused <> $2
                  , case when not $2 then pg_notify('sb_jobs', b.name) end is null
               from before b",
            &[&queue, &paused],
        )
        .await?;
    Ok(rows.first().map(|row| row.get(0)))
}

pub(super) async fn wake(on: &impl Runs, queue: &str) -> Result<(), DbError> {
    on.rows("select pg_notify('sb_jobs', $1)", &[&queue])
        .await
        .map(drop)
}

/// Where jobs of the wanted state lie.
struct Place {
    pending: bool,
    history: bool,
    dead: bool,
}

impl Place {
    fn of(purge: &Purge) -> Self {
        let is = |states: &[Status]| purge.status.is_some_and(|status| states.contains(&status));
        let all = purge.status.is_none();
        Self {
            pending: is(&[Status::Scheduled, Status::Queued]),
            history: all || is(&[Status::Succeeded, Status::Cancelled]),
            dead: all || is(&[Status::Failed]),
        }
    }
}

pub(super) async fn count(on: &impl Runs, purge: &Purge) -> Result<i64, DbError> {
    let (place, status) = (Place::of(purge), purge.status.map(Status::as_str));
    let rows = on
        .rows(
            "select (
                 select count(*)
                   from jobs.pending p
                   where $1
                     and p.status = $4::text::jobs.status
                     and ($5::text is null or p.queue = $5)
               ) + (
                 select count(*)
                   from jobs.history h
                   where $2
                     and ($4::text is null or h.status = $4::text::jobs.status)
                     and ($5::text is null or h.queue = $5)
               ) + (
                 select count(*)
                   from jobs.dead d
                   where $3
                     and ($5::text is null or d.queue = $5)
               )",
            &[
                &place.pending,
                &place.history,
                &place.dead,
                &status,
                &purge.queue,
            ],
        )
        .await?;
    Ok(rows[0].get(0))
}

pub(super) async fn purge(on: &impl Runs, purge: &Purge) -> Result<i64, DbError> {
    let (place, status) = (Place::of(purge), purge.status.map(Status::as_str));
    let rows = on
        .rows(
            "with waiting as (
               delete from jobs.pending p
                 where $1
                   and p.status = $4::text::jobs.status
                   and ($5::text is null or p.queue = $5)
                 returning p.id
             ), past as (
               delete from jobs.history h
                 where $2
                   and ($4::text is null or h.status = $4::text::jobs.status)
                   and ($5::text is null or h.queue = $5)
                 returning h.id
             ), failed as (
               delete from jobs.dead d
                 where $3
                   and ($5::text is null or d.queue = $5)
                 returning d.id
             )
             select (select count(*) from waiting) + (select count(*) from past) + (select count(*) from failed)",
            &[
                &place.pending,
                &place.history,
                &place.dead,
                &status,
                &purge.queue,
            ],
        )
        .await?;
    Ok(rows[0].get(0))
}

pub(super) async fn newest_heartbeat(on: &impl Runs) -> Result<Option<Duration>, DbError> {
    let rows = on
        .rows(
            "select extract(epoch from now() - max(w.seen_at))::float8
               from jobs.workers w",
            &[],
        )
        .await?;
    let seconds: Option<f64> = rows[0].get(0);
    Ok(seconds.map(|seconds| Duration::from_secs_f64(seconds.max(0.0))))
}

/// Counters and sizes that no single table row holds: dead letters, jobs ever finished and ever dead, and what keeps
/// vacuum from its work.
pub(super) struct Totals {
    pub(super) dead: i64,
    pub(super) finished_total: i64,
    pub(super) failed_total: i64,
    pub(super) dead_tuples: i64,
    pub(super) oldest_xmin_age: i64,
}

/// The totals of finished jobs are Postgres' own statistics, so that nobody counts the history; they lag by a second.
pub(super) async fn totals(on: &impl Runs) -> Result<Totals, DbError> {
    let rows = on
        .rows(
            "select (
                 select count(*)
                   from jobs.dead d
               )
             , (
                 select coalesce(sum(pg_stat_get_tuples_inserted(i.inhrelid)), 0)::bigint
                   from pg_catalog.pg_inherits i
                   where i.inhparent = 'jobs.history'::regclass
               )
             , pg_stat_get_tuples_inserted('jobs.dead'::regclass)
             , pg_stat_get_dead_tuples('jobs.pending'::regclass)
             , greatest(
                 (
                   select max(age(a.backend_xmin))
                     from pg_catalog.pg_stat_activity a
                     where a.datname = current_database()
                 ), (
                   select max(age(s.xmin))
                     from pg_catalog.pg_replication_slots s
                 ), (
                   select max(age(x.transaction))
                     from pg_catalog.pg_prepared_xacts x
                     where x.database = current_database()
                 )
               )::bigint",
            &[],
        )
        .await?;
    let row = &rows[0];
    Ok(Totals {
        dead: row.get(0),
        finished_total: row.get(1),
        failed_total: row.get(2),
        dead_tuples: row.get(3),
        oldest_xmin_age: row.get::<_, Option<i64>>(4).unwrap_or(0),
    })
}

/// Dead letters of the last hour, by kind, most first.
pub(super) async fn recent_failures(on: &impl Runs) -> Result<Vec<(String, i64)>, DbError> {
    let rows = on
        .rows(
            "select d.name
                  , count(*)
               from jobs.dead d
               where d.finished_at > now() - interval '1 hour'
               group by d.name
               order by 2 desc, 1
               limit 10",
            &[],
        )
        .await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}
