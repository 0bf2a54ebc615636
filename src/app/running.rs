//! A backend that was built: its router, its handles, its end.

use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;

use super::{Context, Migrated, StartError};
use crate::auth::{self, Auth};
use crate::config::Config;
use crate::db::{Db, DbError, Listener};
use crate::http::{middleware, server};
use crate::jobs::{Handlers, Schedule, Worker, WorkerOptions, cron};
use crate::keys::{Keys, KeysError, MasterKey};
use crate::ops;
use crate::rest::Rest;

/// A running backend. It serves once [`Running::serve`] is given a listener; its background tasks already run.
pub struct Running {
    pub(super) context: Context,
    pub(super) router: Router,
    pub(super) keys: Keys,
    pub(super) master: MasterKey,
    pub(super) auth: Auth,
    pub(super) rest: Rest,
    pub(super) handlers: Handlers,
    pub(super) schedules: Vec<Schedule>,
    pub(super) migrated: Migrated,
    pub(super) migrations: Vec<include_dir::Dir<'static>>,
    pub(super) listener: Listener,
}

impl Running {
    /// The handles an author's code is given.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The database.
    pub fn db(&self) -> &Db {
        &self.context.db
    }

    /// Every route with its middleware, for a server of one's own or for tests.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// Serves until [`Running::shutdown`].
    pub async fn serve(&self, listener: TcpListener) {
        server::serve(listener, self.router(), &self.context.lifecycle).await;
    }

    /// Serves `/livez`, `/readyz` and `/metrics`, and nothing else, until [`Running::shutdown`]: for a process that only
    /// works on jobs.
    pub async fn serve_ops(&self, listener: TcpListener) {
        let Context {
            config, metrics, ..
        } = &self.context;
        let operators = ops::router(self.context.clone(), None)
            .fallback(middleware::not_found)
            .method_not_allowed_fallback(middleware::method_not_allowed);
        let router = middleware::wrap(operators, config, metrics, super::authenticate(&self.keys));
        server::serve(listener, router, &self.context.lifecycle).await;
    }

    /// Works on jobs in this process, as the settings say. The worker drains on [`Running::shutdown`].
    pub async fn start_worker(&self) -> Result<Worker, StartError> {
        self.start_worker_with(self.worker_options()).await
    }

    /// The worker of `sb dev`: nobody waits half a minute for Ctrl-C.
    pub(crate) async fn start_worker_for_development(&self) -> Result<Worker, StartError> {
        let mut options = self.worker_options();
        options.drain_timeout = options.drain_timeout.min(Duration::from_secs(3));
        self.start_worker_with(options).await
    }

    /// How a worker of this process would work, from the settings.
    pub fn worker_options(&self) -> WorkerOptions {
        super::parts::worker(&self.context.config.current())
    }

    /// Works on jobs in this process, and fires schedules unless `jobs.cron_backend` is off.
    pub async fn start_worker_with(&self, options: WorkerOptions) -> Result<Worker, StartError> {
        let (jobs, handlers) = (self.context.jobs.clone(), self.handlers.clone());
        let lifecycle = &self.context.lifecycle;
        let schedules = super::parts::cron(&self.context.config.current(), &self.schedules);
        cron::start(&self.context.jobs, schedules, lifecycle).await?;
        self.keep_audit_sealed();
        Ok(Worker::start(jobs, handlers, options, lifecycle).await?)
    }

    fn keep_audit_sealed(&self) {
        let Context {
            db,
            clock,
            config,
            lifecycle,
            ..
        } = &self.context;
        let key = super::parts::audit_key(&self.master);
        let keep = auth::keep_audit_sealed(db.clone(), key, clock.clone(), config.clone());
        let stopping = lifecycle.stopping();
        lifecycle.spawn(async move {
            stopping.run_until_cancelled(keep).await;
        });
    }

    /// Stops accepting, finishes what is in flight (at most `server.shutdown_timeout_s`, with a worker at most
    /// `jobs.drain_timeout_s` and a little more) and closes the pools. Returns how many tasks had to be left.
    pub async fn shutdown(&self) -> usize {
        let config = self.context.config.current();
        let timeout = config
            .server
            .shutdown_timeout_s
            .max(config.jobs.drain_timeout_s + 10);
        let unfinished = self
            .context
            .lifecycle
            .stop(Duration::from_secs(timeout))
            .await;
        self.context.db.close();
        unfinished
    }

    /// A short-lived token for a role, signed with the active key.
    pub fn role_token(&self, role: &str) -> Result<String, KeysError> {
        self.keys.role_token(role).map(|token| token.to_string())
    }

    /// Signs claims as they are with the active key.
    pub fn sign(
        &self,
        claims: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<String, KeysError> {
        self.keys.sign(claims)
    }

    /// Takes over those of new settings that need no restart. Returns the keys whose change needs one.
    pub fn reload(&self, config: &Config) -> Vec<String> {
        let current = self.context.config.current();
        self.context.config.replace(current.with_live_of(config));
        current.restart_needed(config)
    }

    /// The secret that calls to the origin of an address are signed with.
    pub fn webhook_secret(&self, url: &str) -> Result<String, crate::http::OutboundError> {
        crate::hooks::webhook::secret(&self.master, url)
    }

    /// Migrations applied while building.
    pub fn migrated(&self) -> &Migrated {
        &self.migrated
    }

    /// The auth service, for commands.
    pub(crate) fn auth(&self) -> &Auth {
        &self.auth
    }

    /// Tells the gateway on which port the PostgREST we run listens.
    pub(crate) fn set_postgrest_port(&self, port: u16) -> Result<(), StartError> {
        self.rest.set_target(Some(crate::rest::Target::ours(port)?));
        Ok(())
    }

    /// Keeps the password of authenticator in the file that libpq reads it from, also when it is changed.
    pub(crate) fn keep_passfile(&self, path: std::path::PathBuf) {
        let mut notices = self.listener.subscribe("sb_keys");
        let (db, master) = (self.context.db.clone(), self.master.clone());
        let stopping = self.context.lifecycle.stopping();
        let keep = async move {
            use tokio::sync::broadcast::error::RecvError;
            while !matches!(notices.recv().await, Err(RecvError::Closed)) {
                if let Err(error) = super::parts::write_passfile(&db, &master, &path).await {
                    tracing::warn!(error = %error, "the password file of PostgREST could not be written");
                }
            }
        };
        self.context.lifecycle.spawn(async move {
            stopping.run_until_cancelled(keep).await;
        });
    }

    /// The keys `sb dev` prints, kept in `.sb/keys.json`.
    pub(crate) async fn dev_keys(&self) -> Result<crate::keys::DevKeys, StartError> {
        let config = self.context.config.current();
        let path = config.state_dir().join("keys.json");
        let owner = self.context.db.owner().await?;
        let (issuer, clock) = (config.issuer(), &self.context.clock);
        Ok(
            crate::keys::dev_keys::load_or_create(&path, &owner, &self.master, &issuer, clock)
                .await?,
        )
    }

    /// Applies what is new in the project's migrations folder.
    pub(crate) async fn migrate_project(&self) -> Result<Vec<String>, StartError> {
        let config = self.context.config.current();
        let applied = super::migrate::apply_project(&config, &self.migrations).await?;
        Ok(applied
            .into_iter()
            .map(|migration| migration.file)
            .collect())
    }

    /// Runs SQL as the owner.
    pub(crate) async fn run_sql(&self, sql: &str) -> Result<(), DbError> {
        self.context.db.owner().await?.batch_execute(sql).await
    }
}
