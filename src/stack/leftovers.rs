//! What an earlier run left behind: processes of this project that lost their parent, and files that lie.
//!
//! On Linux children die with `sb`, so this is for the cases where they could not: other systems, and a Postgres whose
//! main process was killed too.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use super::event::{EventSink, StackEvent};
use super::lock::StackLock;
use super::process::send_signal;

const POLL: Duration = Duration::from_millis(25);

/// Something that should not be there while no stack runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Leftover {
    /// A process without its `sb`.
    Process {
        /// `postgres` or `postgrest`.
        name: &'static str,
        /// Its process id.
        pid: u32,
    },
    /// A file or folder of a run that did not end well.
    Path(PathBuf),
}

/// What the stack of one project works with.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub(super) data_dir: PathBuf,
    /// Where `initdb` works until its result is complete.
    pub(super) new_data_dir: PathBuf,
    pub(super) postgrest_config: PathBuf,
}

impl Places {
    pub(super) fn pid_file(&self) -> PathBuf {
        self.data_dir.join("postmaster.pid")
    }

    /// Everything that is there but should not be; nothing while a stack runs.
    pub(super) fn leftovers(&self, state_dir: &Path) -> Vec<Leftover> {
        if StackLock::is_held(state_dir) {
            return Vec::new();
        }
        let mut found = Vec::new();
        let processes = |name, pids: Vec<u32>| {
            pids.into_iter()
                .map(move |pid| Leftover::Process { name, pid })
        };
        found.extend(processes("postgres", self.postgres_processes()));
        found.extend(processes("postgrest", self.postgrest_processes()));
        found.extend(
            [self.pid_file(), self.new_data_dir.clone()]
                .into_iter()
                .filter(|path| path.exists())
                .map(Leftover::Path),
        );
        found
    }

    /// Ends a leftover Postgres and removes its files. Only for the holder of the lock, before it starts one.
    pub(super) async fn recover_postgres(&self, events: &EventSink) {
        let gently = [
            (Signal::INT, Duration::from_secs(10)),
            (Signal::QUIT, Duration::from_secs(5)),
        ];
        end("postgres", || self.postgres_processes(), &gently, events).await;
        if !self.postgres_processes().is_empty() {
            return; // Not even SIGKILL ended it; Postgres itself will refuse to start twice, and say so.
        }
        // No Postgres of this directory runs, so whatever process has the pid in that file now is somebody else.
        let pid_file = self.pid_file();
        if pid_file.exists() && fs::remove_file(&pid_file).is_ok() {
            let what = format!(
                "removed {}: the Postgres it names is gone",
                pid_file.display()
            );
            events(StackEvent::Recovered { what });
        }
        if self.new_data_dir.exists() && fs::remove_dir_all(&self.new_data_dir).is_ok() {
            let what = format!(
                "removed a half-made data directory ({})",
                self.new_data_dir.display()
            );
            events(StackEvent::Recovered { what });
        }
    }

    /// Ends a leftover PostgREST. Only for the holder of the lock, before it starts one.
    pub(super) async fn recover_postgrest(&self, events: &EventSink) {
        end(
            "postgrest",
            || self.postgrest_processes(),
            &[(Signal::TERM, Duration::from_secs(3))],
            events,
        )
        .await;
    }

    /// Before a dead Postgres is started again: what remains of it would keep its memory and its lock.
    pub(super) async fn end_orphans(&self) {
        let quickly = [(Signal::QUIT, Duration::from_secs(2))];
        end_processes(|| self.postgres_processes(), &quickly).await;
    }

    /// The main Postgres process, which takes its children along; without it, whatever remains of them. All of them
    /// have the data directory as their own, and the main one names it in its arguments.
    fn postgres_processes(&self) -> Vec<u32> {
        let ours = [&self.data_dir, &self.new_data_dir];
        let is_main = |process: &Process| {
            process.is_postgres()
                && ours.iter().any(|directory| {
                    process
                        .command
                        .contains(&format!("-D {} ", directory.display()))
                })
        };
        let is_part = |process: &Process| {
            process.is_postgres()
                && ours
                    .iter()
                    .any(|directory| process.directory.as_ref() == Some(*directory))
        };
        let main = pids(is_main);
        if main.is_empty() { pids(is_part) } else { main }
    }

