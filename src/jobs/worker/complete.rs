//! Writes down how attempts ended, many at a time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;

use super::{Shared, lock};
use crate::db::DbError;
use crate::jobs::JobError;
use crate::jobs::model::{Claimed, JobId};
use crate::jobs::queries::{self, Ended};

/// At most this many in one statement.
const BATCH: usize = 500;

/// How long a result waits for others while more jobs run.
const WAIT: Duration = Duration::from_millis(5);

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Done, with a result.
    Succeeded(Ticket, Option<Value>),
    /// Anything else.
    Ended {
        ticket: Ticket,
        outcome: &'static str,
        error: Option<String>,
        delay_s: Option<f64>,
    },
    /// Nothing comes after this.
    Flush,
}

/// What the database knows an attempt by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    id: JobId,
    lease: i32,
    /// Others of its key may wait for its end.
    keyed: bool,
}

impl Ticket {
    pub(super) fn of(job: &Claimed) -> Self {
        Self {
            id: job.id,
            lease: job.lease,
            keyed: job.keyed,
        }
    }
}

impl Outcome {
    /// The job it is about.
    pub(super) fn id(&self) -> Option<JobId> {
        match self {
            Self::Succeeded(ticket, _) | Self::Ended { ticket, .. } => Some(ticket.id),
            Self::Flush => None,
        }
    }

    pub(super) fn succeeded(ticket: Ticket, result: Value) -> Self {
        Self::Succeeded(ticket, Some(result).filter(|result| !result.is_null()))
    }

    pub(super) fn failed(ticket: Ticket, error: JobError) -> Self {
        let (outcome, error, delay_s) = match error {
            JobError::Failed(text) => ("failed", Some(text), None),
            JobError::Discard(text) => ("discarded", Some(text), None),
            JobError::Snooze(delay) => ("snoozed", None, Some(delay.as_secs_f64())),
        };
        // Postgres keeps no zero bytes.
        let error = error.map(|text| text.replace('\0', "\u{fffd}"));
        Self::Ended {
            ticket,
            outcome,
            error,
            delay_s,
        }
    }

    pub(super) fn cancelled(ticket: Ticket) -> Self {
        Self::without_error(ticket, "cancelled")
    }

    /// Another worker goes on.
    pub(super) fn released(ticket: Ticket) -> Self {
        Self::without_error(ticket, "released")
    }

    fn without_error(ticket: Ticket, outcome: &'static str) -> Self {
        Self::Ended {
            ticket,
            outcome,
            error: None,
            delay_s: None,
        }
    }
}

/// What goes out together.
#[derive(Debug, Default)]
struct Batch {
    ids: Vec<JobId>,
    leases: Vec<i32>,
    results: Vec<Option<Value>>,
    ended: Ended,
    keyed: bool,
    postponed: bool,
    last: bool,
}

impl Batch {
    fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Succeeded(ticket, result) => {
                self.keyed |= ticket.keyed;
                self.ids.push(ticket.id);
                self.leases.push(ticket.lease);
                self.results.push(result);
            }
            Outcome::Ended {
                ticket,
                outcome,
                error,
                delay_s,
            } => {
                self.keyed |= ticket.keyed;
                self.postponed |= matches!(outcome, "failed" | "snoozed");
                self.ended.ids.push(ticket.id);
                self.ended.leases.push(ticket.lease);
                self.ended.outcomes.push(outcome);
                self.ended.errors.push(error);
                self.ended.delays_s.push(delay_s);
            }
            Outcome::Flush => self.last = true,
        }
    }

    /// Takes over what another batch holds.
    fn absorb(&mut self, other: Self) {
        self.ids.extend(other.ids);
        self.leases.extend(other.leases);
        self.results.extend(other.results);
        self.ended.ids.extend(other.ended.ids);
        self.ended.leases.extend(other.ended.leases);
        self.ended.outcomes.extend(other.ended.outcomes);
        self.ended.errors.extend(other.ended.errors);
        self.ended.delays_s.extend(other.ended.delays_s);
    }

    /// One batch for each outcome.
    fn split(&mut self) -> Vec<(Self, Ticket)> {
        let (ids, leases) = (
            std::mem::take(&mut self.ids),
            std::mem::take(&mut self.leases),
        );
        let results = std::mem::take(&mut self.results);
        let ended = std::mem::take(&mut self.ended);
        let ticket = |id, lease| Ticket {
            id,
            lease,
            keyed: false,
        };
        let mut singles = Vec::new();
        for ((id, lease), result) in ids.into_iter().zip(leases).zip(results) {
            let ticket = ticket(id, lease);
            let mut single = Self::default();
            single.add(Outcome::Succeeded(ticket, result));
            singles.push((single, ticket));
        }
        let outcomes = ended.outcomes.into_iter().zip(ended.errors);
        let keys = ended.ids.into_iter().zip(ended.leases);
        for (((id, lease), (outcome, error)), delay_s) in keys.zip(outcomes).zip(ended.delays_s) {
            let ticket = ticket(id, lease);
            let mut single = Self::default();
            single.add(Outcome::Ended {
                ticket,
                outcome,
                error,
                delay_s,
            });
            singles.push((single, ticket));
        }
        singles
    }

    fn all(&self) -> impl Iterator<Item = JobId> {
        self.ids.iter().chain(&self.ended.ids).copied()
    }

    fn len(&self) -> usize {
        self.ids.len() + self.ended.ids.len()
    }
}

