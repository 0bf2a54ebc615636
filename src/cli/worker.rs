//! `sb worker run`: background jobs, and nothing else, in the foreground.

use std::process::ExitCode;

use super::{CliError, CommandResult, Session};
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
    let config = project.config_with_database()?;
    super::logging::start(&config, None)?;
    // One listener from here to the end: a signal between two would be lost.
    let mut ended = std::pin::pin!(lifecycle::shutdown_signal());
    let running = tokio::select! {
        biased;
        result = &mut ended => return result.map(|()| ExitCode::from(130)).map_err(CliError::from),
        running = Box::pin(app.build(config.clone())) => running?,
    };
    let worker = running.start_worker().await?;
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
