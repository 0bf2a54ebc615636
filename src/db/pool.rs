//! Pools of connections that are only ever reused clean.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool::managed::QueueMode;
use deadpool_postgres::{ManagerConfig, Object, RecyclingMethod, Runtime, Status};
use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio_postgres::types::ToSql;
use tokio_postgres::{CancelToken, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::is_outdated;
use super::{DbError, Target, Tx};

/// A pool for one login role.
#[derive(Clone)]
pub(super) struct Pool(deadpool_postgres::Pool, MakeRustlsConnect);

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pool").field(&self.0).finish()
    }
}

impl Pool {
    pub(super) fn new(
        target: &Target,
        size: usize,
        (wait, statement): (Duration, Duration),
        settings: &str,
    ) -> Self {
        let mut config = target.config.clone();
        config.application_name("sb");
        config.options(format!(
            "{} -c statement_timeout={} -c idle_in_transaction_session_timeout=60000 {settings}",
            config.get_options().unwrap_or_default(),
            statement.as_millis()
        ));
        let manager = deadpool_postgres::Manager::from_connect(
            config,
            Connector(target.clone()),
            // A connection is only handed back after it was proven idle, so nothing needs to be reset.
            ManagerConfig {
                recycling_method: RecyclingMethod::Fast,
            },
        );
        let pool = deadpool_postgres::Pool::builder(manager)
            .max_size(size)
            // The connection used last is the one whose backend is warm.
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(wait))
            .create_timeout(Some(wait))
            .build()
            .expect("a runtime is set, so timeouts can be used");
        Self(pool, target.tls.clone())
    }

    pub(super) async fn get(&self) -> Result<Pooled, DbError> {
        Ok(Pooled {
            client: Some(self.0.get().await?),
            tls: self.1.clone(),
            clean: AtomicBool::new(true),
            retired: AtomicBool::new(false),
        })
    }

    pub(super) fn status(&self) -> Status {
        self.0.status()
    }

    pub(super) fn close(&self) {
        self.0.close();
    }
}

/// Connects with the password that is in force.
struct Connector(Target);

impl deadpool_postgres::Connect for Connector {
    fn connect(
        &self,
        config: &tokio_postgres::Config,
    ) -> BoxFuture<'_, Result<(tokio_postgres::Client, JoinHandle<()>), tokio_postgres::Error>>
    {
        let config = config.clone();
        Box::pin(async move {
            let (client, connection) = self.0.open(&config).await?;
            #[expect(
                clippy::disallowed_methods,
                reason = "the driver ends with its client, never later"
            )]
            let driver = tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(error = %error, "a database connection ended");
                }
            });
            Ok((client, driver))
        })
    }
}

/// A borrowed connection. Dropped while a statement runs or a transaction is open, it is closed, not reused.
pub(super) struct Pooled {
    client: Option<Object>,
    tls: MakeRustlsConnect,
    clean: AtomicBool,
    retired: AtomicBool,
}

impl std::fmt::Debug for Pooled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pooled")
            .field("clean", &self.clean)
            .finish_non_exhaustive()
    }
}

impl Pooled {
    pub(super) fn client(&self) -> &Object {
        self.client
            .as_ref()
            .expect("the client is only taken in drop")
    }

    pub(super) fn canceller(&self) -> (CancelToken, MakeRustlsConnect) {
        (self.client().cancel_token(), self.tls.clone())
    }

    /// From here on a drop closes the connection …
    pub(super) fn mark_dirty(&self) {
        self.clean.store(false, Ordering::Relaxed);
    }

    /// … until the statement or the transaction is known to have ended.
    pub(super) fn mark_clean(&self) {
        self.clean.store(true, Ordering::Relaxed);
    }

    /// A drop closes the connection whatever happens: its prepared statements are of no use any more.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        if let Some(client) = self.client.take()
            && (!self.clean.load(Ordering::Relaxed) || self.retired.load(Ordering::Relaxed))
        {
            drop(Object::take(client));
        }
    }
}

/// The pool of one of `sb`'s own least-privilege roles.
#[derive(Debug, Clone)]
pub struct SystemPool(Pool);

impl SystemPool {
    pub(super) fn new(pool: Pool) -> Self {
        Self(pool)
    }

    /// A connection for single statements, each its own transaction: the cheapest way to ask one question.
    pub async fn connection(&self) -> Result<SystemConnection, DbError> {
        Ok(SystemConnection(self.0.get().await?))
    }

    /// Begins a transaction.
    pub async fn begin(&self) -> Result<Tx, DbError> {
        Tx::begin_system(self.0.get().await?).await
    }

    pub(super) fn status(&self) -> Status {
        self.0.status()
    }

    pub(super) fn close(&self) {
        self.0.close();
    }
}

/// A borrowed connection for single statements.
#[derive(Debug)]
pub struct SystemConnection(Pooled);

impl SystemConnection {
    /// Runs a statement and returns its one row.
    pub async fn query_one(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, DbError> {
        self.run(sql, async |client, statement| {
            client.query_one(&statement, params).await
        })
        .await
    }

    /// Runs a statement that gives at most one row.
    pub async fn query_opt(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, DbError> {
        self.run(sql, async |client, statement| {
            client.query_opt(&statement, params).await
        })
        .await
    }

    /// Runs a statement and returns its rows.
    pub async fn query(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, DbError> {
        self.run(sql, async |client, statement| {
            client.query(&statement, params).await
        })
        .await
    }

    /// Runs a statement and returns how many rows it changed.
    pub async fn execute(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<u64, DbError> {
        self.run(sql, async |client, statement| {
            client.execute(&statement, params).await
        })
        .await
    }

    async fn run<T>(
        &self,
        sql: &str,
        statement: impl AsyncFnOnce(
            &Object,
            tokio_postgres::Statement,
        ) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, DbError> {
        self.0.mark_dirty();
        let client = self.0.client();
        let prepared = client.prepare_cached(sql).await?;
        let result = statement(client, prepared).await;
        if result.as_ref().err().is_some_and(is_outdated) {
            self.0.retire();
        }
        // An error outside a transaction leaves the session idle; a broken connection fails the pool's own check.
        self.0.mark_clean();
        Ok(result?)
    }
}
