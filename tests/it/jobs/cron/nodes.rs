//! Three nodes, a clock a thousand times as fast, and nodes killed again and again: every tick happens once.
//!
//! `SB_TEST_CRON_TICKS=10000 cargo test --test it jobs::cron::nodes` runs more ticks than the 2,000 of every day.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Cron;

/// Schedules with the seconds between their ticks; 10.2 ticks a minute.
const SCHEDULES: [(&str, &str, u32); 9] = [
    ("* * * * *", "UTC", 60),
    ("* * * * *", "Europe/Berlin", 60),
    ("* * * * *", "America/New_York", 60),
    ("* * * * *", "Asia/Kolkata", 60),
    ("0 * * * * *", "UTC", 60),
    ("30 * * * * *", "UTC", 60),
    ("*/20 * * * * *", "UTC", 20),
    ("*/5 * * * *", "Asia/Tokyo", 300),
    ("* * * * *", "Australia/Lord_Howe", 60),
];

/// Between two deaths.
const LIFE: Duration = Duration::from_millis(1_200);

/// A real process that ends with the test.
struct Node(Child);

impl Node {
    fn start(cron: &Cron, folder: &std::path::Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_sb"))
            .args(["worker", "run"])
            .current_dir(folder)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("DATABASE_URL", &cron.url)
            .env("SB_MASTER_KEY", crate::support::MASTER_KEY)
            .env("JWT_ALG", "ES256")
            .env("SB_MIGRATE_ON_START", "false")
            .env("JOBS_CRON_POLL_INTERVAL_S", "0.02")
            .env("JOBS_QUEUES", "none")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.expect("sb starts"))
    }

    fn kill(&mut self) {
        // SIGKILL.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tick_happens_once_however_often_nodes_are_killed() {
    let wanted: i64 = std::env::var_os("SB_TEST_CRON_TICKS").map_or(2_000, |text| {
        text.to_string_lossy().parse().expect("a number of ticks")
    });
    let cron = Cron::without_node().await;
    let folder = tempfile::tempdir().unwrap();
    let mut nodes: Vec<Node> = (0..3).map(|_| Node::start(&cron, folder.path())).collect();
    for (number, (expression, zone, _)) in SCHEDULES.iter().enumerate() {
        cron.sql(&format!(
            "select jobs.schedule('s{number}', '{expression}', 'nobody runs this', time_zone => '{zone}', missed => 'all',
               missed_window => '10 days')"
        ))
        .await;
    }
    // From here on schedules live fast. Berlin and New York change their clocks on the way, if it goes on for long.
    cron.sql(
        "do $do$
         begin
           execute format(
             'create or replace function jobs.now() returns timestamptz language sql volatile set search_path = %L as %L', '',
             format('select timestamptz %L + (clock_timestamp() - timestamptz %L) * 1000', '2030-03-30 20:00Z', clock_timestamp())
           );
         end
         $do$;
         update jobs.cron_schedules set enabled = false where name <> 'sb.retention';
         update jobs.cron_schedules set enabled = true where name <> 'sb.retention'",
    )
    .await;
    let runs = "select count(*) from jobs.cron_runs where name like 's_'";
    let (started, mut killed) = (Instant::now(), 0);
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    let mut last_death = Instant::now();
    loop {
        ticks.tick().await;
        if cron.count(runs).await >= wanted {
            break;
        }
        assert!(
            started.elapsed() < Duration::from_mins(5),
            "{} ticks of {wanted}",
            cron.count(runs).await
        );
        if last_death.elapsed() >= LIFE {
            nodes[killed % 3].kill();
            nodes[killed % 3] = Node::start(&cron, folder.path());
            (killed, last_death) = (killed + 1, Instant::now());
        }
    }
    let took = started.elapsed();
    cron.sql("update jobs.cron_schedules set enabled = false")
        .await;
    drop(nodes);

    for (number, (expression, zone, step)) in SCHEDULES.iter().enumerate() {
        // Nothing is missing between the first tick and the last, and nothing is between them.
        let row = cron
            .owner
            .query_one(
                &format!(
                    "select count(*), (extract(epoch from max(tick) - min(tick)) / {step} + 1)::bigint,
                            bool_and(extract(epoch from tick)::bigint % 10 = 0)
                       from jobs.cron_runs where name = 's{number}' and outcome = 'enqueued'"
                ),
                &[],
            )
            .await
            .unwrap();
        let (ticks, expected, on_time): (i64, i64, bool) = (row.get(0), row.get(1), row.get(2));
        assert_eq!((ticks, on_time), (expected, true), "{expression} in {zone}");
    }
    let total = cron.count(runs).await;
    for (what, jobs) in [
        (
            "jobs",
            "select count(*) from jobs.jobs where source like 'cron:s_'",
        ),
        (
            "jobs with a tick of their own",
            "select count(distinct j.id) from jobs.jobs j join jobs.cron_runs r on r.job_id = j.id and j.source = 'cron:' || r.name where r.name like 's_'",
        ),
    ] {
        assert_eq!(cron.count(jobs).await, total, "{what}");
    }
    let first = "select count(*) from (select min(tick) - interval '300 s' from jobs.cron_runs where name like 's_' group by name having min(tick) > timestamptz '2030-03-30 20:10Z') as late";
    assert_eq!(cron.count(first).await, 0, "each began at once");
    let epoch = cron.count("select epoch from jobs.leader").await;
    assert!(
        killed > 2 && epoch > 2,
        "{killed} nodes were killed, {epoch} leaders"
    );
    eprintln!(
        "{total} ticks in {:.1} s, {killed} nodes killed, {epoch} leaders",
        took.as_secs_f64()
    );
}
