//! `sb jobs list`, `show`, `queues` and `workers`.

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{ListArgs, refused, text};
use crate::cli::ui::Ui;
use crate::cli::{CliError, CommandResult};
use crate::db::Connection;
use crate::jobs::JobId;
use crate::jobs::control::{self, Filter};

/// What is shown of a job.
#[derive(Debug, Deserialize)]
struct Job {
    id: JobId,
    name: String,
    version: i32,
    status: String,
    payload: Value,
    queue: String,
    priority: i32,
    idempotency_key: Option<String>,
    concurrency_key: Option<String>,
    user_id: Option<String>,
    role: String,
    source: Option<String>,
    attempts: i32,
    max_attempts: i32,
    run_at: DateTime<Utc>,
    created_at: DateTime<Utc>,
    finished_at: Option<DateTime<Utc>>,
    cancel_requested_at: Option<DateTime<Utc>>,
    progress: Option<Value>,
    result: Option<Value>,
    errors: Option<Vec<Failure>>,
    last_error: Option<String>,
}

/// An attempt that did not succeed.
#[derive(Debug, Deserialize)]
struct Failure {
    #[serde(rename = "attempt")]
    number: i32,
    at: DateTime<Utc>,
    error: String,
}

impl Job {
    fn read(document: &RawValue) -> Result<Self, CliError> {
        serde_json::from_str(document.get()).map_err(CliError::failed)
    }

    /// `in 5m` for what is to come, the time since it began to wait or ended otherwise.
    fn when(&self, now: DateTime<Utc>) -> String {
        let since = |at: DateTime<Utc>| seconds(now - at);
        match (self.finished_at, self.status.as_str()) {
            (Some(at), _) => text::age(since(at)),
            (None, "scheduled") if self.run_at > now => {
                format!("in {}", text::age(seconds(self.run_at - now).ceil()))
            }
            _ => text::age(since(self.run_at.max(self.created_at))),
        }
    }
}

fn seconds(span: chrono::TimeDelta) -> f64 {
    span.as_seconds_f64()
}

pub(super) async fn list(owner: &Connection, args: ListArgs, ui: Ui) -> CommandResult {
    let filter = Filter {
        status: args.status,
        queue: args.queue,
        name: args.name,
        limit: args.limit,
        offset: args.offset,
    };
    let documents = control::list(owner, &filter).await.map_err(refused)?;
    if ui.json {
        ui.json(&json!({ "jobs": values(&documents)? }));
        return Ok(ExitCode::SUCCESS);
    }
    if documents.is_empty() {
        ui.say("no jobs");
        return Ok(ExitCode::SUCCESS);
    }
    let now = control::now(owner).await.map_err(refused)?;
    let row = |document: &RawValue| {
        let job = Job::read(document)?;
        Ok::<_, CliError>(vec![
            job.id.to_string(),
            text::status(ui, &job.status),
            text::line(&job.name, 50),
            text::line(&job.queue, 20),
            format!("{}/{}", job.attempts, job.max_attempts),
            job.when(now),
            text::line(job.last_error.as_deref().unwrap_or_default(), 80),
        ])
    };
    let rows = documents
        .iter()
        .map(|document| row(document))
        .collect::<Result<Vec<_>, _>>()?;
    let head = [
        "id",
        "status",
        "name",
        "queue",
        "attempts",
        "when",
        "last error",
    ];
    ui.data(ui.table(&head, &rows));
    if i64::try_from(documents.len()).is_ok_and(|count| count == args.limit) {
        let next = args.offset + args.limit;
        ui.say(ui.dim(&format!("there may be more: --offset {next}")));
    }
    Ok(ExitCode::SUCCESS)
}

fn values(documents: &[Box<RawValue>]) -> Result<Vec<Value>, CliError> {
    let documents = documents.iter();
    let values: Result<_, _> = documents
        .map(|document| serde_json::from_str(document.get()))
        .collect();
    values.map_err(CliError::failed)
}

