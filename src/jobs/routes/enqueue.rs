//! `POST /enqueue` and `/enqueue_many`.

use axum::extract::State;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::options;
use crate::error::ErrorCode;
use crate::http::{ApiError, Json};
use crate::identity::Caller;
use crate::jobs::{Jobs, service};

/// The job as it is stored, and whether it is new: an idempotency key may belong to an earlier one.
#[derive(Debug, serde::Serialize)]
pub(super) struct Answer {
    job: Box<RawValue>,
    is_new: bool,
}

pub(super) async fn one(
    caller: Caller,
    State(jobs): State<Jobs>,
    Json(body): Json<Value>,
) -> Result<Json<Answer>, ApiError> {
    let job = options::job(body)?;
    let enqueued = service::enqueue(&jobs, &caller, &job).await;
    let (enqueued, job) = enqueued.map_err(|error| refused(&caller, error.into()))?;
    let is_new = enqueued.is_new;
    Ok(Json(Answer { job, is_new }))
}

pub(super) async fn many(
    caller: Caller,
    State(jobs): State<Jobs>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let wanted = options::jobs(body)?;
    let enqueued = service::enqueue_many(&jobs, &caller, &wanted).await;
    let enqueued = enqueued.map_err(|error| refused(&caller, error.into()))?;
    let answers = enqueued
        .into_iter()
        .map(|(id, is_new)| json!({ "id": id, "is_new": is_new }));
    Ok(Json(answers.collect()))
}

/// Where a policy would let a user do it, the answer to somebody unknown is to sign in.
fn refused(caller: &Caller, error: ApiError) -> ApiError {
    if error.code() == ErrorCode::InsufficientPrivilege && caller.role() == "anon" {
        return super::anonymous();
    }
    error
}
