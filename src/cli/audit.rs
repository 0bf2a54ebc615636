//! `sb audit`: the sealed audit log.

use std::process::ExitCode;

use clap::Subcommand;

use super::error::{CliError, Exit};
use super::{CommandResult, Session, database};
use crate::auth::{self, AuditReport, Head};

/// Arguments of `sb audit`.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check every seal and entry. Prints the head of the chain, to be kept elsewhere; exit code 5 when something does not
    /// fit.
    Verify {
        /// A head that was printed before: the chain must still hold it.
        #[arg(long, value_name = "NUMBER:MAC")]
        head: Option<Head>,
    },
}

pub(super) async fn run(args: Args, session: Session) -> CommandResult {
    let Action::Verify { head } = args.action;
    let config = session.project.required()?.config_with_database()?;
    let owner = database::owner(&config).await?;
    let master = crate::app::master_key(&config)?;
    crate::keys::manage::check_master(&owner, &master)
        .await
        .map_err(crate::app::StartError::from)?;
    let key = crate::app::audit_key(&master);
    let report = auth::verify_audit(&owner, &key, head.as_ref())
        .await
        .map_err(|error| database::not_migrated(&error).unwrap_or_else(|| error.into()))?;
    let ui = session.ui;
    if ui.json {
        ui.json(&report);
    } else if let Some(head) = &report.head {
        ui.data(head);
    }
    let AuditReport {
        sealed,
        unsealed,
        problems,
        ..
    } = &report;
    if problems.is_empty() {
        ui.done(
            format_args!("{sealed} entries are as they were sealed; {unsealed} are not sealed yet"),
            None,
        );
        return Ok(ExitCode::SUCCESS);
    }
    for problem in problems {
        ui.warn(problem);
    }
    if ui.json {
        return Ok(ExitCode::from(Exit::Drift as u8));
    }
    let message = "the audit log was changed";
    Err(CliError::new(Exit::Drift, message))
}
