//! What commands ask the database owner's connection for, and how they name a database without its password.

use super::error::{CliError, Exit};
use crate::app::StartError;
use crate::config::Config;
use crate::db::{Connection, DbError, SqlState, Target, quote_identifier};
use crate::keys::KeysError;

/// Tables of the framework's own bookkeeping are not what a person calls data.
const TABLES: &str = "
    select n.nspname::text as schema_name
         , c.relname::text as table_name
      from pg_catalog.pg_class c
      join pg_catalog.pg_namespace n
        on n.oid = c.relnamespace
     where c.relkind in ('r', 'p')
       and not c.relispartition
       and n.nspname not like 'pg\\_%'
       and n.nspname not in ('information_schema', 'sb', 'extensions')
       and (n.nspname <> 'auth' or c.relname = 'users')
       and (n.nspname <> 'mail' or c.relname = 'templates')
       and (n.nspname <> 'jobs' or c.relname in ('pending', 'history', 'dead'))
     order by 1, 2
     limit 100";
/// Counting stops here: more is more.
const MOST_ROWS: i64 = 100_000;

/// The owner's target of a configuration that has a database.
pub(super) fn target(config: &Config) -> Result<Target, CliError> {
    let url = config.db.url.as_ref().ok_or_else(|| {
        let message = "no database is configured";
        CliError::new(Exit::Config, message).next("sb dev   # runs its own; or set DATABASE_URL")
    })?;
    Ok(Target::parse(url.expose())?)
}

/// A connection as the owner.
///
/// # Errors
/// They name the address and the role, never the password.
pub(super) async fn owner(config: &Config) -> Result<Connection, CliError> {
    let target = target(config)?;
    Connection::open(&target).await.map_err(|error| {
        let message = format!("{error}: {}", describe(&target));
        CliError::new(Exit::Database, message)
            .next("sb doctor   # checks DATABASE_URL step by step")
    })
}

/// `database app at db.example.com:5432 as ana`.
pub(super) fn describe(target: &Target) -> String {
    format!(
        "database {} at {} as {}",
        target.database(),
        target.address(),
        target.user()
    )
}

/// Why a backend could not be built on a database that this command does not migrate.
pub(super) fn build_error(error: StartError) -> CliError {
    match &error {
        StartError::Database(cause) | StartError::Keys(KeysError::Db(cause)) => not_migrated(cause),
        _ => None,
    }
    .unwrap_or_else(|| error.into())
}

/// Commands about tables of the framework mean nothing before `sb migrate`.
pub(super) fn not_migrated(error: &DbError) -> Option<CliError> {
    matches!(
        error.code(),
        Some(&SqlState::UNDEFINED_TABLE | &SqlState::INVALID_SCHEMA_NAME)
    )
    .then(|| {
        let message = "this database has not been migrated yet";
        CliError::new(Exit::Drift, message).next("sb migrate   # makes the framework's tables")
    })
}

/// Tables of users and of the project with their rows, as `public.todos (12 rows)`; empty tables are left out.
pub(super) async fn tables_with_rows(connection: &Connection) -> Result<Vec<String>, DbError> {
    let mut lines = Vec::new();
    for row in connection.query(TABLES, &[]).await? {
        let (schema, table): (String, String) = (row.get("schema_name"), row.get("table_name"));
        let name = format!("{}.{}", quote_identifier(&schema), quote_identifier(&table));
        let sql = format!(
            "select count(*) as count from (select from {name} limit {}) as t",
            MOST_ROWS + 1
        );
        let count: i64 = connection.query_one(&sql, &[]).await?.get("count");
        let rows = match count {
            0 => continue,
            1 => "1 row".to_owned(),
            count if count > MOST_ROWS => format!("more than {MOST_ROWS} rows"),
            count => format!("{count} rows"),
        };
        lines.push(format!("{schema}.{table} ({rows})"));
    }
    Ok(lines)
}
