//! The command line. Each command is a file with its arguments and a `run`; none prints but through [`ui::Ui`].

mod audit;
mod backend;
mod background;
mod completions;
mod compose;
mod cron;
mod database;
mod dev;
mod doctor;
mod error;
mod hooks;
mod info;
mod init;
mod jobs;
mod keygen;
mod logging;
mod mail;
mod migrate;
mod password;
mod probe;
mod project;
mod recreate;
mod reset;
mod secret;
mod serve;
mod state;
mod status;
mod test;
mod ui;
mod up;
mod user;
mod user_import;
mod version;
mod watch;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use crate::app::{App, Command as AuthorsCommand};
use error::{CliError, Exit};
use project::Project;
use ui::Ui;

/// One binary that turns a Postgres database into a complete backend.
#[derive(Debug, Parser)]
#[command(
    name = "sb",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Args)]
struct Global {
    /// The project folder. Default: the nearest one upwards with an sb.toml.
    #[arg(long, short = 'C', global = true, value_name = "DIR")]
    project: Option<PathBuf>,
    /// Print results as one JSON document.
    #[arg(long, global = true)]
    json: bool,
    /// Print results and errors only.
    #[arg(long, short, global = true)]
    quiet: bool,
    /// When to use colour.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: Color,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a new project folder.
    Init(init::Args),
    /// Run everything for development: database, PostgREST, API; apply migrations as they are saved.
    Dev(dev::Args),
    /// Run the same in the background (or, with a Docker engine, in containers).
    Up(up::UpArgs),
    /// Stop what `sb up` started. Data stays.
    Down(up::DownArgs),
    /// Drop the database, make it anew from migrations and seed.
    Reset(reset::Args),
    /// Serve the API (production). Needs `DATABASE_URL`.
    Serve(serve::Args),
    /// Work on background jobs.
    Worker(worker::Args),
    /// See, run and pause the schedules that enqueue jobs.
    Cron(cron::Args),
    /// Look at background jobs; cancel, retry, enqueue and follow them.
    Jobs(jobs::Args),
    /// Read the mails of the development inbox.
    Mail(mail::Args),
    /// Apply pending migrations, show their state, or start a new one.
    Migrate(migrate::Args),
    /// Show addresses and keys of the running backend.
    Status(status::Args),
    /// Show every effective setting and where it comes from.
    Info(info::Args),
    /// Check configuration, database, roles and keys; say what to do about each finding.
    Doctor(doctor::Args),
    /// Make, rotate and retire signing keys and API keys.
    Keygen(keygen::Args),
    /// Make, rotate and retire the secrets that sign states and links.
    Secret(secret::Args),
    /// Give a role of the database a new password, without downtime.
    Password(password::Args),
    /// Add, list, ban, import and remove users; give them passwords, roles and tokens.
    User(user::Args),
    /// Check that nobody has changed the audit log.
    Audit(audit::Args),
    /// List hooks and their deliveries, deliver again, show a receiver's secret.
    Hooks(hooks::Args),
    /// Run a project's tests against a throw-away database.
    Test(test::Args),
    /// Print the version.
    Version(version::Args),
    /// Print a completion script for a shell.
    Completions(completions::Args),
}

/// What a command works with.
struct Session {
    ui: Ui,
    project: Project,
    app: App,
}

type CommandResult = Result<ExitCode, CliError>;

impl App {
    /// Adds a command to the `sb` command tree.
    pub fn command(mut self, command: AuthorsCommand) -> Self {
        self.commands.push(command);
        self
    }

    /// Runs the command line and ends with its exit code.
    pub fn main(self) -> ExitCode {
        let mut tree = Cli::command();
        for command in &self.commands {
            let arguments = clap::Arg::new("arguments")
                .num_args(0..)
                .trailing_var_arg(true)
                .allow_hyphen_values(true);
            tree = tree.subcommand(
                clap::Command::new(command.name)
                    .about(command.about)
                    .arg(arguments),
            );
        }
        let matches = tree.get_matches();
        let Ok(runtime) = runtime() else {
            return ExitCode::from(Exit::Failed as u8);
        };
        let result = runtime.block_on(Box::pin(run(self, &matches)));
        // Blocking work that nobody waits for any more must not hold up the exit.
        runtime.shutdown_timeout(std::time::Duration::from_millis(500));
        result
    }
}

/// Half the cores, unless `TOKIO_WORKER_THREADS` says: Postgres and PostgREST need the others, and on a small machine
/// requests that wander between threads cost more than a second thread gains. Hashing has threads of its own.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if std::env::var_os("TOKIO_WORKER_THREADS").is_none() {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        builder.worker_threads((cores / 2).max(1));
    }
    builder.enable_all().build()
}

async fn run(mut app: App, matches: &clap::ArgMatches) -> ExitCode {
    let global = Global::from_arg_matches(matches).unwrap_or_else(|error| error.exit());
    let project = Project::discover(global.project.as_deref());
    let env = project
        .as_ref()
        .map(|project| project.env.clone())
        .unwrap_or_default();
    let ui = Ui::new(global.json, global.quiet, global.color, &env);
    let result = match project {
        Err(error) => Err(error),
        Ok(project) => match matches.subcommand() {
            Some((name, rest)) if app.commands.iter().any(|command| command.name == name) => {
                let at = app
                    .commands
                    .iter()
                    .position(|command| command.name == name)
                    .unwrap_or_default();
                let command = app.commands.swap_remove(at);
                let arguments = rest
                    .get_many::<String>("arguments")
                    .into_iter()
                    .flatten()
                    .cloned()
                    .collect();
                let session = Session { ui, project, app };
                Box::pin(serve::authors_command(session, command, arguments)).await
            }
            _ => {
                let cli = Cli::from_arg_matches(matches).unwrap_or_else(|error| error.exit());
                dispatch(cli.command, Session { ui, project, app }).await
            }
        },
    };
    result.unwrap_or_else(|error| error.report(ui))
}

async fn dispatch(command: Command, session: Session) -> CommandResult {
    match command {
        Command::Init(args) => init::run(&args, &session),
        Command::Dev(args) => Box::pin(dev::run(args, session)).await,
        Command::Up(args) => Box::pin(up::up(args, session)).await,
        Command::Down(args) => up::down(&args, &session).await,
        Command::Reset(args) => Box::pin(reset::run(args, session)).await,
        Command::Serve(args) => Box::pin(serve::run(args, session)).await,
        Command::Worker(args) => Box::pin(worker::run(args, session)).await,
        Command::Cron(args) => Box::pin(cron::run(args, session)).await,
        Command::Jobs(args) => Box::pin(jobs::run(args, session)).await,
        Command::Mail(args) => Box::pin(mail::run(args, session)).await,
        Command::Migrate(args) => Box::pin(migrate::run(args, session)).await,
        Command::Status(args) => status::run(&args, &session),
        Command::Info(args) => info::run(&args, &session),
        Command::Doctor(args) => Box::pin(doctor::run(args, session)).await,
        Command::Keygen(args) => Box::pin(keygen::run(args, session)).await,
        Command::Secret(args) => Box::pin(secret::run(args, session)).await,
        Command::Password(args) => Box::pin(password::run(args, session)).await,
        Command::User(args) => Box::pin(user::run(args, session)).await,
        Command::Audit(args) => Box::pin(audit::run(args, session)).await,
        Command::Hooks(args) => Box::pin(hooks::run(args, session)).await,
        Command::Test(args) => Box::pin(test::run(args, session)).await,
        Command::Version(args) => Ok(version::run(&args, &session)),
        Command::Completions(args) => Ok(completions::run(&args, &session)),
    }
}
