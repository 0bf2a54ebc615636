//! What must not starve, stick or leak: each test names the defence whose removal makes it fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sb::jobs::{JobError, Kind};
use sb::{App, Caller};
use serde_json::{Value, json};

use super::Queue;
use crate::scratch::eventually;

/// An application whose kind `it` takes a moment, and one that counts.
fn app(order: &Arc<std::sync::Mutex<Vec<String>>>) -> App {
    let order = Arc::clone(order);
    App::new().job_fn(Kind::new("it"), move |_, payload| {
        order.lock().unwrap().push(payload.get().to_owned());
        async {
            tokio::task::yield_now().await;
            Ok(Value::Null)
        }
    })
}

/// Defence: shares and rotation in `worker/fetch.rs`.
#[tokio::test]
async fn a_long_queue_does_not_stop_another() {
    let order = Arc::default();
    let queue = Queue::new(app(&order)).await;
    queue
        .sql(
            "select jobs.create_queue('a_bulk'), jobs.create_queue('z_mail');
             insert into jobs.pending (name, role, queue, payload)
               select 'it', 'service_role', 'a_bulk', '\"bulk\"' from generate_series(1, 4000);
             insert into jobs.pending (name, role, queue, payload)
               values ('it', 'service_role', 'z_mail', '\"mail\"')",
        )
        .await;
    queue.worker(2).await;
    let done = "select count(*) from jobs.pending";
    eventually("all are done", async || queue.count(done).await == 0).await;
    let order = order.lock().unwrap();
    let mail = order.iter().position(|payload| payload == "\"mail\"");
    assert!(mail.unwrap() < 3_000, "{mail:?}");
}

/// Defence: the look at the whole queue comes before the marks.
#[tokio::test]
async fn what_is_urgent_or_keyed_overtakes_a_backlog() {
    let order = Arc::default();
    let queue = Queue::new(app(&order)).await;
    queue
        .sql(
            "insert into jobs.pending (name, role, payload)
               select 'it', 'service_role', '\"backlog\"' from generate_series(1, 6000)",
        )
        .await;
    queue.worker(2).await;
    let begun = || order.lock().unwrap().len();
    eventually("the backlog is being worked on", async || begun() > 500).await;
    queue
        .sql(
            "select jobs.enqueue('it', '\"urgent\"', priority => -10);
             select jobs.enqueue('it', '\"keyed\"', concurrency_key => 'k')",
        )
        .await;
    let done = "select count(*) from jobs.pending";
    eventually("all are done", async || queue.count(done).await == 0).await;
    let order = order.lock().unwrap();
    for wanted in ["\"urgent\"", "\"keyed\""] {
        let at = order.iter().position(|payload| payload == wanted).unwrap();
        assert!(at < 5_500, "{wanted} was number {at}");
    }
}

/// Defence: `register` wakes the fetcher, which waits while the worker is lost.
#[tokio::test]
async fn a_worker_that_was_given_up_goes_on_under_another_id() {
    let queue = Queue::new(app(&Arc::default())).await;
    queue.worker(1).await;
    queue.sql("delete from jobs.workers").await;
    let id = queue.enqueue("jobs.enqueue('it')").await;
    queue.until(id, "succeeded").await;
}

/// Defence: the strays that are looked for although no worker has died.
#[tokio::test]
async fn a_job_of_nobody_is_found() {
    let queue = Queue::new(app(&Arc::default())).await;
    queue
        .worker_with(1, |options| options.heartbeat = Duration::from_millis(100))
        .await;
    let first = queue.enqueue("jobs.enqueue('it')").await;
    queue.until(first, "succeeded").await;
    queue
        .sql(
            "insert into jobs.pending (name, role, status, lease, attempts, locked_by, locked_at)
               values ('it', 'service_role', 'running', 1, 1, 999999, now())",
        )
        .await;
    let done = "select count(*) from jobs.pending";
    eventually("it has run", async || queue.count(done).await == 0).await;
}

/// Defence: the row is asked before a notification is believed.
#[tokio::test]
async fn a_notification_alone_cancels_nothing() {
    let (started, go) = (
        Arc::new(tokio::sync::Semaphore::new(0)),
        Arc::new(tokio::sync::Semaphore::new(0)),
    );
    let (begun, wait) = (Arc::clone(&started), Arc::clone(&go));
    let queue = Queue::new(App::new().job_fn(Kind::new("it"), move |_, _| {
        let (begun, wait) = (Arc::clone(&begun), Arc::clone(&wait));
        async move {
            begun.add_permits(1);
            wait.acquire().await.unwrap().forget();
            Ok(Value::Null)
        }
    }))
    .await;
    queue.worker(1).await;
    let id = queue.enqueue("jobs.enqueue('it')").await;
    started.acquire().await.unwrap().forget();
    queue
        .sql(&format!(
            "set role anon; select pg_notify('sb_jobs_cancel', '{id}'); reset role"
        ))
        .await;
    // A real one behind it: once that is through, the false one has been read.
    let other = queue.enqueue("jobs.enqueue('it', delay => '1 hour')").await;
    queue.sql(&format!("select jobs.cancel({other})")).await;
    go.add_permits(1);
    assert_eq!(queue.until(id, "succeeded").await.attempts, 1);
}

