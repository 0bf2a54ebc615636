//! What is over costs nothing.

use serde_json::Value;

use super::Queue;
use crate::scratch::eventually;
use sb::App;
use sb::jobs::Kind;

/// supython weak point 37: claims walked everything that had ever been in the table. While an old snapshot is held
/// nothing can be removed from an index, and the table's statistics say that it is empty; each job is looked up all the
/// same. To make it fail, let every heartbeat look for jobs that belong to nobody (`STRAYS_EVERY`).
#[tokio::test]
async fn jobs_that_are_over_cost_a_claim_nothing() {
    const OVER: i64 = 20_000;
    const NEW: i64 = 500;
    let queue =
        Queue::new(App::new().job_fn(Kind::new("it"), |_, _| async { Ok(Value::Null) })).await;
    let holder = queue.app.owner().await;
    holder
        .batch_execute("begin isolation level repeatable read; select 1")
        .await
        .unwrap();
    let many = |count: i64| {
        format!(
            "select count(*) from jobs.enqueue_many((
               select jsonb_agg('{{\"name\": \"it\"}}'::jsonb) from generate_series(1, {count})
             ))"
        )
    };
    queue.sql(&many(OVER)).await;
    queue.sql("delete from jobs.pending").await;
    queue.sql("analyze jobs.pending").await;
    queue.sql(&many(NEW)).await;
    queue.worker(4).await;
    eventually("all jobs have run", async || {
        queue.count("select count(*) from jobs.history").await == NEW
    })
    .await;
    // A session tells what it has read when it ends.
    let lifecycle = &queue.app.running.context().lifecycle;
    lifecycle.stop(std::time::Duration::from_secs(20)).await;
    queue
        .sql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'sb_jobs'")
        .await;
    let looked_up = "select coalesce(max(idx_tup_read), 0)
                       from pg_stat_user_indexes
                       where indexrelname = 'pending_pkey'";
    eventually("the sessions have told", async || {
        queue.count(looked_up).await >= 2 * NEW
    })
    .await;
    let looked_up = queue.count(looked_up).await;
    // The first heartbeat reads the whole table once, for the jobs of workers that are gone.
    assert!(
        looked_up < OVER + 20 * NEW,
        "{looked_up} index entries read"
    );
    holder.batch_execute("rollback").await.unwrap();
}
