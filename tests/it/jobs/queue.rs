//! The queue in SQL: options, keys, access, history.

use sb::{App, Caller};
use serde_json::json;

use super::Queue;

async fn refused(queue: &Queue, sql: &str) -> String {
    let error = queue.owner.query(sql, &[]).await.expect_err(sql);
    let (message, hint) = error.words().expect("Postgres said it");
    format!("{message}; {}", hint.unwrap_or_default())
}

#[tokio::test]
async fn bad_options_are_refused_with_what_to_do() {
    let queue = Queue::new(App::new()).await;
    for (call, expected) in [
        ("jobs.enqueue('')", "a job needs a name"),
        ("jobs.enqueue('x', null)", "use {} for a job without data"),
        (
            "jobs.enqueue('x', queue => 'nix')",
            "queue \"nix\" does not exist",
        ),
        (
            "jobs.enqueue('x', queue => 'nix')",
            "jobs.create_queue('nix')",
        ),
        ("jobs.enqueue('x', delay => '-1 s')", "delay is negative"),
        ("jobs.enqueue('x', max_attempts => 0)", "max_attempts is 0"),
        ("jobs.enqueue('x', priority => 40000)", "priority is 40000"),
        ("jobs.enqueue('x', backoff => 'sideways')", "sideways"),
        (
            "jobs.enqueue('x', backoff_base_s => 'NaN')",
            "backoff_base_s",
        ),
        ("jobs.enqueue('x', claims_from => 'payload')", "claims_from"),
        ("jobs.enqueue('x', timeout_s => 0)", "timeout_s is 0"),
        (
            "jobs.enqueue('x', concurrency_limit => 0)",
            "concurrency_limit is 0",
        ),
        (
            "jobs.enqueue('x', to_jsonb(repeat('x', 300000)))",
            "at most 262144",
        ),
        ("jobs.enqueue_many('{}')", "no JSON array"),
        (
            "jobs.enqueue_many('[{\"name\": \"x\", \"dely\": \"1 s\"}]')",
            "no option \"dely\"",
        ),
        (
            "jobs.enqueue_many('[{\"name\": \"x\", \"queue\": \"nix\"}]')",
            "queue \"nix\" does not exist",
        ),
        ("jobs.cancel(7)", "job 7 does not exist"),
        ("jobs.retry(7)", "job 7 does not exist"),
    ] {
        let text = refused(&queue, &format!("select {call}")).await;
        assert!(text.contains(expected), "{call}: {text}");
    }
    assert_eq!(queue.count("select count(*) from jobs.jobs").await, 0);
}

#[tokio::test]
async fn many_are_enqueued_in_order_and_all_or_none() {
    let queue = Queue::new(App::new()).await;
    let rows = queue
        .owner
        .query(
            "select e.id, e.is_new
               from jobs.enqueue_many('[{\"name\": \"a\"}, {\"name\": \"b\", \"delay\": \"1 hour\"}, {\"name\": \"c\", \"priority\": 3}]') as e",
            &[],
        )
        .await
        .unwrap();
    let names = queue
        .owner
        .query("select name, status::text from jobs.jobs order by id", &[])
        .await
        .unwrap();
    let names: Vec<(String, String)> = names.iter().map(|row| (row.get(0), row.get(1))).collect();
    let expected = [("a", "queued"), ("b", "scheduled"), ("c", "queued")];
    assert_eq!(
        names,
        expected.map(|(name, status)| (name.to_owned(), status.to_owned()))
    );
    assert!(rows.is_sorted_by_key(|row| row.get::<_, i64>(0)) && rows.iter().all(|row| row.get(1)));
    refused(
        &queue,
        "select jobs.enqueue_many('[{\"name\": \"d\"}, {\"name\": \"\"}]')",
    )
    .await;
    assert_eq!(queue.count("select count(*) from jobs.jobs").await, 3);
}

#[tokio::test]
async fn calls_written_for_supython_work() {
    let queue = Queue::new(App::new()).await;
    let by_name = "jobs.enqueue(p_name => 'mail', p_payload => '{\"to\": 1}', p_queue => 'default', p_idempotency_key => 'k',
        p_user_id => null, p_max_attempts => 5, p_backoff => 'linear', p_backoff_base_s => 1, p_backoff_max_s => 2,
        p_run_at => now(), p_version => 2, p_role => 'service_role', p_claims_from => null)";
    let first = queue.enqueue(by_name).await;
    assert_eq!(queue.enqueue(by_name).await, first);
    let by_position = "jobs.enqueue('mail', '{}', 'default', null, null, 3, 'exponential', 5, 300, now(), 1, 'service_role', null)";
    assert_ne!(queue.enqueue(by_position).await, first);
    queue.enqueue("jobs.enqueue('mail'::varchar)").await;
    assert_eq!(
        queue
            .count("select count(*) from jobs.jobs where name = 'mail'")
            .await,
        3
    );
}

