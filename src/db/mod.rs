//! The one way to Postgres.
//!
//! - [`Db::begin`] opens a transaction **as a caller**: role and claims are set with `set local`, so they end with
//!   the transaction. This is what every request that touches users' rows uses.
//! - [`Db::begin_job`] is the same for a background job, on connections of its own, so that jobs and requests do not
//!   wait for each other.
//! - [`Db::auth`] is `sb`'s own least-privilege role for the tables of schema `auth`; it cannot see users' rows.
//!   [`Db::jobs`] is the one for schema `jobs`.
//! - [`Db::hooks`] runs functions of the project that the auth service asks, with rights of their own.
//! - [`Db::owner`] is a fresh connection as the database owner, for migrations and commands of an operator.
//!
//! Only this folder holds raw clients. A connection goes back to its pool only when its last statement or
//! transaction is known to have ended; otherwise it is closed.

mod connect;
mod error;
mod listen;
mod metrics;
pub mod migrate;
mod pool;
mod sql;
mod tx;

use std::time::Duration;

pub use connect::{AskPassword, ConnectError, Target};
pub use error::{DbError, SqlState};
pub use listen::{Listener, Notice};
pub use pool::{SystemConnection, SystemPool};
pub(crate) use sql::holds_nul;
pub use sql::{quote_identifier, quote_literal};
pub use tokio_postgres::Row;
pub use tokio_postgres::types::{Json, ToSql};
pub use tx::{Canceller, Connection, Tx};

use crate::identity::Caller;
use pool::Pool;

/// The worker claims, completes, beats and promotes; a few of these may coincide.
const JOBS_CONNECTIONS: usize = 4;

/// A queue is empty one moment and holds a million jobs the next, so statistics mislead: a plan made for a small table,
/// and kept, reads all of it later. Every statement of the queue has an index to use. What is off counts as very
/// expensive, which would make the server compile such plans each time.
const JOBS_PLANS: &str = "-c enable_seqscan=off -c enable_bitmapscan=off -c enable_hashjoin=off \
                          -c enable_mergejoin=off -c jit=off";

/// A hook decides within a request: it has little time, and the rights that projects grant to this role.
const HOOK_TIMEOUT: Duration = Duration::from_secs(2);
const HOOK_ROLE: &str = "-c role=supabase_auth_admin";

/// How to reach the database and how much of it to use.
#[derive(Debug, Clone)]
pub struct DbOptions {
    /// The owner's connection.
    pub owner: Target,
    /// The role `authenticator`: callers' transactions.
    pub authenticator: Target,
    /// The role `sb_auth`: the auth service.
    pub auth: Target,
    /// The role `sb_jobs`: the job queue.
    pub jobs: Target,
    /// The role `sb_hooks`: functions of the project that the auth service asks.
    pub hooks: Target,
    /// Connections for the transactions of jobs.
    pub jobs_pool_max_size: usize,
    /// Connections of the callers' pool; the auth pool gets half of it, that of hooks a quarter, at least two.
    pub pool_max_size: usize,
    /// How long to wait for a free connection.
    pub pool_timeout: Duration,
    /// How long one statement may run.
    pub statement_timeout: Duration,
    /// Roles a caller may have.
    pub allowed_roles: Vec<String>,
}

/// Handle on the database. Clones share the pools.
#[derive(Debug, Clone)]
pub struct Db {
    callers: Pool,
    auth: SystemPool,
    jobs: SystemPool,
    job_callers: Pool,
    hooks: SystemPool,
    owner: Target,
    auth_target: Target,
    allowed_roles: std::sync::Arc<[String]>,
}

