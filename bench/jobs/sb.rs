//! Measures `sb`'s queue as its peers beside it are measured; one JSON line.
//!
//! `bench_jobs DSN [--jobs N] [--concurrency N] [--snapshot SECONDS]`, with `PG_PID` set to the postmaster's pid when it
//! runs on this machine. The database is scratch.

#![expect(clippy::print_stdout, reason = "the report is its output")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sb::config::{Config, Sources};
use sb::db::{Connection, Target};
use sb::jobs::{Kind, NewJob};
use sb::{App, Caller, Running};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Error = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug)]
struct Options {
    dsn: String,
    jobs: usize,
    concurrency: usize,
    snapshot: u64,
}

// As the program itself: half of two cores.
#[tokio::main(worker_threads = 1)]
async fn main() -> Result<(), Error> {
    let options = options()?;
    let left = Arc::new(AtomicUsize::new(0));
    let (done, pong) = (Arc::new(Notify::new()), mpsc::unbounded_channel());
    let running = build(&options, &left, &done, pong.0).await?;
    let mut report = json!({ "queue": "sb", "version": env!("CARGO_PKG_VERSION"), "mode": "default",
        "concurrency": options.concurrency, "jobs": options.jobs });
    let owner = owner(&options).await?;
    let started = Instant::now();
    bulk(&owner, options.jobs).await?;
    let rate = per_second(options.jobs, started.elapsed());
    merge(&mut report, json!({ "enqueue_bulk_per_s": rate }));
    merge(
        &mut report,
        drain(&options, &running, &owner, &left, &done).await?,
    );
    merge(&mut report, latency(&running, &owner, pong.1).await?);
    if options.snapshot > 0 {
        merge(&mut report, snapshot(&options, &owner, &left).await?);
    }
    println!("{report}");
    running.shutdown().await;
    Ok(())
}

fn options() -> Result<Options, Error> {
    let mut arguments = std::env::args().skip(1);
    let dsn = arguments
        .next()
        .ok_or("usage: bench_jobs DSN [--jobs N] [--concurrency N] [--snapshot S]")?;
    let mut options = Options {
        dsn,
        jobs: 100_000,
        concurrency: 10,
        snapshot: 0,
    };
    while let Some(flag) = arguments.next() {
        let value: u64 = arguments.next().ok_or("a flag needs a value")?.parse()?;
        match flag.as_str() {
            "--jobs" => options.jobs = usize::try_from(value)?,
            "--concurrency" => options.concurrency = usize::try_from(value)?,
            "--snapshot" => options.snapshot = value,
            _ => return Err(format!("unknown flag {flag}").into()),
        }
    }
    Ok(options)
}

async fn build(
    options: &Options,
    left: &Arc<AtomicUsize>,
    done: &Arc<Notify>,
    pong: mpsc::UnboundedSender<Instant>,
) -> Result<Running, Error> {
    let flags = [
        ("db.url", options.dsn.as_str()),
        ("jwt.master_key", "a key for a database that is thrown away"),
        ("jwt.alg", "ES256"),
        ("rest.url", "http://127.0.0.1:9"),
    ];
    let config = Config::load(Sources {
        project_dir: std::env::temp_dir().join("sb-bench-without-project"),
        flags: flags
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        ..Sources::default()
    })?;
    let (count, end) = (Arc::clone(left), Arc::clone(done));
    let app = App::new()
        .job_fn(Kind::new("noop"), move |_, _| {
            if count.fetch_sub(1, Ordering::Relaxed) == 1 {
                end.notify_one();
            }
            async { Ok(Value::Null) }
        })
        .job_fn(Kind::new("ping"), move |_, _| {
            let _ = pong.send(Instant::now());
            async { Ok(Value::Null) }
        });
    Ok(app.build(config).await?)
}

async fn owner(options: &Options) -> Result<Connection, Error> {
    Ok(Connection::open(&Target::parse(&options.dsn)?).await?)
}

/// A thousand a statement, through the public function.
async fn bulk(owner: &Connection, jobs: usize) -> Result<(), Error> {
    for first in (0..jobs).step_by(1_000) {
        let count = i64::try_from((jobs - first).min(1_000))?;
        owner
            .query(
                "select count(*)
                   from jobs.enqueue_many((
                     select jsonb_agg(jsonb_build_object('name', 'noop', 'payload', jsonb_build_object('n', g)))
                       from generate_series(1, $1::bigint) as g
                   ))",
                &[&count],
            )
            .await?;
    }
    Ok(())
}

