//! Keeps one child alive: launch, probe until it answers, watch, restart with growing pauses, stop politely.
//!
//! The first launch is different: if it fails the caller hears why at once. Later deaths are survived, until a child
//! dies so often that another try is pointless.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::StackError;
use super::event::{EventSink, StackEvent};
use super::leftovers::Places;
use super::log_file::LogFile;
use super::probe;
use super::process::{self, Launch, Running};

/// Deaths in a row after which a child is left alone.
const MAX_DEATHS: u32 = 6;
/// A child that lived this long has proved itself; its earlier deaths are forgotten.
const PROVED: Duration = Duration::from_mins(1);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const PROBE_INTERVAL: Duration = Duration::from_millis(10);
const LOG_INTERVAL: Duration = Duration::from_secs(30);

/// How to run one child.
#[derive(Debug, Clone)]
pub(super) struct ChildSpec {
    pub(super) name: &'static str,
    pub(super) launch: Launch,
    pub(super) log: LogFile,
    pub(super) probe: Probe,
    /// How long a first start may take.
    pub(super) start_timeout: Duration,
    /// What to send to stop it, and how long to wait each time; SIGKILL follows.
    pub(super) stop: &'static [(Signal, Duration)],
    /// Whose orphans are ended before a restart.
    pub(super) orphans: Option<Places>,
}

/// How a child shows that it is ready.
#[derive(Debug, Clone)]
pub(super) enum Probe {
    /// Postgres writes "ready" into its pid file, which is also how its own tools know.
    PidFile { path: PathBuf, socket: PathBuf },
    /// `GET /ready` answers 200.
    Http(SocketAddr),
}

/// Where a supervisor says what happens.
#[derive(Clone)]
pub(super) struct Reports {
    pub(super) events: EventSink,
    /// Set when a child is given up.
    pub(super) failure: watch::Sender<Option<Arc<StackError>>>,
}

/// What a child is doing.
#[derive(Debug, Clone, Copy)]
pub(super) enum ChildState {
    Starting,
    Ready { pid: u32 },
    Ended,
}

/// The handle to a supervised child; dropping it ends the child without ceremony.
#[derive(Debug)]
pub(super) struct Supervisor {
    name: &'static str,
    stopping: CancellationToken,
    state: watch::Receiver<ChildState>,
    task: JoinHandle<()>,
}

impl Supervisor {
    /// Returns when the child is ready, or with the reason why it will not be.
    pub(super) async fn start(spec: ChildSpec, reports: Reports) -> Result<Self, StackError> {
        let name = spec.name;
        let stopping = CancellationToken::new();
        let (set_state, state) = watch::channel(ChildState::Starting);
        let (first, outcome) = oneshot::channel();
        let work = Work {
            spec,
            reports,
            stopping: stopping.clone(),
            state: set_state,
        };
        let task = TaskTracker::new().spawn(work.run(first));
        // Cancelling this future drops the handle, and the drop stops the task.
        let supervisor = Self {
            name,
            stopping,
            state,
            task,
        };
        outcome
            .await
            .map_err(|_| StackError::SupervisorLost { name })??;
        Ok(supervisor)
    }

    /// `None` while the child is not ready.
    pub(super) fn pid(&self) -> Option<u32> {
        match *self.state.borrow() {
            ChildState::Ready { pid } => Some(pid),
            _ => None,
        }
    }

