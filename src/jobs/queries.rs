//! All SQL of the queue. Enqueues run as whoever asks, the worker's statements as role `sb_jobs`.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::kind::Kind;
use super::model::{Claimed, Due, JobId};
use crate::db::{DbError, Json, Row, SystemConnection, Tx};

/// Says that a worker is there, and what it knows. Returns its id.
pub(super) async fn register_worker(
    tx: &Tx,
    name: &str,
    queues: &[String],
    concurrency: i32,
    kinds: &[&Kind],
) -> Result<i64, DbError> {
    for kind in kinds {
        upsert_kind(tx, kind).await?;
    }
    let wanted: Vec<&str> = queues
        .iter()
        .map(String::as_str)
        .chain(kinds.iter().filter_map(|kind| kind.queue.as_deref()))
        .collect();
    tx.execute(
        "insert into jobs.queues (name)
           select distinct w
             from unnest($1::text[]) as w
           on conflict do nothing",
        &[&wanted],
    )
    .await?;
    let row = tx
        .query_one(
            "insert into jobs.workers (name, queues, concurrency)
               values ($1, $2, $3)
               returning id",
            &[&name, &queues, &concurrency],
        )
        .await?;
    Ok(row.get(0))
}

async fn upsert_kind(tx: &Tx, kind: &Kind) -> Result<(), DbError> {
    let attempts = kind.max_attempts.map(i32::from);
    let backoff = kind.backoff.map(super::Backoff::as_str);
    let base = kind.backoff_base.map(|base| base.as_secs_f64());
    let max = kind.backoff_max.map(|max| max.as_secs_f64());
    let timeout = kind
        .timeout
        .map(|timeout| i32::try_from(timeout.as_secs()).unwrap_or(i32::MAX));
    tx.execute(
        "insert into jobs.kinds as k
           (name, queue, max_attempts, backoff, backoff_base_s, backoff_max_s, timeout_s)
           values ($1, $2, $3, $4::text::jobs.backoff, $5, $6, $7)
           on conflict (name) do update
             set queue = excluded.queue,
                 max_attempts = excluded.max_attempts,
                 backoff = excluded.backoff,
                 backoff_base_s = excluded.backoff_base_s,
                 backoff_max_s = excluded.backoff_max_s,
                 timeout_s = excluded.timeout_s,
                 seen_at = now()",
        &[
            &kind.name,
            &kind.queue,
            &attempts,
            &backoff,
            &base,
            &max,
            &timeout,
        ],
    )
    .await
    .map(drop)
}

/// Whether the worker still counts as alive; writes that it is.
pub(super) async fn beat(
    connection: &SystemConnection,
    worker: i64,
    inflight: i32,
) -> Result<bool, DbError> {
    let changed = connection
        .execute(
            "update jobs.workers w
               set seen_at = now(),
                   inflight = $2
               where w.id = $1",
            &[&worker, &inflight],
        )
        .await?;
    Ok(changed == 1)
}

pub(super) async fn unregister_worker(
    connection: &SystemConnection,
    worker: i64,
) -> Result<(), DbError> {
    connection
        .execute(
            "delete from jobs.workers w
               where w.id = $1",
            &[&worker],
        )
        .await
        .map(drop)
}

/// Which of these jobs somebody has asked to cancel.
pub(super) async fn cancel_requested(
    connection: &SystemConnection,
    ids: &[JobId],
) -> Result<Vec<JobId>, DbError> {
    let rows = connection
        .query(
            "select p.id
               from unnest($1::bigint[]) as i (id)
               join jobs.pending p
                 on p.id = i.id
               where p.cancel_requested_at is not null",
            &[&ids],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Makes due jobs claimable. Returns the seconds until the next one is due.
pub(super) async fn promote(connection: &SystemConnection) -> Result<Option<f64>, DbError> {
    let row = connection
        .query_one(
            "with due as materialized (
               select p.id
                 from jobs.pending p
                 where p.status = 'scheduled'
                   and p.run_at <= now()
                 order by p.run_at
                 limit 5000
                 for update skip locked
             ), promoted as (
               update jobs.pending p
                 set status = 'queued'
                 from due
                 where p.id = due.id
             )
             select extract(epoch from min(p.run_at) - now())::float8
               from jobs.pending p
               where p.status = 'scheduled'
                 and p.run_at > now()",
            &[],
        )
        .await?;
    Ok(row.get(0))
}

/// What waits in a queue.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) queue: String,
    /// Jobs without a concurrency key.
    pub(super) plain: bool,
    /// Jobs with one.
    pub(super) keyed: bool,
}

