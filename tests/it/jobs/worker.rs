//! How a worker treats jobs: every way an attempt can end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use sb::jobs::{Backoff, Handlers, Job, JobContext, JobError, JobResult, Kind};
use sb::{App, Caller};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{Queue, Row, options};
use crate::scratch::eventually;

#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Add {
    a: i64,
    b: i64,
}

impl Job for Add {
    const NAME: &'static str = "add";

    fn kind() -> Kind {
        Kind::new(Self::NAME).queue("sums").max_attempts(7)
    }

    async fn run(self, _: JobContext) -> JobResult {
        Ok(json!(self.a + self.b))
    }
}

/// An application whose kind `it` does what the test says.
fn app_with<F, R>(run: F) -> App
where
    F: Fn(JobContext) -> R + Send + Sync + 'static,
    R: Future<Output = JobResult> + Send + 'static,
{
    App::new().job_fn(Kind::new("it"), move |context, _| run(context))
}

#[tokio::test]
async fn a_typed_job_runs_once_and_keeps_its_result() {
    let queue = Queue::new(App::new().job::<Add>()).await;
    queue.worker(2).await;
    let context = queue.app.running.context();
    let tx = context
        .db
        .begin(&Caller::with_role("service_role"))
        .await
        .unwrap();
    let job = Add { a: 2, b: 40 }.to_job().unwrap();
    let enqueued = context.jobs.enqueue(&tx, &job).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(enqueued.queue, "sums");
    let row = queue.until(enqueued.id, "succeeded").await;
    let expected = Row {
        status: "succeeded".to_owned(),
        attempts: 1,
        last_error: None,
        result: Some(json!(42)),
    };
    assert_eq!(row, expected);
    // What the kind declares holds for an enqueue from SQL too (supython weak point 24).
    let id = queue
        .enqueue("jobs.enqueue('add', '{\"a\": 1, \"b\": 1}')")
        .await;
    let sql = format!(
        "select (max_attempts = 7 and queue = 'sums')::int::bigint from jobs.jobs where id = {id}"
    );
    assert_eq!(queue.count(&sql).await, 1);
}

#[tokio::test]
async fn a_payload_that_does_not_fit_is_dead_at_once() {
    let queue = Queue::new(App::new().job::<Add>()).await;
    queue.worker(1).await;
    let id = queue
        .enqueue("jobs.enqueue('add', '{\"a\": \"two\"}')")
        .await;
    let row = queue.until(id, "failed").await;
    assert_eq!(row.attempts, 1);
    assert!(row.last_error.unwrap().contains("the payload does not fit"));
}

#[tokio::test]
async fn a_rollback_leaves_no_job() {
    let queue = Queue::new(App::new().job::<Add>()).await;
    let context = queue.app.running.context();
    let tx = context
        .db
        .begin(&Caller::with_role("service_role"))
        .await
        .unwrap();
    let job = Add { a: 1, b: 1 }.to_job().unwrap();
    context.jobs.enqueue(&tx, &job).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(queue.count("select count(*) from jobs.jobs").await, 0);
}

#[tokio::test]
async fn a_function_runs_as_who_enqueued_it_and_commits_with_its_completion() {
    let queue = Queue::new(App::new()).await;
    queue
        .sql(
            "create table public.ledger (role text, uid uuid, payload jsonb);
             grant insert on public.ledger to authenticated;
             create policy own on public.ledger for insert to authenticated with check (uid = auth.uid());
             create function public.note(payload jsonb) returns jsonb language plpgsql as $$
             begin
               insert into public.ledger values (current_user, auth.uid(), payload);
               if payload ? 'fail' then
                 raise exception 'as told';
               end if;
               return jsonb_build_object('seen', payload);
             end $$;
             create policy notes on jobs.pending for insert to authenticated with check (name = 'sql:public.note')",
        )
        .await;
    queue.worker(2).await;
    let user = "6b2c9d4e-0000-4000-8000-000000000001";
    let claims = json!({ "sub": user, "role": "authenticated" });
    let caller = Caller::from_claims(claims.as_object().unwrap().clone());
    let context = queue.app.running.context();
    let enqueue = async |payload: Value| {
        let tx = context.db.begin(&caller).await.unwrap();
        let mut job = sb::jobs::NewJob::new("sql:public.note", payload);
        job.max_attempts = Some(1);
        let id = context.jobs.enqueue(&tx, &job).await.unwrap().id;
        tx.commit().await.unwrap();
        id
    };
    let good = queue
        .until(enqueue(json!({ "n": 1 })).await, "succeeded")
        .await;
    assert_eq!(good.result, Some(json!({ "seen": { "n": 1 } })));
    let bad = queue
        .until(enqueue(json!({ "fail": true })).await, "failed")
        .await;
    assert!(bad.last_error.unwrap().contains("as told"));
    let rows = queue
        .owner
        .query("select role, uid::text, payload from public.ledger", &[])
        .await
        .unwrap();
    assert_eq!(rows.len(), 1, "what failed left nothing");
    assert_eq!(
        (rows[0].get::<_, &str>(0), rows[0].get::<_, &str>(1)),
        ("authenticated", user)
    );
}

