//! Errors for people: what failed, why, and the command to type next. The kind picks the exit code.

use std::path::Path;
use std::process::ExitCode;

use super::init::shell_word;

/// Where `.sb/` cannot be used.
pub(super) const CHECK_STATE_DIR: &str =
    "ls -ld . .sb   # sb needs a folder .sb that is yours, or to be allowed to make one";

/// Exit codes; never renumbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// 1: the operation failed.
    Failed = 1,
    /// 2: wrong usage.
    Usage = 2,
    /// 3: the configuration is not valid.
    Config = 3,
    /// 4: the database cannot be reached.
    Database = 4,
    /// 5: a check found drift.
    Drift = 5,
    /// 6: not allowed.
    Permission = 6,
}

/// An error a command ends with.
#[derive(Debug)]
pub(super) struct CliError {
    exit: Exit,
    message: String,
    next: Option<String>,
}

impl CliError {
    /// An error of this kind.
    pub(super) fn new(exit: Exit, message: impl std::fmt::Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
            next: None,
        }
    }

    /// An operation that failed.
    pub(super) fn failed(message: impl std::fmt::Display) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// A file or folder that cannot be used: `doing` is `read`, `write` or `use`.
    pub(super) fn file(exit: Exit, doing: &str, path: &Path, error: &std::io::Error) -> Self {
        let path = path.display().to_string();
        let wanted = match doing {
            "read" => "   # a file of text in UTF-8 that you may read",
            _ => "   # who may write there",
        };
        Self::new(exit, format!("cannot {doing} {path}: {error}"))
            .next(format!("ls -ld {}{wanted}", shell_word(&path)))
    }

    /// What to type next: the last line a person reads.
    pub(super) fn next(mut self, command: impl Into<String>) -> Self {
        self.next = Some(command.into());
        self
    }

    pub(crate) fn report(&self, ui: super::ui::Ui) -> ExitCode {
        if ui.json {
            ui.json(
                &serde_json::json!({ "error": { "message": self.message, "next": self.next } }),
            );
        }
        ui.warn_error(&self.message);
        self.say_next(ui);
        ExitCode::from(self.exit as u8)
    }

    /// Of what a command goes on without.
    pub(super) fn warn(&self, ui: super::ui::Ui) {
        ui.warn(&self.message);
        self.say_next(ui);
    }

    fn say_next(&self, ui: super::ui::Ui) {
        if let Some(next) = &self.next {
            ui.say(format_args!("\n  {}", ui.cyan(next)));
        }
    }
}

impl std::fmt::Display for CliError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<crate::app::StartError> for CliError {
    fn from(error: crate::app::StartError) -> Self {
        use crate::app::StartError;
        match error {
            StartError::NoDatabase => Self::new(Exit::Config, error).next("sb dev"),
            StartError::Connect(error) => error.into(),
            StartError::Database(error) | StartError::Keys(crate::keys::KeysError::Db(error)) => {
                error.into()
            }
            StartError::Migrate(error) => error.into(),
            StartError::Auth(error) => {
                Self::new(Exit::Config, error).next("sb info   # shows the [auth] settings")
            }
            StartError::Rest(error) => {
                Self::new(Exit::Config, error).next("sb info   # shows where rest.url comes from")
            }
            StartError::Jobs(crate::jobs::JobsError::Db(error)) => error.into(),
            StartError::Jobs(error) => Self::failed(error),
            StartError::Keys(error @ crate::keys::KeysError::File(_)) => {
                Self::failed(error).next(CHECK_STATE_DIR)
            }
            StartError::Keys(error @ crate::keys::KeysError::Import(_)) => {
                Self::failed(error).next("sb info   # shows where the [jwt] settings come from")
            }
            StartError::Keys(error) => {
                Self::failed(error).next("sb doctor   # checks the signing keys")
            }
        }
    }
}

impl From<crate::db::migrate::MigrateError> for CliError {
    fn from(error: crate::db::migrate::MigrateError) -> Self {
        use crate::db::migrate::MigrateError;
        let exit = match error {
            MigrateError::Db(error) => return error.into(),
            // These end with what to do, and a development database that did not start has no status.
            MigrateError::Statement(_) | MigrateError::File { .. } => return Self::failed(error),
            MigrateError::History(_) => Exit::Drift,
            _ => Exit::Failed,
        };
        Self::new(exit, error).next("sb migrate status   # what is applied, pending or edited")
    }
}

impl From<crate::stack::StackError> for CliError {
    fn from(error: crate::stack::StackError) -> Self {
        Self::failed(error)
    }
}

impl From<crate::config::ConfigError> for CliError {
    fn from(error: crate::config::ConfigError) -> Self {
        // A problem may have several lines, such as the place in a file.
        let list = error
            .problems
            .iter()
            .map(|problem| format!("\n  - {}", problem.trim_end().replace('\n', "\n    ")));
        let list: String = list.collect();
        Self::new(
            Exit::Config,
            format!("the configuration is not valid:{list}"),
        )
        .next("sb info --fields   # every setting, its default and its environment variable")
    }
}

impl From<crate::db::DbError> for CliError {
    fn from(error: crate::db::DbError) -> Self {
        use crate::db::{DbError, SqlState};
        let refused = matches!(
            error.code(),
            Some(
                &SqlState::INVALID_PASSWORD
                    | &SqlState::INVALID_AUTHORIZATION_SPECIFICATION
                    | &SqlState::INVALID_CATALOG_NAME
            )
        );
        if refused || matches!(error, DbError::Unreachable(_) | DbError::PoolTimeout) {
            return Self::new(Exit::Database, error)
                .next("sb doctor   # checks DATABASE_URL step by step");
        }
        Self::failed(error)
    }
}

impl From<crate::db::ConnectError> for CliError {
    fn from(error: crate::db::ConnectError) -> Self {
        Self::new(Exit::Config, error).next("sb info   # shows where DATABASE_URL comes from")
    }
}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        Self::failed(error)
    }
}
