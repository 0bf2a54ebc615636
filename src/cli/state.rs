//! `.sb/state.json`: where the running backend of this project is. Written by `sb dev`, `sb up` and `sb serve`,
//! read by `sb status`, `sb down` and tests. Mode 0600: it holds keys.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::CliError;

/// Every address and key of a running backend.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct State {
    /// The process that serves; 0 when containers do.
    pub(crate) pid: u32,
    /// When it began, as the system counts; tells it from a later process with the same pid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) started: Option<u64>,
    pub(crate) api_url: String,
    pub(crate) db_url: String,
    pub(crate) rest_url: String,
    pub(crate) jwks_url: String,
    pub(crate) admin_url: Option<String>,
    pub(crate) mail_url: Option<String>,
    /// Keys are shown in development only; in production `sb keygen` makes them.
    pub(crate) anon_key: Option<String>,
    pub(crate) service_role_key: Option<String>,
    pub(crate) publishable_key: Option<String>,
    pub(crate) secret_key: Option<String>,
}

impl State {
    pub(crate) fn path(state_dir: &Path) -> PathBuf {
        state_dir.join("state.json")
    }

    /// Replaces the file whole, readable by its owner only.
    pub(crate) fn write(&self, state_dir: &Path) -> Result<(), CliError> {
        let mut file = tempfile::NamedTempFile::new_in(state_dir)?;
        serde_json::to_writer_pretty(&mut file, self).map_err(CliError::failed)?;
        file.flush()?;
        file.persist(Self::path(state_dir))
            .map_err(|error| error.error)?;
        Ok(())
    }

    /// The running backend, if another process runs one. A file whose process is gone does not count, even when its
    /// pid is in use again, by another project's `sb` or (in a container) by this very process.
    pub(crate) fn read(state_dir: &Path) -> Option<Self> {
        // In containers no process of ours serves: `sb down` removes the file.
        Self::recorded(state_dir).filter(|state| {
            state.pid == 0 || (state.pid != std::process::id() && state.is_same_process())
        })
    }

    /// Removes the file when it is this process' own.
    pub(crate) fn remove(state_dir: &Path) {
        if Self::recorded(state_dir).is_some_and(|state| state.pid == std::process::id()) {
            let _ = std::fs::remove_file(Self::path(state_dir));
        }
    }

    fn is_same_process(&self) -> bool {
        is_sb(self.pid) && (self.started.is_none() || self.started == started(self.pid))
    }

    fn recorded(state_dir: &Path) -> Option<Self> {
        let text = std::fs::read(Self::path(state_dir)).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

/// When `pid` began, in clock ticks since the system did; `None` where the system does not tell.
pub(crate) fn started(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets, which may hold anything; this is the 22nd.
    let (_, rest) = text.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

/// Whether `pid` lives and, where the system tells, is an `sb` (a reused pid is not).
pub(crate) fn is_sb(pid: u32) -> bool {
    let Some(process) = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
    else {
        return false;
    };
    if rustix::process::test_kill_process(process)
        .is_err_and(|error| error != rustix::io::Errno::PERM)
    {
        return false;
    }
    let same_program = |link: PathBuf| {
        let own = std::env::current_exe().ok();
        let name = link.file_name().map(|name| {
            name.to_string_lossy()
                .trim_end_matches(" (deleted)")
                .to_owned()
        });
        name == own.and_then(|own| {
            own.file_name()
                .map(|name| name.to_string_lossy().into_owned())
        })
    };
    match std::fs::read_link(format!("/proc/{pid}/exe")) {
        Ok(link) => same_program(link),
        // It has ended, and only waits for its parent to notice.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            !Path::new("/proc/self/exe").exists()
        }
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_pid_that_is_in_use_again_is_not_the_backend() {
        let pid = std::process::id();
        let mut state: State = serde_json::from_value(serde_json::json!({
            "pid": pid,
            "started": started(pid),
            "api_url": "", "db_url": "", "rest_url": "", "jwks_url": "",
        }))
        .unwrap();
        assert!(state.is_same_process());
        state.started = state.started.map(|ticks| ticks + 1);
        assert!(!state.is_same_process());
    }

    #[test]
    fn a_file_that_names_this_process_is_from_one_that_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let mut state: State = serde_json::from_value(serde_json::json!({
            "pid": std::process::id(),
            "api_url": "", "db_url": "", "rest_url": "", "jwks_url": "",
        }))
        .unwrap();
        state.write(dir.path()).unwrap();
        assert!(State::read(dir.path()).is_none());
        State::remove(dir.path());
        assert!(!State::path(dir.path()).exists());
        state.pid = 0;
        state.write(dir.path()).unwrap();
        assert!(State::read(dir.path()).is_some());
    }
}