pub(super) async fn one(owner: &Connection, id: JobId, ui: Ui) -> CommandResult {
    let document = control::find(owner, id).await.map_err(refused)?;
    if ui.json {
        let value: Value = serde_json::from_str(document.get()).map_err(CliError::failed)?;
        ui.json(&value);
        return Ok(ExitCode::SUCCESS);
    }
    let now = control::now(owner).await.map_err(refused)?;
    ui.data(describe(&Job::read(&document)?, now, ui));
    Ok(ExitCode::SUCCESS)
}

fn describe(job: &Job, now: DateTime<Utc>, ui: Ui) -> String {
    let time = |at: DateTime<Utc>| {
        let away = seconds(at - now);
        let away = match (text::age(away.ceil().abs()), away > 0.0) {
            (age, _) if age == "now" => age,
            (age, true) => format!("in {age}"),
            (age, false) => format!("{age} ago"),
        };
        let at = at.format("%Y-%m-%d %H:%M:%S UTC");
        format!("{at}  {}", ui.dim(&away))
    };
    let row = |name: &str, value: &str| format!("  {}  {value}", ui.dim(&format!("{name:<12}")));
    let mut lines = vec![format!(
        "{} {}",
        ui.bold(&format!("job {}", job.id)),
        text::status(ui, &job.status)
    )];
    let version = if job.version == 1 {
        String::new()
    } else {
        ui.dim(&format!("  version {}", job.version))
    };
    lines.push(row(
        "name",
        &format!("{}{version}", text::line(&job.name, 500)),
    ));
    lines.push(row("queue", &text::line(&job.queue, 100)));
    if job.priority != 0 {
        lines.push(row("priority", &job.priority.to_string()));
    }
    lines.push(row(
        "attempts",
        &format!("{} of {}", job.attempts, job.max_attempts),
    ));
    let user = job.user_id.iter().map(|user| format!("  user {user}"));
    lines.push(row(
        "runs as",
        &format!("{}{}", job.role, user.collect::<String>()),
    ));
    for (name, value) in [
        ("unique key", &job.idempotency_key),
        ("one at a time", &job.concurrency_key),
        ("source", &job.source),
    ] {
        if let Some(value) = value {
            lines.push(row(name, &text::line(value, 500)));
        }
    }
    lines.push(row("enqueued", &time(job.created_at)));
    lines.push(row("due", &time(job.run_at)));
    for (name, at) in [
        ("cancelling", job.cancel_requested_at),
        ("ended", job.finished_at),
    ] {
        lines.extend(at.map(|at| row(name, &time(at))));
    }
    for (name, value) in [
        ("payload", Some(&job.payload)),
        ("progress", job.progress.as_ref()),
        ("result", job.result.as_ref()),
    ] {
        lines.extend(value.map(|value| row(name, &indented(value))));
    }
    for attempt in job.errors.iter().flatten() {
        let head = format!("attempt {}  {}", attempt.number, time(attempt.at));
        lines.push(row(&ui.red("error"), &head));
        let text = attempt.error.lines().take(20);
        lines.extend(text.map(|one| format!("                {}", text::line(one, 500))));
    }
    lines.join("\n")
}

/// JSON, whose further lines stand below the first.
fn indented(value: &Value) -> String {
    let text = serde_json::to_string(value).unwrap_or_default();
    if text.chars().count() <= 80 {
        return text;
    }
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.replace('\n', "\n                ")
}

pub(super) async fn queues(owner: &Connection, ui: Ui) -> CommandResult {
    let queues = control::queues(owner).await.map_err(refused)?;
    if ui.json {
        ui.json(&json!({ "queues": queues }));
    } else {
        ui.data(super::watch::queue_table(ui, &queues));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn workers(owner: &Connection, ui: Ui) -> CommandResult {
    let workers = control::workers(owner).await.map_err(refused)?;
    if ui.json {
        ui.json(&json!({ "workers": workers }));
    } else if workers.is_empty() {
        ui.say(format_args!(
            "no worker is running\n\n  {}",
            ui.cyan("sb worker run   # or sb dev, which runs one")
        ));
    } else {
        ui.data(super::watch::worker_table(ui, &workers));
    }
    Ok(ExitCode::SUCCESS)
}
