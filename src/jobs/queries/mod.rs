//! All SQL of the queue. Enqueues run as whoever asks, the worker's statements as role `sb_jobs`.

mod claim;
mod finish;

use serde_json::Value;

pub(super) use claim::{
    Claim, claim_after, claim_all, claim_keyed, has_keyed, open_queues, promote,
};
pub(super) use finish::{
    Ended, bury_workers, complete_within, end, release_unknown, rescue, succeed,
};

use super::kind::Kind;
use super::model::JobId;
use crate::db::{DbError, SystemConnection, Tx};

/// Writes what handlers ask for, and makes their queues.
pub(super) async fn register_kinds(tx: &Tx, kinds: &[&Kind]) -> Result<(), DbError> {
    for kind in kinds {
        upsert_kind(tx, kind).await?;
    }
    let queues = kinds.iter().filter_map(|kind| kind.queue.as_deref());
    create_queues(tx, &queues.collect::<Vec<_>>()).await
}

async fn create_queues(tx: &Tx, names: &[&str]) -> Result<(), DbError> {
    tx.execute(
        "insert into jobs.queues (name)
           select distinct n
             from unnest($1::text[]) as n
           on conflict do nothing",
        &[&names],
    )
    .await
    .map(drop)
}

/// Says that a worker is there. Returns its id.
pub(super) async fn register_worker(
    tx: &Tx,
    name: &str,
    queues: &[String],
    concurrency: i32,
    heartbeat_s: f64,
) -> Result<i64, DbError> {
    create_queues(tx, &queues.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let row = tx
        .query_one(
            "insert into jobs.workers (name, queues, concurrency, heartbeat_s)
               values ($1, $2, $3, $4)
               returning id",
            &[&name, &queues, &concurrency, &heartbeat_s],
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
                 seen_at = now()
             where (k.queue, k.max_attempts, k.backoff, k.backoff_base_s, k.backoff_max_s, k.timeout_s)
               is distinct from (
                 excluded.queue, excluded.max_attempts, excluded.backoff, excluded.backoff_base_s,
                 excluded.backoff_max_s, excluded.timeout_s
               )
               or k.seen_at < now() - interval '1 day'",
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
               from jobs.pending p
               where p.id = any ($1)
                 and p.cancel_requested_at is not null",
            &[&ids],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
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
               where p.id = any (array[r.id])
                 and p.lease = r.lease
                 and p.status = 'running'",
            &[&ids, &leases, &progress],
        )
        .await
        .map(drop)
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
