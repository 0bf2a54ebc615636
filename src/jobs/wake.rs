//! Telling workers that there is work, without a notification in the transaction that enqueues.
//!
//! A `NOTIFY` inside an enqueue takes a database-wide lock at commit and costs most of the rate. So enqueues that pass
//! through this process notify afterwards, from one task, at most once per queue and [`PAUSE`]; the worker in this process
//! is woken at once.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::queries;
use crate::db::Db;
use crate::lifecycle::Lifecycle;

/// Between two notifications.
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Default)]
pub(super) struct Wake {
    waiting: Arc<Mutex<BTreeSet<String>>>,
    remote: Arc<Notify>,
    local: Arc<Notify>,
}

impl Wake {
    pub(super) fn start(db: Db, lifecycle: &Lifecycle) -> Self {
        let wake = Self::default();
        let (task, stopping) = (wake.clone(), lifecycle.stopping());
        lifecycle.spawn(async move {
            stopping.run_until_cancelled(task.notify_others(db)).await;
        });
        wake
    }

    /// There is work in `queue`.
    pub(super) fn queue(&self, queue: &str) {
        self.local.notify_one();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.insert(queue.to_owned()) {
            self.remote.notify_one();
        }
    }

    /// Lets the worker of this process look.
    pub(super) fn wake_here(&self) {
        self.local.notify_one();
    }

    /// Completes when this process has enqueued something.
    pub(super) async fn woken(&self) {
        self.local.notified().await;
    }

    async fn notify_others(self, db: Db) {
        loop {
            self.remote.notified().await;
            let queues: Vec<String> = {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                std::mem::take(&mut *waiting).into_iter().collect()
            };
            let sent = async { queries::notify(&db.jobs().connection().await?, &queues).await };
            if let Err(error) = sent.await {
                // Workers poll; they find the jobs a little later.
                tracing::debug!(error = %error, "workers could not be notified");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