/// supython weak point 22: a job of a role without a user could not be finished and ran for ever.
#[tokio::test]
async fn a_function_may_return_nothing_and_run_for_nobody() {
    let queue = Queue::new(App::new()).await;
    queue
        .sql("create function public.nothing(payload jsonb) returns void language sql as $$ select $$")
        .await;
    queue.worker(1).await;
    let id = queue
        .enqueue("jobs.enqueue('sql:public.nothing', role => 'authenticated')")
        .await;
    assert_eq!(queue.until(id, "succeeded").await.attempts, 1);
    let id = queue
        .enqueue("jobs.enqueue('sql:public.missing', max_attempts => 1)")
        .await;
    let row = queue.until(id, "failed").await;
    assert!(
        row.last_error
            .unwrap()
            .contains("create function public.missing(payload jsonb)")
    );
    for hostile in [
        "sql:public.nothing(jsonb); drop table auth.users --",
        "sql:",
        "sql:'",
    ] {
        let call = format!(
            "jobs.enqueue({}, max_attempts => 1)",
            sb::db::quote_literal(hostile)
        );
        let id = queue.enqueue(&call).await;
        queue.until(id, "failed").await;
    }
    assert_eq!(queue.count("select count(*) from auth.users").await, 0);
}

#[tokio::test]
async fn attempts_end_with_a_dead_letter_and_a_retry_begins_anew() {
    let tries = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&tries);
    let queue = Queue::new(app_with(move |context| {
        let tries = counter.fetch_add(1, Ordering::SeqCst);
        async move {
            if tries < 3 {
                return Err(JobError::Failed(format!("attempt {}", context.attempt)));
            }
            Ok(Value::Null)
        }
    }))
    .await;
    queue.worker(1).await;
    let id = queue
        .enqueue("jobs.enqueue('it', max_attempts => 3, backoff_base_s => 0)")
        .await;
    let row = queue.until(id, "failed").await;
    assert_eq!(
        (row.attempts, row.last_error.as_deref()),
        (3, Some("attempt 3"))
    );
    assert_eq!(
        queue
            .count("select jsonb_array_length(errors)::bigint from jobs.dead")
            .await,
        3
    );
    queue.sql(&format!("select jobs.retry({id})")).await;
    let row = queue.until(id, "succeeded").await;
    assert_eq!((row.attempts, tries.load(Ordering::SeqCst)), (1, 4));
}

