//! The builder: what an embedding author may add, and how all parts come to life.
//!
//! `sb` itself is [`App::new`] and nothing added. [`App::build`] turns settings into a [`Running`] backend:
//! migrate, open the pools, load the keys, mount the routes.

mod migrate;
mod parts;
mod running;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::IntoResponse;
use axum::routing::Route;
use futures_util::future::LocalBoxFuture;

use crate::auth;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::db::migrate::MigrateError;
use crate::db::{ConnectError, Db, DbError, Listener};
use crate::hooks::Webhooks;
use crate::http::{Authenticate, Outbound, middleware};
use crate::jobs::{
    Handlers, Job, JobContext, JobResult, Jobs, JobsError, Kind, Schedule, retention,
};
use crate::keys::{self, Keys, KeysError};
use crate::lifecycle::Lifecycle;
use crate::mail::Mailer;
use crate::router;
use crate::telemetry::Metrics;
pub use migrate::Migrated;
pub(crate) use migrate::project_migrations;
pub(crate) use parts::{audit_key, authenticator, master_key, passfile};
pub use running::Running;

/// A backend in the making.
#[derive(Default)]
pub struct App {
    routes: Vec<(String, Routes)>,
    layers: Vec<Box<dyn FnOnce(Router) -> Router + Send>>,
    pub(crate) extensions: auth::Extensions,
    pub(crate) migrations: Vec<include_dir::Dir<'static>>,
    pub(crate) commands: Vec<Command>,
    handlers: Handlers,
    schedules: Vec<Schedule>,
    clock: Option<Clock>,
}

type Routes = Box<dyn FnOnce(Context) -> Router + Send>;

/// What an author's code is given: the handles of the running backend.
#[derive(Debug, Clone)]
pub struct Context {
    /// The database; [`Db::begin`] runs as a caller.
    pub db: Db,
    /// The time.
    pub clock: Clock,
    /// The job queue.
    pub jobs: Jobs,
    /// Sends mails, from within transactions.
    pub mail: Mailer,
    /// Calls addresses outside, and none inside that `outbound.allow` does not name.
    pub outbound: Outbound,
    /// The settings as they are now.
    pub config: config::Handle,
    /// For background tasks and their end.
    pub lifecycle: Lifecycle,
    /// For metrics of one's own.
    pub metrics: Metrics,
}

/// A command that joins the `sb` command tree.
pub struct Command {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) run: RunCommand,
}

type RunCommand = Box<
    dyn FnOnce(Context, Vec<String>) -> Pin<Box<dyn Future<Output = CommandResult> + Send>> + Send,
>;

/// How an author's command ends: an error is printed, and the exit code is 1.
pub type CommandResult = Result<(), Box<dyn std::error::Error + Send + Sync>>;

impl Command {
    /// A command `sb NAME …`; it gets the arguments after its name.
    pub fn new<F, Fut>(name: &'static str, about: &'static str, run: F) -> Self
    where
        F: FnOnce(Context, Vec<String>) -> Fut + Send + 'static,
        Fut: Future<Output = CommandResult> + Send + 'static,
    {
        Self {
            name,
            about,
            run: Box::new(|context, arguments| Box::pin(run(context, arguments))),
        }
    }
}