    /// Returns when the child is gone.
    pub(super) async fn stop(mut self) {
        self.stopping.cancel();
        if let Err(error) = (&mut self.task).await {
            tracing::warn!(child = self.name, %error, "supervisor ended badly");
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Work {
    spec: ChildSpec,
    reports: Reports,
    stopping: CancellationToken,
    state: watch::Sender<ChildState>,
}

/// How one life of a child ended.
enum End {
    Stopped,
    Died { status: String, proved: bool },
}

impl Work {
    async fn run(self, first: oneshot::Sender<Result<(), StackError>>) {
        let mut first = Some(first);
        let mut deaths = 0;
        loop {
            let log_start = self.spec.log.end();
            let end = match self.live(&mut first).await {
                Ok(end) => end,
                Err(error) => match first.take() {
                    Some(first) => {
                        let _ = first.send(Err(error));
                        return;
                    }
                    None => End::Died {
                        status: error.to_string(),
                        proved: false,
                    },
                },
            };
            let (status, proved) = match end {
                End::Stopped => {
                    (self.reports.events)(StackEvent::Stopped {
                        name: self.spec.name,
                    });
                    self.state.send_replace(ChildState::Ended);
                    return;
                }
                End::Died { status, proved } => (status, proved),
            };
            deaths = if proved { 1 } else { deaths + 1 };
            let log_tail = self.spec.log.tail(log_start);
            tracing::warn!(child = self.spec.name, %status, deaths, "child died");
            let (name, exited) = (self.spec.name, status.clone());
            (self.reports.events)(StackEvent::ChildExited {
                name,
                status: exited,
                log_tail: log_tail.clone(),
            });
            if deaths >= MAX_DEATHS {
                let log = self.spec.log.path().to_owned();
                let error = StackError::GaveUp {
                    name,
                    times: deaths,
                    status,
                    log_tail,
                    log,
                };
                (self.reports.events)(StackEvent::GaveUp { name });
                self.state.send_replace(ChildState::Ended);
                self.reports.failure.send_replace(Some(Arc::new(error)));
                return;
            }
            self.state.send_replace(ChildState::Starting);
            let after = pause(deaths);
            (self.reports.events)(StackEvent::Restarting { name, after });
            if self
                .stopping
                .run_until_cancelled(tokio::time::sleep(after))
                .await
                .is_none()
            {
                self.state.send_replace(ChildState::Ended);
                return;
            }
            if let Some(places) = &self.spec.orphans {
                places.end_orphans().await;
            }
        }
    }

    /// One life: from launch to death.
    async fn live(
        &self,
        first: &mut Option<oneshot::Sender<Result<(), StackError>>>,
    ) -> Result<End, StackError> {
        let spec = &self.spec;
        (self.reports.events)(StackEvent::Starting { name: spec.name });
        let started = Instant::now();
        let log = spec
            .log
            .open()
            .map_err(StackError::io("open", spec.log.path()))?;
        let log_start = spec.log.end();
        let mut running = process::launch(&spec.launch, &log)
            .await
            .map_err(|source| StackError::Spawn {
                program: spec.launch.program.clone(),
                source,
            })?;
        drop(log);
        let pid = running.pid().unwrap_or_default();
        // Recovery after a crash may take long; only the first start has somebody waiting for it.
        let deadline = if first.is_some() {
            spec.start_timeout
        } else {
            Duration::from_hours(24)
        };
        tokio::select! {
            () = probe::until_ready(&spec.probe, pid, PROBE_INTERVAL) => {}
            () = self.stopping.cancelled() => {
                self.end(&mut running).await;
                return Ok(End::Stopped);
            }
            status = running.wait() => {
                if first.is_none() {
                    return Ok(End::Died { status, proved: false });
                }
                let (log_tail, log) = (spec.log.tail(log_start), spec.log.path().to_owned());
                return Err(StackError::ExitedAtStart { name: spec.name, status, log_tail, log });
            }
            () = tokio::time::sleep(deadline) => {
                self.end(&mut running).await;
                let (log_tail, log) = (spec.log.tail(log_start), spec.log.path().to_owned());
                return Err(StackError::NotReady { name: spec.name, waited: deadline, log_tail, log });
            }
        }
        tracing::debug!(child = spec.name, pid, "child is ready");
        self.state.send_replace(ChildState::Ready { pid });
        (self.reports.events)(StackEvent::Ready {
            name: spec.name,
            pid,
            duration: started.elapsed(),
        });
        if let Some(first) = first.take() {
            let _ = first.send(Ok(()));
        }
        let ready = Instant::now();
        let mut log_check = tokio::time::interval(LOG_INTERVAL);
        loop {
            tokio::select! {
                status = running.wait() => return Ok(End::Died { status, proved: ready.elapsed() >= PROVED }),
                () = self.stopping.cancelled() => {
                    self.end(&mut running).await;
                    return Ok(End::Stopped);
                }
                _ = log_check.tick() => {
                    if let Err(error) = spec.log.rotate() {
                        tracing::warn!(child = spec.name, %error, "log could not be rotated");
                    }
                }
            }
        }
    }

    async fn end(&self, running: &mut Running) {
        for (signal, patience) in self.spec.stop {
            running.signal(*signal);
            if tokio::time::timeout(*patience, running.wait())
                .await
                .is_ok()
            {
                return;
            }
            tracing::warn!(
                child = self.spec.name,
                ?signal,
                "child did not stop in time"
            );
        }
        running.signal(Signal::KILL);
        running.wait().await;
    }
}

/// Doubles with every death in a row.
fn pause(deaths: u32) -> Duration {
    FIRST_PAUSE
        .saturating_mul(2_u32.saturating_pow(deaths.saturating_sub(1)))
        .min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit() {
        assert_eq!(pause(1), Duration::from_millis(100));
        assert_eq!(pause(3), Duration::from_millis(400));
        assert_eq!(pause(40), LONGEST_PAUSE);
    }
}