#[tokio::test]
async fn a_failure_waits_for_its_backoff() {
    let queue = Queue::new(app_with(|_| async {
        Err(JobError::Failed("no".to_owned()))
    }))
    .await;
    queue.worker(1).await;
    for (backoff, base, max, expected) in [
        ("exponential", 100.0, 10_000.0, 100.0),
        ("linear", 100.0, 10_000.0, 100.0),
        ("constant", 100.0, 10_000.0, 100.0),
        ("exponential", 1_000.0, 60.0, 60.0),
    ] {
        let call = format!(
            "jobs.enqueue('it', backoff => '{backoff}', backoff_base_s => {base}, backoff_max_s => {max})"
        );
        let id = queue.enqueue(&call).await;
        queue.until(id, "scheduled").await;
        let sql = format!(
            "select extract(epoch from run_at - now())::float8 from jobs.pending where id = {id}"
        );
        let wait: f64 = queue.owner.query_one(&sql, &[]).await.unwrap().get(0);
        let bounds = expected * 0.8 - 5.0..=expected * 1.2;
        assert!(bounds.contains(&wait), "{backoff} {base} {max}: {wait} s");
    }
    for (call, expected) in [
        ("'exponential', 5, 300, 1", 5.0),
        ("'exponential', 5, 300, 4", 40.0),
        ("'exponential', 5, 300, 1000", 300.0),
        ("'linear', 5, 300, 4", 20.0),
        ("'linear', 5, 12, 4", 12.0),
        ("'constant', 500, 300, 4", 300.0),
    ] {
        let sql = format!("select jobs.backoff_delay({call})");
        let delay: f64 = queue.owner.query_one(&sql, &[]).await.unwrap().get(0);
        assert!((delay - expected).abs() < 1e-9, "{call}: {delay}");
    }
}

