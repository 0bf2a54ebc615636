//! `sb completions SHELL`

use std::process::ExitCode;

use clap::CommandFactory as _;

use super::{Cli, Session};

/// Arguments of `sb completions`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell to complete for.
    shell: clap_complete::Shell,
}

pub(super) fn run(args: &Args, session: &Session) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "sb", &mut script);
    session.ui.data(String::from_utf8_lossy(&script));
    ExitCode::SUCCESS
}
