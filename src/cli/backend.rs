//! Brings a whole backend up and down: database, PostgREST, API, in the order they need each other.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio::net::TcpListener;

use super::error::{CHECK_STATE_DIR, CliError, Exit};
use super::project::Project;
use super::state::State;
use super::ui::Ui;
use crate::app::{App, Running};
use crate::config::{Config, MailBackend, Secret};
use crate::stack::{EventSink, PostgrestOptions, Stack, StackError, StackEvent, StackOptions};

/// What differs between `sb dev` and `sb serve`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// May run a Postgres of its own; a busy port is replaced; progress is told.
    Development,
    /// Needs `DATABASE_URL`; a busy port is an error.
    Production,
}

/// A running backend.
pub(super) struct Backend {
    pub(super) running: Arc<Running>,
    pub(super) state: State,
    pub(super) config: Config,
    stack: Option<Stack>,
    state_dir: PathBuf,
    server: tokio::task::JoinHandle<()>,
}

/// Starts everything; on an error everything that had started is stopped again.
pub(super) async fn start(
    app: App,
    project: &Project,
    mut config: Config,
    mode: Mode,
    ui: Ui,
) -> Result<Backend, CliError> {
    let events = tell(ui, mode);
    if mode == Mode::Development {
        // Whoever develops runs the receivers of hooks on the same machine.
        let loopback = ["127.0.0.0/8", "::1"].map(str::to_owned);
        config.outbound.allow.extend(loopback);
        config.auth.openapi.get_or_insert(true);
        config.development = true;
        config.mail.backend.get_or_insert(MailBackend::Inbox);
    }
    if config.db.url.is_none() && mode == Mode::Production {
        let message = "no database is configured";
        return Err(CliError::new(Exit::Config, message)
            .next("export DATABASE_URL=postgresql://…   # or `sb dev`, which runs its own"));
    }
    let listener = listen(&config, mode, ui).await?;
    config.server.port = listener.local_addr()?.port();
    let state_dir = config.state_dir();
    create_private_dir(&state_dir)?;
    let mut stack = open_stack(project, &config, events)?;
    let result = Box::pin(bring_up(app, config, listener, stack.as_mut(), mode, ui)).await;
    match result {
        Ok((running, state, config, server)) => Ok(Backend {
            running,
            state,
            config,
            stack,
            state_dir,
            server,
        }),
        Err(error) => {
            if let Some(stack) = stack {
                stack.stop().await;
            }
            Err(error)
        }
    }
}

type Up = (Arc<Running>, State, Config, tokio::task::JoinHandle<()>);

async fn bring_up(
    app: App,
    mut config: Config,
    listener: TcpListener,
    mut stack: Option<&mut Stack>,
    mode: Mode,
    ui: Ui,
) -> Result<Up, CliError> {
    let db_url = match &config.db.url {
        Some(url) => url.expose().to_owned(),
        None => start_postgres(stack.as_deref_mut(), &mut config).await?,
    };
    let started = Instant::now();
    let settings = postgrest_settings(&config).await?;
    let running = Arc::new(app.build(config.clone()).await?);
    if let Some(path) = passfile(&config) {
        running.keep_passfile(path);
    }
    for name in &running.migrated().names {
        ui.done(format_args!("applied {name}"), None);
    }
    let rest_url = match &config.rest.url {
        Some(url) => url.clone(),
        None => start_postgrest(stack, &config, settings, &running).await?,
    };
    let keys = if mode == Mode::Development {
        Some(running.dev_keys().await?)
    } else {
        None
    };
    let api_url = config.api_url();
    let state = State {
        pid: std::process::id(),
        started: super::state::started(std::process::id()),
        db_url,
        rest_url,
        jwks_url: format!("{api_url}/.well-known/jwks.json"),
        mail_url: running
            .context()
            .mail
            .has_inbox()
            .then(|| format!("{api_url}/inbox")),
        api_url,
        admin_url: None,
        anon_key: keys.as_ref().map(|keys| keys.anon_key.clone()),
        service_role_key: keys.as_ref().map(|keys| keys.service_role_key.clone()),
        publishable_key: keys.as_ref().map(|keys| keys.publishable_key.clone()),
        secret_key: keys.as_ref().map(|keys| keys.secret_key.clone()),
    };
    if mode == Mode::Production && state.mail_url.is_some() {
        ui.warn("/inbox is open to whoever can reach it (mail.inbox_public): its mails sign in as anybody");
    }
    if mode == Mode::Development {
        super::mail::print_with(&running, ui);
        super::dev::seed(&running, &config, ui).await;
        if config.jobs.dev_inprocess {
            running.start_worker_for_development().await?;
        }
    }
    // Last: whoever waits for the file may use all of it at once.
    state.write(&config.state_dir())?;
    let server = {
        let running = Arc::clone(&running);
        #[expect(
            clippy::disallowed_methods,
            reason = "the accept loop is awaited by Backend::stop"
        )]
        tokio::spawn(async move { running.serve(listener).await })
    };
    tracing::info!(
        api.url = state.api_url,
        duration_ms = started.elapsed().as_millis(),
        "the API is up"
    );
    Ok((running, state, config, server))
}

