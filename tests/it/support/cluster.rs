//! The Postgres of this run: started by the first test that asks, gone with the process.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use sb::db::{Connection, Target};
use sb::stack::{Stack, StackOptions};

/// A running cluster and its migrated template database.
pub(crate) struct Cluster {
    target: Target,
    url: String,
    gate: tokio::sync::Mutex<()>,
    next: AtomicU32,
}

/// The shared cluster.
pub(crate) fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let (sender, receiver) = std::sync::mpsc::channel();
        // A thread and a runtime of its own: they outlive the test that came first.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
            runtime.block_on(async move {
                let (stack, cluster) = Cluster::start().await;
                sender.send(cluster).expect("somebody waits for it");
                stack.failed().await;
            });
        });
        receiver
            .recv()
            .expect("the test cluster starts; see the panic above")
    })
}

/// A new database, cloned from the migrated template.
pub(crate) async fn fresh_database() -> Target {
    cluster().clone_template().await
}

impl Cluster {
    async fn start() -> (Stack, Self) {
        let dir = scratch_dir("cluster");
        let options = test_options(&dir);
        let mut stack =
            Stack::open(options, std::sync::Arc::new(|_| {})).expect("the state folder is ours");
        let connection = stack.start_postgres().await.expect("postgres starts");
        let url = connection.socket_url("postgres");
        let target = Target::parse(&url).expect("the stack gives a valid url");
        let owner = Connection::open(&target)
            .await
            .expect("postgres takes connections");
        owner
            .batch_execute("create database sb_template")
            .await
            .expect("a database is made");
        super::app::migrate(&url_in(&url, "sb_template")).await;
        let cluster = Self {
            target,
            url,
            gate: tokio::sync::Mutex::default(),
            next: AtomicU32::new(1),
        };
        (stack, cluster)
    }

    /// The owner's target for `database`.
    pub(crate) fn database(&self, database: &str) -> Target {
        self.target.with_database(database)
    }

    /// The owner's url for `database`.
    pub(crate) fn url(&self, database: &str) -> String {
        url_in(&self.url, database)
    }

    async fn clone_template(&self) -> Target {
        let name = format!("t{}", self.next.fetch_add(1, Ordering::Relaxed));
        // Postgres refuses two copies of one template at a time.
        let _gate = self.gate.lock().await;
        let owner = Connection::open(&self.target)
            .await
            .expect("postgres takes connections");
        let sql = format!("create database {name} template sb_template strategy file_copy");
        owner
            .batch_execute(&sql)
            .await
            .expect("the template is cloned");
        // Settings of a database are not cloned with it.
        let path = format!("alter database {name} set search_path = \"$user\", public, extensions");
        owner
            .batch_execute(&path)
            .await
            .expect("the search path is set");
        self.target.with_database(&name)
    }
}

/// A folder of this run, under the target folder; those of earlier runs are removed.
pub(crate) fn scratch_dir(name: &str) -> PathBuf {
    static CLEANED: OnceLock<()> = OnceLock::new();
    let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
    CLEANED.get_or_init(|| remove_dead(base));
    let dir = base.join(format!("run-{}", std::process::id())).join(name);
    std::fs::create_dir_all(&dir).expect("the target folder can be written");
    dir
}

fn remove_dead(base: &Path) {
    for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix("run-"));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Where downloads are kept: the user's cache, as for `sb` itself.
pub(crate) fn cache_dir() -> PathBuf {
    let dir = |name: &str| std::env::var_os(name).map(PathBuf::from);
    dir("SB_CACHE_DIR")
        .or_else(|| dir("XDG_CACHE_HOME").map(|dir| dir.join("sb")))
        .or_else(|| dir("HOME").map(|dir| dir.join(".cache/sb")))
        .expect("HOME is set")
}

fn url_in(url: &str, database: &str) -> String {
    url.replace("/postgres?", &format!("/{database}?"))
}

/// The owner's url of `target`, for code that takes settings.
pub(crate) fn url_of(target: &Target) -> String {
    cluster().url(target.database())
}

/// A stack that belongs to one test alone, not started.
pub(crate) fn own_stack(name: &str) -> Stack {
    own_stack_with(name, |_| {})
}

/// The same with other options.
pub(crate) fn own_stack_with(name: &str, change: impl FnOnce(&mut StackOptions)) -> Stack {
    let dir = scratch_dir(name);
    let mut options = test_options(&dir);
    change(&mut options);
    Stack::open(options, std::sync::Arc::new(|_| {})).expect("the state folder is ours")
}

fn test_options(dir: &Path) -> StackOptions {
    let mut options = StackOptions::new(dir.join("state"), cache_dir(), dir.join("run"), "test");
    options.port = 0;
    options.durable = false;
    options.settings = vec![("max_connections".to_owned(), "400".to_owned())];
    options.search_path = std::env::var_os("PATH");
    options.postgres_bin_dir = postgres_bin_dir();
    options
}

/// The Postgres to test with, where `tests/matrix.sh` names one.
pub(crate) fn postgres_bin_dir() -> Option<PathBuf> {
    std::env::var_os("SB_TEST_POSTGRES_BIN_DIR").map(PathBuf::from)
}
