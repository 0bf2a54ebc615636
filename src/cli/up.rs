//! `sb up` and `sb down`: the backend in the background, in containers or as processes.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::background::{self, Launch, Stopped};
use super::compose::{self, Compose};
use super::dev::Ports;
use super::error::CliError;
use super::project::Project;
use super::state::State;
use super::ui::Ui;
use super::{CommandResult, Session};
use crate::app::App;
use crate::config::Config;

/// Where the backend runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Engine {
    /// In containers, with the project's docker-compose.yml.
    Docker,
    /// As processes of this machine.
    Embedded,
}

/// Arguments of `sb up`.
#[derive(Debug, clap::Args)]
pub(super) struct UpArgs {
    /// Where to run. Default: containers when a Docker engine answers and has the image `sb`, else processes.
    #[arg(long)]
    engine: Option<Engine>,
    /// Run the production profile of docker-compose.yml: with Caddy and TLS, secrets from .env.
    #[arg(long, conflicts_with_all = ["engine", "host", "port", "db_port", "rest_port"])]
    prod: bool,
    /// Also run a worker for background jobs, in a container of its own; processes have one anyway.
    #[arg(long)]
    worker: bool,
    /// Seconds to wait until it serves.
    #[arg(long, default_value_t = 60)]
    timeout: u64,
    #[command(flatten)]
    ports: Ports,
}

/// Arguments of `sb down`.
#[derive(Debug, clap::Args)]
pub(super) struct DownArgs {}

/// `.sb/up.json`: how the backend was started, so that it can be stopped and started again the same way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    engine: Engine,
    /// The production profile.
    #[serde(default)]
    prod: bool,
    /// Flags of `sb dev`.
    #[serde(default)]
    pub(super) args: Vec<String>,
}

impl Record {
    /// Of the embedded stack that was started in the background; a `sb dev` in a terminal leaves none.
    pub(super) fn embedded(state_dir: &Path) -> Option<Self> {
        Self::read(state_dir).filter(|record| record.engine == Engine::Embedded)
    }

    fn read(state_dir: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(state_dir.join("up.json")).ok()?).ok()
    }

    fn write(&self, state_dir: &Path) -> Result<(), CliError> {
        super::backend::create_private_dir(state_dir)?;
        let text = serde_json::to_vec_pretty(self).map_err(CliError::failed)?;
        Ok(std::fs::write(state_dir.join("up.json"), text)?)
    }

    fn remove(state_dir: &Path) {
        let _ = std::fs::remove_file(state_dir.join("up.json"));
    }
}

pub(super) async fn up(args: UpArgs, session: Session) -> CommandResult {
    let Session { ui, project, app } = session;
    let mut project = project.required()?;
    args.ports.apply(&mut project);
    let config = project.config()?;
    let timeout = Duration::from_secs(args.timeout);
    if args.prod {
        return production(&project, &config, args.worker, timeout, ui).await;
    }
    if let Some(state) = State::read(&config.state_dir()) {
        ui.say(format_args!("already up (pid {})", state.pid));
        return Ok(show(ui, &state));
    }
    match choose(args.engine, &project, &config, ui).await? {
        Engine::Docker => {
            Box::pin(containers(app, &project, config, args.worker, timeout, ui)).await
        }
        Engine::Embedded => embedded(&project, &config, port_args(&args.ports), timeout, ui).await,
    }
}

pub(super) async fn down(_: &DownArgs, session: &Session) -> CommandResult {
    let project = session.project.clone().required()?;
    let (ui, config) = (session.ui, project.config()?);
    let state_dir = config.state_dir();
    if let Some(Record {
        engine: Engine::Docker,
        ..
    }) = Record::read(&state_dir)
    {
        Compose::any(&project, &config).down().await?;
        forget_containers(&state_dir);
        ui.done(
            "stopped the containers; the data stays in their volume",
            None,
        );
        return Ok(ExitCode::SUCCESS);
    }
    match background::stop(&state_dir).await? {
        Stopped::NothingRan => ui.say("nothing runs here"),
        Stopped::Ended(pid) => ui.done(
            format_args!("stopped (pid {pid}); the data stays in .sb/"),
            None,
        ),
        Stopped::Killed(pid) => ui.warn(format_args!(
            "process {pid} did not end in time and was killed"
        )),
    }
    Record::remove(&state_dir);
    Ok(ExitCode::SUCCESS)
}

/// Starts the embedded stack in the background and remembers how.
pub(super) async fn start_embedded(
    project: &Project,
    config: &Config,
    args: Vec<String>,
    timeout: Duration,
    ui: Ui,
) -> Result<Option<State>, CliError> {
    let state_dir = config.state_dir();
    let launch = Launch {
        project,
        state_dir: &state_dir,
        args: &args,
        env: &[],
        timeout,
    };
    let state = background::start(&launch, ui).await?;
    if state.is_some() {
        Record {
            engine: Engine::Embedded,
            prod: false,
            args,
        }
        .write(&state_dir)?;
    }
    Ok(state)
}

