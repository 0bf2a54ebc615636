//! `sb version`

use std::process::ExitCode;

use super::Session;

/// Arguments of `sb version`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: &Args, session: &Session) -> ExitCode {
    let version = env!("CARGO_PKG_VERSION");
    if session.ui.json {
        session.ui.json(&serde_json::json!({
            "version": version,
            "os": std::env::consts::OS,
            "arch": std::env::consts::ARCH,
        }));
    } else {
        session.ui.data(format_args!(
            "sb {version} ({}-{})",
            std::env::consts::OS,
            std::env::consts::ARCH
        ));
    }
    ExitCode::SUCCESS
}
