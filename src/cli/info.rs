//! `sb info`: every effective setting and its origin.

use std::process::ExitCode;

use super::{CommandResult, Session};
use crate::config::Config;

/// Arguments of `sb info`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Describe all settings instead: default, environment variable, meaning.
    #[arg(long)]
    fields: bool,
}

pub(super) fn run(args: &Args, session: &Session) -> CommandResult {
    if args.fields {
        fields(session);
    } else {
        effective(session)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn effective(session: &Session) -> Result<(), super::CliError> {
    let config = session.project.config()?;
    if session.ui.json {
        session.ui.json(&config.effective());
        return Ok(());
    }
    let rows: Vec<_> = config
        .effective()
        .iter()
        .map(|e| vec![e.key.clone(), e.value.clone(), e.origin.clone()])
        .collect();
    session
        .ui
        .say(format_args!("project  {}", session.project.dir.display()));
    session
        .ui
        .data(session.ui.table(&["setting", "value", "origin"], &rows));
    Ok(())
}

fn fields(session: &Session) {
    let doc = |field: &crate::config::section::Field| {
        field
            .doc
            .iter()
            .map(|line| line.trim())
            .collect::<Vec<_>>()
            .join(" ")
    };
    if session.ui.json {
        let list: Vec<_> = Config::fields()
            .map(|field| {
                serde_json::json!({
                    "key": field.path(), "env": field.env, "default": (field.default)(),
                    "doc": doc(field), "live": field.live, "secret": field.secret,
                })
            })
            .collect();
        return session.ui.json(&list);
    }
    let rows: Vec<_> = Config::fields()
        .map(|field| {
            vec![
                field.path(),
                field.env.to_owned(),
                (field.default)(),
                doc(field),
            ]
        })
        .collect();
    session.ui.data(
        session
            .ui
            .table(&["setting", "environment", "default", "meaning"], &rows),
    );
}
