//! Progress of running jobs, written together once a second.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::{Shared, lock};
use crate::jobs::model::JobId;
use crate::jobs::queries;

/// Where handlers leave their progress.
#[derive(Debug, Clone, Default)]
pub(in crate::jobs) struct Progress {
    latest: Arc<Mutex<HashMap<JobId, (i32, Value)>>>,
    lease: i32,
}

impl Progress {
    pub(super) fn with_lease(&self, lease: i32) -> Self {
        Self {
            latest: Arc::clone(&self.latest),
            lease,
        }
    }

    pub(in crate::jobs) fn set(&self, id: JobId, progress: Value) {
        lock(&self.latest).insert(id, (self.lease, progress));
    }
}

/// Until the worker has drained.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            () = shared.drained.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let latest = std::mem::take(&mut *lock(&shared.progress.latest));
        if latest.is_empty() {
            continue;
        }
        let (mut ids, mut leases, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (id, (lease, value)) in latest {
            ids.push(id);
            leases.push(lease);
            values.push(value);
        }
        let written = async {
            let connection = shared.jobs.db.jobs().connection().await?;
            queries::set_progress(&connection, &ids, &leases, &values).await
        };
        if let Err(error) = written.await {
            tracing::debug!(error = %error, "progress could not be written");
        }
    }
}