/// supython weak point 24: concurrent enqueues with one key failed. Fails when a key is looked up first and inserted
/// later.
#[tokio::test]
async fn a_hundred_enqueues_with_one_key_are_one_job() {
    let queue = Queue::new(App::new()).await;
    let context = queue.app.running.context();
    let mut job = sb::jobs::NewJob::new("it", json!({}));
    job.idempotency_key = Some("once".to_owned());
    let one = async || {
        let tx = context
            .db
            .begin(&Caller::with_role("service_role"))
            .await
            .unwrap();
        let enqueued = context.jobs.enqueue(&tx, &job).await.unwrap();
        tx.commit().await.unwrap();
        enqueued
    };
    let all = futures_util::future::join_all((0..100).map(|_| one())).await;
    assert_eq!(all.iter().filter(|enqueued| enqueued.is_new).count(), 1);
    assert!(all.iter().all(|enqueued| enqueued.id == all[0].id));
    assert_eq!(queue.count("select count(*) from jobs.pending").await, 1);
    let many = "select count(*) filter (where e.is_new) from jobs.enqueue_many(
        '[{\"name\": \"it\", \"idempotency_key\": \"once\"}, {\"name\": \"it\", \"idempotency_key\": \"b\"}, {\"name\": \"it\", \"idempotency_key\": \"b\"}]') as e";
    assert_eq!(queue.count(many).await, 1);
}

#[tokio::test]
async fn a_key_can_stay_taken_after_the_end() {
    let app = App::new().job_fn(sb::jobs::Kind::new("it"), |_, _| async { Ok(json!(1)) });
    let queue = Queue::new(app).await;
    queue.worker(1).await;
    let call = "jobs.enqueue('it', idempotency_key => 'k', unique_for => '1 hour')";
    let id = queue.enqueue(call).await;
    queue.until(id, "succeeded").await;
    assert_eq!(queue.enqueue(call).await, id, "the finished job answers");
    queue
        .sql("update jobs.spent_keys set expires_at = now()")
        .await;
    assert_ne!(queue.enqueue(call).await, id);
    let free = "jobs.enqueue('it', idempotency_key => 'free')";
    let id = queue.enqueue(free).await;
    queue.until(id, "succeeded").await;
    assert_ne!(queue.enqueue(free).await, id);
}

