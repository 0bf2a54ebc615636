//! What the caller decides, and what it gets back.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::StackError;
use super::run_as::WhenRoot;

/// Where the stack keeps things and how it behaves. Relative paths are taken from the current directory, once.
#[derive(Clone)]
#[non_exhaustive]
pub struct StackOptions {
    /// The project's state (`.sb`): data directory, logs, lock.
    pub state_dir: PathBuf,
    /// Downloaded programs, shared by all projects of the user.
    pub cache_dir: PathBuf,
    /// For the Unix socket; this project's alone, and short (the kernel limits socket paths). Made with mode 0700.
    pub runtime_dir: PathBuf,
    /// For the superuser `postgres` over TCP; set when the cluster is made.
    pub superuser_password: String,
    /// The wanted Postgres port; 0 = any.
    pub port: u16,
    /// `false` for test clusters: fast, and lost when the machine crashes.
    pub durable: bool,
    /// More lines for Postgres' configuration; they win over ours.
    pub settings: Vec<(String, String)>,
    /// Use the Postgres in this folder and no other.
    pub postgres_bin_dir: Option<PathBuf>,
    /// Use this PostgREST and no other.
    pub postgrest_path: Option<PathBuf>,
    /// Whether missing programs may be downloaded.
    pub download: bool,
    /// The `PATH` on which package clients, system installations and PostgREST are looked for.
    pub search_path: Option<OsString>,
    /// More environment for the children, which inherit nothing.
    pub env: Vec<(OsString, OsString)>,
    /// What to do when `sb` is root.
    pub when_root: WhenRoot,
    /// Where an unprivileged Postgres can reach its files when it cannot reach the other folders.
    pub root_dir: PathBuf,
    /// How long a first start may take (a restart after a crash may take longer).
    pub start_timeout: Duration,
}

impl StackOptions {
    /// The defaults of `sb dev`; the fields are public for everything else.
    pub fn new(
        state_dir: impl Into<PathBuf>,
        cache_dir: impl Into<PathBuf>,
        runtime_dir: impl Into<PathBuf>,
        superuser_password: impl Into<String>,
    ) -> Self {
        Self {
            state_dir: state_dir.into(),
            cache_dir: cache_dir.into(),
            runtime_dir: runtime_dir.into(),
            superuser_password: superuser_password.into(),
            port: 54322,
            durable: true,
            settings: Vec::new(),
            postgres_bin_dir: None,
            postgrest_path: None,
            download: true,
            search_path: None,
            env: Vec::new(),
            when_root: WhenRoot::default(),
            root_dir: PathBuf::from("/var/lib/sb"),
            start_timeout: Duration::from_mins(1),
        }
    }

    /// Where the children's logs are.
    pub fn log_dir(&self) -> PathBuf {
        self.state_dir.join("logs")
    }

    pub(super) fn with_absolute_paths(mut self) -> Result<Self, StackError> {
        for path in [
            &mut self.state_dir,
            &mut self.cache_dir,
            &mut self.runtime_dir,
            &mut self.root_dir,
        ] {
            *path = absolute(path)?;
        }
        // Processes are recognised by their real directory, so links must not hide it.
        if let Ok(real) = self.state_dir.canonicalize() {
            self.state_dir = real;
        }
        for path in [&mut self.postgres_bin_dir, &mut self.postgrest_path]
            .into_iter()
            .flatten()
        {
            *path = absolute(path)?;
        }
        Ok(self)
    }

    pub(super) fn child_env(&self) -> Vec<(OsString, OsString)> {
        let mut env = vec![("LC_ALL".into(), "C".into())];
        env.extend(
            self.search_path
                .iter()
                .map(|path| ("PATH".into(), path.clone())),
        );
        env.extend(self.env.iter().cloned());
        env
    }
}

fn absolute(path: &Path) -> Result<PathBuf, StackError> {
    std::path::absolute(path).map_err(StackError::io("resolve", path))
}

impl fmt::Debug for StackOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StackOptions")
            .field("state_dir", &self.state_dir)
            .field("cache_dir", &self.cache_dir)
            .field("runtime_dir", &self.runtime_dir)
            .field("port", &self.port)
            .field("durable", &self.durable)
            .finish_non_exhaustive()
    }
}

/// How to reach the embedded Postgres.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connection {
    /// The folder of the Unix socket; no password is needed there, and only this user can enter it.
    pub socket_dir: PathBuf,
    /// The port on 127.0.0.1, and part of the socket's name.
    pub port: u16,
    /// The superuser.
    pub user: String,
    /// For TCP.
    pub password: String,
    /// A database that exists from the start.
    pub database: String,
    /// Where this Postgres' programs are (`psql`, `pg_dump`, if the build has them).
    pub bin_dir: PathBuf,
    /// Its major version.
    pub major: u32,
}

impl Connection {
    /// A URL over TCP, with the password.
    pub fn url(&self) -> String {
        let (user, password, database) = (
            encode(&self.user),
            encode(&self.password),
            encode(&self.database),
        );
        format!(
            "postgresql://{user}:{password}@127.0.0.1:{}/{database}",
            self.port
        )
    }

    /// A URL over the Unix socket, without a password, for any role.
    pub fn socket_url(&self, role: &str) -> String {
        let directory = encode(&self.socket_dir.display().to_string());
        format!(
            "postgresql://{}@/{}?host={directory}&port={}",
            encode(role),
            encode(&self.database),
            self.port
        )
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("socket_dir", &self.socket_dir)
            .field("port", &self.port)
            .field("user", &self.user)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

/// How to run PostgREST.
#[derive(Clone, Default)]
pub struct PostgrestOptions {
    /// Its configuration parameters (`db-uri`, `db-schemas`, …). Listening addresses and ports are added by the stack.
    pub settings: Vec<(String, String)>,
    /// The wanted port; 0 = any.
    pub port: u16,
}

impl fmt::Debug for PostgrestOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self
            .settings
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        f.debug_struct("PostgrestOptions")
            .field("settings", &names)
            .field("port", &self.port)
            .finish()
    }
}

/// Where PostgREST listens, on 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PostgrestEndpoint {
    /// Requests.
    pub port: u16,
    /// Health checks: `/live` and `/ready`.
    pub admin_port: u16,
}

/// Percent-encodes everything that is not plainly harmless in a URL.
fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_survive_every_password() {
        let connection = Connection {
            socket_dir: "/run/sb x".into(),
            port: 5,
            user: "postgres".into(),
            password: "p@ss/ü".into(),
            database: "postgres".into(),
            bin_dir: "/bin".into(),
            major: 17,
        };
        assert_eq!(
            connection.url(),
            "postgresql://postgres:p%40ss%2F%C3%BC@127.0.0.1:5/postgres"
        );
        assert_eq!(
            connection.socket_url("anon"),
            "postgresql://anon@/postgres?host=%2Frun%2Fsb%20x&port=5"
        );
        assert!(!format!("{connection:?}").contains("p@ss"));
    }
}
