//! What operators see of jobs: `/metrics` and `/readyz`.

use axum::http::StatusCode;
use sb::jobs::Kind;
use serde_json::json;
use std::time::{Duration, Instant};

use super::Queue;
use crate::support::TestApp;

/// The value of a line such as `sb_jobs_dead 1`.
fn value(text: &str, metric: &str) -> Option<f64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok())
}

async fn scrape(app: &TestApp) -> String {
    let reply = app.get("/metrics", None).await;
    assert_eq!(reply.status, StatusCode::OK);
    reply.text()
}

#[tokio::test]
async fn metrics_show_what_waits_what_ran_and_who_works() {
    let app = sb::App::new().job_fn(Kind::new("fails").max_attempts(1), |_, _| async move {
        Err::<serde_json::Value, _>(sb::jobs::JobError::Discard("no".to_owned()))
    });
    let queue = Queue::build(app).await;
    let _worker = queue.sleepy_worker().await;
    let function = "create function public.noop(payload jsonb) returns void language sql as ''";
    queue.owner.batch_execute(function).await.unwrap();
    queue
        .id(&queue.service, json!({ "name": "later", "delay": "1h" }))
        .await;
    queue
        .id(&queue.service, json!({ "name": "of_a_later_release" }))
        .await;
    queue
        .owner
        .batch_execute(
            "update jobs.pending set run_at = now() - interval '1 minute' where status = 'queued'",
        )
        .await
        .unwrap();
    let failed = queue.id(&queue.service, json!({ "name": "fails" })).await;
    let done = queue
        .id(&queue.service, json!({ "name": "sql:public.noop" }))
        .await;
    queue.until(failed, "failed").await;
    queue.until(done, "succeeded").await;

    let text = scrape(&queue.app).await;
    for (metric, expected) in [
        (
            r#"sb_jobs_pending{queue="default",status="scheduled"}"#,
            1.0,
        ),
        (r#"sb_jobs_pending{queue="default",status="queued"}"#, 1.0),
        (r#"sb_jobs_pending{queue="default",status="running"}"#, 0.0),
        (
            r#"sb_jobs_finished_total{name="fails",outcome="discarded"}"#,
            1.0,
        ),
        (
            r#"sb_jobs_finished_total{name="sql",outcome="succeeded"}"#,
            1.0,
        ),
        ("sb_jobs_duration_seconds_count", 2.0),
        ("sb_jobs_wait_seconds_count", 2.0),
        ("sb_jobs_workers_alive", 1.0),
        ("sb_jobs_dead", 1.0),
    ] {
        assert_eq!(value(&text, metric), Some(expected), "{metric} in\n{text}");
    }
    let age = value(&text, r#"sb_jobs_oldest_age_seconds{queue="default"}"#).unwrap();
    assert!((60.0..600.0).contains(&age), "{age}");
    for metric in [
        "sb_jobs_dead_tuples",
        "sb_jobs_oldest_xmin_age",
        "sb_jobs_look_age_seconds",
    ] {
        assert!(value(&text, metric).is_some(), "{metric} in\n{text}");
    }
}

#[tokio::test]
async fn however_many_ask_the_database_is_asked_once() {
    let queue = Queue::new().await;
    let first = scrape(&queue.app).await;
    queue.id(&queue.service, json!({ "name": "a" })).await;
    let depth = r#"sb_jobs_pending{queue="default",status="queued"}"#;
    assert_eq!(value(&first, depth), Some(0.0));
    for _ in 0..20 {
        assert_eq!(
            value(&scrape(&queue.app).await, depth),
            Some(0.0),
            "it looked again at once"
        );
    }
}

#[tokio::test]
async fn a_slow_database_does_not_keep_metrics_waiting() {
    let queue = Queue::new().await;
    queue
        .owner
        .batch_execute("begin; lock table jobs.pending in access exclusive mode")
        .await
        .unwrap();
    let started = Instant::now();
    let text = scrape(&queue.app).await;
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "{:?}",
        started.elapsed()
    );
    assert!(
        text.contains("sb_http_requests") && !text.contains("sb_jobs_pending"),
        "{text}"
    );
    queue.owner.batch_execute("rollback").await.unwrap();
}

#[tokio::test]
async fn readiness_includes_the_worker_where_one_is_expected() {
    let check = async |app: &TestApp| {
        app.get("/readyz", None).await.json()["checks"]["worker"]["status"].clone()
    };
    let queue = Queue::new().await;
    assert_eq!(check(&queue.app).await, json!(null), "none is expected");

    let _worker = queue.sleepy_worker().await;
    assert_eq!(check(&queue.app).await, json!("ok"), "one runs here");
    let age = "create function public.age() returns trigger language plpgsql as
             $$ begin new.seen_at := now() - interval '31 seconds'; return new; end $$;
         create trigger age before insert or update on jobs.workers for each row execute function public.age();
         update jobs.workers set seen_at = now()";
    queue.owner.batch_execute(age).await.unwrap();
    assert_eq!(check(&queue.app).await, json!("fail"), "it has been silent");

    let app = TestApp::with(&[("jobs.expect_worker", "true")]).await;
    assert_eq!(check(&app).await, json!("fail"), "none is registered");
    let beat = "insert into jobs.workers (name, queues, concurrency) values ('elsewhere', '{}', 1)";
    app.owner().await.batch_execute(beat).await.unwrap();
    assert_eq!(check(&app).await, json!("ok"), "one runs elsewhere");
}
