//! All SQL of mail.

use serde_json::Value;
use uuid::Uuid;

use crate::db::{DbError, Tx};
use crate::jobs::JobId;

/// The job and its queue.
pub(super) async fn enqueue(
    tx: &Tx,
    envelope: &Value,
    user_id: Option<Uuid>,
    at_a_time: i32,
) -> Result<(JobId, String), DbError> {
    let sql = "
    select e.id
         , e.queue
      from mail.enqueue($1, $2, $3) as e";
    let row = tx.query_one(sql, &[envelope, &user_id, &at_a_time]).await?;
    Ok((row.get("id"), row.get("queue")))
}
