//! Starts logging for a command that serves.

use std::io::IsTerminal as _;

use super::error::{CliError, Exit};
use crate::config::{Config, LogFormat};
use crate::telemetry::{self, LogLevel};

/// Logs go to stderr: JSON when it is a file or a pipe, text on a terminal, unless `log.format` says.
pub(super) fn start(config: &Config, default_level: Option<&str>) -> Result<LogLevel, CliError> {
    let terminal = std::io::stderr().is_terminal();
    let json = match config.log.format {
        LogFormat::Auto => !terminal,
        LogFormat::Json => true,
        LogFormat::Pretty => false,
    };
    let level = default_level
        .filter(|_| config.is_default("log.level"))
        .unwrap_or(&config.log.level);
    telemetry::init(level, json, terminal, std::io::stderr)
        .map_err(|error| CliError::new(Exit::Config, error))
}
