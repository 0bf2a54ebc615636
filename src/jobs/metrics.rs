//! What `/metrics` says of jobs.
//!
//! What this process does is counted as it happens. What lies in the database is read when somebody asks for metrics,
//! but at most every [`FRESH`] however many ask, in the background: a slow database shows old numbers, with their age,
//! and never keeps `/metrics` waiting.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use super::control::{self, Sample};
use super::sql;
use crate::db::Db;
use crate::lifecycle::Lifecycle;
use crate::telemetry::Metrics;

/// The database is asked again after this long at the earliest, …
const FRESH: Duration = Duration::from_secs(5);
/// … and after this many times what the last look took.
const SHARE: u32 = 20;
/// Whoever asks waits this long for numbers that are newer.
const PATIENCE: Duration = Duration::from_millis(250);
/// A worker that showed itself this recently is alive.
const ALIVE_S: f64 = 30.0;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FinishedLabels {
    name: String,
    outcome: &'static str,
}

/// Metrics of the queue and of the worker in this process. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct JobMetrics {
    finished: Family<FinishedLabels, Counter>,
    duration: Histogram,
    wait: Histogram,
    seen: Arc<Seen>,
    /// A worker runs in this process.
    has_worker: Arc<AtomicBool>,
}

/// What the last look at the database has found.
#[derive(Debug, Default)]
struct Seen {
    last: Mutex<Option<Look>>,
    looking: AtomicBool,
    looked: tokio::sync::Notify,
}

#[derive(Debug, Clone)]
struct Look {
    sample: Arc<Sample>,
    at: Instant,
    took: Duration,
}

impl Default for JobMetrics {
    fn default() -> Self {
        Self {
            finished: Family::default(),
            // A millisecond to an hour.
            duration: Histogram::new(exponential_buckets(0.001, 4.0, 12)),
            wait: Histogram::new(exponential_buckets(0.001, 4.0, 12)),
            seen: Arc::default(),
            has_worker: Arc::default(),
        }
    }
}

impl JobMetrics {
    pub(super) fn register(&self, metrics: &Metrics) {
        metrics.register(|registry| {
            registry.register(
                "jobs_finished",
                "Attempts that ended in this process, by kind and outcome",
                self.finished.clone(),
            );
            registry.register(
                "jobs_duration_seconds",
                "Time an attempt took",
                self.duration.clone(),
            );
            registry.register(
                "jobs_wait_seconds",
                "Time from when a job was due to its start",
                self.wait.clone(),
            );
            registry.register_collector(Box::new(Depth(Arc::clone(&self.seen))));
        });
    }

    /// An attempt begins, so long after the job was due.
    pub(super) fn started(&self, waited: Duration) {
        self.wait.observe(waited.as_secs_f64());
    }

    /// An attempt ended. Kinds that this process has a handler for have a label of their own.
    pub(super) fn finished(
        &self,
        name: &str,
        is_known: bool,
        outcome: &'static str,
        took: Duration,
    ) {
        self.duration.observe(took.as_secs_f64());
        let name = label(name, is_known);
        self.finished
            .get_or_create(&FinishedLabels { name, outcome })
            .inc();
    }

    pub(super) fn worker_started(&self) {
        self.has_worker.store(true, Ordering::Release);
    }

    pub(super) fn has_worker(&self) -> bool {
        self.has_worker.load(Ordering::Acquire)
    }

    /// Looks at the database when the last look is old, and waits for it a little.
    pub(super) async fn refresh(&self, db: &Db, lifecycle: &Lifecycle) {
        let seen = &self.seen;
        let looked = seen.looked.notified();
        if !seen.is_due() {
            return;
        }
        if !seen.looking.swap(true, Ordering::AcqRel) {
            let (seen, db, stopping) = (Arc::clone(seen), db.clone(), lifecycle.stopping());
            lifecycle.spawn(async move {
                stopping.run_until_cancelled(seen.look(&db)).await;
                seen.looking.store(false, Ordering::Release);
                seen.looked.notify_waiters();
            });
        }
        let _ = tokio::time::timeout(PATIENCE, looked).await;
    }
}

/// Functions and addresses are as many as a project likes; they share a label each.
fn label(name: &str, is_known: bool) -> String {
    let label = if name.starts_with(sql::PREFIX) {
        "sql"
    } else if name.starts_with("http://") || name.starts_with("https://") {
        "http"
    } else if is_known {
        name
    } else {
        "other"
    };
    label.to_owned()
}

impl Seen {
    fn is_due(&self) -> bool {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref()
            .is_none_or(|look| look.at.elapsed() >= FRESH.max(look.took * SHARE))
    }

    async fn look(&self, db: &Db) {
        let begun = Instant::now();
        let sample = async { control::sample(&db.jobs().connection().await?).await };
        match sample.await {
            Ok(sample) => {
                let look = Look {
                    sample: Arc::new(sample),
                    at: Instant::now(),
                    took: begun.elapsed(),
                };
                *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(look);
            }
            Err(error) => {
                tracing::debug!(error = %error, "the queue could not be counted");
            }
        }
    }
}

/// Encodes the last look.
#[derive(Debug)]
struct Depth(Arc<Seen>);

impl Collector for Depth {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Look { sample, at, .. }) = last.clone() else {
            return Ok(());
        };
        drop(last);
        let kind = MetricType::Gauge;
        let help = "Unfinished jobs by queue and status";
        let mut family = encoder.encode_descriptor("jobs_pending", help, None, kind)?;
        for queue in &sample.queues {
            for (status, count) in [
                ("queued", queue.queued),
                ("scheduled", queue.scheduled),
                ("running", queue.running),
            ] {
                let labels = [("queue", queue.name.as_str()), ("status", status)];
                ConstGauge::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "How long the oldest job that may run has been due";
        let mut family = encoder.encode_descriptor("jobs_oldest_age_seconds", help, None, kind)?;
        for queue in &sample.queues {
            let age = queue.oldest_age_s.unwrap_or(0.0);
            let labels = [("queue", queue.name.as_str())];
            ConstGauge::new(age).encode(family.encode_family(&labels)?)?;
        }
        let alive = sample.workers.iter();
        let alive = alive.filter(|worker| worker.seen_s <= ALIVE_S).count();
        for (name, help, value) in [
            (
                "jobs_workers_alive",
                "Workers that showed themselves in the last 30 s",
                i64::try_from(alive).unwrap_or(i64::MAX),
            ),
            ("jobs_dead", "Dead letters", sample.dead),
            (
                "jobs_dead_tuples",
                "Row versions of jobs.pending that vacuum has not removed yet",
                sample.dead_tuples,
            ),
            (
                "jobs_oldest_xmin_age",
                "Transactions since the oldest snapshot, which vacuum cannot pass",
                sample.oldest_xmin_age,
            ),
        ] {
            let family = encoder.encode_descriptor(name, help, None, kind)?;
            ConstGauge::new(value).encode(family)?;
        }
        let help = "Age of the numbers above that come from the database";
        let family = encoder.encode_descriptor("jobs_look_age_seconds", help, None, kind)?;
        ConstGauge::new(at.elapsed().as_secs_f64()).encode(family)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_bounded() {
        for (name, is_known, expected) in [
            ("sql:public.a", true, "sql"),
            ("https://example.com/a", true, "http"),
            ("http://example.com/a?b=c", false, "http"),
            ("send_mail", true, "send_mail"),
            ("anything", false, "other"),
        ] {
            assert_eq!(label(name, is_known), expected, "{name}");
        }
    }
}
