//! `sb jobs enqueue`.

use std::process::ExitCode;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::refused;
use crate::cli::CommandResult;
use crate::cli::error::{CliError, Exit};
use crate::cli::ui::Ui;
use crate::db::Connection;
use crate::jobs::{Backoff, NewJob, control, duration};

/// Arguments of `sb jobs enqueue`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A handler's name, sql:schema.function, or an http(s) address.
    name: String,
    /// What the handler gets, as JSON; `-` reads it from standard input.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    payload: String,
    /// Queue to wait in. Default: the handler's, else `default`.
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// Not before this long from now, such as 30s, 5m, 2d.
    #[arg(long, value_parser = duration::parse, allow_hyphen_values = true, conflicts_with = "run_at")]
    delay: Option<Duration>,
    /// Not before this time, such as 2030-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    run_at: Option<DateTime<Utc>>,
    /// Smaller runs earlier.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    priority: Option<i32>,
    /// At most one unfinished job of this name and user has the key.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// How long the key stays taken after the job has succeeded.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, requires = "idempotency_key")]
    unique_for: Option<Duration>,
    /// Attempts before it is dead.
    #[arg(long, value_name = "N")]
    max_attempts: Option<i32>,
    /// How the pause between attempts grows.
    #[arg(long, value_enum)]
    backoff: Option<Backoff>,
    /// The first pause.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    backoff_base: Option<Duration>,
    /// The longest pause.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    backoff_max: Option<Duration>,
    /// How long one attempt may take.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    timeout: Option<Duration>,
    /// At most --concurrency-limit jobs of this key run at a time.
    #[arg(long, value_name = "KEY")]
    concurrency_key: Option<String>,
    /// Default: 1.
    #[arg(long, value_name = "N", requires = "concurrency_key")]
    concurrency_limit: Option<i32>,
    /// For which user it runs.
    #[arg(long, value_name = "UUID")]
    user_id: Option<Uuid>,
    /// As which role it runs. Default: `service_role`.
    #[arg(long)]
    role: Option<String>,
    /// Version of the payload's form.
    #[arg(long, value_name = "N")]
    payload_version: Option<i32>,
}

pub(super) async fn run(owner: &Connection, args: Args, ui: Ui) -> CommandResult {
    let job = job(args, ui)?;
    let enqueued = control::enqueue(owner, &job).await.map_err(refused)?;
    if ui.json {
        ui.json(&json!({ "id": enqueued.id, "queue": enqueued.queue, "is_new": enqueued.is_new }));
    } else {
        ui.data(enqueued.id);
    }
    if enqueued.is_new {
        ui.done(format_args!("enqueued in {}", enqueued.queue), None);
    } else {
        ui.say("a job with this key is there already");
    }
    Ok(ExitCode::SUCCESS)
}

fn job(args: Args, ui: Ui) -> Result<NewJob, CliError> {
    let payload = payload(&args.payload, ui)?;
    let seconds = |duration: Option<Duration>| duration.map(|duration| duration.as_secs_f64());
    let timeout_s = args.timeout.map(|timeout| {
        // The database knows the bounds.
        i32::try_from(timeout.as_secs()).unwrap_or(i32::MAX)
    });
    Ok(NewJob {
        name: args.name,
        payload,
        queue: args.queue,
        idempotency_key: args.idempotency_key,
        unique_for: args.unique_for,
        user_id: args.user_id,
        role: args.role,
        version: args.payload_version,
        max_attempts: args.max_attempts,
        backoff: args.backoff,
        backoff_base_s: seconds(args.backoff_base),
        backoff_max_s: seconds(args.backoff_max),
        run_at: args.run_at,
        delay: args.delay,
        priority: args.priority,
        concurrency_key: args.concurrency_key,
        concurrency_limit: args.concurrency_limit,
        timeout_s,
        source: None,
    })
}

fn payload(text: &str, ui: Ui) -> Result<Value, CliError> {
    let given = if text == "-" {
        ui.piped("payload", "echo '{}' | sb jobs enqueue NAME --payload -")?
    } else {
        text.to_owned()
    };
    serde_json::from_str(&given).map_err(|error| {
        let message = format!("the payload is no JSON: {error}");
        CliError::new(Exit::Usage, message).next("sb jobs enqueue NAME --payload '{\"n\": 1}'")
    })
}
