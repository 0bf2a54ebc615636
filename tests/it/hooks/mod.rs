//! Hooks end to end: subscriptions in SQL, deliveries by a worker, receivers on the loopback.

mod access;
mod accounts;
mod changes;
mod mails;
pub(crate) mod receiver;
mod webhooks;

use sb::db::Connection;
use sb::jobs::{JobId, WorkerOptions};
use serde_json::Value;

use crate::scratch::eventually;
use crate::support::TestApp;

/// An application, a connection of the owner, and a worker when a test starts one.
struct Hooks {
    app: TestApp,
    owner: Connection,
}

impl Hooks {
    /// Receivers on the loopback may be called.
    async fn new() -> Self {
        Self::with(sb::App::new(), &[("outbound.allow", "127.0.0.0/8")]).await
    }

    async fn with(app: sb::App, settings: &[(&str, &str)]) -> Self {
        let app = TestApp::build(app, settings).await;
        let owner = app.owner().await;
        Self { app, owner }
    }

    async fn work(&self) {
        let options = WorkerOptions {
            name: "test".to_owned(),
            queues: Vec::new(),
            concurrency: 4,
            poll_interval: std::time::Duration::from_millis(50),
            heartbeat: std::time::Duration::from_millis(500),
            drain_timeout: std::time::Duration::from_millis(200),
            timeout: std::time::Duration::from_secs(30),
            history_days: 7,
            dead_days: 30,
        };
        let started = self.app.running.start_worker_with(options).await;
        started.expect("the worker starts");
    }

    async fn sql(&self, sql: &str) {
        self.owner.batch_execute(sql).await.expect(sql);
    }

    /// The first column of the one row, as text.
    async fn value(&self, sql: &str) -> String {
        let sql = format!("select (x.v)::text from ({sql}) as x (v)");
        let row = self.owner.query_one(&sql, &[]).await.expect(&sql);
        row.get::<_, Option<String>>(0).unwrap_or_default()
    }

    /// The first column of all rows.
    async fn json(&self, sql: &str) -> Vec<Value> {
        let rows = self.owner.query(sql, &[]).await.expect(sql);
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// What the database says to a statement that it refuses, run as `role`.
    async fn refusal(&self, role: &str, sql: &str) -> String {
        let both = format!("begin; set local role {role}; {sql}; commit");
        let error = self.owner.batch_execute(&both).await.expect_err(sql);
        self.sql("rollback").await;
        error.to_string()
    }

    /// Enqueues a call and returns the job.
    async fn enqueue(&self, url: &str, options: &str) -> JobId {
        let sql = format!(
            "select (e.job).id from jobs.enqueue('{url}', '{{\"n\": 1}}', backoff_base_s => 0.01 {options}) as e"
        );
        self.owner.query_one(&sql, &[]).await.expect(&sql).get(0)
    }

    /// Waits for the end of a job and returns it.
    async fn until(&self, id: JobId, status: &str) -> Value {
        let sql = format!("select j.status from jobs.jobs j where j.id = {id}");
        let what = format!("job {id} is {status}");
        eventually(&what, async || self.value(&sql).await == status).await;
        let sql = format!("select to_jsonb(j) from jobs.jobs j where j.id = {id}");
        self.json(&sql).await.remove(0)
    }
}
