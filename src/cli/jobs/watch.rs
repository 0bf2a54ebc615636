//! `sb jobs watch`: the queue as it moves.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{refused, text};
use crate::cli::ui::Ui;
use crate::cli::{CliError, CommandResult, database};
use crate::config::Config;
use crate::db::Connection;
use crate::jobs::control::{self, QueueState, Sample, WorkerState};
use crate::jobs::duration;
use crate::lifecycle;

/// Rates that the line of bars remembers.
const REMEMBERED: usize = 60;
/// Queues and workers shown at most.
const MOST_ROWS: usize = 15;

/// Arguments of `sb jobs watch`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Time between two looks.
    #[arg(long, short, value_name = "DURATION", default_value = "1s", value_parser = interval)]
    interval: Duration,
    /// End after this many looks.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration::parse(text)?;
    if interval < Duration::from_millis(200) {
        return Err("is too short: the least is 200ms".to_owned());
    }
    Ok(interval)
}

/// One look, and what has happened since the last.
#[derive(Debug, Serialize)]
struct Look {
    #[serde(flatten)]
    sample: Sample,
    finished_per_s: f64,
    failed_per_s: f64,
}

pub(super) async fn run(args: &Args, config: &Config, ui: Ui) -> CommandResult {
    let mut ended = std::pin::pin!(lifecycle::shutdown_signal());
    let screen = ui.screen();
    let looks = follow(args, config, ui, screen.is_some());
    let result = tokio::select! {
        result = &mut ended => result.map_err(CliError::from),
        result = looks => result,
    };
    drop(screen);
    result.map(|()| ExitCode::SUCCESS)
}

async fn follow(args: &Args, config: &Config, ui: Ui, redraws: bool) -> Result<(), CliError> {
    let mut owner = Some(database::owner(config).await?);
    let mut ticks = tokio::time::interval(args.interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last: Option<(Sample, Instant)> = None;
    let mut rates = VecDeque::new();
    let mut looks = 0;
    while args.count.is_none_or(|count| looks < count) {
        ticks.tick().await;
        let sample = match look(&mut owner, config).await {
            Ok(sample) => sample,
            // It was there before: it will come back.
            Err(error) if last.is_some() => {
                ui.warn(format_args!("{error}; trying again"));
                owner = None;
                continue;
            }
            Err(error) => return Err(error),
        };
        let look = Look::since(last.as_ref(), sample.clone());
        last = Some((sample, Instant::now()));
        rates.push_back(look.finished_per_s);
        if rates.len() > REMEMBERED {
            rates.pop_front();
        }
        if ui.json {
            ui.data(serde_json::to_string(&look).map_err(CliError::failed)?);
        } else if redraws {
            ui.redraw(&picture(ui, &look, &rates));
        } else {
            ui.data(line(&look));
        }
        looks += 1;
    }
    Ok(())
}

async fn look(owner: &mut Option<Connection>, config: &Config) -> Result<Sample, CliError> {
    let connection = match owner {
        Some(connection) => connection,
        None => owner.insert(database::owner(config).await?),
    };
    let sample = control::sample(connection).await;
    sample.map_err(|error| refused(error.into()))
}

impl Look {
    fn since(last: Option<&(Sample, Instant)>, sample: Sample) -> Self {
        let rate = |now: i64, before: i64, at: &Instant| {
            // A day of the history that was dropped takes its count along.
            let count = u32::try_from((now - before).max(0)).unwrap_or(u32::MAX);
            f64::from(count) / at.elapsed().as_secs_f64().max(0.001)
        };
        let (finished_per_s, failed_per_s) = last.map_or((0.0, 0.0), |(before, at)| {
            (
                rate(sample.finished_total, before.finished_total, at),
                rate(sample.failed_total, before.failed_total, at),
            )
        });
        Self {
            sample,
            finished_per_s,
            failed_per_s,
        }
    }

    fn total(&self, of: impl Fn(&QueueState) -> i64) -> i64 {
        self.sample.queues.iter().map(of).sum()
    }

    fn oldest(&self) -> Option<f64> {
        let ages = self
            .sample
            .queues
            .iter()
            .filter_map(|queue| queue.oldest_age_s);
        ages.reduce(f64::max)
    }
}

/// One line for a log or a pipe.
fn line(look: &Look) -> String {
    let oldest = look.oldest().map_or_else(|| "-".to_owned(), text::age);
    format!(
        "{:>8.1}/s  queued {:<6}  scheduled {:<6}  running {:<4}  oldest {oldest:<4}  failed {:.1}/s  dead {:<5}  workers {}",
        look.finished_per_s,
        look.total(|queue| queue.queued),
        look.total(|queue| queue.scheduled),
        look.total(|queue| queue.running),
        look.failed_per_s,
        look.sample.dead,
        look.sample.workers.len()
    )
}

fn picture(ui: Ui, look: &Look, rates: &VecDeque<f64>) -> String {
    let sample = &look.sample;
    let failed = format!("{:.1}/s failing", look.failed_per_s);
    let failed = if look.failed_per_s > 0.0 {
        ui.red(&failed)
    } else {
        ui.dim(&failed)
    };
    let mut parts = vec![
        format!(
            "{}  {}  {failed}  {} dead\n{}",
            ui.bold("sb jobs"),
            ui.bold(&format!("{:.1}/s", look.finished_per_s)),
            sample.dead,
            ui.cyan(&bars(rates))
        ),
        queue_table(ui, first(&sample.queues)),
    ];
    parts.push(if sample.workers.is_empty() {
        ui.yellow("no worker is running: sb worker run")
    } else {
        worker_table(ui, first(&sample.workers))
    });
    if !sample.failures.is_empty() {
        let row =
            |kind: &control::KindFailures| vec![kind.count.to_string(), text::line(&kind.name, 60)];
        let rows: Vec<_> = sample.failures.iter().map(row).collect();
        parts.push(ui.table(&["dead", "kind, in the last hour"], &rows));
    }
    parts.push(ui.dim("Ctrl-C ends"));
    parts.join("\n\n")
}

fn first<T>(rows: &[T]) -> &[T] {
    &rows[..rows.len().min(MOST_ROWS)]
}

/// Rates as bars, the newest at the right.
fn bars(rates: &VecDeque<f64>) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let highest = rates.iter().copied().fold(0.0, f64::max);
    let bar = |rate: &f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of the highest rate, from 0 to 7"
        )]
        let height = if highest > 0.0 {
            (rate / highest * 7.0).round() as usize
        } else {
            0
        };
        BARS[height.min(7)]
    };
    rates.iter().map(bar).collect()
}

