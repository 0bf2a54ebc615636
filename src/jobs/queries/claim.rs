//! Finding work and taking it.
//!
//! Rows already picked are joined as `p.id = any (array[x.id])`. With a plain `=` the server may walk the whole primary
//! key instead of looking each row up: a table that is nearly empty most of the time always looks small enough, but
//! while an old snapshot is held somewhere its index is full of entries of finished jobs.

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::db::{DbError, Json, Row, SystemConnection, Tx};
use crate::jobs::model::{Claimed, Due, JobId};

/// Makes due jobs claimable. Returns the seconds until the next one is due. That is no `min`: in a query with a `with`
/// the server reads all there is for one.
pub(in crate::jobs) async fn promote(
    connection: &SystemConnection,
) -> Result<Option<f64>, DbError> {
    let next = connection
        .query_opt(
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
                 where p.id = any (array[due.id])
             )
             select extract(epoch from p.run_at - now())::float8
               from jobs.pending p
               where p.status = 'scheduled'
                 and p.run_at > now()
               order by p.run_at
               limit 1",
            &[],
        )
        .await?;
    Ok(next.map(|row| row.get(0)))
}

/// The queues that exist and are not paused; with `only`, those of them.
pub(in crate::jobs) async fn open_queues(
    connection: &SystemConnection,
    only: Option<&[String]>,
) -> Result<Vec<String>, DbError> {
    let rows = connection
        .query(
            "select q.name
               from jobs.queues q
               where q.paused_at is null
                 and ($1::text[] is null or q.name = any ($1))
               order by q.name",
            &[&only],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Whether jobs with a concurrency key wait in a queue.
pub(in crate::jobs) async fn has_keyed(
    connection: &SystemConnection,
    queue: &str,
) -> Result<bool, DbError> {
    let row = connection
        .query_one(
            "select exists (
               select
                 from jobs.pending p
                 where p.queue = $1
                   and p.status = 'queued'
                   and p.concurrency_key is not null
             )",
            &[&queue],
        )
        .await?;
    Ok(row.get(0))
}

/// Who claims, how much, of what.
#[derive(Debug)]
pub(in crate::jobs) struct Claim<'a> {
    pub(in crate::jobs) queue: &'a str,
    pub(in crate::jobs) worker: i64,
    pub(in crate::jobs) limit: i64,
    pub(in crate::jobs) names: &'a [String],
    pub(in crate::jobs) patterns: &'a [String],
}

/// Whether this worker runs such jobs now.
macro_rules! may_be_claimed {
    () => {
        "(p.name = any ($4) or p.name like any ($5))
                     and not exists (
                       select
                         from jobs.queues q
                         where q.name = $1
                           and q.paused_at is not null
                     )
                     and exists (
                       select
                         from alive
                     )"
    };
}

macro_rules! claim {
    ($($picked:expr),+) => {
        concat!(
            // The lock keeps a rescuer from declaring this worker dead between its look and our claim.
            "with alive as materialized (
               select w.id
                 from jobs.workers w
                 where w.id = $2
                 for key share
             ), picked as materialized (",
            $($picked,)+
            ")
             update jobs.pending p
               set status = 'running',
                   lease = p.lease + 1,
                   attempts = p.attempts + 1,
                   locked_by = $2,
                   locked_at = now()
               from picked
               where p.id = any (array[picked.id])
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
                       , p.concurrency_key is not null as keyed
                       , extract(epoch from now() - p.run_at)::float8 as waited_s"
        )
    };
}

/// Claims from the whole queue.
pub(in crate::jobs) async fn claim_all(
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
                     and ",
                may_be_claimed!(),
                "
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
pub(in crate::jobs) async fn claim_after(
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
                     and ",
                may_be_claimed!(),
                "
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
pub(in crate::jobs) async fn claim_keyed(
    tx: &Tx,
    claim: &Claim<'_>,
    after: &str,
) -> Result<(Vec<Claimed>, String), DbError> {
    let (keys, limits, last) = keys_with_room(tx, claim.queue, after).await?;
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
                         and ",
                may_be_claimed!(),
                "
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

/// Keys after `after` that may have more jobs running, now locked by us, their limits, and where to go on.
async fn keys_with_room(
    tx: &Tx,
    queue: &str,
    after: &str,
) -> Result<(Vec<String>, Vec<i16>, String), DbError> {
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
            &[&queue, &after],
        )
        .await?;
    // All keys were seen: begin at the first one again.
    let last = match keys.last() {
        Some(last) if keys.len() == 200 => last.get(0),
        _ => String::new(),
    };
    let free = keys.iter().filter(|row| row.get(2));
    let free = free.map(|row| (row.get::<_, String>(0), row.get::<_, i16>(1)));
    let (keys, limits): (Vec<_>, Vec<_>) = free.unzip();
    Ok((keys, limits, last))
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
        keyed: row.get("keyed"),
        due: Due::new(row.get("waited_s")),
    }
}
