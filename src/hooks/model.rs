//! Subscriptions and deliveries as commands show them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;

use crate::jobs::{JobId, Status};

/// What happens to accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// Somebody signed up.
    UserSignup,
    /// Somebody signed in; a refresh is none.
    UserLogin,
    /// An account was deleted.
    UserDeleted,
}

impl Event {
    /// Its name in `hooks.on`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UserSignup => "user.signup",
            Self::UserLogin => "user.login",
            Self::UserDeleted => "user.deleted",
        }
    }
}

/// A row of `hooks.subscriptions`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Subscription {
    /// Its name.
    pub name: String,
    /// `user.signup` … or `table.change`.
    pub event: String,
    /// The table, as `schema.table`.
    pub table: Option<String>,
    /// Which changes of it.
    pub operations: Option<Vec<String>>,
    /// Name of the jobs.
    pub target: String,
    /// Queue of the jobs; otherwise the target's own.
    pub queue: Option<String>,
    /// Whether it delivers.
    pub enabled: bool,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// Which deliveries to show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deliveries {
    /// Of this hook only.
    pub hook: Option<String>,
    /// In this state only.
    pub status: Option<Status>,
    /// At most this many.
    pub limit: u32,
}

/// A row of `hooks.deliveries`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Delivery {
    /// Id of its job.
    pub id: JobId,
    /// Name of its hook.
    pub hook: String,
    /// Name of its job.
    pub target: String,
    /// State of its job.
    pub status: String,
    /// Attempts so far.
    pub attempts: i32,
    /// Attempts there may be.
    pub max_attempts: i32,
    /// What an address answered last.
    pub response_status: Option<i32>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// What is delivered.
    pub payload: Value,
    /// What came back.
    pub result: Option<Value>,
    /// When the event happened.
    pub created_at: DateTime<Utc>,
    /// When the next attempt is due.
    pub run_at: DateTime<Utc>,
    /// When it was over.
    pub finished_at: Option<DateTime<Utc>>,
}