/// supython weak point 3: anybody could enqueue and claim.
#[tokio::test]
async fn users_see_and_touch_their_own_jobs_only() {
    let queue = Queue::new(App::new()).await;
    let context = queue.app.running.context();
    let user = |id: u8| {
        let claims = json!({ "sub": format!("00000000-0000-4000-8000-00000000000{id}"), "role": "authenticated" });
        Caller::from_claims(claims.as_object().unwrap().clone())
    };
    let run = async |caller: &Caller, sql: String| {
        let tx = context.db.begin(caller).await.unwrap();
        let result = tx.query(sql.as_str(), &[]).await;
        tx.finish(result).await.map_err(|error| error.to_string())
    };
    let enqueue =
        "select (e.job).id from jobs.enqueue('mine', idempotency_key => 'same') as e".to_owned();
    for caller in [user(1), Caller::anon()] {
        let plain = "select jobs.enqueue('mine')".to_owned();
        let refused = run(&caller, plain).await.unwrap_err();
        assert!(refused.contains("row-level security"), "{refused}");
    }
    let refused = run(&Caller::anon(), enqueue.clone()).await.unwrap_err();
    assert!(
        refused.contains("an idempotency key belongs to a user"),
        "{refused}"
    );
    queue
        .sql("create policy mine on jobs.pending for insert to authenticated with check (name = 'mine')")
        .await;
    let ids: Vec<i64> = [
        run(&user(1), enqueue.clone()).await,
        run(&user(2), enqueue.clone()).await,
    ]
    .map(|rows| rows.unwrap()[0].get(0))
    .into();
    assert_ne!(ids[0], ids[1], "a key belongs to its user");
    for (caller, own, other) in [(user(1), ids[0], ids[1]), (user(2), ids[1], ids[0])] {
        let seen = run(&caller, "select id from jobs.jobs".to_owned())
            .await
            .unwrap();
        assert_eq!(
            seen.iter()
                .map(|row| row.get::<_, i64>(0))
                .collect::<Vec<_>>(),
            [own]
        );
        for verb in ["cancel", "retry"] {
            let refused = run(&caller, format!("select jobs.{verb}({other})"))
                .await
                .unwrap_err();
            assert!(
                refused.contains(&format!("job {other} does not exist")),
                "{refused}"
            );
        }
    }
    for forbidden in [
        "select jobs.enqueue('mine', role => 'service_role')",
        "select jobs.enqueue('mine', user_id => '00000000-0000-4000-8000-000000000002')",
        "select jobs.enqueue('mine', source => 'cron:x')",
        "select jobs.enqueue('theirs')",
        "insert into jobs.pending (name, role) values ('mine', 'service_role')",
        "insert into jobs.pending (name, status) values ('mine', 'running')",
        "insert into jobs.pending (name, user_id) values ('mine', '00000000-0000-4000-8000-000000000002')",
        "update jobs.pending set name = 'theirs'",
        "delete from jobs.pending",
        "select jobs.complete(1, 0, null)",
        "select jobs.maintain('0', '0')",
        "select jobs.create_queue('q')",
        "select id from jobs.workers",
        "select job_id from jobs.spent_keys",
    ] {
        run(&user(1), forbidden.to_owned())
            .await
            .expect_err(forbidden);
    }
    run(&user(1), format!("select jobs.cancel({})", ids[0]))
        .await
        .unwrap();
    assert_eq!(queue.row(ids[0]).await.status, "cancelled");
    assert_eq!(queue.row(ids[1]).await.status, "queued");
}

/// supython weak point 39: nothing was ever pruned. Fails when the days that are over are not dropped.
#[tokio::test]
async fn days_are_prepared_and_dropped() {
    let app = App::new().job_fn(sb::jobs::Kind::new("it"), |_, _| async { Ok(json!(1)) });
    let queue = Queue::new(app).await;
    queue.worker(1).await;
    let days = "select count(*) from pg_inherits where inhparent = 'jobs.history'::regclass";
    assert_eq!(
        queue.count(days).await,
        5,
        "today, three days to come, and the default"
    );
    let id = queue.enqueue("jobs.enqueue('it')").await;
    queue.until(id, "succeeded").await;
    // A day that nobody prepared: its jobs are in the default partition.
    queue
        .sql(
            "insert into jobs.history_default
               select (json_populate_record(h, '{\"finished_at\": \"2001-01-01T00:00:00Z\"}')).* from jobs.history h;
             create table jobs.history_20010102 partition of jobs.history
               for values from ('2001-01-02 00:00:00+00') to ('2001-01-03 00:00:00+00');
             insert into jobs.history
               select (json_populate_record(h, '{\"finished_at\": \"2001-01-02T10:00:00Z\"}')).* from jobs.history h
                 where h.finished_at > now() - interval '1 day';
             insert into jobs.dead
               select (json_populate_record(h, '{\"finished_at\": \"2001-01-02T10:00:00Z\"}')).* from jobs.history h
                 where h.finished_at > now() - interval '1 day'",
        )
        .await;
    assert_eq!(queue.count("select count(*) from jobs.jobs").await, 4);
    queue.sql("select jobs.maintain('7 days', '30 days')").await;
    assert_eq!(queue.count("select count(*) from jobs.jobs").await, 1);
    assert_eq!(queue.count(days).await, 5);
    // What a day without preparation left in the default partition moves into the day's own.
    queue
        .sql(
            "do $$
             declare
               today text := 'history_' || to_char((now() at time zone 'utc')::date, 'YYYYMMDD');
             begin
               execute format('alter table jobs.history detach partition jobs.%I', today);
               execute format('insert into jobs.history select * from jobs.%I', today);
               execute format('drop table jobs.%I', today);
             end $$",
        )
        .await;
    assert_eq!(
        queue
            .count("select count(*) from jobs.history_default")
            .await,
        1
    );
    queue.sql("select jobs.maintain('7 days', '30 days')").await;
    assert_eq!(
        queue
            .count("select count(*) from jobs.history_default")
            .await,
        0
    );
    assert_eq!(queue.row(id).await.status, "succeeded");
}