/// The queues that exist and are not paused; with `only`, those of them.
pub(super) async fn waiting(
    connection: &SystemConnection,
    only: Option<&[String]>,
) -> Result<Vec<Waiting>, DbError> {
    let rows = connection
        .query(
            "select q.name
                  , exists (
                      select
                        from jobs.pending p
                        where p.queue = q.name
                          and p.status = 'queued'
                          and p.concurrency_key is null
                    )
                  , exists (
                      select
                        from jobs.pending p
                        where p.queue = q.name
                          and p.status = 'queued'
                          and p.concurrency_key is not null
                    )
               from jobs.queues q
               where q.paused_at is null
                 and ($1::text[] is null or q.name = any ($1))
               order by q.name",
            &[&only],
        )
        .await?;
    let waiting = rows.iter().map(|row| Waiting {
        queue: row.get(0),
        plain: row.get(1),
        keyed: row.get(2),
    });
    Ok(waiting.collect())
}

/// Who claims, how much, of what.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    pub(super) queue: &'a str,
    pub(super) worker: i64,
    pub(super) limit: i64,
    pub(super) names: &'a [String],
    pub(super) patterns: &'a [String],
}

macro_rules! claim {
    ($picked:literal) => {
        concat!(
            "with picked as materialized (",
            $picked,
            ")
             update jobs.pending p
               set status = 'running',
                   lease = p.lease + 1,
                   attempts = p.attempts + 1,
                   locked_by = $2,
                   locked_at = now()
               from picked
               where p.id = picked.id
               returning p.id
                       , p.lease
                       , p.name
                       , p.version
                       , p.payload
                       , p.role
                       , p.claims
                       , p.attempts
                       , p.max_attempts
                       , p.timeout_s
                       , p.source
                       , p.created_at
                       , p.priority
                       , p.run_at
                       , extract(epoch from now() - p.run_at)::float8 as waited_s"
        )
    };
}

/// Claims from the whole queue.
pub(super) async fn claim_all(
    connection: &SystemConnection,
    claim: &Claim<'_>,
) -> Result<Vec<Claimed>, DbError> {
    let rows = connection
        .query(
            claim!(
                "select p.id
                   from jobs.pending p
                   where p.queue = $1
                     and p.status = 'queued'
                     and p.concurrency_key is null
                     and (p.name = any ($4) or p.name like any ($5))
                     and not exists (
                       select
                         from jobs.queues q
                         where q.name = $1
                           and q.paused_at is not null
                     )
                   order by p.priority, p.run_at, p.id
                   limit $3
                   for update skip locked"
            ),
            &[
                &claim.queue,
                &claim.worker,
                &claim.limit,
                &claim.names,
                &claim.patterns,
            ],
        )
        .await?;
    Ok(in_order(&rows))
}

