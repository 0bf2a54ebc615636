//! `sb worker run`: background jobs, and nothing else, in the foreground.

use std::process::ExitCode;
use std::sync::Arc;

use tokio::net::TcpListener;

use super::{CliError, CommandResult, Session};
use crate::config::Config;
use crate::lifecycle;

/// Arguments of `sb worker`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Run jobs until Ctrl-C or SIGTERM; jobs that do not end in time are handed back.
    Run(RunArgs),
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// A queue to serve; may be repeated or hold several, separated by commas. Default: every queue.
    #[arg(long = "queue", value_name = "NAME", value_delimiter = ',')]
    queues: Vec<String>,
    /// Jobs that run at a time.
    #[arg(long, value_name = "N")]
    concurrency: Option<usize>,
    /// Serve `/livez`, `/readyz` and `/metrics` on this port of loopback; 0 takes any free one.
    #[arg(long, value_name = "PORT")]
    metrics_port: Option<u16>,
}

pub(super) async fn run(args: Args, session: Session) -> CommandResult {
    let Command::Run(args) = args.command;
    let Session {
        ui,
        mut project,
        app,
    } = session;
    if !args.queues.is_empty() {
        project.flag("jobs.queues", Some(args.queues.join(",")));
    }
    project.flag("jobs.concurrency", args.concurrency);
    project.flag("jobs.metrics_port", args.metrics_port);
    let config = project.config_with_database()?;
    super::logging::start(&config, None)?;
    // One listener from here to the end: a signal between two would be lost.
    let mut ended = std::pin::pin!(lifecycle::shutdown_signal());
    let running = tokio::select! {
        biased;
        result = &mut ended => return result.map(|()| ExitCode::from(130)).map_err(CliError::from),
        running = Box::pin(app.build(config.clone())) => running?,
    };
    // Before the worker: a port that is taken must not cost anybody a job.
    let listener = listen(&config).await?;
    let worker = running.start_worker().await?;
    let running = Arc::new(running);
    if let Some(listener) = listener {
        ui.say(format_args!(
            "metrics on http://{}/metrics",
            listener.local_addr()?
        ));
        let serving = Arc::clone(&running);
        let lifecycle = &running.context().lifecycle;
        lifecycle.spawn(async move { serving.serve_ops(listener).await });
    }
    let queues = match config.jobs.queues.as_slice() {
        [] => "every queue".to_owned(),
        queues => queues.join(", "),
    };
    ui.say(format_args!(
        "working on {queues}, {} at a time; Ctrl-C stops it",
        config.jobs.concurrency
    ));
    ended.await?;
    ui.say(format_args!(
        "stopping; {} jobs are still here …",
        worker.inflight()
    ));
    // A second signal does not wait for handlers.
    let again = lifecycle::shutdown_signal();
    tokio::select! {
        _ = running.shutdown() => Ok(ExitCode::SUCCESS),
        result = again => result.map(|()| ExitCode::from(130)).map_err(CliError::from),
    }
}

/// For the operators' routes, where they are wanted.
async fn listen(config: &Config) -> Result<Option<TcpListener>, CliError> {
    let Some(port) = config.jobs.metrics_port else {
        return Ok(None);
    };
    let address = std::net::SocketAddr::new(config.jobs.metrics_host, port);
    let listener = TcpListener::bind(address).await.map_err(|error| {
        CliError::failed(format!("cannot listen on {address}: {error}"))
            .next("sb worker run --metrics-port 0   # takes any free port")
    })?;
    Ok(Some(listener))
}
