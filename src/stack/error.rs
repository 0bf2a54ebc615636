//! Everything that can stop the stack; each message ends with what to do next.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why the stack could not start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StackError {
    /// Another `sb` holds this project's stack.
    #[error(
        "the stack in {} is already running (pid {pid}); stop it with `sb down`, or end process {pid}",
        state_dir.display()
    )]
    AlreadyRunning {
        /// The process that holds the lock.
        pid: String,
        /// The project's state directory.
        state_dir: PathBuf,
    },
    /// No usable Postgres anywhere.
    #[error("no usable Postgres was found:{}\n{advice}", list(attempts))]
    NoPostgres {
        /// What was tried, one line each.
        attempts: Vec<String>,
        /// The command to type.
        advice: String,
    },
    /// No usable PostgREST anywhere.
    #[error("no usable PostgREST was found:{}\n{advice}", list(attempts))]
    NoPostgrest {
        /// What was tried, one line each.
        attempts: Vec<String>,
        /// The command to type.
        advice: String,
    },
    /// The data directory was made by another major version.
    #[error(
        "the data in {} was made by Postgres {found}, and the Postgres here is {available}; a data directory \
         cannot be opened by another major version.\n\
         To keep working now: install Postgres {found} and set `bin_dir` to its bin folder.\n\
         To upgrade: with Postgres {found} running, `pg_dumpall -h SOCKET_DIR -U postgres > dump.sql`; then \
         `mv {dir} {dir}-{found}`, start again, and `psql -h SOCKET_DIR -U postgres -f dump.sql postgres`.\n\
         To start over without the data: `sb reset`",
        data_dir.display(), dir = data_dir.display()
    )]
    OtherMajor {
        /// The data directory.
        data_dir: PathBuf,
        /// The major version that made it.
        found: u32,
        /// The major versions this machine offers.
        available: String,
    },
    /// The data directory belongs to somebody else.
    #[error(
        "the data directory {} belongs to uid {owner}, and Postgres would run as uid {wanted}; \
         run `sudo chown -R {wanted} {}` or start `sb` as its owner",
        data_dir.display(), data_dir.display()
    )]
    ForeignOwner {
        /// The data directory.
        data_dir: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who Postgres would be.
        wanted: u32,
    },
    /// `initdb` failed.
    #[error(
        "initdb could not make a database cluster:\n{output}\nfix what it names and start again"
    )]
    Initdb {
        /// Its last lines.
        output: String,
    },
    /// A child ended before it was ready.
    #[error(
        "{name} ended at once ({status}); its last lines:\n{log_tail}\nthe whole log is in {}; \
         fix what it names and start again",
        log.display()
    )]
    ExitedAtStart {
        /// `postgres` or `postgrest`.
        name: &'static str,
        /// Exit code or signal.
        status: String,
        /// The last lines it wrote.
        log_tail: String,
        /// Its log file.
        log: PathBuf,
    },
    /// A child runs but does not answer.
    #[error(
        "{name} was not ready within {} s; its last lines:\n{log_tail}\nread {} and start again",
        waited.as_secs(), log.display()
    )]
    NotReady {
        /// `postgres` or `postgrest`.
        name: &'static str,
        /// The deadline.
        waited: Duration,
        /// The last lines it wrote.
        log_tail: String,
        /// Its log file.
        log: PathBuf,
    },
    /// A child died again and again.
    #[error(
        "{name} died {times} times in a row and is not restarted any more ({status}); its last lines:\n{log_tail}\n\
         the whole log is in {}; fix what it names and start again",
        log.display()
    )]
    GaveUp {
        /// `postgres` or `postgrest`.
        name: &'static str,
        /// How often.
        times: u32,
        /// The last exit code or signal.
        status: String,
        /// The last lines it wrote.
        log_tail: String,
        /// Its log file.
        log: PathBuf,
    },
    /// A child that must run first does not.
    #[error("{name} is already started; stop it before starting it again")]
    AlreadyStarted {
        /// `postgres` or `postgrest`.
        name: &'static str,
    },
    /// Root, but nobody else to be.
    #[error(
        "Postgres refuses to run as root, and /etc/passwd names no other user to run it as; \
         add one (`useradd --system postgres`) and start again"
    )]
    NoOtherUser,
    /// The kernel's limit for socket paths.
    #[error(
        "the socket directory {} is too long ({length} bytes; the system allows {limit}); \
         choose a shorter runtime directory, for example under /tmp",
        path.display()
    )]
    SocketPathTooLong {
        /// The directory.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
        /// The longest that works.
        limit: usize,
    },
    /// Somebody else has put something where the socket's folder goes.
    #[error(
        "{} is not a folder that sb has made (it belongs to uid {owner}): another user may have put it there; \
         remove it, or set XDG_RUNTIME_DIR to a folder of your own, and start again",
        path.display()
    )]
    ForeignSocketDir {
        /// The folder, or whatever is there in its place.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// No loopback port could be had.
    #[error(
        "no free TCP port on the loopback interface for {name}: {source}; free one, or set another port"
    )]
    NoPort {
        /// Who wanted it.
        name: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A file operation failed.
    #[error("could not {action} {}: {source}; check its permissions and the free space, and start again", path.display())]
    Io {
        /// As it reads after "could not".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A program could not be launched.
    #[error("could not run {}: {source}; check that it exists and is executable", program.display())]
    Spawn {
        /// The executable.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A background part of the stack ended unexpectedly.
    #[error(
        "the supervisor of {name} ended unexpectedly; start again, and report it if it happens twice"
    )]
    SupervisorLost {
        /// `postgres` or `postgrest`.
        name: &'static str,
    },
}

impl StackError {
    /// For `map_err`: what was being done, and to which path.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

fn list(attempts: &[String]) -> String {
    attempts
        .iter()
        .fold(String::new(), |text, line| text + "\n  - " + line)
}
