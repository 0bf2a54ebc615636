//! Workers that are killed, a database that restarts, clocks that disagree: every job is completed exactly once.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sb::db::{Connection, Target};
use serde_json::Value;

use super::{Sandbox, wait_until};

/// Workers that run at any time.
const WORKERS: usize = 3;

const SCHEMA: &str = "
    create sequence public.attempts;
    create table public.ledger (n bigint not null);
    create function public.work(payload jsonb) returns void language plpgsql as $$
    begin
      -- Not undone by a rollback: counts what was begun.
      perform nextval('public.attempts');
      insert into public.ledger values ((payload ->> 'n')::bigint);
    end $$;";

/// `SB_TEST_CHAOS_JOBS=100000` makes a long run of it.
#[test]
fn every_job_is_completed_once_whoever_is_killed() {
    let jobs = std::env::var_os("SB_TEST_CHAOS_JOBS")
        .and_then(|jobs| jobs.into_string().ok()?.parse::<i64>().ok());
    let (jobs, pause) = match jobs {
        Some(jobs) => (jobs, Duration::from_secs(2)),
        None => (1_500, Duration::ZERO),
    };
    let mut sandbox = Sandbox::with_project();
    sandbox.set("JOBS_DEV_INPROCESS", "false");
    let state = sandbox.sb(&["up", "--json"]).succeeded().json();
    sandbox.set("JOBS_HEARTBEAT_S", "0.25");
    sandbox.set("JOBS_POLL_INTERVAL_S", "0.2");
    let queue = Queue::new(&state);
    queue.run(SCHEMA);
    queue.enqueue(jobs);
    // supython weak point 16: what the API process registered, a worker of its own did not know.
    queue.run("select jobs.enqueue('sb.retention', max_attempts => 1000, backoff_base_s => 0.1)");

    let mut workers: Vec<_> = (0..WORKERS).map(|n| Worker::start(&sandbox, n)).collect();
    let (mut kills, mut restarts) = (0_usize, 0);
    let (started, mut last, mut left_then) = (Instant::now(), Instant::now(), jobs);
    while let left @ 1.. = queue.left() {
        assert!(
            started.elapsed() < Duration::from_mins(20),
            "{left} jobs are left"
        );
        // Only when something was done since: who is killed while starting shows nothing.
        if last.elapsed() < pause || left_then - left < jobs / 100 {
            std::thread::park_timeout(Duration::from_millis(20));
            continue;
        }
        (last, left_then) = (Instant::now(), left);
        // Twice, somewhere on the way.
        if left < jobs * (2 - restarts) / 3 {
            restarts += 1;
            kill(postmaster(&sandbox));
            continue;
        }
        let victim = kills % WORKERS;
        workers[victim] = Worker::start(&sandbox, kills);
        kills += 1;
    }
    drop(workers);

    let [completed, distinct, dead, written, numbers, begun, own] = queue.totals();
    eprintln!(
        "{jobs} jobs in {:.0?}: {kills} workers killed, Postgres killed {restarts} times, {begun} attempts begun, {} of them again",
        started.elapsed(),
        begun - jobs
    );
    assert_eq!((completed, distinct, dead), (jobs, jobs, 0));
    assert_eq!(own, 1, "the framework's own job has run");
    assert_eq!(
        (written, numbers),
        (jobs, jobs),
        "each effect is there, and once"
    );
    assert!(begun >= jobs);
    assert!(
        kills > 0 && restarts == 2,
        "{kills} kills, {restarts} restarts"
    );
    sandbox.sb(&["down"]).succeeded();
    sandbox.assert_nothing_runs();
}

/// A worker process; killed with all it holds when dropped.
struct Worker(Child);

impl Worker {
    /// Each third one lives ten minutes ahead, each third one ten minutes behind.
    fn start(sandbox: &Sandbox, n: usize) -> Self {
        let mut command = sandbox.command(&sandbox.path("app"), &["worker", "run"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let skew = ["+10m", "-10m", ""][n % 3];
        if !skew.is_empty() && std::env::var_os("SB_TEST_WITHOUT_FAKETIME").is_none() {
            command.env("LD_PRELOAD", faketime()).env("FAKETIME", skew);
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        Self(command.spawn().expect("sb can be run"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        kill(self.0.id());
        let _ = self.0.wait();
    }
}

/// The library that makes a process see another time.
fn faketime() -> PathBuf {
    let candidates = ["x86_64-linux-gnu", "aarch64-linux-gnu"].map(|arch| {
        Path::new("/usr/lib")
            .join(arch)
            .join("faketime/libfaketime.so.1")
    });
    let found = candidates.into_iter().find(|path| path.exists());
    found.expect("libfaketime is installed: bash tests/packages.sh")
}

/// The owner's view, through restarts of the database.
struct Queue {
    target: Target,
    runtime: tokio::runtime::Runtime,
}

impl Queue {
    fn new(state: &Value) -> Self {
        Self {
            target: Target::parse(state["db_url"].as_str().unwrap()).unwrap(),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
        }
    }

    fn run(&self, sql: &str) {
        self.runtime.block_on(async {
            let owner = Connection::open(&self.target).await.unwrap();
            owner.batch_execute(sql).await.unwrap();
        });
    }

    fn enqueue(&self, jobs: i64) {
        for first in (1..=jobs).step_by(5_000) {
            let last = (first + 4_999).min(jobs);
            self.run(&format!(
                "select count(*) from jobs.enqueue_many((
                   select jsonb_agg(jsonb_build_object('name', 'sql:public.work', 'payload', jsonb_build_object('n', n),
                       'max_attempts', 1000, 'backoff_base_s', 0.1, 'backoff_max_s', 1))
                     from generate_series({first}, {last}) as n))"
            ));
        }
    }

    fn ask<const N: usize>(&self, sql: &str) -> Option<[i64; N]> {
        self.runtime.block_on(async {
            let owner = Connection::open(&self.target).await.ok()?;
            let row = owner.query_one(sql, &[]).await.ok()?;
            Some(std::array::from_fn(|column| row.get(column)))
        })
    }

    fn left(&self) -> i64 {
        let [left] = wait_until("the database answers", || {
            self.ask("select count(*) from jobs.pending")
        });
        left
    }

    fn totals(&self) -> [i64; 7] {
        let sql = "select (select count(*) from jobs.history where status = 'succeeded' and name = 'sql:public.work')
                        , (select count(distinct id) from jobs.history where name = 'sql:public.work')
                        , (select count(*) from jobs.dead)
                        , (select count(*) from public.ledger)
                        , (select count(distinct n) from public.ledger)
                        , (select last_value from public.attempts)
                        , (select count(*) from jobs.history where status = 'succeeded' and name = 'sb.retention')";
        wait_until("the database answers", || self.ask(sql))
    }
}

fn postmaster(sandbox: &Sandbox) -> u32 {
    let file = sandbox.app(".sb/pgdata/postmaster.pid");
    wait_until("the database has a pid", || {
        std::fs::read_to_string(&file)
            .ok()?
            .lines()
            .next()?
            .parse()
            .ok()
    })
}

fn kill(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let _ = kill_process(pid, Signal::KILL);
}
