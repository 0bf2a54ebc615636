//! `sb cron`: the schedules that enqueue jobs.

use std::process::ExitCode;

use chrono::{DateTime, Timelike as _, Utc};
use clap::Subcommand;
use serde_json::json;

use super::error::{CliError, Exit};
use super::ui::{Ui, count};
use super::{CommandResult, Session, database};
use crate::config::Config;
use crate::db::{Connection, DbError};
use crate::jobs::cron::manage::{self, Listed};
use crate::jobs::{JobsError, Schedule};

/// Arguments of `sb cron`.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List schedules: when they run next, what became of the last job, what is wrong.
    List,
    /// Write the schedules of sb.toml to the database, as workers do when they start.
    Sync {
        /// Remove them all when sb.toml has none.
        #[arg(long)]
        allow_empty: bool,
    },
    /// Enqueue a schedule's job now.
    Run {
        /// Its name.
        name: String,
    },
    /// Let a schedule rest. It stays so across restarts.
    Pause {
        /// Its name.
        name: String,
    },
    /// Let a paused schedule go on, with the ticks to come.
    Resume {
        /// Its name.
        name: String,
    },
}

pub(super) async fn run(args: Args, session: Session) -> CommandResult {
    let Session { ui, project, .. } = session;
    let config = project.required()?.config_with_database()?;
    super::logging::start(&config, Some("error"))?;
    let db = database::owner(&config).await?;
    match args.action {
        Action::List => list(&db, ui).await?,
        Action::Sync { allow_empty } => sync(&db, &config, allow_empty, ui).await?,
        Action::Run { name } => return run_now(&db, &name, ui).await,
        Action::Pause { name } => set_enabled(&db, &name, false, ui).await?,
        Action::Resume { name } => set_enabled(&db, &name, true, ui).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(db: &Connection, ui: Ui) -> Result<(), CliError> {
    let schedules = manage::list(db).await.map_err(failed)?;
    if ui.json {
        ui.json(&schedules);
        return Ok(());
    }
    if schedules.is_empty() {
        ui.say(
            "no schedules; [cron.NAME] in sb.toml, jobs.schedule(…) in SQL, or App::cron adds one",
        );
        return Ok(());
    }
    let rows: Vec<_> = schedules.iter().map(cells).collect();
    let head = [
        "name",
        "schedule",
        "zone",
        "next (UTC)",
        "last run (UTC)",
        "source",
        "in words",
    ];
    ui.data(ui.table(&head, &rows));
    for schedule in &schedules {
        if let Some(error) = &schedule.error {
            ui.warn(format_args!("{}: {error}", schedule.name));
        }
    }
    Ok(())
}

fn cells(schedule: &Listed) -> Vec<String> {
    let next: Vec<String> = schedule.next.iter().map(time).collect();
    let last = schedule.last_fire_at.map_or_else(
        || "never".to_owned(),
        |at| {
            let status = schedule.last_job_status.as_deref().unwrap_or("not kept");
            format!("{} {status}", time(&at))
        },
    );
    vec![
        schedule.name.clone(),
        schedule.schedule.clone(),
        schedule.time_zone.clone(),
        if schedule.enabled {
            next.join(", ")
        } else {
            "paused".to_owned()
        },
        last,
        schedule.source.clone(),
        schedule.in_words.clone().unwrap_or_default(),
    ]
}

fn time(at: &DateTime<Utc>) -> String {
    let form = if at.second() == 0 {
        "%Y-%m-%d %H:%M"
    } else {
        "%Y-%m-%d %H:%M:%S"
    };
    at.format(form).to_string()
}

async fn sync(db: &Connection, config: &Config, allow_empty: bool, ui: Ui) -> Result<(), CliError> {
    let entries = config.cron.clone().unwrap_or_default();
    let schedules: Vec<Schedule> = entries.into_iter().map(Schedule::from).collect();
    let changes = manage::sync(db, &schedules, allow_empty)
        .await
        .map_err(|error| match error {
            JobsError::WrongState(text) => {
                CliError::failed(text).next("sb cron sync --allow-empty   # removes them")
            }
            other => refused(other),
        })?;
    if ui.json {
        ui.json(&changes);
    } else {
        for change in &changes {
            ui.data(format_args!("{} {}", change.change, change.name));
        }
    }
    if let Some(taken) = changes.iter().find(|change| change.change == "taken") {
        let name = &taken.name;
        let message = format!("schedule \"{name}\" was made with jobs.schedule, which stands");
        return Err(CliError::failed(message).next(format!(
            "select jobs.unschedule('{name}');   # in SQL; or give one of them another name"
        )));
    }
    ui.done(
        format_args!(
            "{} in sb.toml, {}",
            count(schedules.len(), "schedule"),
            count(changes.len(), "change")
        ),
        None,
    );
    Ok(())
}

async fn run_now(db: &Connection, name: &str, ui: Ui) -> CommandResult {
    let run = match manage::run(db, name).await {
        Ok(run) => run,
        Err(error) => return Err(with_names(db, name, error).await),
    };
    if ui.json {
        ui.json(&run);
    } else if let Some(id) = run.as_ref().and_then(|run| run.job_id) {
        ui.data(id);
    }
    match run
        .as_ref()
        .map(|run| (run.outcome.as_str(), run.error.as_deref()))
    {
        Some(("enqueued", _)) => ui.done(format_args!("enqueued the job of {name}"), None),
        Some(("failed", error)) => {
            return Err(
                CliError::failed(error.unwrap_or("the job could not be enqueued"))
                    .next("sb cron list"),
            );
        }
        _ => ui.say("nothing enqueued: the last job is not over, and overlap is skip"),
    }
    Ok(ExitCode::SUCCESS)
}

async fn set_enabled(db: &Connection, name: &str, enabled: bool, ui: Ui) -> Result<(), CliError> {
    if let Err(error) = manage::set_enabled(db, name, enabled).await {
        return Err(with_names(db, name, error).await);
    }
    if ui.json {
        ui.json(&json!({ "name": name, "enabled": enabled }));
    }
    ui.done(
        format_args!("{name} {}", if enabled { "goes on" } else { "rests" }),
        None,
    );
    Ok(())
}

/// A name that does not exist, with the nearest one that does.
async fn with_names(db: &Connection, name: &str, error: JobsError) -> CliError {
    if !matches!(error, JobsError::NotFound(_)) {
        return refused(error);
    }
    let names = manage::names(db).await.unwrap_or_default();
    let near = names
        .iter()
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(score, _)| *score > 0.7);
    let hint = near.map_or_else(String::new, |(_, known)| format!("; did you mean {known}?"));
    CliError::new(
        Exit::Failed,
        format!("schedule \"{name}\" does not exist{hint}"),
    )
    .next("sb cron list")
}

fn refused(error: JobsError) -> CliError {
    match error {
        JobsError::Db(error) => failed(error),
        other => CliError::failed(other).next("sb cron list"),
    }
}

fn failed(error: DbError) -> CliError {
    database::not_migrated(&error).unwrap_or_else(|| error.into())
}