/// Every queue with what waits in it.
pub(super) fn queue_table(ui: Ui, queues: &[QueueState]) -> String {
    let row = |queue: &QueueState| {
        let state = if queue.paused {
            ui.yellow("paused")
        } else {
            String::new()
        };
        vec![
            text::line(&queue.name, 40),
            queue.queued.to_string(),
            queue.scheduled.to_string(),
            queue.running.to_string(),
            queue.oldest_age_s.map_or_else(|| "-".to_owned(), text::age),
            state,
        ]
    };
    let rows: Vec<_> = queues.iter().map(row).collect();
    ui.table(
        &["queue", "queued", "scheduled", "running", "oldest", ""],
        &rows,
    )
}

/// Every worker with what it does.
pub(super) fn worker_table(ui: Ui, workers: &[WorkerState]) -> String {
    let row = |worker: &WorkerState| {
        let seen = format!("{} ago", text::age(worker.seen_s));
        let seen = match worker.seen_s {
            0.0..1.0 => "now".to_owned(),
            ..10.0 => seen,
            _ => ui.yellow(&seen),
        };
        let queues = if worker.queues.is_empty() {
            "all".to_owned()
        } else {
            text::line(&worker.queues.join(", "), 40)
        };
        vec![
            worker.id.to_string(),
            text::line(&worker.name, 40),
            format!("{}/{}", worker.inflight, worker.concurrency),
            text::age(worker.uptime_s),
            seen,
            queues,
        ]
    };
    let rows: Vec<_> = workers.iter().map(row).collect();
    ui.table(&["id", "worker", "busy", "up", "seen", "queues"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_show_shares_of_the_highest_rate() {
        assert_eq!(bars(&[0.0, 0.0].into()), "▁▁");
        assert_eq!(bars(&[0.0, 5.0, 10.0].into()), "▁▅█");
    }
}
