//! How attempts end: in success, in another attempt, in the graveyard, or with their worker.
//!
//! Joins are written as in [`super::claim`].

use serde_json::Value;

use crate::db::{DbError, SystemConnection, Tx};
use crate::jobs::model::JobId;

/// Columns that a finished job keeps, in the order of both lists below.
macro_rules! kept {
    ($state:literal, $errors:literal, $result:literal) => {
        concat!(
            "(id, run_at, created_at, locked_at, locked_by, backoff_base_s, backoff_max_s, status, backoff, lease,
              attempts, max_attempts, version, timeout_s, priority, concurrency_limit, user_id, queue, name, role,
              idempotency_key, concurrency_key, source, payload, claims, progress, errors, result)
             select d.id, d.run_at, d.created_at, d.locked_at, d.locked_by, d.backoff_base_s, d.backoff_max_s, ",
            $state,
            ", d.backoff, d.lease, d.attempts, d.max_attempts, d.version, d.timeout_s, d.priority,
              d.concurrency_limit, d.user_id, d.queue, d.name, d.role, d.idempotency_key, d.concurrency_key, d.source,
              d.payload, d.claims, d.progress, ",
            $errors,
            ", ",
            $result
        )
    };
}

/// Keeps what is over, other than well.
macro_rules! buried {
    () => {
        concat!(
            "dead as (
                   insert into jobs.dead ",
            kept!("d.state", "d.all_errors", "null"),
            "    from over d
                     where d.state = 'failed'
                 ), cancelled as (
                   insert into jobs.history ",
            kept!("d.state", "d.all_errors", "null"),
            "    from over d
                     where d.state = 'cancelled'
                 )"
        )
    };
}

/// Finishes jobs. Returns those that were still ours; a job somebody asked to cancel ends as cancelled.
pub(in crate::jobs) async fn succeed(
    connection: &SystemConnection,
    (ids, leases): (&[JobId], &[i32]),
    results: &[Option<Value>],
) -> Result<Vec<JobId>, DbError> {
    let rows = connection
        .query(
            concat!(
                "with done as (
                   delete from jobs.pending p
                     using unnest($1::bigint[], $2::int[], $3::jsonb[]) as r (id, lease, result)
                     where p.id = any (array[r.id])
                       and p.lease = r.lease
                       and p.status = 'running'
                     returning p.*
                             , r.result
                 ), kept as (
                   insert into jobs.history ",
                kept!(
                    "case when d.cancel_requested_at is null then 'succeeded' else 'cancelled' end::jobs.status",
                    "d.errors",
                    "d.result"
                ),
                "    from done d
                 ), spent as (
                   insert into jobs.spent_keys as s (name, idempotency_key, role, user_id, job_id, expires_at)
                     select d.name, d.idempotency_key, d.role, d.user_id, d.id, now() + d.unique_for
                       from done d
                       where d.unique_for is not null
                         and d.idempotency_key is not null
                         and d.cancel_requested_at is null
                     on conflict (name, idempotency_key, role, user_id) do update
                       set job_id = excluded.job_id,
                           expires_at = excluded.expires_at
                 )
                 select d.id
                   from done d"
            ),
            &[&ids, &leases, &results],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// How attempts ended that did not succeed, by column.
#[derive(Debug, Default)]
pub(in crate::jobs) struct Ended {
    pub(in crate::jobs) ids: Vec<JobId>,
    pub(in crate::jobs) leases: Vec<i32>,
    /// `failed`, `discarded`, `cancelled`, `snoozed` or `released`.
    pub(in crate::jobs) outcomes: Vec<&'static str>,
    pub(in crate::jobs) errors: Vec<Option<String>>,
    /// Of a snooze.
    pub(in crate::jobs) delays_s: Vec<Option<f64>>,
}

/// Postpones, buries or hands back. Returns each job that was still ours with its new state.
pub(in crate::jobs) async fn end(
    connection: &SystemConnection,
    ended: &Ended,
) -> Result<Vec<(JobId, String)>, DbError> {
    let rows = connection
        .query(
            concat!(
                "with ended as materialized (
                   select p.id
                        , r.outcome
                        , case
                            -- Only what somebody with a right to it has asked for: everybody can notify.
                            when p.cancel_requested_at is not null then 'cancelled'
                            when r.outcome = 'discarded' or (r.outcome = 'failed' and p.attempts >= p.max_attempts)
                              then 'failed'
                            when r.outcome in ('released', 'cancelled') then 'queued'
                            else 'scheduled'
                          end::jobs.status as state
                        , case
                            when r.error is null then p.errors
                            else jsonb_path_query_array(coalesce(p.errors, '[]'), '$[last - 8 to last]')
                              || jsonb_build_object('attempt', p.attempts, 'at', now(), 'error', left(r.error, 4000))
                          end as errors
                        , least(2592000, coalesce(
                            r.delay_s,
                            jobs.backoff_delay(p.backoff, p.backoff_base_s, p.backoff_max_s, p.attempts)
                              * (0.8 + 0.4 * random())
                          )) as delay_s
                     from unnest($1::bigint[], $2::int[], $3::text[], $4::text[], $5::float8[])
                       as r (id, lease, outcome, error, delay_s)
                     join jobs.pending p
                       on p.id = any (array[r.id])
                     where p.lease = r.lease
                       and p.status = 'running'
                     for update of p
                 ), again as (
                   update jobs.pending p
                     set status = e.state,
                         run_at = case
                           when e.state = 'scheduled' then now() + make_interval(secs => e.delay_s)
                           else p.run_at
                         end,
                         attempts = p.attempts - case when e.outcome in ('snoozed', 'released', 'cancelled') then 1 else 0 end,
                         errors = e.errors,
                         locked_by = null,
                         locked_at = null
                     from ended e
                     where p.id = any (array[e.id])
                       and e.state in ('scheduled', 'queued')
                 ), over as (
                   delete from jobs.pending p
                     using ended e
                     where p.id = any (array[e.id])
                       and e.state in ('failed', 'cancelled')
                     returning p.*
                             , e.state
                             , e.errors as all_errors
                 ), ",
                buried!(),
                "
                 select e.id
                      , e.state::text
                   from ended e"
            ),
            &[
                &ended.ids,
                &ended.leases,
                &ended.outcomes,
                &ended.errors,
                &ended.delays_s,
            ],
        )
        .await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Finishes a job in the transaction in which its SQL ran.
pub(in crate::jobs) async fn complete_within(
    tx: &Tx,
    id: JobId,
    lease: i32,
    result: Option<&Value>,
) -> Result<(), DbError> {
    tx.execute("select jobs.complete($1, $2, $3)", &[&id, &lease, &result])
        .await
        .map(drop)
}

/// Removes workers that have missed `beats` heartbeats. Returns how many.
pub(in crate::jobs) async fn bury_workers(tx: &Tx, beats: f64) -> Result<u64, DbError> {
    tx.execute(
        "with silent as materialized (
               select w.id
                 from jobs.workers w
                 where w.seen_at < now() - make_interval(secs => $1 * w.heartbeat_s)
                 for update skip locked
             )
             delete from jobs.workers w
               using silent s
               where w.id = s.id",
        &[&beats],
    )
    .await
}