/// Claims jobs of one priority behind a position, so that index entries of finished jobs, which an old snapshot keeps
/// from being removed, are not walked again and again.
pub(super) async fn claim_after(
    connection: &SystemConnection,
    claim: &Claim<'_>,
    priority: i16,
    (run_at, id): (DateTime<Utc>, JobId),
) -> Result<Vec<Claimed>, DbError> {
    let rows = connection
        .query(
            claim!(
                "select p.id
                   from jobs.pending p
                   where p.queue = $1
                     and p.status = 'queued'
                     and p.concurrency_key is null
                     and p.priority = $6
                     and (p.run_at, p.id) > ($7, $8)
                     and (p.name = any ($4) or p.name like any ($5))
                     and not exists (
                       select
                         from jobs.queues q
                         where q.name = $1
                           and q.paused_at is not null
                     )
                   order by p.run_at, p.id
                   limit $3
                   for update skip locked"
            ),
            &[
                &claim.queue,
                &claim.worker,
                &claim.limit,
                &claim.names,
                &claim.patterns,
                &priority,
                &run_at,
                &id,
            ],
        )
        .await?;
    Ok(in_order(&rows))
}

/// Claims jobs with a concurrency key. Returns them and the last key looked at, where the next claim goes on.
///
/// Two statements: the running jobs of a key are counted only once its lock is held, or two workers would both count
/// before either claims.
pub(super) async fn claim_keyed(
    tx: &Tx,
    claim: &Claim<'_>,
    after: &str,
) -> Result<(Vec<Claimed>, String), DbError> {
    let keys = tx
        .query(
            "with recursive keys as (
               (
                 select p.concurrency_key
                      , p.concurrency_limit
                   from jobs.pending p
                   where p.queue = $1
                     and p.status = 'queued'
                     and p.concurrency_key > $2
                   order by p.concurrency_key, p.priority, p.run_at, p.id
                   limit 1
               )
               union all
               select n.concurrency_key
                    , n.concurrency_limit
                 from keys k
                 cross join lateral (
                   select p.concurrency_key
                        , p.concurrency_limit
                     from jobs.pending p
                     where p.queue = $1
                       and p.status = 'queued'
                       and p.concurrency_key > k.concurrency_key
                     order by p.concurrency_key, p.priority, p.run_at, p.id
                     limit 1
                 ) as n
             ), looked_at as (
               select k.concurrency_key
                    , k.concurrency_limit
                 from keys k
                 limit 200
             )
             select l.concurrency_key
                  , l.concurrency_limit
                  , (
                      select count(*)
                        from jobs.pending r
                        where r.concurrency_key = l.concurrency_key
                          and r.status = 'running'
                    ) < l.concurrency_limit
                    and pg_try_advisory_xact_lock(hashtextextended('jobs.concurrency_key ' || l.concurrency_key, 0))
               from looked_at l",
            &[&claim.queue, &after],
        )
        .await?;
    let last = keys.last().map(|row| row.get(0)).unwrap_or_default();
    let free = keys.iter().filter(|row| row.get(2));
    let free = free.map(|row| (row.get::<_, String>(0), row.get::<_, i16>(1)));
    let (keys, limits): (Vec<_>, Vec<_>) = free.unzip();
    if keys.is_empty() {
        return Ok((Vec::new(), last));
    }
    let rows = tx
        .query(
            claim!(
                "select c.id
                   from unnest($6::text[], $7::smallint[]) as k (key, cap)
                   cross join lateral (
                     select p.id
                       from jobs.pending p
                       where p.queue = $1
                         and p.status = 'queued'
                         and p.concurrency_key = k.key
                         and (p.name = any ($4) or p.name like any ($5))
                         and not exists (
                           select
                             from jobs.queues q
                             where q.name = $1
                               and q.paused_at is not null
                         )
                       order by p.priority, p.run_at, p.id
                       limit greatest(k.cap - (
                         select count(*)
                           from jobs.pending r
                           where r.concurrency_key = k.key
                             and r.status = 'running'
                       ), 0)
                       for update skip locked
                   ) as c
                   limit $3"
            ),
            &[
                &claim.queue,
                &claim.worker,
                &claim.limit,
                &claim.names,
                &claim.patterns,
                &keys,
                &limits,
            ],
        )
        .await?;
    Ok((in_order(&rows), last))
}

