//! Hooks: what happens to accounts and to rows becomes jobs.
//!
//! Schema `hooks` holds the subscriptions. Triggers on tables, and [`emit`] for accounts, turn each event into jobs, in
//! the transaction of the event: one that is rolled back is told to nobody, and one that was committed is told at least
//! once. From there on a delivery is a job like any other, with `source = 'hook:NAME'`.
//!
//! A target is the name of a job, so a hook can be a SQL function, a handler of an embedding program, or an address,
//! which [`webhook`] calls.

mod model;
mod queries;
pub mod webhook;

pub use model::{Deliveries, Delivery, Event, Subscription};
pub use webhook::Webhooks;

use serde_json::Value;

use crate::db::{Connection, DbError, Tx};
use crate::jobs::{JobId, JobsError};

/// Enqueues the deliveries of an event in `tx`, which must be one of `sb_auth`: one for each subscription, and one for
/// each kind of job in `also`. Returns how many there are.
pub async fn emit(tx: &Tx, event: Event, payload: &Value, also: &[String]) -> Result<i32, DbError> {
    queries::emit(tx, event.as_str(), payload, also).await
}

/// All subscriptions, by name.
pub async fn list(owner: &Connection) -> Result<Vec<Subscription>, DbError> {
    queries::list(owner).await
}

/// Deliveries, the newest first.
pub async fn deliveries(owner: &Connection, which: &Deliveries) -> Result<Vec<Delivery>, DbError> {
    queries::deliveries(owner, which).await
}

/// Delivers once more. Returns the new job.
///
/// # Errors
/// [`JobsError::NotFound`] when there is no such delivery.
pub async fn redeliver(owner: &Connection, id: JobId) -> Result<JobId, JobsError> {
    Ok(queries::redeliver(owner, id).await?)
}
