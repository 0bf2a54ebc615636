//! Migrations: two lines, one lock.
//!
//! - [`framework`] is the schema `sb` itself needs, embedded in the binary and applied by refinery.
//! - [`project`] is the author's `migrations/*.sql`, with a history of its own.
//!
//! Whoever migrates holds one advisory lock. The others ask for it again and again instead of waiting inside a
//! statement: a waiting statement holds a snapshot, for which `create index concurrently` would wait in turn.

mod error;
pub mod files;
pub mod framework;
mod lock;
pub mod project;
mod split;

use std::time::Duration;

pub use error::{MigrateError, StatementError};

use crate::config::{Config, DefaultGrants};
use crate::db::{Connection, DbError};

/// What a migration needs to know of the settings.
#[derive(Debug, Clone)]
pub struct Options {
    /// What the API roles may do with new tables.
    pub default_grants: DefaultGrants,
    /// Schemas the API serves.
    pub schemas: Vec<String>,
    /// How long to wait for another process that migrates.
    pub lock_wait: Duration,
}

impl Options {
    /// From the settings.
    pub fn new(config: &Config) -> Self {
        Self {
            default_grants: config.db.default_grants,
            schemas: config.exposed_schemas(),
            lock_wait: Duration::from_mins(2),
        }
    }
}

/// Brings grants and row level security of all tables in line with the settings.
async fn set_default_grants(connection: &Connection, options: &Options) -> Result<(), DbError> {
    let mode = options.default_grants.as_str();
    connection
        .execute(
            "select sb.set_default_grants($1, $2)",
            &[&mode, &options.schemas],
        )
        .await
        .map(drop)
}

/// Tells PostgREST to read the schema again, at the end of the transaction.
async fn reload_schema(connection: &Connection) -> Result<(), DbError> {
    connection
        .batch_execute("notify pgrst, 'reload schema'")
        .await
}

#[cfg(test)]
mod tests;
