//! All SQL of hooks outside of their schema.

use serde_json::Value;

use super::model::{Deliveries, Delivery, Subscription};
use crate::db::{Connection, DbError, Tx};
use crate::jobs::JobId;

pub(super) async fn emit(
    tx: &Tx,
    event: &str,
    payload: &Value,
    also: &[String],
) -> Result<i32, DbError> {
    let sql = "select hooks.emit($1, $2, $3)";
    Ok(tx.query_one(sql, &[&event, payload, &also]).await?.get(0))
}

pub(super) async fn list(owner: &Connection) -> Result<Vec<Subscription>, DbError> {
    let sql = "
    select s.name
         , s.event
         , s.schema_name || '.' || s.table_name as table_name
         , s.operations
         , s.target
         , s.queue
         , s.enabled
         , s.created_at
      from hooks.subscriptions s
     order by s.name";
    let rows = owner.query(sql, &[]).await?;
    let subscriptions = rows.iter().map(|row| Subscription {
        name: row.get("name"),
        event: row.get("event"),
        table: row.get("table_name"),
        operations: row.get("operations"),
        target: row.get("target"),
        queue: row.get("queue"),
        enabled: row.get("enabled"),
        created_at: row.get("created_at"),
    });
    Ok(subscriptions.collect())
}

pub(super) async fn deliveries(
    owner: &Connection,
    which: &Deliveries,
) -> Result<Vec<Delivery>, DbError> {
    let sql = "
    select d.id
         , d.hook
         , d.target
         , d.status::text as status
         , d.attempts
         , d.max_attempts
         , d.response_status
         , d.last_error
         , d.payload
         , d.result
         , d.created_at
         , d.run_at
         , d.finished_at
      from hooks.deliveries d
     where ($1::text is null or d.hook = $1)
       and ($2::text is null or d.status::text = $2)
     order by d.id desc
     limit $3";
    let status = which.status.map(crate::jobs::Status::as_str);
    let rows = owner
        .query(sql, &[&which.hook, &status, &i64::from(which.limit)])
        .await?;
    let deliveries = rows.iter().map(|row| Delivery {
        id: row.get("id"),
        hook: row.get("hook"),
        target: row.get("target"),
        status: row.get("status"),
        attempts: row.get("attempts"),
        max_attempts: row.get("max_attempts"),
        response_status: row.get("response_status"),
        last_error: row.get("last_error"),
        payload: row.get("payload"),
        result: row.get("result"),
        created_at: row.get("created_at"),
        run_at: row.get("run_at"),
        finished_at: row.get("finished_at"),
    });
    Ok(deliveries.collect())
}

pub(super) async fn redeliver(owner: &Connection, id: JobId) -> Result<JobId, DbError> {
    let sql = "select hooks.redeliver($1)";
    Ok(owner.query_one(sql, &[&id]).await?.get(0))
}