/// Why a backend did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no `db.url`.
    #[error(
        "no database is configured: set DATABASE_URL, or use `sb dev`, which runs a Postgres of its own"
    )]
    NoDatabase,
    /// `db.url` is no connection string.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The database refused or cannot be reached.
    #[error(transparent)]
    Database(#[from] DbError),
    /// A migration failed.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// The settings of the auth service cannot be used.
    #[error(transparent)]
    Auth(#[from] auth::AuthError),
    /// `rest.url` cannot be used.
    #[error(transparent)]
    Rest(#[from] crate::rest::TargetError),
    /// The signing keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The worker cannot begin.
    #[error(transparent)]
    Jobs(#[from] JobsError),
}

impl App {
    /// Nothing added yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Mounts a router of one's own under `path`. Its handlers may extract [`crate::Caller`].
    pub fn routes(
        mut self,
        path: &str,
        routes: impl FnOnce(Context) -> Router + Send + 'static,
    ) -> Self {
        self.routes.push((path.to_owned(), Box::new(routes)));
        self
    }

    /// Wraps every route, `sb`'s own included, in a tower layer. It runs inside request id, log and limits.
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: tower::Layer<Route> + Clone + Send + Sync + 'static,
        L::Service: tower::Service<Request> + Clone + Send + Sync + 'static,
        <L::Service as tower::Service<Request>>::Response: IntoResponse + 'static,
        <L::Service as tower::Service<Request>>::Error: Into<std::convert::Infallible> + 'static,
        <L::Service as tower::Service<Request>>::Future: Send + 'static,
    {
        self.layers
            .push(Box::new(move |router| router.layer(layer)));
        self
    }

    /// Takes part in what happens to accounts: `.hook(|on| on.before_user_created(…).after_login(…))`.
    pub fn hook(mut self, add: impl FnOnce(auth::Extensions) -> auth::Extensions) -> Self {
        self.extensions = add(self.extensions);
        self
    }

    /// Adds members to access tokens. An error, or a change of a reserved claim, aborts the issuance.
    pub fn claims<F, R>(mut self, provider: F) -> Self
    where
        F: Fn(auth::ClaimsContext) -> R + Send + Sync + 'static,
        R: Future<Output = Result<serde_json::Map<String, serde_json::Value>, String>>
            + Send
            + 'static,
    {
        self.extensions = self.extensions.claims(provider);
        self
    }

    /// Adds a kind of background job. Workers run it; `context.jobs.enqueue(&tx, &job.to_job()?)` enqueues one.
    pub fn job<J: Job>(mut self) -> Self {
        self.handlers = self.handlers.job::<J>();
        self
    }

    /// Adds a kind of background job that reads its payload itself.
    pub fn job_fn<F, R>(mut self, kind: Kind, run: F) -> Self
    where
        F: Fn(JobContext, Box<serde_json::value::RawValue>) -> R + Send + Sync + 'static,
        R: Future<Output = JobResult> + Send + 'static,
    {
        self.handlers = self.handlers.add(kind, run);
        self
    }

    /// Enqueues a job at the times a cron expression names. An entry of `sb.toml` with the same name replaces it.
    pub fn cron(mut self, schedule: Schedule) -> Self {
        self.schedules
            .retain(|other| other.name() != schedule.name());
        self.schedules.push(schedule);
        self
    }

    /// Adds migrations that are part of the program, applied before the project folder's.
    pub fn migrations(mut self, directory: include_dir::Dir<'static>) -> Self {
        self.migrations.push(directory);
        self
    }

    /// Uses another clock, for tests.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Builds and starts every part but the listener. `config.db.url` must be set. Boxed, for what waits for it is large.
    pub fn build(self, config: Config) -> LocalBoxFuture<'static, Result<Running, StartError>> {
        Box::pin(self.start(config))
    }

    async fn start(self, config: Config) -> Result<Running, StartError> {
        for schedule in &self.schedules {
            schedule.check()?;
        }
        let migrated = if config.db.migrate_on_start {
            self.migrate(&config).await?
        } else {
            Migrated::default()
        };
        let lifecycle = Lifecycle::new();
        let clock = self.clock.unwrap_or_default();
        let master = parts::master_key(&config)?;
        let db = parts::db(&config, &master).await?;
        let owner = db.owner().await?;
        keys::manage::init(&owner, &master, &config, &clock).await?;
        auth::publish_revocation(&owner, &config).await?;
        drop(owner);
        let settings = config::Handle::new(config);
        let listener = Listener::start(db.auth_target().clone(), &lifecycle);
        let keys = Keys::open(
            &db,
            &listener,
            clock.clone(),
            settings.clone(),
            master.clone(),
            &lifecycle,
        )
        .await?;
        let jobs = Jobs::new(db.clone(), listener.clone(), &lifecycle);
        let outbound = parts::outbound(&settings.current());
        let handlers = Webhooks::new(outbound.clone(), master.clone(), clock.clone())
            .add_to(self.extensions.add_to(self.handlers));
        let handlers = retention::register(handlers, settings.clone());
        let mail = Mailer::new(
            jobs.clone(),
            db.clone(),
            &master,
            clock.clone(),
            settings.clone(),
        );
        let handlers = mail.add_to(handlers);
        let context = Context {
            db,
            clock,
            jobs,
            mail,
            outbound,
            config: settings,
            lifecycle,
            metrics: Metrics::default(),
        };
        let pools = context.db.collector();
        context
            .metrics
            .register(|registry| registry.register_collector(pools));
        context.jobs.register_metrics(&context.metrics);
        let auth = parts::auth(&context, &keys, &master, self.extensions)?;
        let handlers = auth.add_to(handlers);
        context.jobs.register(&handlers).await?;
        let rest = parts::rest(&context, &keys)?;
        let mut authors = Router::new();
        for (path, routes) in self.routes {
            authors = authors.nest(&path, routes(context.clone()));
        }
        let mut router =
            router::router(context.clone(), &keys, auth.clone(), rest.clone(), authors);
        for layer in self.layers {
            router = layer(router);
        }
        let router = middleware::wrap(
            router,
            &context.config,
            &context.metrics,
            authenticate(&keys),
        );
        Ok(Running {
            context,
            router,
            keys,
            master,
            auth,
            rest,
            handlers,
            schedules: self.schedules,
            migrated,
            migrations: self.migrations,
            listener,
        })
    }
}

fn authenticate(keys: &Keys) -> Authenticate {
    let keys = keys.clone();
    Authenticate(Arc::new(move |credentials| keys.authenticate(credentials)))
}