/// A Postgres of the project's own, of which the configuration learns too.
async fn start_postgres(
    stack: Option<&mut Stack>,
    config: &mut Config,
) -> Result<String, CliError> {
    let stack = stack.expect("a stack is opened when there is no database");
    // A first start downloads both; side by side is quicker, and nothing waits for PostgREST yet.
    let (postgrest, connection) = (stack.prefetch_postgrest(), stack.start_postgres());
    let connection = if config.rest.url.is_none() {
        let (connection, fetched) = tokio::join!(connection, postgrest);
        fetched?;
        connection?
    } else {
        connection.await?
    };
    config.db.url = Some(Secret::new(connection.socket_url(&connection.user)));
    Ok(connection.url())
}

impl Backend {
    /// Completes when a child keeps dying and was given up.
    pub(super) async fn failed(&self) -> Arc<StackError> {
        match &self.stack {
            Some(stack) => stack.failed().await,
            None => std::future::pending().await,
        }
    }

    /// As [`Backend::stop`]; a second signal ends everything at once, and then the answer is `None`.
    pub(super) async fn stop_unless_signalled(self) -> Option<usize> {
        tokio::select! {
            unfinished = self.stop() => Some(unfinished),
            _ = crate::lifecycle::shutdown_signal() => None,
        }
    }

    /// Finishes the requests in flight, then stops the children. Returns how many tasks did not end in time.
    pub(super) async fn stop(self) -> usize {
        let unfinished = self.running.shutdown().await;
        self.server.abort();
        if let Some(stack) = self.stack {
            stack.stop().await;
        }
        State::remove(&self.state_dir);
        unfinished
    }
}

/// Makes `.sb/` with mode 0700: it holds keys.
pub(super) fn create_private_dir(dir: &std::path::Path) -> Result<(), CliError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir);
    made.map_err(|error| {
        let message = format!("cannot make {}: {error}", dir.display());
        CliError::failed(message).next(CHECK_STATE_DIR)
    })
}

async fn listen(config: &Config, mode: Mode, ui: Ui) -> Result<TcpListener, CliError> {
    let wanted = SocketAddr::new(config.server.host, config.server.port);
    match TcpListener::bind(wanted).await {
        Ok(listener) => Ok(listener),
        Err(error)
            if error.kind() == std::io::ErrorKind::AddrInUse && mode == Mode::Development =>
        {
            let listener = TcpListener::bind(SocketAddr::new(config.server.host, 0)).await?;
            ui.warn(format_args!(
                "port {} is in use; the API takes {} instead",
                wanted.port(),
                listener.local_addr()?.port()
            ));
            Ok(listener)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            let message = format!("port {} is in use", wanted.port());
            Err(CliError::failed(message)
                .next("sb serve --port 0   # any free port; or stop what listens there"))
        }
        Err(error) => {
            let message = format!("cannot listen on {wanted}: {error}");
            Err(CliError::failed(message)
                .next("sb info   # shows where server.host and server.port come from"))
        }
    }
}

/// The lock, and the children's options; none when database and PostgREST are both elsewhere.
fn open_stack(
    project: &Project,
    config: &Config,
    events: EventSink,
) -> Result<Option<Stack>, CliError> {
    if config.db.url.is_some() && config.rest.url.is_some() {
        return Ok(None);
    }
    Ok(Some(Stack::open(stack_options(project, config)?, events)?))
}

/// How the embedded stack of this project is run.
pub(super) fn stack_options(project: &Project, config: &Config) -> Result<StackOptions, CliError> {
    let state_dir = config.state_dir();
    let password = crate::app::master_key(config)?.role_password("postgres");
    // Plenty for a server on the loopback, and the address that is printed fits into 100 columns.
    let password = &password.expose()[..32];
    let cache_dir = project.cache_dir(config)?;
    let mut options = StackOptions::new(
        &state_dir,
        cache_dir,
        runtime_dir(project, &state_dir),
        password,
    );
    options.port = config.stack.port;
    options.durable = config.stack.durable;
    options.postgres_bin_dir = config
        .stack
        .bin_dir
        .as_ref()
        .map(|dir| project.dir.join(dir));
    options.postgrest_path = config.rest.bin.as_ref().map(|path| project.dir.join(path));
    options.download = !config.stack.offline;
    options.search_path = project.env("PATH").map(Into::into);
    Ok(options)
}

/// Short (the kernel limits socket paths), private, and the project's own.
fn runtime_dir(project: &Project, state_dir: &std::path::Path) -> PathBuf {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    state_dir.hash(&mut hasher);
    let name = format!(
        "sb-{}-{:012x}",
        rustix::process::getuid().as_raw(),
        hasher.finish() >> 16
    );
    project
        .env("XDG_RUNTIME_DIR")
        .map_or_else(std::env::temp_dir, PathBuf::from)
        .join(name)
}

