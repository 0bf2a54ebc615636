//! `sb migrate`: apply, look at, begin migrations.

use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;

use super::error::Exit;
use super::ui::Ui;
use super::{CliError, CommandResult, Session, database};
use crate::app::App;
use crate::clock::Clock;
use crate::config::Config;
use crate::db::migrate::project::{self, State, Status};

/// Arguments of `sb migrate`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show which migrations are applied, pending, edited or missing. Exit code 5 when files and history disagree.
    Status,
    /// Make an empty migration and print its path.
    New {
        /// What it will do, such as `create_todos`.
        #[arg(required = true)]
        name: Vec<String>,
    },
}

pub(super) async fn run(args: Args, session: Session) -> CommandResult {
    let Session { ui, project, app } = session;
    let project = project.required()?;
    match args.action {
        Some(Action::New { name }) => new(&project.config()?, &name.join(" "), ui),
        Some(Action::Status) => status(&project.config_with_database()?, &app, ui).await,
        None => apply(&project.config_with_database()?, &app, ui).await,
    }
}

async fn apply(config: &Config, app: &App, ui: Ui) -> CommandResult {
    super::logging::start(config, Some("warn"))?;
    let migrated = app.migrate(config).await?;
    let applied: Vec<_> = migrated.names.iter().zip(&migrated.durations).collect();
    for (name, took) in &applied {
        ui.done(format_args!("applied {name}"), **took);
    }
    if ui.json {
        let entry = |(name, took): &(&String, &Option<Duration>)| {
            let duration_ms = took.and_then(|took| u64::try_from(took.as_millis()).ok());
            serde_json::json!({ "name": name, "duration_ms": duration_ms })
        };
        ui.json(&serde_json::json!({ "applied": applied.iter().map(entry).collect::<Vec<_>>() }));
    }
    if applied.is_empty() {
        ui.say("nothing to apply");
    }
    Ok(ExitCode::SUCCESS)
}

async fn status(config: &Config, app: &App, ui: Ui) -> CommandResult {
    let connection = database::owner(config).await?;
    let migrations = crate::app::project_migrations(config, &app.migrations)?;
    let lines = project::status_of(&connection, &migrations).await?;
    if ui.json {
        ui.json(&lines);
    } else {
        let row = |line: &Status| {
            let applied = line
                .applied_at
                .map(|at| at.format("%Y-%m-%d %H:%M:%S UTC").to_string())
                .unwrap_or_default();
            vec![
                line.version.clone(),
                line.name.clone(),
                word(line.state).to_owned(),
                applied,
            ]
        };
        let rows: Vec<_> = lines.iter().map(row).collect();
        ui.data(ui.table(&["version", "name", "state", "applied"], &rows));
    }
    Ok(
        match lines.iter().filter(|line| is_drift(line.state)).count() {
            0 => ExitCode::SUCCESS,
            count => {
                ui.warn(format_args!("{count} migrations disagree with what was applied; `sb migrate` says what to do"));
                ExitCode::from(Exit::Drift as u8)
            }
        },
    )
}

fn new(config: &Config, name: &str, ui: Ui) -> CommandResult {
    let folder = config.project_dir.join(&config.db.migrations_dir);
    let path = project::new(&folder, name, &Clock::system())
        .map_err(|error| CliError::new(Exit::Usage, error).next("sb migrate new create_todos"))?;
    let shown = path.strip_prefix(&config.project_dir).unwrap_or(&path);
    if ui.json {
        ui.json(&serde_json::json!({ "path": path }));
    } else {
        ui.data(shown.display());
    }
    ui.say("write its SQL; `sb dev` applies it when it is saved, `sb migrate` at any time");
    Ok(ExitCode::SUCCESS)
}

/// Whether files and history disagree.
pub(super) fn is_drift(state: State) -> bool {
    matches!(state, State::Edited | State::Missing | State::Half)
}

pub(super) fn word(state: State) -> &'static str {
    match state {
        State::Applied => "applied",
        State::Pending => "pending",
        State::OutOfOrder => "pending (out of order)",
        State::Edited => "edited after it was applied",
        State::Missing => "applied, but the file is gone",
        State::Half => "half applied",
    }
}
