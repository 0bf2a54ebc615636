//! `jobs.cron_backend = "pg_cron"`, with the extension that Debian packages for Postgres 15.

use std::path::Path;
use std::time::{Duration, Instant};

use sb::App;
use sb::config::Config;
use sb::db::{Connection, Target};
use sb::jobs::WorkerOptions;
use sb::stack::Stack;

use crate::support;

const BIN_DIR: &str = "/usr/lib/postgresql/15/bin";
const EXTENSION: &str = "/usr/share/postgresql/15/extension/pg_cron.control";

/// Debian's package, which `make test` installs where it may.
fn is_installed() -> bool {
    let installed = Path::new(BIN_DIR).join("postgres").exists() && Path::new(EXTENSION).exists();
    let without = std::env::var_os("SB_TEST_WITHOUT_PG_CRON").is_some();
    assert!(
        installed || without,
        "pg_cron is missing. Type: apt-get install --no-install-recommends postgresql-15 postgresql-15-cron; \
         or, on other systems: export SB_TEST_WITHOUT_PG_CRON=1"
    );
    installed
}

#[tokio::test(flavor = "multi_thread")]
async fn pg_cron_fires_what_it_can_and_refuses_the_rest() {
    if !is_installed() {
        return;
    }
    let (stack, owner, config) = start().await;

    // Without the extension the worker says what to do.
    let running = App::new().build(config.clone()).await.unwrap();
    let error = running
        .start_worker_with(options())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(
            "extension pg_cron is not installed in database postgres; set shared_preload_libraries"
        ),
        "{error}"
    );
    running.shutdown().await;

    owner
        .batch_execute("create extension pg_cron")
        .await
        .unwrap();
    owner
        .batch_execute(
            "select jobs.schedule('minutely', '* * * * *', 'job', payload => '{\"a\": 1}');
             select jobs.schedule('seconds', '*/10 * * * * *', 'job');
             select jobs.schedule('berlin', '0 3 * * *', 'job', time_zone => 'Europe/Berlin');
             select jobs.schedule('last day', '0 3 L * *', 'job');
             select jobs.schedule('gone', '0 3 * * *', 'job', time_zone => 'Etc/UTC')",
        )
        .await
        .unwrap();
    let running = App::new().build(config.clone()).await.unwrap();
    running.start_worker_with(options()).await.unwrap();
    let entries = "select string_agg(j.schedule || ' ' || j.command, E'\\n' order by j.command) from cron.job j";
    let entry =
        |schedule: &str, name: &str| format!("{schedule} select jobs.run_schedule('{name}')");
    let retention = entry("17 * * * *", "sb.retention");
    assert_eq!(
        text(&owner, entries).await,
        [
            entry("0 3 * * *", "gone"),
            entry("* * * * *", "minutely"),
            retention.clone()
        ]
        .join("\n")
    );
    let errors = "select string_agg(c.name || ': ' || c.error, E'\\n' order by c.name) from jobs.cron_schedules c";
    assert_eq!(
        text(&owner, errors).await,
        "berlin: pg_cron runs everything in time zone GMT, not in Europe/Berlin: set jobs.cron_backend = \"inproc\"\n\
         last day: pg_cron: invalid schedule: 0 3 L * *\n\
         seconds: pg_cron has no seconds: use five fields, or set jobs.cron_backend = \"inproc\""
    );

    // A change is followed, and what is paused or removed is no entry any more.
    owner
        .batch_execute(
            "select jobs.unschedule('gone');
             select jobs.schedule('last day', '0 4 * * *', 'job');
             update jobs.cron_schedules set enabled = false where name = 'sb.retention'",
        )
        .await
        .unwrap();
    let followed = [
        entry("* * * * *", "minutely"),
        entry("0 4 * * *", "last day"),
    ]
    .join("\n");
    until("entries follow", Duration::from_secs(10), async || {
        text(&owner, "select string_agg(j.schedule || ' ' || j.command, E'\\n' order by j.command desc) from cron.job j").await == followed
    })
    .await;

    // The real thing takes until the next minute begins.
    until("pg_cron has fired a tick", Duration::from_secs(90), async || {
        text(&owner, "select count(*)::text from jobs.cron_runs r where r.name = 'minutely' and r.outcome = 'enqueued'").await != "0"
    })
    .await;
    let job = "select p.source || ' ' || p.name || ' ' || p.payload from jobs.pending p order by p.id limit 1";
    assert_eq!(text(&owner, job).await, "cron:minutely job {\"a\": 1}");
    // The same minute again is the same tick, whoever asks.
    let again = "select (select count(*) from jobs.run_schedule('minutely')) + (select count(*) from jobs.run_schedule('minutely'))";
    let again: i64 = owner.query_one(again, &[]).await.unwrap().get(0);
    assert!(again <= 1, "{again}");
    running.shutdown().await;

    back_to_the_workers(&owner, config).await;
    stack.stop().await;
}

/// A Postgres that has loaded `pg_cron`, migrated.
async fn start() -> (Stack, Connection, Config) {
    let mut stack = support::own_stack_with("pg_cron", |options| {
        options.postgres_bin_dir = Some(BIN_DIR.into());
        options.settings.extend(
            [
                ("shared_preload_libraries", "pg_cron"),
                ("cron.database_name", "postgres"),
                ("cron.use_background_workers", "on"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
    });
    let connection = stack.start_postgres().await.expect("postgres starts");
    let url = connection.socket_url("postgres");
    let owner = Connection::open(&Target::parse(&url).unwrap())
        .await
        .unwrap();
    let config = support::config(
        &url,
        &[
            ("jobs.cron_backend", "pg_cron"),
            ("jobs.cron_poll_interval_s", "0.1"),
        ],
    );
    App::new().migrate(&config).await.unwrap();
    (stack, owner, config)
}

/// `pg_cron` is told to forget, and the workers go on where it was.
async fn back_to_the_workers(owner: &Connection, mut config: Config) {
    config.jobs.cron_backend = sb::config::CronBackend::Inproc;
    let running = App::new().build(config).await.unwrap();
    running.start_worker_with(options()).await.unwrap();
    until(
        "pg_cron has no entries",
        Duration::from_secs(30),
        async || text(owner, "select count(*)::text from cron.job").await == "0",
    )
    .await;
    until("nothing is refused", Duration::from_secs(30), async || {
        text(owner, "select count(*)::text from jobs.cron_schedules where enabled and (error is not null or next_fire_at is null)").await == "0"
    })
    .await;
    running.shutdown().await;
}

fn options() -> WorkerOptions {
    crate::jobs::options(1)
}

async fn text(owner: &Connection, sql: &str) -> String {
    let row = owner.query_one(sql, &[]).await.expect(sql);
    row.get::<_, Option<String>>(0).unwrap_or_default()
}

async fn until(what: &str, deadline: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    while !condition().await {
        assert!(
            started.elapsed() < deadline,
            "{what}: not within {deadline:?}"
        );
        ticks.tick().await;
    }
}