async fn start_postgrest(
    stack: Option<&mut Stack>,
    config: &Config,
    settings: Vec<(String, String)>,
    running: &Running,
) -> Result<String, CliError> {
    let stack = stack.expect("a stack is opened when PostgREST is not elsewhere");
    let mut options = PostgrestOptions::default();
    (options.settings, options.port) = (settings, config.rest.port);
    let endpoint = stack.start_postgrest(options).await?;
    running.set_postgrest_port(endpoint.port)?;
    Ok(format!("http://127.0.0.1:{}", endpoint.port))
}

/// What PostgREST is told: the project's own settings last, so that they win.
async fn postgrest_settings(config: &Config) -> Result<Vec<(String, String)>, CliError> {
    let (authenticator, password) = crate::app::authenticator(config).await?;
    let ours = [
        ("db-schemas", "public".to_owned()),
        ("db-anon-role", "anon".to_owned()),
        ("db-extra-search-path", "public, extensions".to_owned()),
        ("db-max-rows", "1000".to_owned()),
        ("db-pre-config", "sb.pgrst_pre_config".to_owned()),
        ("jwt-aud", config.jwt.aud.clone()),
        (
            "openapi-server-proxy-uri",
            format!("{}/rest/v1", config.api_url()),
        ),
        ("log-level", "warn".to_owned()),
    ];
    let mut settings: Vec<(String, String)> = ours
        .into_iter()
        .filter(|(name, _)| !config.postgrest.contains_key(*name))
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    settings.extend(
        config
            .postgrest
            .iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    // A password that may be changed while PostgREST runs is read anew for each connection.
    let uri = match passfile(config) {
        Some(path) => {
            crate::app::passfile(&path, &password)?;
            authenticator.to_libpq_with_passfile(&path)
        }
        None => authenticator.to_libpq(),
    };
    settings.push(("db-uri".to_owned(), uri));
    Ok(settings)
}

/// Where PostgREST reads its password, unless the operator has chosen it.
fn passfile(config: &Config) -> Option<PathBuf> {
    let is_derived = config.db.authenticator_password.is_none();
    is_derived.then(|| config.state_dir().join("authenticator.pgpass"))
}

/// Progress for a person in development, log lines in production.
pub(super) fn tell(ui: Ui, mode: Mode) -> EventSink {
    Arc::new(move |event| match mode {
        Mode::Development => tell_person(ui, &event),
        Mode::Production => tracing::info!(stack.event = ?event, "stack"),
    })
}

fn tell_person(ui: Ui, event: &StackEvent) {
    match event {
        StackEvent::Recovered { what } => ui.warn(what),
        StackEvent::NotRoot { how } => ui.say(ui.dim(how)),
        StackEvent::PortReplaced { name, wanted, used } => {
            ui.warn(format_args!(
                "port {wanted} is in use; {name} takes {used} instead"
            ));
        }
        StackEvent::InitdbDone { duration, .. } => {
            ui.done("made a database cluster in .sb/", Some(*duration));
        }
        StackEvent::Ready { name, duration, .. } => {
            ui.done(format_args!("{name} is ready"), Some(*duration));
        }
        StackEvent::ChildExited {
            name,
            status,
            log_tail,
        } => {
            ui.warn(format_args!(
                "{name} ended unexpectedly ({status})\n{}",
                ui.dim(log_tail.trim_end())
            ));
        }
        StackEvent::Restarting { name, after } => {
            let pause = if after.is_zero() {
                "now".to_owned()
            } else {
                format!("in {}", super::ui::duration(*after))
            };
            ui.say(format_args!("  restarting {name} {pause}"));
        }
        StackEvent::GaveUp { name } => {
            ui.warn(format_args!("{name} keeps ending and is left alone"));
        }
        StackEvent::Downloading { .. } | StackEvent::Unpacked { .. } => download(ui, event),
        _ => {}
    }
}

/// A bar on a terminal, one line at the end elsewhere.
fn download(ui: Ui, event: &StackEvent) {
    match event {
        StackEvent::Downloading { name, bytes, total } if *total > 0 => {
            let (done, width) = (bytes.min(total), 24_u64);
            let filled = usize::try_from(done * width / total).unwrap_or(0);
            let bar = format!("{}{}", "█".repeat(filled), "░".repeat(24 - filled));
            let mega =
                |bytes: u64| format!("{}.{}", bytes / 1_000_000, bytes % 1_000_000 / 100_000);
            ui.progress(&format!(
                "  {name}  {bar}  {} of {} MB",
                mega(*done),
                mega(*total)
            ));
        }
        StackEvent::Unpacked { name, .. } => {
            ui.done(format_args!("downloaded {name}"), None);
        }
        _ => {}
    }
}
