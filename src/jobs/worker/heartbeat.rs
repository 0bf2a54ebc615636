//! Signs of life, and what follows when they stop: ours or others'.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, MissedTickBehavior};

use super::{HEARTBEAT, SILENT_AFTER, Shared, Stop, lock};
use crate::db::{DbError, Notice};
use crate::jobs::model::JobId;
use crate::jobs::queries;

/// Until the worker has drained.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(HEARTBEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut last_beat, mut first) = (Instant::now(), true);
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
                if last_beat.elapsed() >= SILENT_AFTER {
                    shared.give_up();
                }
                continue;
            }
        }
        if let Err(error) = rescue(&shared, first).await {
            tracing::warn!(error = %error, "jobs of dead workers could not be rescued");
        } else {
            first = false;
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
                if let Ok(id) = id.parse::<JobId>() {
                    shared.stop(id, Stop::Cancelled);
                }
            }
            // The next heartbeat looks.
            Ok(Notice::Reconnected) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

async fn beat(shared: &Shared) -> Result<(), DbError> {
    let ids: Vec<JobId> = lock(&shared.inflight).keys().copied().collect();
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

async fn rescue(shared: &Shared, first: bool) -> Result<(), DbError> {
    let tx = shared.jobs.db.jobs().begin().await?;
    let result = async {
        let dead = queries::bury_workers(&tx, SILENT_AFTER.as_secs_f64()).await?;
        // The first time also whatever belongs to nobody, as in a database that was copied.
        if dead == 0 && !first {
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
