//! `sb test`: a backend of its own for a project's tests, thrown away afterwards.
//!
//! It is `sb dev` in the background with its state in `.sb/test/`, so that nothing a test does reaches the
//! development database or the one `DATABASE_URL` names.

mod template;

use std::path::Path;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use clap::Subcommand;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::background::{self, Launch, Stopped};
use super::error::{CliError, Exit};
use super::project::Project;
use super::state::State;
use super::ui::Ui;
use super::{CommandResult, Session, backend, dev, probe};
use crate::config::Config;
use crate::db::Target;
use crate::stack;

const START_WITHIN: Duration = Duration::from_mins(2);
/// PostgREST needs a second or two to notice that its database was exchanged.
const READY_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(25);

/// Beats every other source: throw-away means that nothing else is touched.
const SETTINGS: &[(&str, &str)] = &[
    ("DATABASE_URL", ""),
    ("POSTGREST_URL", ""),
    ("SB_API_URL", ""),
    ("SB_HOST", "127.0.0.1"),
    ("SB_PORT", "0"),
    ("SB_POSTGRES_PORT", "0"),
    ("SB_POSTGREST_PORT", "0"),
    ("SB_POSTGRES_DURABLE", "false"),
    ("SB_STATE_DIR", ".sb/test"),
];

/// Arguments of `sb test`.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start the test backend and print its addresses and keys.
    Up,
    /// Run a command with the test backend in its environment, and pass its exit code on.
    Run {
        /// The command, after `--`.
        #[arg(
            required = true,
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "CMD"
        )]
        command: Vec<String>,
    },
    /// Stop the test backend and throw its data away.
    Down,
    /// Put the database back as it was after migrations and seed.
    Reset,
}

/// The project as its tests see it.
struct TestBackend {
    project: Project,
    config: Config,
    ui: Ui,
}

pub(super) async fn run(args: Args, session: Session) -> CommandResult {
    let mut project = session.project.required()?;
    project.env.extend(
        SETTINGS
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    let config = project.config()?;
    let backend = TestBackend {
        project,
        config,
        ui: session.ui,
    };
    match args.action {
        Action::Up => Ok(match backend.up().await? {
            Some((state, _)) => {
                backend.show(&state);
                ExitCode::SUCCESS
            }
            None => ExitCode::from(130),
        }),
        Action::Run { command } => backend.run(&command).await,
        Action::Down => backend.down().await,
        Action::Reset => backend.reset().await,
    }
}

impl TestBackend {
    fn state_dir(&self) -> std::path::PathBuf {
        self.config.state_dir()
    }

    /// The backend, and whether it was started just now; `None` after Ctrl-C.
    async fn up(&self) -> Result<Option<(State, bool)>, CliError> {
        if let Some(state) = State::read(&self.state_dir()) {
            return Ok(Some((state, false)));
        }
        // What is there was left by a run that was killed.
        self.remove_data().await?;
        let env: Vec<_> = SETTINGS
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let state_dir = self.state_dir();
        let launch = Launch {
            project: &self.project,
            state_dir: &state_dir,
            args: &[],
            env: &env,
            timeout: START_WITHIN,
        };
        let Some(state) = background::start(&launch, self.ui).await? else {
            return Ok(None);
        };
        template::make(&target(&state)?).await?;
        ready(&state).await?;
        self.ui.done(
            format_args!("the test backend is up (pid {})", state.pid),
            None,
        );
        Ok(Some((state, true)))
    }

    async fn run(&self, command: &[String]) -> CommandResult {
        let Some((state, started)) = self.up().await? else {
            return Ok(ExitCode::from(130));
        };
        let result = self.run_command(command, &state).await;
        if started {
            self.stop().await?;
        }
        result.map(exit_code)
    }

    async fn run_command(&self, command: &[String], state: &State) -> Result<ExitStatus, CliError> {
        let (program, arguments) = command
            .split_first()
            .expect("clap asks for one word at least");
        let mut terminated = signal(SignalKind::terminate())?;
        // Ctrl-C reaches the command by itself; we go on waiting for it.
        let _interrupted = signal(SignalKind::interrupt())?;
        let mut child = Command::new(program)
            .args(arguments)
            .envs(environment(state, &self.state_dir()))
            .spawn()
            .map_err(|error| {
                CliError::new(Exit::Usage, format!("cannot run {program}: {error}"))
                    .next("sb test run -- CMD ARGUMENTS")
            })?;
        loop {
            tokio::select! {
                status = child.wait() => return Ok(status?),
                _ = terminated.recv() => child.start_kill()?,
            }
        }
    }

    async fn down(&self) -> CommandResult {
        match self.stop().await? {
            Stopped::NothingRan => self.ui.say("no test backend runs here"),
            Stopped::Ended(pid) | Stopped::Killed(pid) => {
                self.ui
                    .done(format_args!("the test backend is gone (pid {pid})"), None);
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn reset(&self) -> CommandResult {
        let Some(state) = State::read(&self.state_dir()) else {
            return Err(CliError::failed("no test backend runs here").next("sb test up"));
        };
        let started = Instant::now();
        template::restore(&target(&state)?).await?;
        ready(&state).await?;
        self.ui.done(
            "the database is as it was after migrations and seed",
            Some(started.elapsed()),
        );
        Ok(ExitCode::SUCCESS)
    }

    async fn stop(&self) -> Result<Stopped, CliError> {
        let stopped = background::stop(&self.state_dir()).await?;
        self.remove_data().await?;
        Ok(stopped)
    }

    async fn remove_data(&self) -> Result<(), CliError> {
        let options = backend::stack_options(&self.project, &self.config)?;
        Ok(stack::remove_data(
            &options,
            &backend::tell(self.ui, backend::Mode::Development),
        )
        .await?)
    }

    fn show(&self, state: &State) {
        if self.ui.json {
            self.ui.json(state);
        } else {
            self.ui.data(dev::summary(self.ui, state, false));
        }
    }
}

/// What test code reads; `sb` itself, run by a test, finds the test backend too.
fn environment(state: &State, state_dir: &Path) -> Vec<(&'static str, String)> {
    let keys = [
        ("SUPABASE_ANON_KEY", &state.anon_key),
        ("SUPABASE_SERVICE_ROLE_KEY", &state.service_role_key),
        ("SUPABASE_PUBLISHABLE_KEY", &state.publishable_key),
        ("SUPABASE_SECRET_KEY", &state.secret_key),
    ];
    let addresses = [
        ("SUPABASE_URL", state.api_url.clone()),
        ("SUPABASE_DB_URL", state.db_url.clone()),
        ("SB_API_URL", state.api_url.clone()),
        ("DATABASE_URL", state.db_url.clone()),
        ("SB_STATE_DIR", state_dir.display().to_string()),
    ];
    addresses
        .into_iter()
        .chain(
            keys.into_iter()
                .filter_map(|(name, key)| Some((name, key.clone()?))),
        )
        .collect()
}

fn target(state: &State) -> Result<Target, CliError> {
    Ok(Target::parse(&state.db_url)?)
}

/// Waits until pools and PostgREST have found the exchanged database.
async fn ready(state: &State) -> Result<(), CliError> {
    let deadline = Instant::now() + READY_WITHIN;
    while probe::status(&state.api_url, "/readyz").await != Some(200) {
        if Instant::now() > deadline {
            let message = "the test backend did not come back after its database was exchanged";
            return Err(CliError::failed(message).next("sb test down"));
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// As a shell says it: 128 + signal for a command that was killed.
fn exit_code(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
