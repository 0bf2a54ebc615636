//! `sb status`: addresses and keys of the running backend.

use std::process::ExitCode;

use super::state::State;
use super::{CliError, CommandResult, Session};

/// Arguments of `sb status`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print `NAME=value` lines for a shell: eval "$(sb status --env)".
    #[arg(long, conflicts_with = "json")]
    env: bool,
}

pub(super) fn run(args: &Args, session: &Session) -> CommandResult {
    let project = session.project.clone().required()?;
    let state_dir = project.state_dir();
    let Some(state) = State::read(&state_dir) else {
        let message = format!("nothing runs in {}", project.dir.display());
        return Err(CliError::failed(message).next("sb dev   # or `sb up`, in the background"));
    };
    if session.ui.json {
        session.ui.json(&state);
    } else if args.env {
        for (name, value) in pairs(&state) {
            session.ui.data(format_args!(
                "{}={}",
                name.to_uppercase(),
                shell_quote(&value)
            ));
        }
    } else {
        session
            .ui
            .data(super::dev::summary(session.ui, &state, true));
    }
    Ok(ExitCode::SUCCESS)
}

fn pairs(state: &State) -> Vec<(String, String)> {
    let value = serde_json::to_value(state).expect("the state is JSON");
    let members = value.as_object().cloned().unwrap_or_default();
    let text = |value: &serde_json::Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    members
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.clone(), text(value)))
        .collect()
}

fn shell_quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
