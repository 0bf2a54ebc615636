//! Background jobs: over HTTP, in metrics and readiness, and what callers may do.

mod metrics;
mod routes;

use axum::http::StatusCode;
use sb::db::Connection;
use sb::jobs::{Worker, WorkerOptions};
use serde_json::{Value, json};
use std::time::Duration;

use crate::support::TestApp;

/// An application with tokens of the service and of two users.
struct Queue {
    app: TestApp,
    service: String,
    ana: String,
    ben: String,
    owner: Connection,
}

impl Queue {
    async fn new() -> Self {
        Self::build(sb::App::new()).await
    }

    async fn build(app: sb::App) -> Self {
        let app = TestApp::build(app, &[]).await;
        let owner = app.owner().await;
        let token = |session: &Value| session["access_token"].as_str().unwrap().to_owned();
        Self {
            service: app.running.role_token("service_role").unwrap(),
            ana: token(&app.sign_up("ana@example.com").await),
            ben: token(&app.sign_up("ben@example.com").await),
            owner,
            app,
        }
    }

    /// Lets users enqueue jobs of any kind but `secret`.
    async fn allow_users(&self) {
        let policy = "create policy users_enqueue on jobs.pending for insert to authenticated
             with check (name <> 'secret')";
        self.owner.batch_execute(policy).await.unwrap();
    }

    /// Enqueues and returns the answer, which must be 200.
    async fn enqueue(&self, token: &str, body: Value) -> Value {
        let reply = self.app.post("/jobs/v1/enqueue", Some(token), body).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
        reply.json()
    }

    async fn id(&self, token: &str, body: Value) -> i64 {
        self.enqueue(token, body).await["job"]["id"]
            .as_i64()
            .unwrap()
    }

    /// Status and code of `POST /jobs/v1/{path}`.
    async fn post(&self, path: &str, token: Option<&str>, body: Value) -> (u16, Value) {
        let reply = self
            .app
            .post(&format!("/jobs/v1/{path}"), token, body)
            .await;
        (reply.status.as_u16(), reply.json())
    }

    async fn get(&self, path: &str, token: Option<&str>) -> (u16, Value) {
        let reply = self.app.get(&format!("/jobs/v1/{path}"), token).await;
        (reply.status.as_u16(), reply.json())
    }

    /// A worker that looks by itself once an hour: whatever it runs sooner, it was woken for.
    async fn sleepy_worker(&self) -> Worker {
        let options = WorkerOptions {
            name: "test".to_owned(),
            queues: Vec::new(),
            concurrency: 4,
            poll_interval: Duration::from_hours(1),
            heartbeat: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
            history_days: 7,
            dead_days: 30,
        };
        self.app.running.start_worker_with(options).await.unwrap()
    }

    /// Waits until the job has this status, and returns it.
    async fn until(&self, id: i64, status: &str) -> Value {
        let mut last = Value::Null;
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        for _ in 0..1_500 {
            last = self.get(&format!("jobs/{id}"), Some(&self.service)).await.1;
            if last["status"] == json!(status) {
                return last;
            }
            ticks.tick().await;
        }
        panic!("job {id} never became {status}: {last:#}");
    }
}