/// `returning` gives the rows in any order.
fn in_order(rows: &[Row]) -> Vec<Claimed> {
    let mut claimed: Vec<Claimed> = rows.iter().map(claimed).collect();
    claimed.sort_unstable_by_key(|job| (job.priority, job.run_at, job.id));
    claimed
}

fn claimed(row: &Row) -> Claimed {
    let claims: Option<Json<serde_json::Map<String, Value>>> = row.try_get("claims").ok().flatten();
    Claimed {
        id: row.get("id"),
        lease: row.get("lease"),
        name: row.get("name"),
        version: row.get("version"),
        payload: row.get::<_, Json<_>>("payload").0,
        role: row.get("role"),
        claims: claims.map(|Json(claims)| claims),
        attempts: row.get("attempts"),
        max_attempts: row.get("max_attempts"),
        timeout_s: row.get("timeout_s"),
        source: row.get("source"),
        created_at: row.get("created_at"),
        priority: row.get("priority"),
        run_at: row.get("run_at"),
        due: Due::new(row.get("waited_s")),
    }
}

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

/// Finishes jobs. Returns those that were still ours; a job somebody asked to cancel ends as cancelled.
pub(super) async fn succeed(
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
                     where p.id = r.id
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
                   insert into jobs.spent_keys as s (name, idempotency_key, user_id, job_id, expires_at)
                     select d.name, d.idempotency_key, d.user_id, d.id, now() + d.unique_for
                       from done d
                       where d.unique_for is not null
                         and d.idempotency_key is not null
                         and d.cancel_requested_at is null
                     on conflict (name, idempotency_key, user_id) do update
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
pub(super) struct Ended {
    pub(super) ids: Vec<JobId>,
    pub(super) leases: Vec<i32>,
    /// `failed`, `discarded`, `cancelled`, `snoozed` or `released`.
    pub(super) outcomes: Vec<&'static str>,
    pub(super) errors: Vec<Option<String>>,
    /// Of a snooze.
    pub(super) delays_s: Vec<Option<f64>>,
}

/// Postpones, buries or hands back. Returns each job that was still ours with its new state.
pub(super) async fn end(
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
                            when p.cancel_requested_at is not null or r.outcome = 'cancelled' then 'cancelled'
                            when r.outcome = 'discarded' or (r.outcome = 'failed' and p.attempts >= p.max_attempts)
                              then 'failed'
                            when r.outcome = 'released' then 'queued'
                            else 'scheduled'
                          end::jobs.status as state
                        , case
                            when r.error is null then p.errors
                            else jsonb_path_query_array(coalesce(p.errors, '[]'), '$[last - 8 to last]')
                              || jsonb_build_object('attempt', p.attempts, 'at', now(), 'error', left(r.error, 4000))
                          end as errors
                        , coalesce(
                            r.delay_s,
                            jobs.backoff_delay(p.backoff, p.backoff_base_s, p.backoff_max_s, p.attempts)
                              * (0.8 + 0.4 * random())
                          ) as delay_s
                     from unnest($1::bigint[], $2::int[], $3::text[], $4::text[], $5::float8[])
                       as r (id, lease, outcome, error, delay_s)
                     join jobs.pending p
                       on p.id = r.id
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
                         attempts = p.attempts - case when e.outcome in ('snoozed', 'released') then 1 else 0 end,
                         errors = e.errors,
                         locked_by = null,
                         locked_at = null
                     from ended e
                     where p.id = e.id
                       and e.state in ('scheduled', 'queued')
                 ), over as (
                   delete from jobs.pending p
                     using ended e
                     where p.id = e.id
                       and e.state in ('failed', 'cancelled')
                     returning p.*
                             , e.state
                             , e.errors as all_errors
                 ), dead as (
                   insert into jobs.dead ",
                kept!("d.state", "d.all_errors", "null"),
                "    from over d
                     where d.state = 'failed'
                 ), cancelled as (
                   insert into jobs.history ",
                kept!("d.state", "d.all_errors", "null"),
                "    from over d
                     where d.state = 'cancelled'
                 )
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
pub(super) async fn complete_within(
    tx: &Tx,
    id: JobId,
    lease: i32,
    result: Option<&Value>,
) -> Result<(), DbError> {
    tx.execute("select jobs.complete($1, $2, $3)", &[&id, &lease, &result])
        .await
        .map(drop)
}

pub(super) async fn set_progress(
    connection: &SystemConnection,
    ids: &[JobId],
    leases: &[i32],
    progress: &[Value],
) -> Result<(), DbError> {
    connection
        .execute(
            "update jobs.pending p
               set progress = r.progress
               from unnest($1::bigint[], $2::int[], $3::jsonb[]) as r (id, lease, progress)
               where p.id = r.id
                 and p.lease = r.lease
                 and p.status = 'running'",
            &[&ids, &leases, &progress],
        )
        .await
        .map(drop)
}

/// Removes workers that have been silent for `after_s` seconds. Returns their ids.
pub(super) async fn bury_workers(tx: &Tx, after_s: f64) -> Result<Vec<i64>, DbError> {
    let rows = tx
        .query(
            "with silent as materialized (
               select w.id
                 from jobs.workers w
                 where w.seen_at < now() - make_interval(secs => $1)
                 for update skip locked
             )
             delete from jobs.workers w
               using silent s
               where w.id = s.id
               returning w.id",
            &[&after_s],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Hands the jobs of dead workers to others, or buries those that have used up their attempts. Returns how many.
pub(super) async fn rescue(tx: &Tx, workers: &[i64]) -> Result<i64, DbError> {
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
                       and p.locked_by = any ($1)
                     for update skip locked
                 ), again as (
                   update jobs.pending p
                     set status = 'queued',
                         errors = l.errors,
                         locked_by = null,
                         locked_at = null
                     from lost l
                     where p.id = l.id
                       and l.state = 'queued'
                 ), over as (
                   delete from jobs.pending p
                     using lost l
                     where p.id = l.id
                       and l.state <> 'queued'
                     returning p.*
                             , l.state
                             , l.errors as all_errors
                 ), dead as (
                   insert into jobs.dead ",
                kept!("d.state", "d.all_errors", "null"),
                "    from over d
                     where d.state = 'failed'
                 ), cancelled as (
                   insert into jobs.history ",
                kept!("d.state", "d.all_errors", "null"),
                "    from over d
                     where d.state = 'cancelled'
                 )
                 select count(*)
                   from lost"
            ),
            &[&workers],
        )
        .await?;
    Ok(row.get(0))
}

