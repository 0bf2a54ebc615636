//! Transactions: role and claims live and die with them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::is_outdated;
use super::pool::Pooled;
use super::{DbError, Target};
use crate::identity::Caller;

const SET_CALLER: &str = "
    select set_config('role', $1, true)
         , set_config('request.jwt.claims', $2, true)
         , set_config('request.jwt.claim.sub', $3, true)
         , set_config('request.jwt.claim.role', $1, true)
         , set_config('request.jwt.claim.email', $4, true)";

/// An open transaction. Dropping it closes the connection, which rolls it back.
pub struct Tx {
    connection: Pooled,
    failed: AtomicBool,
    after_commit: Mutex<Vec<AfterCommit>>,
}

type AfterCommit = Box<dyn FnOnce() + Send>;

impl std::fmt::Debug for Tx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tx")
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl Tx {
    /// Begin and set-up go out together: one round trip.
    pub(super) async fn begin_as(connection: Pooled, caller: &Caller) -> Result<Self, DbError> {
        connection.mark_dirty();
        let client = connection.client();
        let claims = serde_json::to_string(caller.claims()).expect("claims are JSON");
        let sub = caller.claim("sub").unwrap_or_default();
        let email = caller.claim("email").unwrap_or_default();
        let set_caller = client.prepare_cached(SET_CALLER).await?;
        let role = caller.role();
        let params: [&(dyn ToSql + Sync); 4] = [&role, &claims, &sub, &email];
        tokio::try_join!(
            client.batch_execute("begin"),
            client.execute(&set_caller, &params)
        )?;
        Ok(Self::open(connection))
    }

    fn open(connection: Pooled) -> Self {
        Self {
            connection,
            failed: AtomicBool::new(false),
            after_commit: Mutex::default(),
        }
    }

    pub(super) async fn begin_system(connection: Pooled) -> Result<Self, DbError> {
        connection.mark_dirty();
        connection.client().batch_execute("begin").await?;
        Ok(Self::open(connection))
    }

    /// Runs a statement and returns its rows. `sql` must be static text: it is prepared once per connection.
    pub async fn query(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, DbError> {
        let client = self.connection.client();
        self.note(
            async {
                client
                    .query(&client.prepare_cached(sql).await?, params)
                    .await
            }
            .await,
        )
    }

    /// Runs a statement and returns its one row.
    pub async fn query_one(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, DbError> {
        let client = self.connection.client();
        self.note(
            async {
                client
                    .query_one(&client.prepare_cached(sql).await?, params)
                    .await
            }
            .await,
        )
    }

    /// Runs a statement that gives at most one row.
    pub async fn query_opt(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, DbError> {
        let client = self.connection.client();
        self.note(
            async {
                client
                    .query_opt(&client.prepare_cached(sql).await?, params)
                    .await
            }
            .await,
        )
    }

    /// Runs a statement and returns how many rows it changed.
    pub async fn execute(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<u64, DbError> {
        let client = self.connection.client();
        self.note(
            async {
                client
                    .execute(&client.prepare_cached(sql).await?, params)
                    .await
            }
            .await,
        )
    }

    /// Runs statements without parameters, not prepared.
    pub async fn batch_execute(&self, sql: &str) -> Result<(), DbError> {
        self.note(self.connection.client().batch_execute(sql).await)
    }

    /// Runs `then` once the transaction has committed, and not if it never does.
    pub fn after_commit(&self, then: impl FnOnce() + Send + 'static) {
        let mut waiting = self
            .after_commit
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        waiting.push(Box::new(then));
    }

    /// Goes on as the login role instead of the caller, whose deferred constraints are checked before. For the last statements of a transaction only.
    pub async fn leave_caller(&self) -> Result<(), DbError> {
        self.batch_execute("set constraints all immediate; set local role none")
            .await
    }

    /// Stops the statement that runs on this connection, from outside.
    pub fn canceller(&self) -> Canceller {
        Canceller(self.connection.canceller())
    }

    /// Keeps what was done.
    ///
    /// # Errors
    /// [`DbError::RolledBack`] when an earlier statement failed: Postgres would answer `commit` with a silent
    /// rollback.
    pub async fn commit(self) -> Result<(), DbError> {
        if self.failed.load(Ordering::Relaxed) {
            self.rollback().await?;
            return Err(DbError::RolledBack);
        }
        self.connection.client().batch_execute("commit").await?;
        self.connection.mark_clean();
        let waiting = self.after_commit.into_inner();
        for then in waiting.unwrap_or_else(PoisonError::into_inner) {
            then();
        }
        Ok(())
    }

    /// Undoes what was done and gives the connection back. Dropping undoes it too, but costs the connection.
    pub async fn rollback(self) -> Result<(), DbError> {
        self.connection.client().batch_execute("rollback").await?;
        self.connection.mark_clean();
        Ok(())
    }

    /// Commits when `result` is `Ok`, rolls back when it is an error, and passes `result` on.
    pub async fn finish<T, E: From<DbError>>(self, result: Result<T, E>) -> Result<T, E> {
        match result {
            Ok(value) => {
                self.commit().await?;
                Ok(value)
            }
            Err(error) => {
                // The caller's error matters more; a failed rollback has closed the connection.
                let _ = self.rollback().await;
                Err(error)
            }
        }
    }

    fn note<T>(&self, result: Result<T, tokio_postgres::Error>) -> Result<T, DbError> {
        if let Err(error) = &result {
            self.failed.store(true, Ordering::Relaxed);
            if is_outdated(error) {
                self.connection.retire();
            }
        }
        Ok(result?)
    }
}

/// Asks the server to stop what a connection is doing.
#[expect(
    missing_debug_implementations,
    reason = "it holds a connection's cancel key"
)]
pub struct Canceller((tokio_postgres::CancelToken, MakeRustlsConnect));

impl Canceller {
    /// Sends the request; the statement then fails, unless it has just ended.
    pub async fn cancel(self) -> Result<(), DbError> {
        let Self((token, tls)) = self;
        Ok(token.cancel_query(tls).await?)
    }
}

/// A connection of its own, outside all pools; closed when dropped.
#[derive(Debug, Clone)]
pub struct Connection {
    client: Arc<tokio_postgres::Client>,
    driver: Arc<Driver>,
}

#[derive(Debug)]
struct Driver(tokio::task::JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// Whether there is a table or view of this name.
    pub(crate) async fn has_relation(&self, name: &str) -> Result<bool, DbError> {
        let sql = "select pg_catalog.to_regclass($1) is not null as known";
        Ok(self.query_one(sql, &[&name]).await?.get("known"))
    }

    /// Connects.
    pub async fn open(target: &Target) -> Result<Self, DbError> {
        let (client, connection) = target
            .open(&target.config)
            .await
            .map_err(|error| unreachable(error, target))?;
        #[expect(
            clippy::disallowed_methods,
            reason = "the driver ends with its client, never later"
        )]
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = %error, "a database connection ended");
            }
        });
        Ok(Self {
            client: Arc::new(client),
            driver: Arc::new(Driver(task)),
        })
    }

    /// Runs statements without parameters.
    pub async fn batch_execute(&self, sql: &str) -> Result<(), DbError> {
        Ok(self.client.batch_execute(sql).await?)
    }

    /// Runs a statement and returns its rows.
    pub async fn query(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, DbError> {
        Ok(self.client.query(sql, params).await?)
    }

    /// Runs a statement and returns its one row.
    pub async fn query_one(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, DbError> {
        Ok(self.client.query_one(sql, params).await?)
    }

    /// Runs a statement that gives at most one row.
    pub async fn query_opt(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, DbError> {
        Ok(self.client.query_opt(sql, params).await?)
    }

    /// Runs a statement and returns how many rows it changed.
    pub async fn execute(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<u64, DbError> {
        Ok(self.client.execute(sql, params).await?)
    }

    /// The raw client, for refinery alone.
    pub(super) fn into_client(self) -> Option<(tokio_postgres::Client, impl Sized)> {
        let Self { client, driver } = self;
        Arc::try_unwrap(client).ok().map(|client| (client, driver))
    }
}

fn unreachable(error: tokio_postgres::Error, target: &Target) -> DbError {
    if error.as_db_error().is_some() {
        return DbError::Postgres(error);
    }
    let cause =
        std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
    DbError::Unreachable(format!("{cause} ({})", target.address()))
}
