//! `sb jobs`: what waits, runs and failed, and what to do about it. As the database owner, who sees every job.

mod act;
mod enqueue;
mod show;
mod text;
mod watch;

use std::process::ExitCode;

use clap::Subcommand;

use super::error::{CliError, Exit};
use super::{CommandResult, Session, database};
use crate::db::Connection;
use crate::jobs::{JobId, JobsError, Status};

/// Arguments of `sb jobs`.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List jobs, newest first.
    List(ListArgs),
    /// Show one job with its payload, result and errors.
    Show {
        /// Its id.
        id: JobId,
    },
    /// Cancel jobs: waiting ones at once, running ones as soon as their worker stops them.
    Cancel {
        /// Ids of jobs.
        #[arg(required = true)]
        ids: Vec<JobId>,
    },
    /// Run failed or cancelled jobs again, scheduled ones at once.
    Retry(RetryArgs),
    /// Enqueue a job.
    Enqueue(Box<enqueue::Args>),
    /// Remove jobs that are over, or waiting ones, for good.
    Purge(PurgeArgs),
    /// Let workers claim nothing from a queue; what runs goes on.
    Pause {
        /// Its name.
        queue: String,
    },
    /// Let workers claim from a paused queue again.
    Resume {
        /// Its name.
        queue: String,
    },
    /// Show every queue: depth, age of the oldest job, paused or not.
    Queues,
    /// Show every worker: what it serves, how busy it is, when it was last seen.
    Workers,
    /// Follow throughput, depth, failures and workers until Ctrl-C.
    Watch(watch::Args),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Only jobs in this state.
    #[arg(long)]
    status: Option<Status>,
    /// Only jobs of this queue.
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// Only jobs of this kind.
    #[arg(long)]
    name: Option<String>,
    /// How many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=crate::jobs::control::MAX_LIST))]
    limit: i64,
    /// How many of the newest to leave out.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
    offset: i64,
}

#[derive(Debug, clap::Args)]
struct RetryArgs {
    /// Ids of jobs.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<JobId>,
    /// Every job in the state that --status says.
    #[arg(long)]
    all: bool,
    /// With --all: failed, cancelled or scheduled.
    #[arg(long, requires = "all", default_value = "failed")]
    status: Status,
    /// With --all: only jobs of this queue.
    #[arg(long, requires = "all", value_name = "NAME")]
    queue: Option<String>,
    /// With --all: only jobs of this kind.
    #[arg(long, requires = "all")]
    name: Option<String>,
}

#[derive(Debug, clap::Args)]
struct PurgeArgs {
    /// Only jobs in this state. Default: succeeded, cancelled and failed.
    #[arg(long)]
    status: Option<Status>,
    /// Only jobs of this queue.
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

pub(super) async fn run(args: Args, session: Session) -> CommandResult {
    let Session { ui, project, .. } = session;
    let config = project.required()?.config_with_database()?;
    super::logging::start(&config, Some("error"))?;
    if let Action::Watch(args) = args.action {
        return watch::run(&args, &config, ui).await;
    }
    let owner: Connection = database::owner(&config).await?;
    match args.action {
        Action::List(args) => show::list(&owner, args, ui).await,
        Action::Show { id } => show::one(&owner, id, ui).await,
        Action::Cancel { ids } => act::cancel(&owner, &ids, ui).await,
        Action::Retry(args) => act::retry(&owner, args, ui).await,
        Action::Enqueue(args) => enqueue::run(&owner, *args, ui).await,
        Action::Purge(args) => act::purge(&owner, args, ui).await,
        Action::Pause { queue } => act::pause(&owner, &queue, true, ui).await,
        Action::Resume { queue } => act::pause(&owner, &queue, false, ui).await,
        Action::Queues => show::queues(&owner, ui).await,
        Action::Workers => show::workers(&owner, ui).await,
        Action::Watch(_) => Ok(ExitCode::SUCCESS),
    }
}

/// A refusal of the queue, for a person.
fn refused(error: JobsError) -> CliError {
    match error {
        JobsError::Db(error) => database::not_migrated(&error).unwrap_or_else(|| error.into()),
        JobsError::NotFound(_) => CliError::failed(error).next("sb jobs list"),
        JobsError::UnknownQueue(_) => CliError::new(Exit::Usage, error).next("sb jobs queues"),
        JobsError::Invalid(_) | JobsError::PayloadTooLarge(_) => {
            CliError::new(Exit::Usage, error).next("sb jobs enqueue --help")
        }
        JobsError::Forbidden(_) => CliError::new(Exit::Permission, error),
        JobsError::WrongState(_) => CliError::failed(error),
    }
}
