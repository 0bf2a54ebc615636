//! Errors of the queue, and what a handler says when it did not succeed.

use std::time::Duration;

use crate::db::{DbError, SqlState};

/// Why an operation on the queue was refused.
#[derive(Debug, thiserror::Error)]
pub enum JobsError {
    /// An option is out of range, or the queue does not exist. Postgres' text, which names the option and the remedy.
    #[error("{0}")]
    Invalid(String),
    /// The payload is larger than [`super::MAX_PAYLOAD_BYTES`].
    #[error("{0}")]
    PayloadTooLarge(String),
    /// No policy lets this caller enqueue the job, or it asked for another role or user.
    #[error("{0}")]
    Forbidden(String),
    /// There is no such job, or the caller may not see it.
    #[error("{0}")]
    NotFound(String),
    /// The job is not in a state that allows it: over already, or not over yet.
    #[error("{0}")]
    WrongState(String),
    /// The database failed.
    #[error(transparent)]
    Db(DbError),
}

impl From<DbError> for JobsError {
    /// The functions of schema `jobs` raise these states on purpose, with texts for people.
    fn from(error: DbError) -> Self {
        let text = error.message_and_hint();
        match error.code() {
            Some(&SqlState::NO_DATA_FOUND) => Self::NotFound(text),
            Some(&SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE) => Self::WrongState(text),
            Some(&SqlState::PROGRAM_LIMIT_EXCEEDED) => Self::PayloadTooLarge(text),
            Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Self::Forbidden(text),
            Some(
                &SqlState::INVALID_PARAMETER_VALUE
                | &SqlState::UNDEFINED_OBJECT
                | &SqlState::INVALID_TEXT_REPRESENTATION
                | &SqlState::UNTRANSLATABLE_CHARACTER
                | &SqlState::NUMERIC_VALUE_OUT_OF_RANGE
                | &SqlState::DATETIME_FIELD_OVERFLOW
                | &SqlState::INVALID_DATETIME_FORMAT,
            ) => Self::Invalid(text),
            _ => Self::Db(error),
        }
    }
}

/// How an attempt ends when it did not succeed. `?` on any error means [`JobError::Failed`].
#[derive(Debug)]
pub enum JobError {
    /// The attempt failed; the job is tried again after its backoff, while it has attempts left.
    Failed(String),
    /// The job cannot succeed: no more attempts.
    Discard(String),
    /// Not now: run again after this time. The attempt is not counted.
    Snooze(Duration),
}

impl<E: std::error::Error> From<E> for JobError {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let next = error.to_string();
            if !text.contains(&next) {
                text.push_str(": ");
                text.push_str(&next);
            }
            cause = error.source();
        }
        Self::Failed(text)
    }
}
