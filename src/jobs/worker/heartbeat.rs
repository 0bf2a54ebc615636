//! Signs of life, and what follows when they stop: ours or others'.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, MissedTickBehavior};

use super::{MISSED_BEATS, Shared, Stop};
use crate::db::{DbError, Notice};
use crate::jobs::model::JobId;
use crate::jobs::queries;

/// At the first beat and every so many, jobs that belong to nobody are looked for although no worker has died, as in a
/// database that was copied. That reads every unfinished job.
const STRAYS_EVERY: u32 = 12;

/// Until the worker has drained.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(shared.options.heartbeat);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut last_beat, mut round) = (Instant::now(), 0_u32);
    loop {
        tokio::select! {
            () = shared.drained.cancelled() => return,
            _ = ticks.tick() => {}
        }
        match beat(&shared).await {
            Ok(()) => last_beat = Instant::now(),
            Err(error) => {
                tracing::warn!(error = %error, "the heartbeat could not be written");
                // Whoever can reach the database takes our jobs over now.
                if last_beat.elapsed() >= shared.options.heartbeat * MISSED_BEATS {
                    shared.give_up();
                }
                continue;
            }
        }
        match rescue(&shared, round % STRAYS_EVERY == 0).await {
            Ok(()) => round = round.wrapping_add(1),
            Err(error) => {
                tracing::warn!(error = %error, "jobs of dead workers could not be rescued");
            }
        }
    }
}

/// Stops jobs that somebody cancels, as soon as that is said.
pub(super) async fn cancellations(shared: Arc<Shared>) {
    let mut notices = shared.jobs.listener.subscribe("sb_jobs_cancel");
    loop {
        let notice = tokio::select! {
            () = shared.drained.cancelled() => return,
            notice = notices.recv() => notice,
        };
        match notice {
            Ok(Notice::Payload(id)) => {
                if let Ok(id) = id.parse::<JobId>()
                    && let Err(error) = cancel(&shared, id).await
                {
                    // The next heartbeat looks.
                    tracing::debug!(error = %error, "a cancellation could not be looked up");
                }
            }
            // The next heartbeat looks.
            Ok(Notice::Reconnected) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// Every role can notify; the row says whether somebody with a right to it has asked.
async fn cancel(shared: &Shared, id: JobId) -> Result<(), DbError> {
    if !shared.holds(id) {
        return Ok(());
    }
    let connection = shared.jobs.db.jobs().connection().await?;
    for id in queries::cancel_requested(&connection, &[id]).await? {
        shared.stop(id, Stop::Cancelled);
    }
    Ok(())
}

async fn beat(shared: &Shared) -> Result<(), DbError> {
    let ids = shared.held();
    let connection = shared.jobs.db.jobs().connection().await?;
    let count = i32::try_from(shared.outstanding()).unwrap_or(i32::MAX);
    let lost = shared.lost.load(Ordering::Acquire);
    if lost || !queries::beat(&connection, shared.id(), count).await? {
        drop(connection);
        shared.give_up();
        return shared.register().await;
    }
    if !ids.is_empty() {
        for id in queries::cancel_requested(&connection, &ids).await? {
            shared.stop(id, Stop::Cancelled);
        }
    }
    Ok(())
}

async fn rescue(shared: &Shared, strays: bool) -> Result<(), DbError> {
    let tx = shared.jobs.db.jobs().begin().await?;
    let result = async {
        let dead = queries::bury_workers(&tx, MISSED_BEATS.into()).await?;
        if dead == 0 && !strays {
            return Ok((0, 0));
        }
        Ok::<_, DbError>((dead, queries::rescue(&tx).await?))
    };
    let result = result.await;
    let (workers, jobs) = tx.finish(result).await?;
    if jobs > 0 {
        tracing::warn!(workers, jobs, "took over the jobs of workers that died");
    }
    if jobs > 0 {
        shared.jobs.wake.wake_here();
    }
    Ok(())
}

impl Shared {
    /// Our jobs are somebody else's, or will be: stop, and claim nothing until registered anew.
    fn give_up(&self) {
        if !self.lost.swap(true, Ordering::AcqRel) {
            tracing::warn!("this worker was silent for too long; its jobs are left to others");
        }
        self.take_buffer();
        self.stop_all(Stop::Lost);
    }
}
