//! Finds the project and gathers its settings: the only code that reads the environment.

use std::path::{Path, PathBuf};

use super::error::{CliError, Exit};
use crate::config::{Config, Sources};

/// What every command starts from.
#[derive(Debug, Clone)]
pub(crate) struct Project {
    pub(crate) dir: PathBuf,
    /// Whether there is an `sb.toml`.
    pub(crate) found: bool,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) flags: Vec<(String, String)>,
}

impl Project {
    /// The folder given, or the nearest one upwards with an `sb.toml`, or the current one.
    pub(crate) fn discover(given: Option<&Path>) -> Result<Self, CliError> {
        let start = match given {
            Some(dir) => std::path::absolute(dir)?,
            None => std::env::current_dir()?,
        };
        if !start.is_dir() {
            let message = format!("there is no folder {}", start.display());
            return Err(
                CliError::new(Exit::Usage, message).next("sb init NAME   # makes a project")
            );
        }
        let with_file = start
            .ancestors()
            .find(|dir| dir.join("sb.toml").is_file())
            .filter(|dir| given.is_none() || *dir == start);
        let env = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
        Ok(Self {
            dir: with_file.unwrap_or(&start).to_owned(),
            found: with_file.is_some(),
            env: env.collect(),
            flags: Vec::new(),
        })
    }

    /// Refuses to go on outside a project.
    pub(crate) fn required(self) -> Result<Self, CliError> {
        if self.found || self.env("DATABASE_URL").is_some() {
            return Ok(self);
        }
        let message = format!(
            "{} is no sb project: there is no sb.toml here or above",
            self.dir.display()
        );
        Err(CliError::new(Exit::Usage, message).next("sb init NAME && cd NAME   # makes one"))
    }

    /// Adds a flag's value, which beats every other source.
    pub(crate) fn flag(&mut self, path: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.flags.push((path.to_owned(), value.to_string()));
        }
    }

    /// The effective settings.
    pub(crate) fn config(&self) -> Result<Config, CliError> {
        Ok(Config::load(Sources {
            project_dir: self.dir.clone(),
            toml: self.read("sb.toml")?,
            dotenv: self.read(".env")?,
            env: self.env.clone(),
            flags: self.flags.clone(),
        })?)
    }

    /// The settings for a command that talks to the database: `DATABASE_URL`, else the running development database.
    pub(crate) fn config_with_database(&self) -> Result<Config, CliError> {
        let mut config = self.config()?;
        if config.db.url.is_none() {
            let Some(state) = super::state::State::read(&config.state_dir()) else {
                let message =
                    "no database: DATABASE_URL is not set, and no development database runs here";
                return Err(CliError::new(Exit::Database, message)
                    .next("sb up   # starts it in the background"));
            };
            config.db.url = Some(crate::config::Secret::new(state.db_url));
        }
        Ok(config)
    }

    /// Where the state is, also while the settings are broken: what runs can still be seen and stopped.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.config()
            .map_or_else(|_| self.dir.join(".sb"), |config| config.state_dir())
    }

    /// A variable of the process environment.
    pub(crate) fn env(&self, name: &str) -> Option<&str> {
        self.env
            .iter()
            .find(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// Where downloads are kept: `stack.cache_dir`, else the user's cache folder.
    pub(crate) fn cache_dir(&self, config: &Config) -> Result<PathBuf, CliError> {
        if let Some(dir) = &config.stack.cache_dir {
            return Ok(self.dir.join(dir));
        }
        if let Some(dir) = self.env("XDG_CACHE_HOME") {
            return Ok(Path::new(dir).join("sb"));
        }
        self.env("HOME")
            .map(|home| Path::new(home).join(".cache/sb"))
            .ok_or_else(|| {
                CliError::new(
                    Exit::Config,
                    "HOME is not set, so there is no place for downloads",
                )
                .next("export SB_CACHE_DIR=/var/cache/sb")
            })
    }

    fn read(&self, name: &str) -> Result<Option<String>, CliError> {
        let path = self.dir.join(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(CliError::file(Exit::Config, "read", &path, &error)),
        }
    }
}