    fn postgrest_processes(&self) -> Vec<u32> {
        // As a whole: the path may hold blanks.
        let config = format!(" {} ", self.postgrest_config.display());
        pids(|process| process.command.contains("postgrest") && process.command.contains(&config))
    }
}

async fn end(
    name: &str,
    find: impl Fn() -> Vec<u32>,
    signals: &[(Signal, Duration)],
    events: &EventSink,
) {
    let ended = end_processes(find, signals).await;
    if !ended.is_empty() {
        let pids: Vec<String> = ended.iter().map(u32::to_string).collect();
        let what = format!(
            "ended {name} left over from an earlier run (pid {})",
            pids.join(", ")
        );
        events(StackEvent::Recovered { what });
    }
}

/// Sends each signal and waits for its time, until nothing is left; what still lives then is killed.
async fn end_processes(find: impl Fn() -> Vec<u32>, signals: &[(Signal, Duration)]) -> Vec<u32> {
    let first = find();
    let mut alive = first.clone();
    for (signal, patience) in signals
        .iter()
        .chain(&[(Signal::KILL, Duration::from_secs(5))])
    {
        for pid in &alive {
            send_signal(*pid, *signal);
        }
        let deadline = Instant::now() + *patience;
        while !alive.is_empty() && Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
            alive = find();
        }
        if alive.is_empty() {
            break;
        }
    }
    first
}

/// A process as others see it.
struct Process {
    pid: u32,
    directory: Option<PathBuf>,
    /// Its arguments, separated and followed by blanks.
    command: String,
}

impl Process {
    fn is_postgres(&self) -> bool {
        let program = self.command.split(' ').next().unwrap_or_default();
        matches!(
            program.rsplit('/').next(),
            Some("postgres" | "postgres:" | "postmaster")
        )
    }
}

fn pids(belongs: impl Fn(&Process) -> bool) -> Vec<u32> {
    let me = std::process::id();
    all_processes()
        .iter()
        .filter(|process| process.pid != me && belongs(process))
        .map(|process| process.pid)
        .collect()
}

#[cfg(target_os = "linux")]
fn all_processes() -> Vec<Process> {
    let read = |entry: fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        // Empty for a zombie, which is as good as gone.
        let command = fs::read(entry.path().join("cmdline")).ok()?;
        let command = String::from_utf8_lossy(&command)
            .trim_end_matches('\0')
            .replace('\0', " ")
            + " ";
        let directory = fs::read_link(entry.path().join("cwd")).ok();
        (command != " ").then_some(Process {
            pid,
            directory,
            command,
        })
    };
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(read)
        .collect()
}

#[cfg(not(target_os = "linux"))]
fn all_processes() -> Vec<Process> {
    let output = std::process::Command::new("ps")
        .args(["-axww", "-o", "pid=,command="])
        .output();
    let Ok(output) = output else {
        return Vec::new();
    };
    let read = |line: &str| {
        let (pid, command) = line.trim_start().split_once(' ')?;
        Some(Process {
            pid: pid.parse().ok()?,
            directory: None,
            command: format!("{} ", command.trim()),
        })
    };
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(read)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_postgres_is_postgres() {
        let is_postgres = |command: &str| {
            Process {
                pid: 1,
                directory: None,
                command: command.into(),
            }
            .is_postgres()
        };
        assert!(is_postgres("/opt/pg/bin/postgres -D /x "));
        assert!(is_postgres("postgres: checkpointer "));
        assert!(!is_postgres("/usr/bin/psql postgres "));
        assert!(!is_postgres("postgrest /x/postgrest.conf "));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_test_is_among_the_processes() {
        let me = std::process::id();
        let found = all_processes()
            .into_iter()
            .find(|process| process.pid == me)
            .expect("it runs");
        assert_eq!(found.directory, std::env::current_dir().ok());
    }
}