/// Until [`Outcome::Flush`].
pub(super) async fn run(shared: Arc<Shared>, mut outcomes: mpsc::UnboundedReceiver<Outcome>) {
    loop {
        let mut batch = Batch::default();
        let Some(first) = outcomes.recv().await else {
            return;
        };
        batch.add(first);
        gather(&shared, &mut outcomes, &mut batch).await;
        let ids: Vec<JobId> = batch.all().collect();
        write(&shared, &mut batch).await;
        {
            let mut unwritten = lock(&shared.unwritten);
            for id in ids {
                unwritten.remove(&id);
            }
        }
        // The next attempt may be due before the fetcher would look again.
        if batch.postponed {
            shared.postponed.store(true, Ordering::Release);
        }
        if batch.keyed || batch.postponed {
            shared.jobs.wake.wake_here();
        }
        if batch.last {
            return;
        }
    }
}

/// Takes what is there, and waits a little for more while more is running.
async fn gather(
    shared: &Shared,
    outcomes: &mut mpsc::UnboundedReceiver<Outcome>,
    batch: &mut Batch,
) {
    let until = tokio::time::Instant::now() + WAIT;
    while batch.len() < BATCH && !batch.last {
        match outcomes.try_recv() {
            Ok(outcome) => batch.add(outcome),
            Err(_) if shared.outstanding() == 0 => return,
            Err(_) => match tokio::time::timeout_at(until, outcomes.recv()).await {
                Ok(Some(outcome)) => batch.add(outcome),
                _ => return,
            },
        }
    }
}

/// Until it is written, or until the jobs are not ours any more.
async fn write(shared: &Shared, batch: &mut Batch) {
    let mut pause = Duration::from_millis(50);
    while batch.len() > 0 {
        match try_write(shared, batch).await {
            Ok(()) => return,
            Err(error) if error.is_transient() || error.code().is_some_and(is_conflict) => {
                tracing::warn!(error = %error, jobs = batch.len(), "finished jobs could not be written yet");
            }
            Err(error) => {
                // One bad value must not keep the others from being written.
                tracing::error!(error = %error, jobs = batch.len(), "finished jobs could not be written");
                // What is worth another try stays in the batch.
                write_singly(shared, batch).await;
            }
        }
        if shared.drained.is_cancelled() && pause > Duration::from_secs(3) {
            tracing::error!(
                jobs = batch.len(),
                "the database stayed away; these jobs will run again"
            );
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

fn is_conflict(code: &crate::db::SqlState) -> bool {
    use crate::db::SqlState;
    [
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::QUERY_CANCELED,
    ]
    .contains(code)
}

async fn try_write(shared: &Shared, batch: &mut Batch) -> Result<(), DbError> {
    let connection = shared.jobs.db.jobs().connection().await?;
    if !batch.ids.is_empty() {
        let keys = (batch.ids.as_slice(), batch.leases.as_slice());
        let kept = queries::succeed(&connection, keys, &batch.results).await?;
        report_lost(&batch.ids, &kept);
        batch.ids.clear();
    }
    if !batch.ended.ids.is_empty() {
        let kept = queries::end(&connection, &batch.ended).await?;
        let kept: Vec<_> = kept.into_iter().map(|(id, _)| id).collect();
        report_lost(&batch.ended.ids, &kept);
        batch.ended.ids.clear();
    }
    Ok(())
}

/// Each by itself: one that cannot be stored fails its own job, and no other.
async fn write_singly(shared: &Shared, batch: &mut Batch) {
    for single in batch.split() {
        let (mut single, ticket) = single;
        let Err(error) = try_write(shared, &mut single).await else {
            continue;
        };
        if error.is_transient() || error.code().is_some_and(is_conflict) {
            batch.absorb(single);
            continue;
        }
        tracing::error!(job.id = ticket.id, error = %error, "the end of job {} could not be stored", ticket.id);
        let text = format!("its end could not be stored: {error}");
        let mut instead = Batch::default();
        instead.add(Outcome::failed(ticket, JobError::Failed(text)));
        if let Err(error) = try_write(shared, &mut instead).await {
            tracing::error!(job.id = ticket.id, error = %error, "job {} stays with this worker until it ends", ticket.id);
        }
    }
}

fn report_lost(ids: &[JobId], kept: &[JobId]) {
    if ids.len() == kept.len() {
        return;
    }
    for id in ids.iter().filter(|id| !kept.contains(id)) {
        tracing::warn!(
            job.id = id,
            "job {id} ended here after it was taken over or cancelled; that result is dropped"
        );
    }
}
