//! Starting, and above all stopping: one tracker knows every background task, one signal tells them to end.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The life of a running `sb`. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    stopping: CancellationToken,
    tasks: TaskTracker,
}

impl Lifecycle {
    /// A fresh one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `task` in the background; [`Lifecycle::stop`] waits for it. The task watches [`Lifecycle::stopping`].
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(task);
    }

    /// Completes when the process should wind down.
    pub fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }

    /// Tells every task to end and waits for them, at most `timeout`. Returns how many were still running then.
    pub async fn stop(&self, timeout: Duration) -> usize {
        self.stopping.cancel();
        self.tasks.close();
        let _ = tokio::time::timeout(timeout, self.tasks.wait()).await;
        self.tasks.len()
    }
}

/// Completes on Ctrl-C or SIGTERM. Signals are caught from the first poll on, and no longer end the process.
pub async fn shutdown_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