#[tokio::test]
async fn a_snooze_costs_no_attempt() {
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    let queue = Queue::new(app_with(move |context| {
        let first = counter.fetch_add(1, Ordering::SeqCst) < 2;
        async move {
            if first {
                return Err(JobError::Snooze(Duration::from_millis(1)));
            }
            Ok(json!(context.attempt))
        }
    }))
    .await;
    queue.worker(1).await;
    let id = queue.enqueue("jobs.enqueue('it', max_attempts => 1)").await;
    let row = queue.until(id, "succeeded").await;
    assert_eq!((row.attempts, row.result), (1, Some(json!(1))));
    assert_eq!(seen.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn panics_and_slow_handlers_fail_their_attempt_only() {
    let queue = Queue::new(
        App::new()
            .job_fn(Kind::new("panic"), |_, _| async { panic!("oh dear") })
            .job_fn(Kind::new("slow"), |_, _| {
                std::future::pending::<JobResult>()
            })
            .job_fn(Kind::new("it"), |_, _| async { Ok(Value::Null) }),
    )
    .await;
    queue.worker(2).await;
    let panics = queue
        .enqueue("jobs.enqueue('panic', max_attempts => 1)")
        .await;
    let slow = queue
        .enqueue("jobs.enqueue('slow', max_attempts => 1, timeout_s => 1)")
        .await;
    let error = queue.until(panics, "failed").await.last_error.unwrap();
    assert!(error.contains("panicked: oh dear"), "{error}");
    let error = queue.until(slow, "failed").await.last_error.unwrap();
    assert!(error.contains("longer than 1 s"), "{error}");
    let good = queue.enqueue("jobs.enqueue('it')").await;
    queue.until(good, "succeeded").await;
}

/// Sets a flag when it is dropped.
struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// supython weak point 23: a cancelled job ran on, and ended as succeeded.
#[tokio::test]
async fn cancelling_a_running_job_stops_it_for_good() {
    let (started, stopped) = (
        Arc::new(Semaphore::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let (begun, flag) = (Arc::clone(&started), Arc::clone(&stopped));
    let queue = Queue::new(app_with(move |_| {
        let (begun, guard) = (Arc::clone(&begun), Dropped(Arc::clone(&flag)));
        async move {
            let _guard = guard;
            begun.add_permits(1);
            std::future::pending().await
        }
    }))
    .await;
    queue.worker(1).await;
    let id = queue.enqueue("jobs.enqueue('it')").await;
    started.acquire().await.unwrap().forget();
    let cancel = format!("select jobs.cancel({id})::text");
    let answer: String = queue.owner.query_one(&cancel, &[]).await.unwrap().get(0);
    assert_eq!(answer, "running");
    let twice = queue
        .owner
        .query_one(&cancel, &[])
        .await
        .unwrap_err()
        .to_string();
    assert!(
        twice.contains("being cancelled already") || twice.contains("over already: cancelled"),
        "{twice}"
    );
    queue.until(id, "cancelled").await;
    assert!(stopped.load(Ordering::SeqCst), "the handler was dropped");
    let after = queue
        .owner
        .query_one(&cancel, &[])
        .await
        .unwrap_err()
        .to_string();
    assert!(after.contains("over already: cancelled"), "{after}");
}

#[tokio::test]
async fn cancelling_stops_a_statement_on_the_server() {
    let queue = Queue::new(App::new()).await;
    queue
        .sql(
            "create function public.linger(payload jsonb) returns void language sql as $$ select pg_sleep(600) $$",
        )
        .await;
    queue.worker(1).await;
    let id = queue.enqueue("jobs.enqueue('sql:public.linger')").await;
    let lingering = "select count(*) from pg_stat_activity where state = 'active' and query like '%linger%($1)%' and usename = 'authenticator'
        and datname = current_database()";
    eventually("the function runs", async || {
        queue.count(lingering).await == 1
    })
    .await;
    queue.sql(&format!("select jobs.cancel({id})")).await;
    queue.until(id, "cancelled").await;
    eventually("the statement ended", async || {
        queue.count(lingering).await == 0
    })
    .await;
}

#[tokio::test]
async fn what_was_taken_over_cannot_be_finished_twice() {
    let (started, go) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (begun, wait) = (Arc::clone(&started), Arc::clone(&go));
    let queue = Queue::new(app_with(move |_| {
        let (begun, wait) = (Arc::clone(&begun), Arc::clone(&wait));
        async move {
            begun.add_permits(1);
            wait.acquire().await.unwrap().forget();
            Ok(json!("late"))
        }
    }))
    .await;
    queue.worker(1).await;
    let id = queue.enqueue("jobs.enqueue('it')").await;
    started.acquire().await.unwrap().forget();
    // As after a rescue: another worker holds a newer lease.
    queue
        .sql(
            "with other as (
               insert into jobs.workers (name, queues, concurrency, seen_at)
                 values ('other', '{}', 1, now() + interval '1 hour')
                 returning id
             )
             update jobs.pending set lease = lease + 1, locked_by = (select id from other)",
        )
        .await;
    go.add_permits(1);
    let marker = queue.enqueue("jobs.enqueue('it')").await;
    started.acquire().await.unwrap().forget();
    go.add_permits(1);
    queue.until(marker, "succeeded").await;
    assert_eq!(
        queue.row(id).await.status,
        "running",
        "the late result was dropped"
    );
}

#[tokio::test]
async fn a_silent_worker_is_replaced_and_notices() {
    let (started, stopped) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let (begun, counter) = (Arc::clone(&started), Arc::clone(&stopped));
    let queue = Queue::new(app_with(move |context| {
        let (begun, counter) = (Arc::clone(&begun), Arc::clone(&counter));
        async move {
            begun.add_permits(1);
            if context.attempt == 1 {
                let _guard = OnDrop(counter);
                return std::future::pending().await;
            }
            Ok(json!("second"))
        }
    }))
    .await;
    queue.worker(1).await;
    let id = queue.enqueue("jobs.enqueue('it')").await;
    started.acquire().await.unwrap().forget();
    // As after a sweep by another one. Aging the row instead would race with the worker's own next heartbeat.
    queue.sql("delete from jobs.workers").await;
    queue.worker(1).await;
    let row = queue.until(id, "succeeded").await;
    assert_eq!((row.attempts, row.result), (2, Some(json!("second"))));
    assert!(row.last_error.unwrap().contains("the worker died"));
    eventually("the first one stopped its handler", async || {
        stopped.load(Ordering::SeqCst) == 1
    })
    .await;
    eventually("both are registered", async || {
        queue.count("select count(*) from jobs.workers").await == 2
    })
    .await;
}

/// Counts drops.
struct OnDrop(Arc<AtomicUsize>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// supython weak point 22: a job past its attempts was claimed again and again.
#[tokio::test]
async fn a_job_that_kills_its_workers_uses_up_its_attempts() {
    let queue = Queue::new(app_with(|_| async { Ok(Value::Null) })).await;
    let id = queue.enqueue("jobs.enqueue('it', max_attempts => 2)").await;
    queue
        .sql(
            "insert into jobs.workers (name, queues, concurrency, seen_at)
               values ('dead', '{}', 1, now() - interval '1 hour');
             update jobs.pending
               set status = 'running', lease = 2, attempts = 2, locked_at = now(),
                   locked_by = (select id from jobs.workers)",
        )
        .await;
    queue.worker(1).await;
    let row = queue.until(id, "failed").await;
    assert_eq!(row.attempts, 2);
    assert!(row.last_error.unwrap().contains("the worker died"));
}

#[tokio::test]
async fn a_worker_that_stops_hands_back_what_does_not_end() {
    let (started, go) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (begun, wait) = (Arc::clone(&started), Arc::clone(&go));
    let queue = Queue::new(
        app_with(move |_| {
            let (begun, wait) = (Arc::clone(&begun), Arc::clone(&wait));
            async move {
                begun.add_permits(1);
                wait.acquire().await.unwrap().forget();
                Ok(json!("in time"))
            }
        })
        .job_fn(Kind::new("stuck"), |_, _| {
            std::future::pending::<JobResult>()
        }),
    )
    .await;
    let worker = queue.worker(2).await;
    let stuck = queue.enqueue("jobs.enqueue('stuck')").await;
    queue.until(stuck, "running").await;
    let good = queue.enqueue("jobs.enqueue('it')").await;
    started.acquire().await.unwrap().forget();
    let waiting = queue.enqueue("jobs.enqueue('it')").await;
    go.add_permits(1);
    queue
        .app
        .running
        .context()
        .lifecycle
        .stop(Duration::from_secs(20))
        .await;
    worker.ended().await;
    assert_eq!(queue.row(good).await.result, Some(json!("in time")));
    for id in [stuck, waiting] {
        let row = queue.row(id).await;
        let expected = ("queued".to_owned(), 0, None);
        assert_eq!(
            (row.status, row.attempts, row.last_error),
            expected,
            "job {id}"
        );
    }
    assert_eq!(queue.count("select count(*) from jobs.workers").await, 0);
}

#[tokio::test]
async fn unknown_kinds_and_paused_queues_are_left_alone() {
    let queue = Queue::new(app_with(|_| async { Ok(Value::Null) })).await;
    queue
        .sql("select jobs.create_queue('held'); update jobs.queues set paused_at = now() where name = 'held'")
        .await;
    queue.worker(1).await;
    let unknown = queue
        .enqueue("jobs.enqueue('from_a_newer_release', priority => -5)")
        .await;
    let held = queue.enqueue("jobs.enqueue('it', queue => 'held')").await;
    let known = queue.enqueue("jobs.enqueue('it')").await;
    queue.until(known, "succeeded").await;
    assert_eq!(queue.row(unknown).await.status, "queued");
    assert_eq!(queue.row(held).await.status, "queued");
    queue.sql("update jobs.queues set paused_at = null").await;
    queue.until(held, "succeeded").await;
}

#[tokio::test]
async fn smaller_priorities_and_earlier_jobs_go_first() {
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&order);
    let app = App::new().job_fn(Kind::new("it"), move |_, payload| {
        seen.lock().unwrap().push(payload.get().to_owned());
        async { Ok(Value::Null) }
    });
    let queue = Queue::new(app).await;
    for (payload, priority) in [("1", 5), ("2", 0), ("3", -1), ("4", 0), ("5", 5)] {
        queue
            .enqueue(&format!(
                "jobs.enqueue('it', '{payload}', priority => {priority})"
            ))
            .await;
    }
    queue.worker(1).await;
    eventually("all are done", async || {
        queue.count("select count(*) from jobs.pending").await == 0
    })
    .await;
    assert_eq!(*order.lock().unwrap(), ["3", "2", "4", "1", "5"]);
}

#[tokio::test]
async fn at_most_as_many_jobs_of_a_key_run_as_its_limit() {
    for limit in [1_usize, 3] {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (running, highest) = (Arc::clone(&now), Arc::clone(&most));
        let queue = Queue::new(app_with(move |_| {
            let (running, highest) = (Arc::clone(&running), Arc::clone(&highest));
            async move {
                let count = running.fetch_add(1, Ordering::SeqCst) + 1;
                highest.fetch_max(count, Ordering::SeqCst);
                // Gives the others every chance to overlap.
                for _ in 0..50 {
                    tokio::task::yield_now().await;
                }
                running.fetch_sub(1, Ordering::SeqCst);
                Ok(Value::Null)
            }
        }))
        .await;
        queue
            .sql(&format!(
                "insert into jobs.pending (name, role, concurrency_key, concurrency_limit)
                   select 'it', 'service_role', 'k', {limit} from generate_series(1, 60)"
            ))
            .await;
        for _ in 0..4 {
            queue.worker(5).await;
        }
        let done = "select count(*) from jobs.history";
        eventually("all are done", async || queue.count(done).await == 60).await;
        assert!(most.load(Ordering::SeqCst) <= limit);
        assert!(
            limit == 1 || most.load(Ordering::SeqCst) > 1,
            "they do overlap"
        );
    }
}

#[tokio::test]
async fn progress_is_seen_while_a_job_runs() {
    let go = Arc::new(Semaphore::new(0));
    let wait = Arc::clone(&go);
    let queue = Queue::new(app_with(move |context| {
        let wait = Arc::clone(&wait);
        async move {
            context.set_progress(json!({ "done": 0.5 }));
            wait.acquire().await.unwrap().forget();
            Ok(Value::Null)
        }
    }))
    .await;
    queue.worker(1).await;
    let id = queue.enqueue("jobs.enqueue('it')").await;
    let shown = format!(
        "select count(*) from jobs.jobs where id = {id} and progress = '{{\"done\": 0.5}}'"
    );
    eventually("progress is written", async || {
        queue.count(&shown).await == 1
    })
    .await;
    go.add_permits(1);
    queue.until(id, "succeeded").await;
}

#[tokio::test]
async fn a_result_that_postgres_cannot_store_does_not_hold_up_the_others() {
    let queue = Queue::new(
        App::new()
            .job_fn(Kind::new("bad"), |_, _| async { Ok(json!("zero \0 byte")) })
            .job_fn(Kind::new("it"), |_, _| async {
                Err(JobError::Discard("a \0 byte".to_owned()))
            }),
    )
    .await;
    queue.worker(4).await;
    let bad = queue
        .enqueue("jobs.enqueue('bad', max_attempts => 1)")
        .await;
    let also = queue.enqueue("jobs.enqueue('it')").await;
    let row = queue.until(bad, "failed").await;
    assert!(row.last_error.unwrap().contains("could not be stored"));
    queue.until(also, "failed").await;
}

#[tokio::test]
async fn fifty_claimers_take_each_job_once() {
    let seen = Arc::new(std::sync::Mutex::new(
        std::collections::HashMap::<i64, usize>::new(),
    ));
    let counts = Arc::clone(&seen);
    let queue = Queue::new(app_with(move |context| {
        *counts.lock().unwrap().entry(context.id).or_default() += 1;
        async { Ok(Value::Null) }
    }))
    .await;
    queue
        .sql("insert into jobs.pending (name, role) select 'it', 'service_role' from generate_series(1, 5000)")
        .await;
    for _ in 0..10 {
        queue.worker(5).await;
    }
    let done = "select count(*) from jobs.history where status = 'succeeded'";
    eventually("all are done", async || queue.count(done).await == 5_000).await;
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 5_000);
    assert!(seen.values().all(|times| *times == 1));
}

#[tokio::test]
async fn kinds_say_what_they_ask_for() {
    let kind = Kind::new("it").backoff(
        Backoff::Linear,
        Duration::from_secs(2),
        Duration::from_secs(9),
    );
    let queue = Queue::new(App::new().job_fn(kind, |_, _| async { Ok(Value::Null) })).await;
    queue.worker(1).await;
    let declared = "select count(*) from jobs.kinds where name = 'it' and backoff = 'linear' and backoff_base_s = 2 and backoff_max_s = 9";
    assert_eq!(queue.count(declared).await, 1);
    let handlers = Handlers::default().job::<Add>();
    assert_eq!(
        handlers
            .kinds()
            .map(|kind| kind.name.as_str())
            .collect::<Vec<_>>(),
        ["add"]
    );
    assert_eq!(options(3).concurrency, 3);
}
