//! `sb secret`: symmetric secrets. Ids go to stdout, words to stderr; the secrets themselves nowhere.

use std::process::ExitCode;

use clap::Subcommand;

use super::error::CliError;
use super::keygen::Workshop;
use super::{CommandResult, Session, database};
use crate::keys::KeysError;
use crate::keys::secrets::{self, Family};

/// Arguments of `sb secret`.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List secrets by family.
    Status,
    /// Make a new secret: in reserve, so that every node believes it before one signs with it.
    Rotate {
        /// `oauth_state`, `links` or `storage_signed_url`.
        #[arg(value_parser = family)]
        family: Family,
    },
    /// Let a secret in reserve sign; the one that signed goes on verifying.
    Activate {
        /// `oauth_state`, `links` or `storage_signed_url`.
        #[arg(value_parser = family)]
        family: Family,
        // One id in 64 begins with a hyphen.
        /// Default: the newest one.
        #[arg(allow_hyphen_values = true)]
        kid: Option<String>,
    },
    /// Revoke former secrets whose every signature has expired.
    Prune {
        /// Default: all families.
        #[arg(value_parser = family)]
        family: Option<Family>,
        /// Whether or not they have.
        #[arg(long)]
        force: bool,
    },
}

fn family(text: &str) -> Result<Family, String> {
    let known = || "one of oauth_state, links, storage_signed_url".to_owned();
    Family::parse(text).ok_or_else(known)
}

pub(super) async fn run(args: Args, session: Session) -> CommandResult {
    let workshop = Workshop::open(session).await?;
    match act(&workshop, args.action).await {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(KeysError::NoStandbyKey) => {
            Err(CliError::failed("there is no secret in reserve").next("sb secret rotate FAMILY"))
        }
        Err(KeysError::NoSuchKey { kid, .. }) => {
            let message = format!("no secret of this family that may sign has the id {kid}");
            Err(CliError::failed(message).next("sb secret status"))
        }
        Err(error) => Err(database::build_error(error.into())),
    }
}

async fn act(workshop: &Workshop, action: Action) -> Result<(), KeysError> {
    let Workshop {
        ui,
        config,
        connection,
        master,
        clock,
    } = workshop;
    match action {
        Action::Status => status(workshop).await?,
        Action::Rotate { family } => {
            let kid = secrets::rotate(connection, master, family, clock).await?;
            workshop.print("kid", &kid);
            ui.say(format_args!(
                "this secret is believed but does not sign yet: `sb secret activate {}` lets it",
                family.as_str()
            ));
        }
        Action::Activate { family, kid } => {
            let kid = secrets::activate(connection, family, kid.as_deref(), clock).await?;
            workshop.print("kid", &kid);
            ui.say("this secret signs; the former one goes on verifying until it is pruned");
        }
        Action::Prune { family, force } => {
            let pruned = secrets::prune(connection, family, (config, force), clock).await?;
            if ui.json {
                ui.json(&serde_json::json!({ "revoked": pruned }));
            }
            for (family, kid) in pruned.iter().filter(|_| !ui.json) {
                ui.data(format_args!("{family} {kid}"));
            }
            ui.say(match pruned.len() {
                0 => "nothing to prune".to_owned(),
                count => format!("revoked {count} former secrets"),
            });
        }
    }
    Ok(())
}

async fn status(Workshop { ui, connection, .. }: &Workshop) -> Result<(), KeysError> {
    let list = secrets::list(connection).await?;
    if ui.json {
        ui.json(&list);
        return Ok(());
    }
    let rows: Vec<Vec<String>> = list
        .iter()
        .map(|secret| {
            vec![
                secret.family.clone(),
                secret.kid.clone(),
                secret.status.as_str().to_owned(),
                secret
                    .created_at
                    .format("%Y-%m-%d %H:%M:%S UTC")
                    .to_string(),
            ]
        })
        .collect();
    let head = ["family", "kid", "status", "created"];
    ui.data(ui.table(&head, &rows));
    Ok(())
}
