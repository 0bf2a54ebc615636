//! The embedded stack with real binaries: what survives a crash, what is refused, and what is never left behind.
//!
//! The first run downloads Postgres and PostgREST into the build folder; later runs are offline.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use sb::stack::{
    Connection, EventSink, PostgrestOptions, Stack, StackError, StackEvent, StackOptions, WhenRoot,
    leftovers, remove_data,
};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(30);

/// A project folder of its own, and everything its stack said.
struct Project {
    dir: TempDir,
    options: StackOptions,
    seen: Arc<Mutex<Vec<StackEvent>>>,
}

impl Project {
    fn new() -> Self {
        // With a blank and an umlaut, as many people's folders have.
        let dir = tempfile::Builder::new()
            .prefix("sb stück ")
            .tempdir()
            .expect("a temporary directory");
        let options = options_in(dir.path());
        Self {
            dir,
            options,
            seen: Arc::default(),
        }
    }

    fn events(&self) -> EventSink {
        let seen = Arc::clone(&self.seen);
        Arc::new(move |event| seen.lock().expect("not poisoned").push(event))
    }

    fn open(&self) -> Result<Stack, StackError> {
        Stack::open(self.options.clone(), self.events())
    }

    fn count(&self, matches: impl Fn(&StackEvent) -> bool) -> usize {
        self.seen
            .lock()
            .expect("not poisoned")
            .iter()
            .filter(|event| matches(event))
            .count()
    }

    fn recovered(&self, text: &str) -> bool {
        self.count(|event| matches!(event, StackEvent::Recovered { what } if what.contains(text)))
            > 0
    }

    fn data_dir(&self) -> PathBuf {
        self.options.state_dir.join("pgdata")
    }
}

fn options_in(dir: &Path) -> StackOptions {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stack-cache");
    let mut options = StackOptions::new(dir.join(".sb"), cache, dir.join("run"), "p@ss word");
    options.port = 0;
    options.durable = false;
    options.search_path = std::env::var_os("PATH");
    options.postgres_bin_dir = crate::support::postgres_bin_dir();
    options
}

fn rest_for(connection: &Connection) -> PostgrestOptions {
    let settings = [
        ("db-uri", connection.socket_url("postgres")),
        ("db-schemas", "public".to_owned()),
        ("db-anon-role", "postgres".to_owned()),
    ];
    let settings = settings
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec();
    PostgrestOptions {
        settings,
        ..PostgrestOptions::default()
    }
}

async fn connect(connection: &Connection) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let (client, driver) =
        tokio_postgres::connect(&connection.url(), tokio_postgres::NoTls).await?;
    // Ends with the client.
    drop(tokio_util::task::TaskTracker::new().spawn(driver));
    Ok(client)
}