pub(super) async fn notify(
    connection: &SystemConnection,
    queues: &[String],
) -> Result<(), DbError> {
    connection
        .execute(
            "select pg_notify('sb_jobs', q)
               from unnest($1::text[]) as q",
            &[&queues],
        )
        .await
        .map(drop)
}

/// Prepares and drops days of the history, and prunes dead letters.
pub(super) async fn maintain(
    connection: &SystemConnection,
    history_days: i32,
    dead_days: i32,
) -> Result<(), DbError> {
    connection
        .execute(
            "select jobs.maintain(make_interval(days => $1), make_interval(days => $2))",
            &[&history_days, &dead_days],
        )
        .await
        .map(drop)
}

/// A function that takes one `jsonb`: its quoted name, and whether it returns nothing.
pub(super) async fn find_function(tx: &Tx, name: &str) -> Result<Option<(String, bool)>, DbError> {
    let row = tx
        .query_opt(
            "select quote_ident(n.nspname) || '.' || quote_ident(p.proname)
                  , p.prorettype = 'void'::regtype
               from pg_catalog.pg_proc p
               join pg_catalog.pg_namespace n
                 on n.oid = p.pronamespace
               where p.oid = to_regprocedure($1 || '(jsonb)')
                 and p.prokind = 'f'",
            &[&name],
        )
        .await?;
    Ok(row.map(|row| (row.get(0), row.get(1))))
}
