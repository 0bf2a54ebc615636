//! Jobs named `sql:schema.function`: a function of the project, run as who enqueued the job.

use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;

use super::error::JobError;
use super::model::JobId;
use super::queries;
use crate::db::{Canceller, Db, Json, Tx};
use crate::identity::Caller;

/// Names that begin with this are functions.
pub(super) const PREFIX: &str = "sql:";

/// A call that is about to run.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) function: &'a str,
    pub(super) payload: &'a RawValue,
    pub(super) caller: &'a Caller,
    pub(super) id: JobId,
    pub(super) lease: i32,
    pub(super) timeout: Duration,
}

/// Calls the function and finishes the job in one transaction: both are kept or neither. `running` is given what stops
/// the statement from outside.
pub(super) async fn call(
    db: &Db,
    call: &Call<'_>,
    running: impl FnOnce(Canceller),
) -> Result<(), JobError> {
    let tx = db.begin_job(call.caller, call.timeout).await?;
    running(tx.canceller());
    let done = run(&tx, call).await;
    tx.finish(done).await
}

async fn run(tx: &Tx, call: &Call<'_>) -> Result<(), JobError> {
    let Some((function, is_void)) = queries::find_function(tx, call.function).await? else {
        return Err(JobError::Failed(format!(
            "function {0} does not exist or cannot be used as a job: create function {0}(payload jsonb)",
            call.function
        )));
    };
    let sql = if is_void {
        format!("select null::jsonb from {function}($1) limit 1")
    } else {
        format!("select to_jsonb(r) from {function}($1) as r limit 1")
    };
    let rows = tx.query(&sql, &[&Json(call.payload)]).await?;
    let result: Option<Value> = rows.first().and_then(|row| row.get(0));
    // In this order, in one round trip.
    tokio::try_join!(
        tx.leave_caller(),
        queries::complete_within(tx, call.id, call.lease, result.as_ref())
    )?;
    Ok(())
}