async fn one_value(connection: &Connection, sql: &str) -> String {
    let client = connect(connection).await.expect("Postgres is reachable");
    let messages = client
        .simple_query(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let value = messages.iter().rev().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    value.unwrap_or_default()
}

async fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(started.elapsed() < DEADLINE, "waited too long: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn kill(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("not zero");
    kill_process(pid, Signal::KILL).expect("it runs");
}

fn is_gone(pid: u32) -> bool {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("not zero");
    test_kill_process(pid).is_err()
}

#[tokio::test]
async fn starts_serves_and_stops_without_a_trace() {
    let project = Project::new();
    let mut stack = project.open().expect("nobody else has it");
    let connection = stack.start_postgres().await.expect("Postgres starts");
    for (setting, expected) in [
        ("wal_level", "logical"),
        ("server_encoding", "UTF8"),
        ("TimeZone", "UTC"),
        ("fsync", "off"),
        ("lc_messages", "C"),
        ("password_encryption", "scram-sha-256"),
    ] {
        assert_eq!(
            one_value(&connection, &format!("show {setting}")).await,
            expected,
            "{setting}"
        );
    }
    assert_eq!(one_value(&connection, "select upper('äé')").await, "ÄÉ");

    let mut wrong = connection.clone();
    wrong.password = "wrong".into();
    assert!(connect(&wrong).await.is_err(), "TCP needs the password");
    let mode = fs::metadata(&connection.socket_dir)
        .expect("it exists")
        .permissions()
        .mode();
    assert_eq!(
        mode & 0o777,
        0o700,
        "the socket needs none, so its folder is closed"
    );

    stack
        .start_postgrest(rest_for(&connection))
        .await
        .expect("PostgREST starts");
    let config = project.options.state_dir.join("postgrest.conf");
    assert_eq!(
        fs::metadata(config)
            .expect("it exists")
            .permissions()
            .mode()
            & 0o777,
        0o600
    );

    let pids = [stack.postgres_pid(), stack.postgrest_pid()].map(|pid| pid.expect("it is ready"));
    assert!(matches!(
        project.open(),
        Err(StackError::AlreadyRunning { .. })
    ));
    stack.stop().await;
    assert!(pids.into_iter().all(is_gone));
    assert_eq!(leftovers(&project.options), []);

    remove_data(&project.options, &project.events())
        .await
        .expect("nothing uses it");
    assert!(!project.data_dir().exists());
}

#[tokio::test]
async fn a_dropped_stack_ends_its_children() {
    let project = Project::new();
    let mut stack = project.open().expect("nobody else has it");
    let connection = stack.start_postgres().await.expect("Postgres starts");
    stack
        .start_postgrest(rest_for(&connection))
        .await
        .expect("PostgREST starts");
    let pids = [stack.postgres_pid(), stack.postgrest_pid()].map(|pid| pid.expect("it is ready"));
    drop(stack);
    for pid in pids {
        eventually("the child is gone", || is_gone(pid).then_some(())).await;
    }
}

#[tokio::test]
async fn killed_children_come_back() {
    let project = Project::new();
    let mut stack = project.open().expect("nobody else has it");
    let connection = stack.start_postgres().await.expect("Postgres starts");
    stack
        .start_postgrest(rest_for(&connection))
        .await
        .expect("PostgREST starts");

    // A session that is too busy to notice that the main process is gone.
    let busy = connect(&connection).await.expect("Postgres is reachable");
    let endless = busy.simple_query("select count(*) from generate_series(1, 1000000000000)");
    let endless = async { tokio::time::timeout(Duration::from_millis(200), endless).await };
    assert!(endless.await.is_err(), "it goes on for ever");

    let postgres = stack.postgres_pid().expect("it is ready");
    kill(postgres);
    eventually("Postgres is back", || {
        stack.postgres_pid().filter(|pid| *pid != postgres)
    })
    .await;
    assert_eq!(one_value(&connection, "select 1").await, "1");

    let postgrest = stack.postgrest_pid().expect("it is ready");
    kill(postgrest);
    eventually("PostgREST is back", || {
        stack.postgrest_pid().filter(|pid| *pid != postgrest)
    })
    .await;
    for name in ["postgres", "postgrest"] {
        assert_eq!(
            project.count(
                |event| matches!(event, StackEvent::ChildExited { name: n, .. } if *n == name)
            ),
            1
        );
    }
    stack.stop().await;
}

#[tokio::test]
async fn a_child_that_keeps_dying_is_given_up_with_its_last_words() {
    let database = Project::new();
    let mut postgres = database.open().expect("nobody else has it");
    let connection = postgres.start_postgres().await.expect("Postgres starts");
    // A stack without a Postgres of its own.
    let project = Project::new();
    let mut stack = project.open().expect("nobody else has it");
    stack
        .start_postgrest(rest_for(&connection))
        .await
        .expect("PostgREST starts");
    let failed = stack.failed();
    let kill_every_one = async {
        let mut last = 0;
        loop {
            if let Some(pid) = stack.postgrest_pid().filter(|pid| *pid != last) {
                last = pid;
                kill(pid);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let error = tokio::select! {
        error = failed => error,
        () = kill_every_one => unreachable!("it goes on for ever"),
        () = tokio::time::sleep(DEADLINE) => panic!("never given up"),
    };
    assert!(
        matches!(
            *error,
            StackError::GaveUp {
                name: "postgrest",
                ..
            }
        ),
        "{error}"
    );
    stack.stop().await;
    postgres.stop().await;
}

#[tokio::test]
async fn a_first_start_that_fails_says_why() {
    let project = Project::new();
    let mut stack = project.open().expect("nobody else has it");
    let settings = vec![
        ("db-uri".into(), "postgresql://nobody@127.0.0.1:1/x".into()),
        ("log-level".into(), "no such level".into()),
    ];
    let wanted = PostgrestOptions {
        settings,
        ..PostgrestOptions::default()
    };
    let error = stack
        .start_postgrest(wanted)
        .await
        .expect_err("the settings are wrong");
    assert!(
        matches!(
            error,
            StackError::ExitedAtStart {
                name: "postgrest",
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("logging level"), "{error}");
}

#[tokio::test]
async fn a_busy_port_is_replaced() {
    let busy = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let wanted = busy.local_addr().expect("it is bound").port();
    let mut project = Project::new();
    project.options.port = wanted;
    let mut stack = project.open().expect("nobody else has it");
    let connection = stack.start_postgres().await.expect("Postgres starts");
    assert_ne!(connection.port, wanted);
    assert_eq!(
        project.count(|event| matches!(event, StackEvent::PortReplaced { .. })),
        1
    );
    stack.stop().await;
}

#[tokio::test]
async fn half_made_and_stale_files_are_put_right() {
    let project = Project::new();
    let half_made = project.data_dir();
    fs::create_dir_all(&half_made).expect("created");
    fs::write(half_made.join("PG_VERSION"), "17\n").expect("written");
    fs::create_dir_all(half_made.with_extension("new")).expect("created");
    assert_eq!(leftovers(&project.options).len(), 1);

    let mut stack = project.open().expect("nobody else has it");
    let connection = stack.start_postgres().await.expect("Postgres starts");
    assert!(project.recovered("not a complete data directory"));
    assert!(project.recovered("half-made data directory"));
    assert!(
        half_made
            .with_extension("broken-1")
            .join("PG_VERSION")
            .exists(),
        "nothing is deleted"
    );
    one_value(&connection, "create table kept (id int)").await;
    stack.stop().await;

    // The pid in the file is alive, but it is this test.
    let pid_file = format!("{}\n{}\n", std::process::id(), half_made.display());
    fs::write(half_made.join("postmaster.pid"), pid_file).expect("written");
    let mut stack = project.open().expect("nobody else has it");
    let connection = stack.start_postgres().await.expect("Postgres starts");
    assert!(project.recovered("postmaster.pid"));
    assert_eq!(
        one_value(&connection, "select count(*) from kept").await,
        "0"
    );
    stack.stop().await;
}

#[tokio::test]
async fn data_of_another_major_version_is_explained() {
    let project = Project::new();
    fs::create_dir_all(project.data_dir().join("global")).expect("created");
    fs::write(project.data_dir().join("global/pg_control"), "").expect("written");
    fs::write(project.data_dir().join("PG_VERSION"), "13\n").expect("written");
    let mut stack = project.open().expect("nobody else has it");
    let error = stack
        .start_postgres()
        .await
        .expect_err("nothing opens this");
    assert!(
        matches!(error, StackError::OtherMajor { found: 13, .. }),
        "{error}"
    );
    for part in ["Postgres 13", "pg_dumpall", "sb reset"] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    assert!(project.data_dir().join("PG_VERSION").exists());
}

#[tokio::test]
async fn both_uuid_extensions_of_existing_migrations_work() {
    let mut project = Project::new();
    // What sb makes of its own download is the subject.
    project.options.postgres_bin_dir = None;
    let mut stack = project.open().expect("nobody else has it");
    let connection = stack.start_postgres().await.expect("Postgres starts");
    let sql = "create schema extensions; \
        create extension if not exists \"uuid-ossp\" with schema extensions; \
        create extension if not exists pgcrypto with schema extensions";
    one_value(&connection, sql).await;
    for (call, expected) in [
        (
            "uuid_generate_v3(extensions.uuid_ns_dns(), 'www.example.com')",
            "5df41881-3aed-3515-88a7-2f4a814cf09e",
        ),
        (
            "uuid_generate_v5(extensions.uuid_ns_dns(), 'www.example.com')",
            "2ed6657d-e927-568b-95e1-2665a8aea6a2",
        ),
        ("uuid_nil()", "00000000-0000-0000-0000-000000000000"),
        ("uuid_ns_x500()", "6ba7b814-9dad-11d1-80b4-00c04fd430c8"),
    ] {
        assert_eq!(
            one_value(&connection, &format!("select extensions.{call}")).await,
            expected,
            "{call}"
        );
    }
    // Every length around the block borders of SHA-1, against the real one.
    let differences = "select count(*) from generate_series(0, 200) as length, \
        lateral (select repeat('é', length) as name) as named, \
        lateral (select extensions.digest(uuid_send(extensions.uuid_ns_url()) || convert_to(name, 'UTF8'), 'sha1') as sha1) as hashed, \
        lateral (select set_byte(set_byte(substr(sha1, 1, 16), 6, (get_byte(sha1, 6) & 15) | 80), 8, (get_byte(sha1, 8) & 63) | 128) as bytes) as real \
        where encode(bytes, 'hex')::uuid <> extensions.uuid_generate_v5(extensions.uuid_ns_url(), name)";
    assert_eq!(one_value(&connection, differences).await, "0");
    let v1 = "select count(distinct id) from (select extensions.uuid_generate_v1() as id from generate_series(1, 1000)) as made \
        where substr(id::text, 15, 1) = '1' and substr(id::text, 20, 1) in ('8', '9', 'a', 'b')";
    assert_eq!(one_value(&connection, v1).await, "1000");
    one_value(
        &connection,
        "create schema other; alter extension \"uuid-ossp\" set schema other",
    )
    .await;
    assert_eq!(
        one_value(
            &connection,
            "select length(other.uuid_generate_v1mc()::text)"
        )
        .await,
        "36"
    );
    stack.stop().await;
}

/// Only root can become somebody else; for others this is one more ordinary start.
#[tokio::test]
async fn an_unprivileged_postgres_works_where_it_can_reach() {
    let mut project = Project::new();
    let reachable = tempfile::tempdir().expect("a temporary directory");
    fs::set_permissions(reachable.path(), Permissions::from_mode(0o755)).expect("changed");
    project.options.root_dir = reachable.path().join("sb");
    project.options.when_root = WhenRoot::User;
    // Another one may lie in a home that the other user cannot enter.
    project.options.postgres_bin_dir = None;
    for _ in 0..2 {
        let mut stack = project.open().expect("nobody else has it");
        let connection = stack.start_postgres().await.expect("Postgres starts");
        assert_eq!(one_value(&connection, "select 1").await, "1");
        stack.stop().await;
    }
    assert_eq!(
        project.count(|event| matches!(event, StackEvent::InitdbDone { .. })),
        1,
        "the data was found again"
    );
    // Back in a namespace of root's, with the data of the other user.
    project.options.when_root = WhenRoot::NamespaceOrUser;
    let mut stack = project.open().expect("nobody else has it");
    stack.start_postgres().await.expect("Postgres starts");
    stack.stop().await;
    remove_data(&project.options, &project.events())
        .await
        .expect("nothing uses it");
    assert!(!project.data_dir().is_symlink());
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[tokio::test]
async fn a_download_with_other_bytes_is_refused_and_removed() {
    let mut project = Project::new();
    let clients = project.dir.path().join("bin");
    fs::create_dir(&clients).expect("created");
    let npm = clients.join("npm");
    let script = "#!/bin/sh\nwhile [ $# -gt 0 ]; do [ \"$1\" = --pack-destination ] && to=\"$2\"; shift; done\n\
        printf 'half of the package' > \"$to/postgrest.tgz\"\n";
    fs::write(&npm, script).expect("written");
    fs::set_permissions(&npm, Permissions::from_mode(0o755)).expect("changed");
    project.options.cache_dir = project.dir.path().join("cache");
    project.options.search_path = Some(OsString::from(&clients));

    let stack = project.open().expect("nobody else has it");
    let error = stack
        .prefetch_postgrest()
        .await
        .expect_err("the bytes are wrong");
    let text = error.to_string();
    assert!(
        text.contains("SHA-256") && text.contains("refused and removed"),
        "{text}"
    );
    let left = fs::read_dir(&project.options.cache_dir)
        .expect("it exists")
        .flatten();
    let left: Vec<_> = left
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_none_or(|e| e != "lock"))
        .collect();
    assert_eq!(left, Vec::<PathBuf>::new());
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[tokio::test]
async fn a_damaged_program_in_the_cache_is_removed_and_fetched_again() {
    let mut project = Project::new();
    project.options.cache_dir = project.dir.path().join("cache");
    let stack = project.open().expect("nobody else has it");
    let program = stack
        .prefetch_postgrest()
        .await
        .expect("it is there or comes");
    if !program.starts_with(&project.options.cache_dir) {
        return; // This machine has one of its own, which is preferred.
    }
    let bytes = fs::read(&program).expect("it exists");
    fs::write(&program, &bytes[..bytes.len() / 2]).expect("truncated");
    let again = stack.prefetch_postgrest().await.expect("it comes again");
    assert!(project.recovered("from the cache"));
    assert_eq!(fs::read(again).expect("it exists"), bytes);
}

/// Not a test of its own: the part of a process that is killed while it holds a stack.
#[tokio::test]
async fn holder() {
    let Some(dir) = std::env::var_os("STACK_HOLDER_DIR") else {
        return;
    };
    let say: EventSink = Arc::new(|event| {
        if let StackEvent::Using {
            name: "postgres", ..
        } = event
        {
            println!("holder: initdb");
        }
    });
    let mut stack = Stack::open(options_in(Path::new(&dir)), say).expect("nobody else has it");
    let connection = stack.start_postgres().await.expect("Postgres starts");
    stack
        .start_postgrest(rest_for(&connection))
        .await
        .expect("PostgREST starts");
    let pids = [stack.postgres_pid(), stack.postgrest_pid()].map(|pid| pid.expect("it is ready"));
    println!("holder: ready {} {}", pids[0], pids[1]);
    tokio::time::sleep(DEADLINE * 2).await;
}

/// Runs [`holder`] in a process of its own until it says `word`, kills it, and returns that line.
fn kill_a_holder_at(project: &Project, word: &str) -> String {
    let mut holder = Command::new(std::env::current_exe().expect("this test"))
        .args([
            "--exact",
            "stack::holder",
            "--nocapture",
            "--test-threads=1",
        ])
        .env("STACK_HOLDER_DIR", project.dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test runs");
    let output = BufReader::new(holder.stdout.take().expect("it is piped"));
    let said = output.lines().map_while(Result::ok).find_map(|line| {
        let (_, said) = line.split_once("holder: ")?;
        said.starts_with(word).then(|| said.to_owned())
    });
    holder.kill().expect("it runs");
    holder.wait().expect("it was killed");
    said.expect("it said so")
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn nothing_survives_a_killed_sb() {
    let project = Project::new();
    let said = kill_a_holder_at(&project, "ready");
    for pid in said.split(' ').skip(1) {
        let pid = pid.parse().expect("a pid");
        eventually("the child is gone", || is_gone(pid).then_some(())).await;
    }
    eventually("no process is left", || {
        processes_left(&project).is_empty().then_some(())
    })
    .await;
    let mut stack = project.open().expect("the lock went with its holder");
    stack.start_postgres().await.expect("Postgres starts");
    stack.stop().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn nothing_survives_an_sb_killed_while_it_makes_the_cluster() {
    let project = Project::new();
    kill_a_holder_at(&project, "initdb");
    eventually("no process is left", || {
        processes_left(&project).is_empty().then_some(())
    })
    .await;
    assert!(
        !project.data_dir().exists(),
        "a half-made cluster has no name"
    );
    let mut stack = project.open().expect("the lock went with its holder");
    stack.start_postgres().await.expect("Postgres starts");
    stack.stop().await;
}

/// Everything that runs with this project's folder among its arguments or as its directory.
#[cfg(target_os = "linux")]
fn processes_left(project: &Project) -> Vec<PathBuf> {
    let folder = project.dir.path().as_os_str().as_encoded_bytes();
    let uses = |process: &PathBuf| {
        let inside =
            fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(project.dir.path()));
        let named = fs::read(process.join("cmdline"))
            .is_ok_and(|line| line.windows(folder.len()).any(|part| part == folder));
        inside || named
    };
    fs::read_dir("/proc")
        .expect("Linux has it")
        .flatten()
        .map(|entry| entry.path())
        .filter(uses)
        .collect()
}
