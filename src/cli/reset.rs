//! `sb reset`: the database anew, from migrations and seed.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use super::background;
use super::error::{CliError, Exit};
use super::project::Project;
use super::state::State;
use super::ui::Ui;
use super::up::{self, Record};
use super::{CommandResult, Session, backend, database, recreate};
use crate::app::{App, Running};
use crate::config::{Config, Secret};
use crate::db::DbError;
use crate::stack;

const START_WITHIN: Duration = Duration::from_mins(1);

/// Arguments of `sb reset`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    /// Also when `DATABASE_URL` names another machine.
    #[arg(long)]
    remote: bool,
}

pub(super) async fn run(args: Args, session: Session) -> CommandResult {
    let Session { ui, project, app } = session;
    let project = project.required()?;
    let config = project.config()?;
    let running = State::read(&config.state_dir());
    let record = Record::embedded(&config.state_dir());
    refuse_foreground(running.as_ref(), record.as_ref())?;
    up::refuse_production(&config)?;
    refuse_remote(&config, args.remote)?;
    tell_losses(&config, running.as_ref(), ui).await?;
    if !args.yes {
        confirm(&project, ui)?;
    }
    if up::remove_containers(&project, &config).await? {
        ui.done(
            "removed the containers and their data; `sb up` makes them anew",
            None,
        );
        return Ok(ExitCode::SUCCESS);
    }
    background::stop(&config.state_dir()).await?;
    let again = running.and(record);
    if config.db.url.is_some() {
        recreate::database(&database::target(&config)?).await?;
        ui.done(
            format_args!(
                "made database {} anew",
                database::target(&config)?.database()
            ),
            None,
        );
        if again.is_none() {
            Box::pin(rebuild(app, config, ui)).await?;
            return Ok(ExitCode::SUCCESS);
        }
    } else {
        let options = backend::stack_options(&project, &config)?;
        stack::remove_data(&options, &backend::tell(ui, backend::Mode::Development)).await?;
        ui.done("removed the database in .sb/", None);
    }
    match again {
        None => ui.say("the next `sb dev` makes it anew"),
        Some(record) => return start_again(&project, &config, record, ui).await,
    }
    Ok(ExitCode::SUCCESS)
}

/// Applies the seed file as the owner, whole or not at all.
///
/// # Errors
/// They name the file and the line Postgres points to.
pub(super) async fn apply_seed(running: &Running, path: &Path) -> Result<(), CliError> {
    let sql = std::fs::read_to_string(path)
        .map_err(|error| CliError::file(Exit::Failed, "read", path, &error))?;
    running.run_sql(&sql).await.map_err(|error| {
        let name = path
            .file_name()
            .unwrap_or(path.as_os_str())
            .to_string_lossy();
        let line = line_of(&error, &sql)
            .map(|line| format!(":{line}"))
            .unwrap_or_default();
        CliError::failed(format!("{name}{line}: {error}; none of it was kept"))
            .next("sb reset   # after correcting it")
    })
}

fn line_of(error: &DbError, sql: &str) -> Option<usize> {
    let before = error.position()?.saturating_sub(1);
    Some(sql.chars().take(before).filter(|c| *c == '\n').count() + 1)
}

/// What somebody watches in a terminal is not stopped behind their back.
fn refuse_foreground(running: Option<&State>, record: Option<&Record>) -> Result<(), CliError> {
    match (running, record) {
        (Some(state), None) if state.pid != 0 => {
            let message = format!(
                "`sb dev` runs in a terminal (pid {}); stop it with Ctrl-C first",
                state.pid
            );
            Err(CliError::failed(message).next("sb down && sb reset   # stops it from here"))
        }
        _ => Ok(()),
    }
}

fn refuse_remote(config: &Config, allowed: bool) -> Result<(), CliError> {
    if allowed || config.db.url.is_none() {
        return Ok(());
    }
    let target = database::target(config)?;
    if target.is_local() {
        return Ok(());
    }
    let message = format!(
        "DATABASE_URL names another machine: {}",
        database::describe(&target)
    );
    Err(CliError::new(Exit::Usage, message).next("sb reset --remote   # if its data may go"))
}

async fn tell_losses(config: &Config, running: Option<&State>, ui: Ui) -> Result<(), CliError> {
    let mut reachable = config.clone();
    if reachable.db.url.is_none() {
        reachable.db.url = running.map(|state| Secret::new(state.db_url.clone()));
    }
    if reachable.db.url.is_none() {
        ui.say(format_args!(
            "this removes the database in {}",
            config.state_dir().display()
        ));
        return Ok(());
    }
    let connection = database::owner(&reachable).await?;
    ui.say(format_args!(
        "this removes {}",
        database::describe(&database::target(&reachable)?)
    ));
    for line in database::tables_with_rows(&connection).await? {
        ui.say(format_args!("  {line}"));
    }
    Ok(())
}

fn confirm(project: &Project, ui: Ui) -> Result<(), CliError> {
    let name = project
        .dir
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    match ui.ask(&format!("type {} to go on:", ui.bold(&name))) {
        Some(answer) if answer == name => Ok(()),
        Some(_) => {
            Err(CliError::failed("that is another name; nothing was changed").next("sb reset"))
        }
        None => {
            let message = "this removes data, and there is no terminal to ask; nothing was changed";
            Err(CliError::new(Exit::Usage, message).next("sb reset --yes"))
        }
    }
}

/// Migrations and seed, without serving.
async fn rebuild(app: App, config: Config, ui: Ui) -> Result<(), CliError> {
    let seed = config.project_dir.join(&config.db.seed);
    let running = Arc::new(app.build(config.clone()).await?);
    for name in &running.migrated().names {
        ui.done(format_args!("applied {name}"), None);
    }
    let seeded = if seed.is_file() {
        apply_seed(&running, &seed).await.map(|()| true)
    } else {
        Ok(false)
    };
    running.shutdown().await;
    if seeded? {
        ui.done(format_args!("applied {}", config.db.seed.display()), None);
    }
    Ok(())
}

async fn start_again(project: &Project, config: &Config, record: Record, ui: Ui) -> CommandResult {
    let state = up::start_embedded(project, config, record.args, START_WITHIN, ui).await?;
    Ok(match state {
        Some(state) => {
            ui.done(format_args!("up again (pid {})", state.pid), None);
            ExitCode::SUCCESS
        }
        None => ExitCode::from(130),
    })
}
