//! The job queue: enqueue, worker, and what keeps them honest.

mod cost;
mod cron;
mod hostile;
mod http;
mod queue;
mod worker;

use sb::db::Connection;
use sb::jobs::{JobId, Worker, WorkerOptions};
use serde_json::Value;

use crate::scratch::eventually;
use crate::support::TestApp;

/// An application with a connection of the owner at hand.
struct Queue {
    app: TestApp,
    owner: Connection,
}

/// What the tests look at of a job.
#[derive(Debug, PartialEq)]
struct Row {
    status: String,
    attempts: i32,
    last_error: Option<String>,
    result: Option<Value>,
}

impl Queue {
    async fn new(app: sb::App) -> Self {
        Self::with(app, &[]).await
    }

    async fn with(app: sb::App, settings: &[(&str, &str)]) -> Self {
        let app = TestApp::build(app, settings).await;
        let owner = app.owner().await;
        Self { app, owner }
    }

    /// A worker with a short drain, serving all queues.
    async fn worker(&self, concurrency: usize) -> Worker {
        self.worker_with(concurrency, |_| {}).await
    }

    async fn worker_with(
        &self,
        concurrency: usize,
        change: impl FnOnce(&mut WorkerOptions),
    ) -> Worker {
        let mut options = options(concurrency);
        change(&mut options);
        let started = self.app.running.start_worker_with(options).await;
        started.expect("the worker starts")
    }

    async fn sql(&self, sql: &str) {
        self.owner.batch_execute(sql).await.expect(sql);
    }

    /// Runs an enqueue written as `jobs.enqueue(…)` and returns the job's id.
    async fn enqueue(&self, call: &str) -> JobId {
        let sql = format!("select (e.job).id from {call} as e");
        self.owner.query_one(&sql, &[]).await.expect(call).get(0)
    }

    async fn row(&self, id: JobId) -> Row {
        let sql = "select status::text, attempts, last_error, result from jobs.jobs where id = $1";
        let row = self
            .owner
            .query_one(sql, &[&id])
            .await
            .expect("the job exists");
        Row {
            status: row.get(0),
            attempts: row.get(1),
            last_error: row.get(2),
            result: row.get(3),
        }
    }

    /// Waits until the job has this status.
    async fn until(&self, id: JobId, status: &str) -> Row {
        let what = format!("job {id} is {status}");
        eventually(&what, async || self.row(id).await.status == status).await;
        self.row(id).await
    }

    async fn count(&self, sql: &str) -> i64 {
        self.owner.query_one(sql, &[]).await.expect(sql).get(0)
    }
}

/// Of a worker that is quick to look and to stop.
pub(crate) fn options(concurrency: usize) -> WorkerOptions {
    WorkerOptions {
        name: "test".to_owned(),
        queues: Vec::new(),
        concurrency,
        poll_interval: std::time::Duration::from_millis(100),
        heartbeat: std::time::Duration::from_millis(500),
        drain_timeout: std::time::Duration::from_millis(200),
        timeout: std::time::Duration::from_secs(30),
        history_days: 7,
        dead_days: 30,
    }
}