/// Defence: role and user are part of an idempotency key, the user of a concurrency key.
#[tokio::test]
async fn users_take_no_key_from_the_system() {
    let queue = Queue::new(App::new()).await;
    queue
        .sql("create policy any_job on jobs.pending for insert to anon, authenticated with check (true)")
        .await;
    let claims = json!({ "sub": "6b2c9d4e-0000-4000-8000-000000000001", "role": "authenticated" });
    let user = Caller::from_claims(claims.as_object().unwrap().clone());
    let context = queue.app.running.context();
    let run = async |caller: &Caller, sql: &str| {
        let tx = context.db.begin(caller).await.unwrap();
        let result = tx.query_one(sql, &[]).await;
        tx.finish(result).await.map_err(|error| error.to_string())
    };
    let call = "select e.is_new, (e.job).concurrency_key
                  from jobs.enqueue('report', idempotency_key => 'daily', concurrency_key => 'ledger') as e";
    let own = run(&user, call).await.unwrap();
    assert!(own.get::<_, bool>(0));
    assert_eq!(
        own.get::<_, String>(1),
        "user:6b2c9d4e-0000-4000-8000-000000000001:ledger"
    );
    let service = Caller::with_role("service_role");
    let system = run(&service, call).await.unwrap();
    assert!(system.get::<_, bool>(0), "the user's key is another one");
    for sql in [
        "insert into jobs.pending (name, concurrency_key) values ('x', 'ledger') returning id",
        "insert into jobs.pending (name, run_at) values ('x', '290000-01-01') returning id",
        "insert into jobs.pending (name, backoff_max_s) values ('x', 'infinity') returning id",
        "insert into jobs.pending (name, priority) values ('x', -1) returning id",
        "insert into jobs.pending (name) values ('sb.retention') returning id",
    ] {
        let refused = run(&user, sql).await.unwrap_err();
        assert!(refused.contains("row-level security"), "{sql}: {refused}");
    }
    // For the user, but not as the user: seen, not touched.
    let id = queue
        .enqueue("jobs.enqueue('charge', user_id => '6b2c9d4e-0000-4000-8000-000000000001')")
        .await;
    let refused = run(&user, &format!("select jobs.cancel({id})"))
        .await
        .unwrap_err();
    assert!(refused.contains("does not exist"), "{refused}");
}

/// Defence: outcomes that cannot be stored are written one by one, and pauses are bounded.
#[tokio::test]
async fn one_outcome_that_cannot_be_stored_spoils_no_other() {
    let queue = Queue::new(
        App::new()
            .job_fn(Kind::new("forever"), |_, _| async {
                Err(JobError::Snooze(Duration::MAX))
            })
            .job_fn(Kind::new("it"), |_, _| async {
                Err(JobError::Discard("no".to_owned()))
            }),
    )
    .await;
    queue.worker(4).await;
    let sleeps = queue.enqueue("jobs.enqueue('forever')").await;
    let fails = queue.enqueue("jobs.enqueue('it')").await;
    queue.until(fails, "failed").await;
    queue.until(sleeps, "scheduled").await;
}

/// Defence: deferred triggers run before the caller's role is left.
#[tokio::test]
async fn deferred_triggers_run_as_the_caller() {
    let queue = Queue::new(App::new()).await;
    queue
        .sql(
            "create table public.audit (who text);
             alter table public.audit disable row level security;
             create function public.note_who() returns trigger language plpgsql as $$
             begin insert into public.audit values (current_user); return null; end $$;
             create table public.things (n int);
             alter table public.things disable row level security;
             create constraint trigger late after insert on public.things
               deferrable initially deferred for each row execute function public.note_who();
             create function public.add_thing(payload jsonb) returns void language sql as
               'insert into public.things values (1)'",
        )
        .await;
    queue.worker(1).await;
    let id = queue.enqueue("jobs.enqueue('sql:public.add_thing')").await;
    queue.until(id, "succeeded").await;
    let sql = "select count(*) from public.audit where who = 'service_role'";
    assert_eq!(queue.count(sql).await, 1);
}

/// Defence: a day that cannot be prepared is a warning.
#[tokio::test]
async fn a_long_reader_stops_neither_maintenance_nor_workers() {
    let counter = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&counter);
    let queue = Queue::new(App::new().job_fn(Kind::new("it"), move |_, _| {
        seen.fetch_add(1, Ordering::SeqCst);
        async { Ok(Value::Null) }
    }))
    .await;
    queue
        .sql(
            "do $$ begin
               execute format('drop table jobs.%I', 'history_' || to_char((now() at time zone 'utc')::date, 'YYYYMMDD'));
             end $$",
        )
        .await;
    let reader = queue.app.owner().await;
    reader
        .batch_execute("begin; select count(*) from jobs.history")
        .await
        .unwrap();
    queue.sql("select jobs.maintain('7 days', '30 days')").await;
    queue.worker(1).await;
    let id = queue.enqueue("jobs.enqueue('it')").await;
    queue.until(id, "succeeded").await;
    reader.batch_execute("rollback").await.unwrap();
    queue.sql("select jobs.maintain('7 days', '30 days')").await;
    assert_eq!(
        queue
            .count("select count(*) from jobs.history_default")
            .await,
        0
    );
    assert_eq!(counter.load(Ordering::SeqCst), 1);
}
