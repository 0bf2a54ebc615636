//! A development backend in the background: `sb dev` as a process of its own, its words in `.sb/logs/sb.log`.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use super::error::{CliError, Exit};
use super::project::Project;
use super::state::{State, is_sb};
use super::ui::Ui;
use crate::lifecycle;

const POLL: Duration = Duration::from_millis(25);
/// A shutdown may wait 30 s for requests in flight, and then ends its children.
const PATIENCE: Duration = Duration::from_secs(40);
/// How much of the log an error repeats when the process said nothing by itself.
const TAIL_LINES: usize = 20;

/// What to start.
pub(super) struct Launch<'a> {
    pub(super) project: &'a Project,
    pub(super) state_dir: &'a Path,
    /// Flags of `sb dev`.
    pub(super) args: &'a [String],
    /// Beats the inherited environment.
    pub(super) env: &'a [(String, String)],
    pub(super) timeout: Duration,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    /// There was none.
    NothingRan,
    /// By itself, after it was asked to.
    Ended(u32),
    /// It had to be killed.
    Killed(u32),
}

/// Starts the backend and waits until it serves; `None` when a signal came first, and then nothing is left running.
///
/// # Errors
/// What the process itself said when it ended, or that it did not serve in time.
pub(super) async fn start(launch: &Launch<'_>, ui: Ui) -> Result<Option<State>, CliError> {
    super::backend::create_private_dir(launch.state_dir)?;
    let log_path = log_path(launch.state_dir);
    let mut child = spawn(launch, &log_path)?;
    let mut relay = Relay::new(log_path.clone(), ui);
    let mut interrupted = std::pin::pin!(lifecycle::shutdown_signal());
    let deadline = Instant::now() + launch.timeout;
    loop {
        relay.forward();
        if let Some(state) = State::read(launch.state_dir).filter(|state| state.pid == child.id()) {
            return Ok(Some(state));
        }
        if let Some(status) = child.try_wait()? {
            return Err(failure(&log_path, status));
        }
        if Instant::now() > deadline {
            end(&mut child).await?;
            let message = format!(
                "the backend did not serve within {} s",
                launch.timeout.as_secs()
            );
            return Err(CliError::failed(message)
                .next(format!("tail {}   # what it was doing", log_path.display())));
        }
        tokio::select! {
            signal = &mut interrupted => {
                signal?;
                end(&mut child).await?;
                return Ok(None);
            }
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

/// Asks the backend of `state_dir` to end and waits until it has.
pub(super) async fn stop(state_dir: &Path) -> Result<Stopped, CliError> {
    let Some(state) = State::read(state_dir) else {
        return Ok(Stopped::NothingRan);
    };
    let pid = state.pid;
    signal(pid, Signal::TERM)?;
    if gone(pid, PATIENCE).await {
        return Ok(Stopped::Ended(pid));
    }
    signal(pid, Signal::KILL)?;
    if gone(pid, Duration::from_secs(5)).await {
        return Ok(Stopped::Killed(pid));
    }
    Err(CliError::failed(format!("process {pid} does not end")).next(format!("kill -9 {pid}")))
}

/// Where a background process writes its words and its log lines.
pub(super) fn log_path(state_dir: &Path) -> PathBuf {
    state_dir.join("logs").join("sb.log")
}

fn spawn(launch: &Launch<'_>, log_path: &Path) -> Result<Child, CliError> {
    let log = open_log(log_path)?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("--project")
        .arg(&launch.project.dir)
        .args(["--color", "never", "dev", "--no-watch"])
        .args(launch.args);
    command.envs(launch.env.iter().map(|(name, value)| (name, value)));
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    // A group of its own: Ctrl-C and a closed terminal are not meant for it.
    command.process_group(0);
    Ok(command.spawn()?)
}

/// A new file for each start; the one before is kept. Both hold keys.
fn open_log(path: &Path) -> Result<File, CliError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    super::backend::create_private_dir(folder)?;
    if path.exists() {
        fs::rename(path, path.with_extension("log.1"))?;
    }
    let opened = File::options()
        .append(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    opened.map_err(|error| CliError::file(Exit::Failed, "write", path, &error))
}

async fn end(child: &mut Child) -> Result<(), CliError> {
    signal(child.id(), Signal::TERM)?;
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            child.kill()?;
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

fn signal(pid: u32, signal: Signal) -> Result<(), CliError> {
    let Some(process) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Ok(());
    };
    match kill_process(process, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(rustix::io::Errno::PERM) => {
            let message = format!("process {pid} belongs to another user");
            Err(CliError::new(Exit::Permission, message).next("sudo sb down"))
        }
        Err(error) => Err(CliError::failed(format!(
            "cannot signal process {pid}: {error}"
        ))),
    }
}

async fn gone(pid: u32, within: Duration) -> bool {
    let deadline = Instant::now() + within;
    while is_sb(pid) {
        if Instant::now() > deadline {
            return false;
        }
        tokio::time::sleep(POLL).await;
    }
    true
}

/// Repeats what the starting process says, until its summary or its error begins: those are told by the caller.
struct Relay {
    path: PathBuf,
    told: usize,
    ended: bool,
    ui: Ui,
}

impl Relay {
    fn new(path: PathBuf, ui: Ui) -> Self {
        Self {
            path,
            told: 0,
            ended: false,
            ui,
        }
    }

    fn forward(&mut self) {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        let news = text.get(self.told..).unwrap_or_default();
        let complete = news.rfind('\n').map_or(0, |at| at + 1);
        self.told += complete;
        for line in news[..complete].lines() {
            self.ended |= line.is_empty() || line.starts_with("error: ");
            // Log lines are JSON there, and for machines.
            if !self.ended && !line.starts_with('{') {
                self.ui.say(line);
            }
        }
    }
}

/// The error the process ended with, as if it had been ours.
fn failure(log_path: &Path, status: ExitStatus) -> CliError {
    let text = fs::read_to_string(log_path).unwrap_or_default();
    let exit = match status.code() {
        Some(2) => Exit::Usage,
        Some(3) => Exit::Config,
        Some(4) => Exit::Database,
        Some(5) => Exit::Drift,
        Some(6) => Exit::Permission,
        _ => Exit::Failed,
    };
    let said = text
        .rfind("\nerror: ")
        .map(|at| at + 1)
        .or_else(|| text.starts_with("error: ").then_some(0));
    if let Some(at) = said {
        let error = text[at + "error: ".len()..].trim_end();
        return match error.rsplit_once("\n\n  ") {
            Some((message, next)) => CliError::new(exit, message).next(next),
            None => CliError::new(exit, error),
        };
    }
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
    let message = format!("the backend ended at once ({status}); its last lines:\n{tail}");
    CliError::new(exit, message).next("sb dev   # the same in the foreground")
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn the_error_of_the_process_is_passed_on_with_its_code_and_command() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(
            file.path(),
            "✓ postgres is ready\nerror: no\nmore\n\n  sb doctor   # why\n",
        )
        .unwrap();
        let error = failure(file.path(), ExitStatus::from_raw(4 << 8));
        assert_eq!(error.to_string(), "no\nmore");
        assert_eq!(
            format!("{error:?}"),
            format!(
                "{:?}",
                CliError::new(Exit::Database, "no\nmore").next("sb doctor   # why")
            )
        );
    }

    #[test]
    fn a_silent_end_shows_the_last_lines() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "a\nb\n").unwrap();
        let error = failure(file.path(), ExitStatus::from_raw(9));
        assert!(
            error.to_string().ends_with("its last lines:\na\nb"),
            "{error}"
        );
    }
}