impl Db {
    /// Makes the pools. Nothing is connected before it is used.
    pub fn new(options: DbOptions) -> Self {
        let timeouts = (options.pool_timeout, options.statement_timeout);
        Self {
            callers: Pool::new(&options.authenticator, options.pool_max_size, timeouts, ""),
            auth: SystemPool::new(Pool::new(
                &options.auth,
                (options.pool_max_size / 2).max(2),
                timeouts,
                "",
            )),
            jobs: SystemPool::new(Pool::new(
                &options.jobs,
                JOBS_CONNECTIONS,
                timeouts,
                JOBS_PLANS,
            )),
            job_callers: Pool::new(
                &options.authenticator,
                options.jobs_pool_max_size,
                timeouts,
                "",
            ),
            hooks: SystemPool::new(Pool::new(
                &options.hooks,
                (options.pool_max_size / 4).max(2),
                (options.pool_timeout, HOOK_TIMEOUT),
                HOOK_ROLE,
            )),
            owner: options.owner,
            auth_target: options.auth,
            allowed_roles: options.allowed_roles.into(),
        }
    }

    /// Begins a transaction as `caller`. Nothing is kept unless [`Tx::commit`] is called.
    ///
    /// # Errors
    /// [`DbError::RoleNotAllowed`] when the caller's role is none of `db.allowed_roles`.
    pub async fn begin(&self, caller: &Caller) -> Result<Tx, DbError> {
        self.check_role(caller)?;
        Tx::begin_as(self.callers.get().await?, caller).await
    }

    /// Begins a transaction as `caller` for a background job, each of whose statements may run for `statement_timeout`.
    ///
    /// # Errors
    /// [`DbError::RoleNotAllowed`] when the caller's role is none of `db.allowed_roles`.
    pub async fn begin_job(
        &self,
        caller: &Caller,
        statement_timeout: Duration,
    ) -> Result<Tx, DbError> {
        self.check_role(caller)?;
        let tx = Tx::begin_as(self.job_callers.get().await?, caller).await?;
        let milliseconds = statement_timeout.as_millis().to_string();
        tx.execute(
            "select set_config('statement_timeout', $1, true)",
            &[&milliseconds],
        )
        .await?;
        Ok(tx)
    }

    fn check_role(&self, caller: &Caller) -> Result<(), DbError> {
        if self.allows_role(caller.role()) {
            return Ok(());
        }
        Err(DbError::RoleNotAllowed(caller.role().to_owned()))
    }

    /// Whether a caller may have this role.
    pub fn allows_role(&self, role: &str) -> bool {
        self.allowed_roles.iter().any(|allowed| allowed == role)
    }

    /// The auth service's own role `sb_auth`.
    pub fn auth(&self) -> &SystemPool {
        &self.auth
    }

    /// The job queue's own role `sb_jobs`.
    pub fn jobs(&self) -> &SystemPool {
        &self.jobs
    }

    /// Runs functions of the project as `supabase_auth_admin`, each for two seconds at most. The login is `sb_hooks`,
    /// which may become that role and nothing else.
    pub fn hooks(&self) -> &SystemPool {
        &self.hooks
    }

    /// A new connection as the database owner, closed when dropped. It bypasses row level security.
    pub async fn owner(&self) -> Result<Connection, DbError> {
        Connection::open(&self.owner).await
    }

    /// The target of the auth service's role, for the listening connection.
    pub fn auth_target(&self) -> &Target {
        &self.auth_target
    }

    /// Whether the database answers, within `within`.
    pub async fn ping(&self, within: Duration) -> Result<(), DbError> {
        let ping = async {
            self.auth
                .connection()
                .await?
                .query_one("select 1", &[])
                .await
                .map(drop)
        };
        tokio::time::timeout(within, ping)
            .await
            .map_err(|_| DbError::PoolTimeout)?
    }

    /// Open, idle and waiting counts by pool, for metrics.
    fn pool_status(&self) -> [(&'static str, deadpool_postgres::Status); 5] {
        [
            ("callers", self.callers.status()),
            ("auth", self.auth.status()),
            ("jobs", self.jobs.status()),
            ("job_callers", self.job_callers.status()),
            ("hooks", self.hooks.status()),
        ]
    }

    /// Closes all pools: waiting and later requests fail at once.
    pub fn close(&self) {
        self.callers.close();
        self.auth.close();
        self.jobs.close();
        self.job_callers.close();
        self.hooks.close();
    }
}
