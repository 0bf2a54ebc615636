//! What callers of `/jobs/v1` do, each in a transaction of their own.

use serde_json::value::RawValue;

use super::control::{self, Filter};
use super::{Enqueued, JobId, Jobs, JobsError, NewJob, Refusal};
use crate::db::DbError;
use crate::identity::Caller;

/// Enqueues as `caller`; the job is returned as it is stored.
pub(super) async fn enqueue(
    jobs: &Jobs,
    caller: &Caller,
    job: &NewJob,
) -> Result<(Enqueued, Box<RawValue>), JobsError> {
    check_role(jobs, job)?;
    let tx = begin(jobs, caller).await?;
    let enqueued = jobs.enqueue_and_show(&tx, job).await;
    tx.finish(enqueued).await
}

/// Enqueues all or none.
pub(super) async fn enqueue_many(
    jobs: &Jobs,
    caller: &Caller,
    wanted: &[NewJob],
) -> Result<Vec<(JobId, bool)>, JobsError> {
    wanted.iter().try_for_each(|job| check_role(jobs, job))?;
    let tx = begin(jobs, caller).await?;
    let enqueued = jobs.enqueue_many(&tx, wanted).await;
    tx.finish(enqueued).await
}

/// The jobs that `caller` may see.
pub(super) async fn list(
    jobs: &Jobs,
    caller: &Caller,
    filter: &Filter,
) -> Result<Vec<Box<RawValue>>, JobsError> {
    let tx = begin(jobs, caller).await?;
    let found = control::list(&tx, filter).await;
    tx.finish(found).await
}

pub(super) async fn find(
    jobs: &Jobs,
    caller: &Caller,
    id: JobId,
) -> Result<Box<RawValue>, JobsError> {
    let tx = begin(jobs, caller).await?;
    let found = control::find(&tx, id).await;
    tx.finish(found).await
}

pub(super) async fn cancel(jobs: &Jobs, caller: &Caller, id: JobId) -> Result<(), JobsError> {
    let tx = begin(jobs, caller).await?;
    let cancelled = control::cancel(&tx, id).await;
    tx.finish(cancelled).await.map(drop)
}

pub(super) async fn retry(jobs: &Jobs, caller: &Caller, id: JobId) -> Result<(), JobsError> {
    let tx = begin(jobs, caller).await?;
    let retried = control::retry(&tx, id).await;
    tx.finish(retried).await
}

/// Such a job would only fail later.
fn check_role(jobs: &Jobs, job: &NewJob) -> Result<(), JobsError> {
    match &job.role {
        Some(role) if !jobs.db.allows_role(role) => Err(JobsError::Invalid(Refusal::with_hint(
            format!("no job runs as role \"{role}\""),
            "db.allowed_roles names the roles that callers and jobs may have",
        ))),
        _ => Ok(()),
    }
}

/// An error here is no refusal by the queue, whatever its SQLSTATE.
async fn begin(jobs: &Jobs, caller: &Caller) -> Result<crate::db::Tx, JobsError> {
    jobs.db
        .begin(caller)
        .await
        .map_err(|error: DbError| JobsError::Db(error))
}
