//! `/jobs/v1`: from HTTP to the queue and back. Row level security decides who sees and does what.

mod enqueue;
mod jobs;
mod options;

use axum::Router;
use axum::routing::{get, post};

use super::{Jobs, JobsError, Refusal};
use crate::error::ErrorCode;
use crate::http::ApiError;
use crate::http::middleware::{method_not_allowed, not_found};
use crate::identity::Caller;

/// The routes of the queue, to be mounted at `/jobs/v1`. Without `enabled` they say that they are switched off.
pub(crate) fn router(jobs: Jobs, enabled: bool) -> Router {
    if !enabled {
        return Router::new().fallback(disabled);
    }
    Router::new()
        .route("/enqueue", post(enqueue::one))
        .route("/enqueue_many", post(enqueue::many))
        .route("/jobs", get(jobs::list))
        .route("/jobs/{id}", get(jobs::show))
        .route("/jobs/{id}/cancel", post(jobs::cancel))
        .route("/jobs/{id}/retry", post(jobs::retry))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(jobs)
}

async fn disabled() -> ApiError {
    ApiError::new(
        ErrorCode::FeatureDisabled,
        "Background jobs are switched off",
    )
    .with_hint("jobs.enabled = true in sb.toml, or JOBS_ENABLED=true")
}

/// Whoever did not sign in has no jobs to see.
fn require_identity(caller: &Caller) -> Result<(), ApiError> {
    if caller.role() == "anon" {
        return Err(anonymous());
    }
    Ok(())
}

fn anonymous() -> ApiError {
    ApiError::new(
        ErrorCode::NoAuthorization,
        "Sign in, or send a secret key: jobs belong to somebody",
    )
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::ValidationFailed, message)
}

impl From<JobsError> for ApiError {
    fn from(error: JobsError) -> Self {
        let (code, refusal) = match error {
            JobsError::Invalid(refusal) => (ErrorCode::ValidationFailed, refusal),
            JobsError::UnknownQueue(refusal) => (ErrorCode::QueueNotFound, refusal),
            JobsError::PayloadTooLarge(refusal) => (ErrorCode::RequestEntityTooLarge, refusal),
            JobsError::Forbidden(refusal) => (ErrorCode::InsufficientPrivilege, refusal),
            JobsError::NotFound(refusal) => (ErrorCode::JobNotFound, refusal),
            JobsError::WrongState(refusal) => (ErrorCode::JobStateConflict, refusal),
            JobsError::Db(error) => return error.into(),
        };
        let Refusal { message, hint } = refusal;
        let error = Self::new(code, message);
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}
