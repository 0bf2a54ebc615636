//! `sb dev`: everything in one process, and the API follows on save.

use std::path::Path;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use super::backend::{self, Backend, Mode};
use super::project::Project;
use super::state::State;
use super::ui::{self, Ui};
use super::watch::Watch;
use super::{CliError, CommandResult, Session};
use crate::app::Running;
use crate::config::Config;
use crate::lifecycle;
use crate::telemetry::LogLevel;

/// Arguments of `sb dev`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) ports: Ports,
    /// Do not apply migrations and settings as they are saved.
    #[arg(long)]
    no_watch: bool,
}

/// Ports of the development backend; 0 takes any free one.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Ports {
    /// Address to listen on.
    #[arg(long)]
    pub(super) host: Option<String>,
    /// Port of the API.
    #[arg(long)]
    pub(super) port: Option<u16>,
    /// Port of Postgres.
    #[arg(long)]
    pub(super) db_port: Option<u16>,
    /// Port of PostgREST.
    #[arg(long)]
    pub(super) rest_port: Option<u16>,
}

impl Ports {
    pub(super) fn apply(&self, project: &mut Project) {
        project.flag("server.host", self.host.as_ref());
        project.flag("server.port", self.port);
        project.flag("stack.port", self.db_port);
        project.flag("rest.port", self.rest_port);
    }
}

pub(super) async fn run(args: Args, session: Session) -> CommandResult {
    let Session { ui, project, app } = session;
    let mut project = project.required()?;
    args.ports.apply(&mut project);
    let started = Instant::now();
    let config = project.config()?;
    let own_database = config.db.url.is_none();
    let log_level = super::logging::start(&config, Some("warn"))?;
    refuse_second(&config.state_dir())?;
    // One listener from here to the end: a signal between two would be lost.
    let mut ended = std::pin::pin!(lifecycle::shutdown_signal());
    let backend = tokio::select! {
        // In this order: the listener is there before anything begins.
        biased;
        // Nothing is lost, the children end with their supervisor.
        result = &mut ended => return result.map(|()| ExitCode::from(130)).map_err(CliError::from),
        backend = Box::pin(backend::start(app, &project, config, Mode::Development, ui)) => backend?,
    };
    let watch = if args.no_watch {
        None
    } else {
        Some(Watch::start(&backend.config)?)
    };
    ui.say(format_args!("\n{}", summary(ui, &backend.state, false)));
    let hint = if args.no_watch {
        "Ctrl-C stops it"
    } else {
        "watching migrations/ and sb.toml; Ctrl-C stops it"
    };
    ui.say(format_args!(
        "\n{} in {}; {hint}\n",
        ui.bold("ready"),
        ui::duration(started.elapsed())
    ));
    if ui.json {
        ui.json(&backend.state);
    }
    let result = follow(&backend, &project, &log_level, ui, watch, ended).await;
    ui.say("stopping …");
    let stopped = backend.stop_unless_signalled().await;
    result?;
    if stopped.is_none() {
        return Ok(ExitCode::from(130));
    }
    let data = if own_database {
        "; the data stays in .sb/"
    } else {
        ""
    };
    ui.done(format_args!("stopped{data}"), None);
    Ok(ExitCode::SUCCESS)
}

/// URLs and keys. Keys of the older kind fill a dozen lines: `sb status` has them too.
pub(super) fn summary(ui: Ui, state: &State, older_keys: bool) -> String {
    let row = |name: &str, value: &str| format!("  {}  {value}", ui.dim(&format!("{name:<12}")));
    let mail = state.mail_url.iter().map(|url| row("Mail", &ui.cyan(url)));
    let mut lines = vec![
        row("API", &ui.cyan(&state.api_url)),
        row("REST", &format!("{}/rest/v1", state.api_url)),
        row("Auth", &format!("{}/auth/v1", state.api_url)),
        row("Jobs", &format!("{}/jobs/v1", state.api_url)),
        row("JWKS", &state.jwks_url),
        row("PostgREST", &state.rest_url),
        row("Postgres", &state.db_url),
    ];
    lines.extend(mail);
    let keys = [
        ("publishable", &state.publishable_key),
        ("secret", &state.secret_key),
        ("anon", &state.anon_key),
        ("service_role", &state.service_role_key),
    ];
    let shown = if older_keys { 4 } else { 2 };
    let keys = keys[..shown]
        .iter()
        .filter_map(|(name, key)| Some(row(name, key.as_ref()?)));
    lines.extend([String::new(), ui.bold("  API keys")]);
    lines.extend(keys);
    lines.join("\n")
}

/// One backend per project: a second one would fight over the same files.
fn refuse_second(state_dir: &Path) -> Result<(), CliError> {
    match State::read(state_dir) {
        Some(state) => {
            let message = format!(
                "this project already runs (pid {}, {})",
                state.pid, state.api_url
            );
            Err(CliError::failed(message).next("sb down   # stops it; `sb status` shows it"))
        }
        None => Ok(()),
    }
}

/// Applies `seed.sql` once, when the first migrations of an empty database were just applied.
pub(super) async fn seed(running: &Running, config: &Config, ui: Ui) {
    let path = config.project_dir.join(&config.db.seed);
    if !running.migrated().was_empty || !path.is_file() {
        return;
    }
    match super::reset::apply_seed(running, &path).await {
        Ok(()) => ui.done(format_args!("applied {}", config.db.seed.display()), None),
        Err(error) => error.warn(ui),
    }
}

/// Waits for the end; meanwhile applies what is saved.
async fn follow(
    backend: &Backend,
    project: &Project,
    log_level: &LogLevel,
    ui: Ui,
    mut watch: Option<Watch>,
    mut ended: Pin<&mut impl Future<Output = std::io::Result<()>>>,
) -> Result<(), CliError> {
    loop {
        let saved = async {
            match &mut watch {
                Some(watch) => watch.saved().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            result = &mut ended => return Ok(result?),
            error = backend.failed() => return Err(CliError::failed(error).next("sb doctor   # checks what it needs")),
            saved = saved => {
                if saved.settings {
                    super::serve::reload(&backend.running, project, log_level, ui);
                }
                if saved.migrations {
                    apply(&backend.running, ui).await;
                }
            }
        }
    }
}

async fn apply(running: &Arc<crate::app::Running>, ui: Ui) {
    let started = Instant::now();
    match running.migrate_project().await {
        Ok(applied) => {
            for name in applied {
                ui.done(format_args!("applied {name}"), Some(started.elapsed()));
            }
        }
        Err(error) => ui.warn(error),
    }
}
