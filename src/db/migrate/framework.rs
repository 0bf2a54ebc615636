//! The framework's own line, and what has to follow it: passwords of `sb`'s roles, default grants.

use super::{MigrateError, Options, lock};
use crate::config::Secret;
use crate::db::{Connection, DbError, Target, quote_identifier, quote_literal};

/// History of this line. In schema `sb`, where the API never looks.
const HISTORY: &str = "sb.schema_history";

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// Passwords of the roles `sb` logs in as.
#[derive(Debug, Clone)]
pub struct RolePasswords {
    /// Of `authenticator`, which PostgREST uses too.
    pub authenticator: Secret,
    /// Of `sb_auth`.
    pub auth: Secret,
    /// Of `sb_jobs`.
    pub jobs: Secret,
    /// Of `sb_hooks`.
    pub hooks: Secret,
}

/// Applies what is missing as the owner `target`, then makes roles and grants what the settings say. Returns the
/// names of the applied migrations.
///
/// A database that a newer `sb` has migrated is accepted: releases only add, so that nodes can be replaced one by one.
pub async fn apply(
    target: &Target,
    passwords: &RolePasswords,
    options: &Options,
) -> Result<Vec<String>, MigrateError> {
    let connection = Connection::open(target).await?;
    lock::acquire(&connection, options.lock_wait).await?;
    let result = apply_locked(&connection, target, passwords, options).await;
    let released = lock::release(&connection).await;
    let applied = result?;
    released?;
    Ok(applied)
}

/// Names of the migrations in this binary, in order.
pub fn names() -> Vec<String> {
    let mut migrations = embedded::migrations::runner().get_migrations().clone();
    migrations.sort();
    migrations.iter().map(ToString::to_string).collect()
}

async fn apply_locked(
    connection: &Connection,
    target: &Target,
    passwords: &RolePasswords,
    options: &Options,
) -> Result<Vec<String>, MigrateError> {
    let applied = run(target).await?;
    let roles = [
        ("authenticator", &passwords.authenticator),
        ("sb_auth", &passwords.auth),
        ("sb_jobs", &passwords.jobs),
        ("sb_hooks", &passwords.hooks),
    ];
    for (role, password) in roles {
        set_password(connection, target, role, password).await?;
    }
    super::set_default_grants(connection, options).await?;
    if !applied.is_empty() {
        super::reload_schema(connection).await?;
    }
    Ok(applied)
}

async fn run(target: &Target) -> Result<Vec<String>, MigrateError> {
    let connection = Connection::open(target).await?;
    // The history table stands in the schema the first migration makes.
    connection
        .batch_execute("create schema if not exists sb")
        .await?;
    let (mut client, _driver) = connection
        .into_client()
        .expect("the connection was opened here and has no other user");
    let mut runner = embedded::migrations::runner().set_abort_missing(false);
    runner.set_migration_table_name(HISTORY);
    let report = runner
        .run_async(&mut client)
        .await
        .map_err(|error| MigrateError::Framework(describe(&error)))?;
    Ok(report
        .applied_migrations()
        .iter()
        .map(ToString::to_string)
        .collect())
}

/// refinery's text names the migration, the cause says what Postgres thought of it.
fn describe(error: &refinery::Error) -> String {
    use refinery::error::Kind;
    match error.kind() {
        Kind::Connection(message, cause) => {
            let postgres = cause
                .downcast_ref::<tokio_postgres::Error>()
                .or_else(|| cause.source()?.downcast_ref::<tokio_postgres::Error>());
            match postgres.and_then(tokio_postgres::Error::as_db_error) {
                Some(db) => {
                    let context = db.where_().map(|w| format!(" in {w}")).unwrap_or_default();
                    let code = db.code().code();
                    format!("{message}: {} (SQLSTATE {code}){context}", db.message())
                }
                None => format!("{message}: {cause}"),
            }
        }
        _ => format!(
            "{error}; this database was set up by a build of sb whose framework migrations differ from this one's"
        ),
    }
}

/// Roles belong to the cluster, so a password that works already is left alone. The server is given a verifier, never
/// the password: statements can end up in its log.
async fn set_password(
    connection: &Connection,
    target: &Target,
    role: &str,
    password: &Secret,
) -> Result<(), DbError> {
    let accepts = async |password: &str| {
        let as_role = target.with_user(role, password);
        Connection::open(&as_role).await.is_ok()
    };
    // A socket may trust everybody; then it says nothing of the password, which others need over TCP.
    if accepts(password.expose()).await && !(target.is_local() && accepts("another").await) {
        return Ok(());
    }
    let verifier = postgres_protocol::password::scram_sha_256(password.expose().as_bytes());
    let command = format!(
        "alter role {} password {}",
        quote_identifier(role),
        quote_literal(&verifier)
    );
    let limitation = format!("password_{role}");
    let detail = format!("the password of role {role} could not be set");
    let remedy = format!(
        "set the password of {role} by hand and give it to sb in db.authenticator_password"
    );
    connection
        .execute(
            "select sb.attempt($1, $2, $3, $4)",
            &[&limitation, &command, &detail, &remedy],
        )
        .await
        .map(drop)
}
