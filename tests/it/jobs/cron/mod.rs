//! Schedules: what they enqueue, when, once.

mod dst;
mod nodes;
mod pg_cron;
mod policies;
mod retention;
mod sources;

use sb::App;
use sb::app::Running;
use sb::config::Config;
use sb::db::Connection;

use crate::scratch::eventually;
use crate::support;

/// A database, a node that fires its schedules, and a clock that stands still unless it is moved.
struct Cron {
    url: String,
    owner: Connection,
    node: Option<Running>,
}

impl Cron {
    /// A node on a new database, whose schedules believe it is `now`.
    async fn at(now: &str) -> Self {
        let mut cron = Self::without_node().await;
        cron.stop_clock_at(now).await;
        cron.start(App::new(), |_| {}).await;
        cron
    }

    async fn without_node() -> Self {
        let target = support::fresh_database().await;
        let owner = Connection::open(&target).await.unwrap();
        Self {
            url: support::cluster().url(target.database()),
            owner,
            node: None,
        }
    }

    fn config(&self) -> Config {
        let settings = [
            ("jobs.cron_backend", "inproc"),
            ("jobs.cron_poll_interval_s", "0.02"),
        ];
        support::config(&self.url, &settings)
    }

    /// Starts a worker, which fires schedules.
    async fn start(&mut self, app: App, change: impl FnOnce(&mut Config)) {
        let mut config = self.config();
        change(&mut config);
        let running = app.build(config).await.unwrap();
        running.start_worker_with(super::options(2)).await.unwrap();
        self.node = Some(running);
    }

    async fn stop(&mut self) {
        if let Some(running) = self.node.take() {
            running.shutdown().await;
        }
    }

    async fn sql(&self, sql: &str) {
        self.owner.batch_execute(sql).await.expect(sql);
    }

    /// Texts of the first column.
    async fn texts(&self, sql: &str) -> Vec<String> {
        let rows = self.owner.query(sql, &[]).await.expect(sql);
        rows.iter().map(|row| row.get(0)).collect()
    }

    async fn count(&self, sql: &str) -> i64 {
        self.owner.query_one(sql, &[]).await.expect(sql).get(0)
    }

    /// Lets schedules believe in another clock, which others may not read.
    async fn stop_clock_at(&self, now: &str) {
        self.sql(&format!(
            "create table if not exists public.clock (now timestamptz not null);
             delete from public.clock;
             insert into public.clock values ('{now}');
             create or replace function jobs.now() returns timestamptz language sql volatile security definer
               set search_path = '' as 'select now from public.clock'"
        ))
        .await;
    }

    /// Moves the clock, and waits until nothing that is due then is left.
    async fn move_clock_to(&self, now: &str) {
        self.sql(&format!("update public.clock set now = '{now}'"))
            .await;
        self.settled().await;
    }

    async fn settled(&self) {
        let unsettled = "select count(*) from jobs.cron_schedules c, public.clock k
                          where c.enabled and c.error is null and (c.next_fire_at is null or c.next_fire_at <= k.now)";
        eventually("every due tick has been fired", async || {
            self.count(unsettled).await == 0
        })
        .await;
    }

    /// The ticks of a schedule as UTC, with what became of them unless a job was enqueued.
    async fn ticks(&self, name: &str) -> Vec<String> {
        self.texts(&format!(
            "select to_char(r.tick at time zone 'utc', 'MM-DD HH24:MI') || case when outcome <> 'enqueued' then ' ' || outcome else '' end
               from jobs.cron_runs r
              where r.name = '{name}'
              order by r.tick"
        ))
        .await
    }

    /// The refusal of a statement: message and hint.
    async fn refused(&self, sql: &str) -> String {
        let error = self.owner.batch_execute(sql).await.expect_err(sql);
        let (message, hint) = error.words().expect("Postgres said it");
        format!("{message}; {}", hint.unwrap_or_default())
    }
}
