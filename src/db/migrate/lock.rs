//! The advisory lock of whoever migrates.

use std::time::Duration;

use tokio::time::Instant;

use super::MigrateError;
use crate::db::{Connection, DbError};

const FIRST_DELAY: Duration = Duration::from_millis(50);
const LONGEST_DELAY: Duration = Duration::from_secs(1);

/// Takes the lock for `connection`'s session, or gives up after `wait`.
pub(super) async fn acquire(connection: &Connection, wait: Duration) -> Result<(), MigrateError> {
    let started = Instant::now();
    let mut delay = FIRST_DELAY;
    loop {
        let sql = "select pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended('sb.migrate', 0)) as taken";
        if connection.query_one(sql, &[]).await?.get("taken") {
            return Ok(());
        }
        if started.elapsed() + delay > wait {
            return Err(MigrateError::Locked {
                holder: holder(connection).await?,
                waited_s: wait.as_secs(),
            });
        }
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(LONGEST_DELAY);
    }
}

/// Gives the lock back; closing the connection does it too, a little later.
pub(super) async fn release(connection: &Connection) -> Result<(), DbError> {
    let sql = "select pg_catalog.pg_advisory_unlock(pg_catalog.hashtextextended('sb.migrate', 0))";
    connection.batch_execute(sql).await
}

async fn holder(connection: &Connection) -> Result<String, DbError> {
    let sql = "
        with key as (
          select pg_catalog.hashtextextended('sb.migrate', 0) as value
        )
        select l.pid
             , a.application_name
             , a.client_addr::text as address
          from pg_catalog.pg_locks l
          cross join key
          left join pg_catalog.pg_stat_activity a
            on a.pid = l.pid
         where l.locktype = 'advisory'
           and l.granted
           and l.database = (
             select d.oid
               from pg_catalog.pg_database d
              where d.datname = current_database()
           )
           and l.objsubid = 1
           and l.classid::bigint = (key.value >> 32) & 4294967295
           and l.objid::bigint = key.value & 4294967295";
    let Some(row) = connection.query_opt(sql, &[]).await? else {
        return Ok("it has just finished".to_owned());
    };
    let pid: i32 = row.get("pid");
    let name: Option<String> = row.get("application_name");
    let address: Option<String> = row.get("address");
    let mut text = format!("Postgres process {pid}");
    if let Some(name) = name.filter(|name| !name.is_empty()) {
        text.push_str(", application ");
        text.push_str(&name);
    }
    if let Some(address) = address {
        text.push_str(", from ");
        text.push_str(&address);
    }
    Ok(text)
}
