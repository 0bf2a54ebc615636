//! Errors of the queue, and what a handler says when it did not succeed.

use std::time::Duration;

use crate::db::{DbError, SqlState};

/// Why something was refused, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Names the option or the job.
    pub message: String,
    /// The remedy, where there is one to name.
    pub hint: Option<String>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl From<String> for Refusal {
    fn from(message: String) -> Self {
        Self {
            message,
            hint: None,
        }
    }
}

impl Refusal {
    pub(super) fn with_hint(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }
}

/// Why an operation on the queue was refused.
#[derive(Debug, thiserror::Error)]
pub enum JobsError {
    /// An option is out of range or cannot be stored.
    #[error("{0}")]
    Invalid(Refusal),
    /// The queue does not exist.
    #[error("{0}")]
    UnknownQueue(Refusal),
    /// The payload is larger than [`super::MAX_PAYLOAD_BYTES`].
    #[error("{0}")]
    PayloadTooLarge(Refusal),
    /// No policy lets this caller enqueue the job, or it asked for another role or user.
    #[error("{0}")]
    Forbidden(Refusal),
    /// There is no such job, or the caller may not see it.
    #[error("{0}")]
    NotFound(Refusal),
    /// The job is not in a state that allows it: over already, or not over yet.
    #[error("{0}")]
    WrongState(Refusal),
    /// The database failed.
    #[error(transparent)]
    Db(DbError),
}

impl From<DbError> for JobsError {
    /// The functions of schema `jobs` raise these states on purpose, with texts for people.
    fn from(error: DbError) -> Self {
        let (Some(code), Some((message, hint))) = (error.code(), error.words()) else {
            return Self::Db(error);
        };
        let refusal = Refusal {
            message: message.to_owned(),
            hint: hint.map(str::to_owned),
        };
        match *code {
            SqlState::NO_DATA_FOUND => Self::NotFound(refusal),
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE => Self::WrongState(refusal),
            SqlState::PROGRAM_LIMIT_EXCEEDED => Self::PayloadTooLarge(refusal),
            SqlState::INSUFFICIENT_PRIVILEGE if error.is_policy_violation() => {
                Self::Forbidden(Refusal::with_hint(
                    "no policy lets this caller enqueue the job",
                    "create policy … on jobs.pending for insert to authenticated with check (name = '…')",
                ))
            }
            SqlState::INSUFFICIENT_PRIVILEGE => Self::Forbidden(refusal),
            SqlState::UNDEFINED_OBJECT => Self::UnknownQueue(refusal),
            SqlState::UNTRANSLATABLE_CHARACTER | SqlState::CHARACTER_NOT_IN_REPERTOIRE => {
                Self::Invalid(nul())
            }
            SqlState::INVALID_PARAMETER_VALUE
            | SqlState::INVALID_TEXT_REPRESENTATION
            | SqlState::NUMERIC_VALUE_OUT_OF_RANGE
            | SqlState::DATETIME_FIELD_OVERFLOW
            | SqlState::INTERVAL_FIELD_OVERFLOW
            | SqlState::CHECK_VIOLATION
            | SqlState::INVALID_DATETIME_FORMAT => Self::Invalid(refusal),
            _ => Self::Db(error),
        }
    }
}

/// Postgres' own words for it speak of escape sequences and conversions.
pub(super) fn nul() -> Refusal {
    "a text holds the character NUL (\\u0000), which Postgres cannot store"
        .to_owned()
        .into()
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
