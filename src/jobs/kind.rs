//! What a kind of job asks for unless an enqueue says otherwise.

use std::time::Duration;

/// How the pause grows between attempts. A fifth is added or taken at random, so that failures do not return together.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Backoff {
    /// base, 2 base, 4 base …
    Exponential,
    /// base, 2 base, 3 base …
    Linear,
    /// Always base.
    Constant,
}

impl Backoff {
    /// The value of `jobs.backoff`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exponential => "exponential",
            Self::Linear => "linear",
            Self::Constant => "constant",
        }
    }
}

/// Defaults of one kind of job. `None` leaves the queue's own default in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Kind {
    /// The name jobs are enqueued under.
    pub name: String,
    /// The queue they wait in; otherwise `default`.
    pub queue: Option<String>,
    /// Attempts before a job is dead; otherwise 3.
    pub max_attempts: Option<u16>,
    /// How the pause between attempts grows; otherwise exponentially.
    pub backoff: Option<Backoff>,
    /// The first pause; otherwise 5 s.
    pub backoff_base: Option<Duration>,
    /// The longest pause; otherwise 5 min.
    pub backoff_max: Option<Duration>,
    /// How long one attempt may take; otherwise `jobs.timeout_s`.
    pub timeout: Option<Duration>,
}

impl Kind {
    /// A kind with nothing but a name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            queue: None,
            max_attempts: None,
            backoff: None,
            backoff_base: None,
            backoff_max: None,
            timeout: None,
        }
    }

    /// Another queue than `default`.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = Some(queue.into());
        self
    }

    /// Attempts before a job is dead.
    pub fn max_attempts(mut self, attempts: u16) -> Self {
        self.max_attempts = Some(attempts);
        self
    }

    /// The pause between attempts: how it grows, where it begins, where it ends.
    pub fn backoff(mut self, backoff: Backoff, base: Duration, max: Duration) -> Self {
        self.backoff = Some(backoff);
        self.backoff_base = Some(base);
        self.backoff_max = Some(max);
        self
    }

    /// How long one attempt may take.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}
