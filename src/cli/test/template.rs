//! The database as it was after migrations and seed, kept as a template that is cloned in moments.

use crate::db::{Connection, DbError, Target, quote_identifier};

/// The database that is kept.
const CLEAN: &str = "sb_clean";

/// Settings of a database and of roles in it are not part of the database, so a clone has none.
const SETTINGS: &str = "
    select r.rolname::text as role_name
         , split_part(c, '=', 1) as name
         , substr(c, strpos(c, '=') + 1) as value
      from pg_catalog.pg_db_role_setting s
      join pg_catalog.pg_database d
        on d.oid = s.setdatabase
      left join pg_catalog.pg_roles r
        on r.oid = s.setrole
     cross join unnest(s.setconfig) as c
     where d.datname = $1";

const END_SESSIONS: &str = "
    select pg_catalog.pg_terminate_backend(a.pid)
      from pg_catalog.pg_stat_activity a
     where a.datname = $1";

/// Keeps the database of `target` as it is now. Its sessions are ended for it.
pub(super) async fn make(target: &Target) -> Result<(), DbError> {
    let connection = elsewhere(target).await?;
    let name = target.database();
    close(&connection, name).await?;
    let copied = copy(&connection, name, CLEAN).await;
    open(&connection, name).await?;
    copied
}

/// Puts the database of `target` back as it was kept. Its sessions are ended for it.
pub(super) async fn restore(target: &Target) -> Result<(), DbError> {
    let connection = elsewhere(target).await?;
    let name = target.database();
    let settings = connection.query(SETTINGS, &[&name]).await?;
    close(&connection, name).await?;
    connection
        .batch_execute(&format!(
            "drop database {} with (force)",
            quote_identifier(name)
        ))
        .await?;
    copy(&connection, CLEAN, name).await?;
    for row in settings {
        let (role, setting, value): (Option<String>, String, String) =
            (row.get("role_name"), row.get("name"), row.get("value"));
        // `from current` spares us the spelling of lists.
        connection
            .query(
                "select pg_catalog.set_config($1, $2, false)",
                &[&setting, &value],
            )
            .await?;
        let whose = match role {
            Some(role) => format!(
                "role {} in database {}",
                quote_identifier(&role),
                quote_identifier(name)
            ),
            None => format!("database {}", quote_identifier(name)),
        };
        connection
            .batch_execute(&format!(
                "alter {whose} set {} from current",
                setting_name(&setting)
            ))
            .await?;
    }
    Ok(())
}

/// A database cannot be copied or dropped from inside.
async fn elsewhere(target: &Target) -> Result<Connection, DbError> {
    Connection::open(&target.with_database("template1")).await
}

/// Pools and PostgREST would be back before the copy begins.
async fn close(connection: &Connection, name: &str) -> Result<(), DbError> {
    let sql = format!(
        "alter database {} with allow_connections false",
        quote_identifier(name)
    );
    connection.batch_execute(&sql).await?;
    connection.query(END_SESSIONS, &[&name]).await.map(drop)
}

async fn open(connection: &Connection, name: &str) -> Result<(), DbError> {
    connection
        .batch_execute(&format!(
            "alter database {} with allow_connections true",
            quote_identifier(name)
        ))
        .await
}

async fn copy(connection: &Connection, from: &str, to: &str) -> Result<(), DbError> {
    let (from, to) = (quote_identifier(from), quote_identifier(to));
    connection
        .batch_execute(&format!(
            "create database {to} template {from} strategy file_copy"
        ))
        .await
}

/// `pgrst.jwt_secret` has two parts, each a name of its own.
fn setting_name(name: &str) -> String {
    name.split('.')
        .map(quote_identifier)
        .collect::<Vec<_>>()
        .join(".")
}