/// Hands the jobs of workers that are gone to others, or buries those that have used up their attempts. Returns how
/// many.
pub(in crate::jobs) async fn rescue(tx: &Tx) -> Result<i64, DbError> {
    let row = tx
        .query_one(
            concat!(
                "with lost as materialized (
                   select p.id
                        , case
                            when p.cancel_requested_at is not null then 'cancelled'
                            when p.attempts >= p.max_attempts then 'failed'
                            else 'queued'
                          end::jobs.status as state
                        , jsonb_path_query_array(coalesce(p.errors, '[]'), '$[last - 8 to last]')
                            || jsonb_build_object('attempt', p.attempts, 'at', now(), 'error', 'the worker died') as errors
                     from jobs.pending p
                     where p.status = 'running'
                       and not exists (
                         select
                           from jobs.workers w
                           where w.id = p.locked_by
                       )
                     for update of p skip locked
                 ), again as (
                   update jobs.pending p
                     set status = 'queued',
                         errors = l.errors,
                         locked_by = null,
                         locked_at = null
                     from lost l
                     where p.id = any (array[l.id])
                       and l.state = 'queued'
                 ), over as (
                   delete from jobs.pending p
                     using lost l
                     where p.id = any (array[l.id])
                       and l.state <> 'queued'
                     returning p.*
                             , l.state
                             , l.errors as all_errors
                 ), ",
                buried!(),
                "
                 select count(*)
                   from lost"
            ),
            &[],
        )
        .await?;
    Ok(row.get(0))
}

/// Hands back what this worker holds according to the database but knows nothing of: the answer to a claim was lost.
pub(in crate::jobs) async fn release_unknown(
    connection: &SystemConnection,
    worker: i64,
    known: &[JobId],
) -> Result<u64, DbError> {
    connection
        .execute(
            "update jobs.pending p
               set status = 'queued',
                   attempts = p.attempts - 1,
                   locked_by = null,
                   locked_at = null
               where p.status = 'running'
                 and p.locked_by = $1
                 and p.id <> all ($2)",
            &[&worker, &known],
        )
        .await
}
