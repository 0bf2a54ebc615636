//! `sb serve`: the API in production, in the foreground.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use super::backend::{self, Mode};
use super::project::Project;
use super::ui::Ui;
use super::{CliError, CommandResult, Session};
use crate::app::{Command, Running};
use crate::lifecycle;
use crate::telemetry::LogLevel;

/// Arguments of `sb serve`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Address to listen on.
    #[arg(long)]
    host: Option<String>,
    /// Port to listen on; 0 takes any free one.
    #[arg(long)]
    port: Option<u16>,
}

pub(super) async fn run(args: Args, session: Session) -> CommandResult {
    let Session {
        ui,
        mut project,
        app,
    } = session;
    project.flag("server.host", args.host);
    project.flag("server.port", args.port);
    let config = project.config()?;
    let log_level = super::logging::start(&config, None)?;
    // Before the start: until somebody listens, this signal would end the process.
    let mut hangup = signal(SignalKind::hangup())?;
    let backend = Box::pin(backend::start(app, &project, config, Mode::Production, ui)).await?;
    ui.say(format_args!("listening on {}", backend.state.api_url));
    let mut ended = std::pin::pin!(lifecycle::shutdown_signal());
    let result = loop {
        tokio::select! {
            result = &mut ended => break result.map_err(CliError::from),
            _ = hangup.recv() => reload(&backend.running, &project, &log_level, ui),
            error = backend.failed() => break Err(CliError::failed(error)),
        }
    };
    let Some(unfinished) = backend.stop_unless_signalled().await else {
        return Ok(ExitCode::from(130));
    };
    if unfinished > 0 {
        tracing::warn!(
            unfinished,
            "requests were still running when the shutdown timeout ended"
        );
    }
    result.map(|()| ExitCode::SUCCESS)
}

/// Reads the settings again and applies those that need no restart. A mistake leaves everything as it was.
pub(super) fn reload(running: &Running, project: &Project, log_level: &LogLevel, ui: Ui) {
    let result = project
        .config()
        .map_err(|error| error.to_string())
        .and_then(|config| {
            if !config.is_default("log.level") {
                log_level.set(&config.log.level)?;
            }
            Ok(running.reload(&config))
        });
    match result {
        Ok(restart) if restart.is_empty() => ui.done("settings reloaded", None),
        Ok(restart) => ui.warn(format_args!(
            "settings reloaded, but a restart is needed for {}",
            restart.join(", ")
        )),
        Err(error) => ui.warn(format_args!("settings were not reloaded: {error}")),
    }
}

/// Runs a command an embedding author added, with the handles of a backend that serves nothing.
pub(super) async fn authors_command(
    session: Session,
    command: Command,
    arguments: Vec<String>,
) -> CommandResult {
    let config = session.project.config_with_database()?;
    super::logging::start(&config, Some("warn"))?;
    let running = session.app.build(config).await?;
    let result = (command.run)(running.context().clone(), arguments).await;
    running.shutdown().await;
    result.map(|()| ExitCode::SUCCESS).map_err(CliError::failed)
}