/// From the worker's start until the last handler ran, and until the last completion is written.
async fn drain(
    options: &Options,
    running: &Running,
    owner: &Connection,
    left: &Arc<AtomicUsize>,
    done: &Notify,
) -> Result<Value, Error> {
    left.store(options.jobs, Ordering::SeqCst);
    let (server, client) = (server_cpu(), client_cpu());
    let started = Instant::now();
    let mut worker = running.worker_options();
    worker.concurrency = options.concurrency;
    running.start_worker_with(worker).await?;
    done.notified().await;
    let took = started.elapsed();
    // The CPU of the completions counts too; looking for them should cost next to nothing.
    while owner
        .query_one("select exists (select from jobs.pending)", &[])
        .await?
        .get::<_, bool>(0)
    {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let (server, client) = (server_cpu() - server, client_cpu() - client);
    let cpu = server + client;
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let per_cpu = options.jobs as f64 / cpu;
    Ok(json!({
        "drain_per_s": per_second(options.jobs, took),
        "client_cpu_s": client,
        "server_cpu_s": server,
        "drain_per_cpu_s": per_cpu.round(),
    }))
}

/// Enqueue to handler start on an idle worker: through `sb`, and from SQL into a queue that notifies.
async fn latency(
    running: &Running,
    owner: &Connection,
    mut pongs: mpsc::UnboundedReceiver<Instant>,
) -> Result<Value, Error> {
    let context = running.context();
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    owner
        .batch_execute("select jobs.create_queue('urgent', notify => true)")
        .await?;
    let job = NewJob::new("ping", json!({}));
    for _ in 0..200 {
        let started = Instant::now();
        let tx = context.db.begin(&Caller::with_role("service_role")).await?;
        context.jobs.enqueue(&tx, &job).await?;
        tx.commit().await?;
        inside.push(pongs.recv().await.ok_or("no worker")? - started);
        let started = Instant::now();
        owner
            .query(
                "select is_new from jobs.enqueue('ping', queue => 'urgent')",
                &[],
            )
            .await?;
        outside.push(pongs.recv().await.ok_or("no worker")? - started);
    }
    Ok(json!({
        "latency_p50_ms": percentile(&mut inside, 50),
        "latency_p99_ms": percentile(&mut inside, 99),
        "latency_sql_p50_ms": percentile(&mut outside, 50),
        "latency_sql_p99_ms": percentile(&mut outside, 99),
    }))
}

/// Jobs a second by window of five seconds while enqueue and drain go on, without and with an old snapshot held.
async fn snapshot(
    options: &Options,
    owner: &Connection,
    left: &Arc<AtomicUsize>,
) -> Result<Value, Error> {
    const MANY: usize = usize::MAX / 2;
    let holder = self::owner(options).await?;
    let mut windows = [Vec::new(), Vec::new()];
    left.store(MANY, Ordering::SeqCst);
    let (mut sent, mut ran_before) = (0, 0);
    for (held, windows) in windows.iter_mut().enumerate() {
        if held == 1 {
            holder
                .batch_execute("begin isolation level repeatable read; select 1")
                .await?;
        }
        let seconds = if held == 1 { options.snapshot } else { 15 };
        for _ in 0..seconds / 5 {
            let window = Instant::now();
            while window.elapsed() < Duration::from_secs(5) {
                bulk(owner, 1_000).await?;
                sent += 1_000;
                // Never more than a few thousand wait, as in a queue that keeps up. Counted here: asking the table
                // would walk the dead rows that the snapshot keeps, and measure that.
                while (sent + left.load(Ordering::SeqCst)).saturating_sub(MANY) >= 4_000 {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
            let ran = MANY - left.load(Ordering::SeqCst);
            windows.push(per_second(ran - ran_before, window.elapsed()));
            ran_before = ran;
        }
    }
    holder.batch_execute("rollback").await?;
    let [free, held] = windows;
    Ok(json!({ "steady_per_s": free, "steady_held_per_s": held }))
}

fn per_second(count: usize, elapsed: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let count = count as f64;
    (count / elapsed.as_secs_f64()).round()
}

fn percentile(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    let index = (times.len() * percent / 100).min(times.len() - 1);
    (times[index].as_secs_f64() * 1e6).round() / 1e3
}

fn merge(into: &mut Value, from: Value) {
    if let (Some(into), Value::Object(from)) = (into.as_object_mut(), from) {
        into.extend(from);
    }
}

/// CPU seconds of the postmaster `PG_PID` and its children, those that have ended included.
fn server_cpu() -> f64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "a measuring program, not the library"
    )]
    let Ok(root) = std::env::var("PG_PID") else {
        return 0.0;
    };
    let mut ticks = 0.0;
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let Some((_, fields)) = stat.rsplit_once(')') else {
            continue;
        };
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let field = |index: usize| {
            fields
                .get(index)
                .and_then(|it| it.parse::<f64>().ok())
                .unwrap_or(0.0)
        };
        if pid == root {
            ticks += field(11) + field(12) + field(13) + field(14);
        } else if fields.get(1) == Some(&root.as_str()) {
            ticks += field(11) + field(12);
        }
    }
    ticks / 100.0
}

/// CPU seconds of this process.
fn client_cpu() -> f64 {
    let usage = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = usage
        .rsplit_once(')')
        .map_or("", |it| it.1)
        .split_whitespace()
        .collect();
    let field = |index: usize| {
        fields
            .get(index)
            .and_then(|it| it.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    (field(11) + field(12)) / 100.0
}
