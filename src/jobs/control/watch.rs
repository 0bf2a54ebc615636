//! One look at everything.

use serde::Serialize;

use super::{QueueState, Runs, WorkerState, queries};
use crate::db::DbError;

/// The queue at one moment.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sample {
    pub(crate) queues: Vec<QueueState>,
    pub(crate) workers: Vec<WorkerState>,
    /// Dead letters that lie there.
    pub(crate) dead: i64,
    /// Jobs that ended well or were cancelled since Postgres' statistics began.
    pub(crate) finished_total: i64,
    /// Jobs that failed for good since then.
    pub(crate) failed_total: i64,
    /// Dead letters of the last hour, by kind.
    pub(crate) failures: Vec<KindFailures>,
    /// Row versions of the queue's table that vacuum has not removed.
    pub(crate) dead_tuples: i64,
    /// Transactions since the oldest snapshot that vacuum has to respect.
    pub(crate) oldest_xmin_age: i64,
}

/// Dead letters of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct KindFailures {
    pub(crate) name: String,
    pub(crate) count: i64,
}

pub(super) async fn sample(on: &impl Runs) -> Result<Sample, DbError> {
    let totals = queries::totals(on).await?;
    let failures = queries::recent_failures(on).await?;
    Ok(Sample {
        queues: queries::queues(on).await?,
        workers: queries::workers(on).await?,
        dead: totals.dead,
        finished_total: totals.finished_total,
        failed_total: totals.failed_total,
        failures: failures
            .into_iter()
            .map(|(name, count)| KindFailures { name, count })
            .collect(),
        dead_tuples: totals.dead_tuples,
        oldest_xmin_age: totals.oldest_xmin_age,
    })
}