async fn embedded(
    project: &Project,
    config: &Config,
    args: Vec<String>,
    timeout: Duration,
    ui: Ui,
) -> CommandResult {
    Ok(
        match start_embedded(project, config, args, timeout, ui).await? {
            Some(state) => {
                ui.done(
                    format_args!(
                        "up in the background (pid {}); `sb down` stops it",
                        state.pid
                    ),
                    None,
                );
                show(ui, &state)
            }
            None => ExitCode::from(130),
        },
    )
}

/// An engine alone is not enough: it needs the image, and data that is here already stays in use.
async fn choose(
    wanted: Option<Engine>,
    project: &Project,
    config: &Config,
    ui: Ui,
) -> Result<Engine, CliError> {
    if wanted == Some(Engine::Embedded) {
        return Ok(Engine::Embedded);
    }
    let missing = if !compose::has_file(project) {
        Some((
            "this project has no docker-compose.yml",
            "sb init . --force   # writes one",
        ))
    } else if !compose::engine_answers().await {
        Some((
            "no Docker engine with compose answers",
            "docker info   # says why; or leave --engine away",
        ))
    } else if !compose::has_image(project).await {
        Some((
            "the Docker engine has no image `sb`",
            "docker build -t sb PATH   # PATH is a checkout of sb",
        ))
    } else {
        None
    };
    match (wanted, missing) {
        (Some(_), Some((message, next))) => Err(CliError::failed(message).next(next)),
        (None, Some(_)) => Ok(Engine::Embedded),
        (None, None) if config.db.url.is_some() || config.state_dir().join("pgdata").exists() => {
            ui.say("this project's database is not in a container; --engine docker begins a new one there");
            Ok(Engine::Embedded)
        }
        (_, None) => Ok(Engine::Docker),
    }
}

async fn containers(
    app: App,
    project: &Project,
    config: Config,
    worker: bool,
    timeout: Duration,
    ui: Ui,
) -> CommandResult {
    let state_dir = config.state_dir();
    let compose = Compose::development(project, &config)?.with_worker(worker);
    // Before they start: a start that fails half-way is still stopped by `sb down`.
    Record {
        engine: Engine::Docker,
        prod: false,
        args: Vec::new(),
    }
    .write(&state_dir)?;
    compose.up(timeout).await?;
    let mut config = compose.config(config)?;
    config.db.migrate_on_start = false;
    let running = app.build(config.clone()).await?;
    let keys = running.dev_keys().await;
    running.shutdown().await;
    let state = compose::state(&config, keys?);
    state.write(&state_dir)?;
    ui.done("up in containers; `sb down` stops them", None);
    Ok(show(ui, &state))
}

async fn production(
    project: &Project,
    config: &Config,
    worker: bool,
    timeout: Duration,
    ui: Ui,
) -> CommandResult {
    if !compose::has_file(project) {
        let message = "this project has no docker-compose.yml";
        return Err(CliError::failed(message).next("sb init . --force   # writes one"));
    }
    if !compose::engine_answers().await {
        let message = "`sb up --prod` needs a Docker engine with compose, and none answers";
        return Err(
            CliError::failed(message).next("docker info   # says why; `sb serve` needs no engine")
        );
    }
    let compose = Compose::production(project)?.with_worker(worker);
    Record {
        engine: Engine::Docker,
        prod: true,
        args: Vec::new(),
    }
    .write(&config.state_dir())?;
    compose.up(timeout).await?;
    ui.done(
        "up in containers, production profile; `sb down` stops them",
        None,
    );
    if ui.json {
        ui.json(&serde_json::json!({ "api_url": config.api_url() }));
    } else {
        ui.data(config.api_url());
    }
    Ok(ExitCode::SUCCESS)
}

/// What runs in production is not reset by a command for development.
pub(super) fn refuse_production(config: &Config) -> Result<(), CliError> {
    if Record::read(&config.state_dir()).is_some_and(|record| record.prod) {
        let message = "this is the production profile; its data is not reset";
        return Err(CliError::failed(message)
            .next("docker compose --profile prod down --volumes   # removes it for good"));
    }
    Ok(())
}

/// Removes the containers' data; `true` when there were any.
pub(super) async fn remove_containers(
    project: &Project,
    config: &Config,
) -> Result<bool, CliError> {
    let state_dir = config.state_dir();
    let in_containers =
        Record::read(&state_dir).is_some_and(|record| record.engine == Engine::Docker);
    if in_containers {
        Compose::any(project, config).remove().await?;
        forget_containers(&state_dir);
    }
    Ok(in_containers)
}

fn forget_containers(state_dir: &Path) {
    let _ = std::fs::remove_file(State::path(state_dir));
    Record::remove(state_dir);
}

fn show(ui: Ui, state: &State) -> ExitCode {
    if ui.json {
        ui.json(state);
    } else {
        ui.data(super::dev::summary(ui, state, false));
    }
    ExitCode::SUCCESS
}

fn port_args(ports: &Ports) -> Vec<String> {
    let numbers = [
        ("--port", ports.port),
        ("--db-port", ports.db_port),
        ("--rest-port", ports.rest_port),
    ];
    let numbers = numbers
        .into_iter()
        .filter_map(|(name, port)| Some((name, port?.to_string())));
    let host = ports.host.iter().map(|host| ("--host", host.clone()));
    host.chain(numbers)
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect()
}
