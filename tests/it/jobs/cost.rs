//! What lies in the queue and is not due costs nothing.

use std::time::Duration;

use sb::App;
use sb::jobs::Kind;
use serde_json::Value;
use tokio::sync::mpsc;

use super::Queue;
use crate::scratch::eventually;

const WAITING: i64 = 5_000;
const JOBS: i64 = 50;

/// Rows of `jobs.pending` that were read, as far as the sessions have told.
const READ: &str = "select (s.seq_tup_read + sum(i.idx_tup_read))::bigint
                      from pg_stat_user_tables s
                      join pg_stat_user_indexes i using (relid)
                      where s.relid = 'jobs.pending'::regclass
                      group by s.seq_tup_read";

/// supython weak point 37: each claim scanned and sorted the whole table. Here jobs run one by one beside thousands that
/// wait in another queue or for tomorrow, and all that their claims read is counted. To make it fail, drop
/// `pending_claim_idx` or `pending_scheduled_idx`.
#[tokio::test]
async fn a_claim_reads_what_it_takes_and_no_more() {
    let (done, mut runs) = mpsc::unbounded_channel();
    let kind = Kind::new("it");
    let app = App::new().job_fn(kind, move |_, _| {
        let done = done.clone();
        async move {
            done.send(()).unwrap();
            Ok(Value::Null)
        }
    });
    let queue = Queue::new(app).await;
    queue.sql("select jobs.create_queue('elsewhere')").await;
    for options in [r#""queue": "elsewhere""#, r#""delay": "1 day""#] {
        queue
            .sql(&format!(
                "select count(*) from jobs.enqueue_many((
                   select jsonb_agg('{{\"name\": \"it\", {options}}}'::jsonb)
                     from generate_series(1, {WAITING})
                 ))"
            ))
            .await;
    }
    queue.sql("analyze jobs.pending").await;
    queue.sql("select pg_stat_force_next_flush()").await;
    let before = queue.count(READ).await;
    let worker = queue
        .worker_with(1, |options| {
            options.queues = vec!["default".to_owned()];
            // One look for jobs of dead workers, at the start: it reads the whole table.
            options.heartbeat = Duration::from_mins(5);
        })
        .await;
    for _ in 0..JOBS {
        queue.enqueue("jobs.enqueue('it')").await;
        runs.recv().await.unwrap();
    }
    drop(worker);
    let lifecycle = &queue.app.running.context().lifecycle;
    lifecycle.stop(Duration::from_secs(20)).await;
    // A session tells what it has read before it is gone.
    let sessions =
        "from pg_stat_activity where usename = 'sb_jobs' and datname = current_database()";
    queue
        .sql(&format!("select pg_terminate_backend(pid) {sessions}"))
        .await;
    eventually("the worker's sessions are gone", async || {
        queue.count(&format!("select count(*) {sessions}")).await == 0
    })
    .await;
    let read = queue.count(READ).await - before;
    assert!(read >= JOBS, "{read} rows read by {JOBS} jobs");
    assert!(read < 2 * WAITING + 20 * JOBS, "{read} rows read");
}
