//! What `sb doctor` asks the database. Everything reads, nothing writes.

use chrono::{DateTime, Utc};

use crate::db::{Connection, DbError};

/// The server as it sees itself.
pub(super) struct Server {
    /// Such as 170010.
    pub(super) version: i32,
    pub(super) wal_level: String,
    pub(super) max_connections: i32,
    pub(super) now: DateTime<Utc>,
}

pub(super) async fn server(connection: &Connection) -> Result<Server, DbError> {
    let sql = "
        select current_setting('server_version_num')::integer as version
             , current_setting('wal_level') as wal_level
             , current_setting('max_connections')::integer as max_connections
             , clock_timestamp() as now";
    let row = connection.query_one(sql, &[]).await?;
    Ok(Server {
        version: row.get("version"),
        wal_level: row.get("wal_level"),
        max_connections: row.get("max_connections"),
        now: row.get("now"),
    })
}

/// Names in the framework's history, empty when there is none.
pub(super) async fn framework_history(connection: &Connection) -> Result<Vec<String>, DbError> {
    if !connection.has_relation("sb.schema_history").await? {
        return Ok(Vec::new());
    }
    let sql = "
        select 'V' || version || '__' || name as migration
          from sb.schema_history
         order by version";
    let rows = connection.query(sql, &[]).await?;
    Ok(rows.iter().map(|row| row.get("migration")).collect())
}

/// What could not be set up: name, detail, remedy.
pub(super) async fn limitations(
    connection: &Connection,
) -> Result<Vec<(String, String, String)>, DbError> {
    let sql = "
        select name
             , detail
             , remedy
          from sb.limitations
         order by name";
    let rows = connection.query(sql, &[]).await?;
    Ok(rows
        .iter()
        .map(|row| (row.get("name"), row.get("detail"), row.get("remedy")))
        .collect())
}

/// Roles that have more power than `sb` gave them, with that power.
pub(super) async fn mighty_roles(
    connection: &Connection,
) -> Result<Vec<(String, String)>, DbError> {
    let sql = "
        select r.rolname::text as role_name
             , concat_ws(', '
               , case when r.rolsuper then 'superuser' end
               , case when r.rolbypassrls then 'bypassrls' end
               , case when r.rolcreaterole then 'createrole' end
               , case when r.rolcreatedb then 'createdb' end
               , case when r.rolreplication then 'replication' end
               , case when r.rolcanlogin and r.rolname in ('anon', 'authenticated', 'service_role') then 'login' end
               , case when r.rolinherit and r.rolname in ('authenticator', 'sb_auth') then 'inherit' end
               ) as powers
          from pg_catalog.pg_roles r
         where r.rolname in ('anon', 'authenticated', 'authenticator', 'sb_auth')
            or (r.rolname = 'service_role' and (r.rolsuper or r.rolcanlogin))
         order by r.rolname";
    let rows = connection.query(sql, &[]).await?;
    let roles = rows
        .iter()
        .map(|row| (row.get("role_name"), row.get::<_, String>("powers")));
    Ok(roles.filter(|(_, powers)| !powers.is_empty()).collect())
}

/// API roles the role `authenticator` cannot become, and those that do not exist.
pub(super) async fn unreachable_roles(connection: &Connection) -> Result<Vec<String>, DbError> {
    let sql = "
        select wanted.name
          from unnest(array['anon', 'authenticated', 'service_role']) as wanted (name)
         where not exists (
           select
             from pg_catalog.pg_auth_members m
            where m.roleid = pg_catalog.to_regrole(wanted.name)
              and m.member = pg_catalog.to_regrole('authenticator')
              and coalesce((pg_catalog.to_jsonb(m) ->> 'set_option')::boolean, true)
         )";
    let rows = connection.query(sql, &[]).await?;
    Ok(rows.iter().map(|row| row.get("name")).collect())
}

/// Tables of exposed schemas without row level security that API roles can read or write.
pub(super) async fn open_tables(connection: &Connection) -> Result<Vec<String>, DbError> {
    let sql = "
        select c.oid::regclass::text as table_name
          from pg_catalog.pg_class c
          join pg_catalog.pg_namespace n
            on n.oid = c.relnamespace
          join sb.exposed_schemas e
            on e.schema_name = n.nspname
         where c.relkind in ('r', 'p')
           and not c.relrowsecurity
           and (
             pg_catalog.has_table_privilege('anon', c.oid, 'select, insert, update, delete')
             or pg_catalog.has_table_privilege('authenticated', c.oid, 'select, insert, update, delete')
           )
         order by 1
         limit 20";
    let rows = connection.query(sql, &[]).await?;
    Ok(rows.iter().map(|row| row.get("table_name")).collect())
}
