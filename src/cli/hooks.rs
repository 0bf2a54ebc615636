//! `sb hooks`: what is delivered where, what became of it, and the secrets receivers check.

use std::process::ExitCode;

use clap::Subcommand;

use super::error::{CliError, Exit};
use super::ui::Ui;
use super::{CommandResult, Session, database};
use crate::db::{Connection, DbError, SqlState};
use crate::hooks::{self, Deliveries, Delivery, Subscription, webhook};
use crate::jobs::{JobId, JobsError, Status};

/// Arguments of `sb hooks`.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List hooks: `hooks.on` and `hooks.on_change` make them, in SQL.
    List,
    /// List deliveries, the newest first.
    Deliveries {
        /// Of this hook only.
        #[arg(long, value_name = "NAME")]
        hook: Option<String>,
        /// In this state only.
        #[arg(long)]
        status: Option<Status>,
        /// At most this many.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Deliver once more, whatever became of the first delivery. Prints the id of the new job.
    Redeliver {
        /// Id of the delivery.
        id: JobId,
    },
    /// Print the secret with which a receiver checks that calls come from this project.
    Secret {
        /// The receiver's address; all addresses of one origin have the same secret.
        url: String,
    },
}

pub(super) async fn run(args: Args, session: Session) -> CommandResult {
    let Session { ui, project, .. } = session;
    let project = project.required()?;
    if let Action::Secret { url } = &args.action {
        let master = crate::app::master_key(&project.config()?)?;
        let secret = webhook::secret(&master, url).map_err(|error| {
            CliError::new(Exit::Usage, error).next("sb hooks secret https://example.com")
        })?;
        if ui.json {
            ui.json(&serde_json::json!({ "url": url, "secret": secret }));
        } else {
            ui.data(secret);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let owner = database::owner(&project.config_with_database()?).await?;
    match args.action {
        Action::Deliveries {
            hook,
            status,
            limit,
        } => {
            let which = Deliveries {
                hook,
                status,
                limit,
            };
            show_deliveries(&owner, &which, ui).await?;
        }
        Action::Redeliver { id } => redeliver(&owner, id, ui).await?,
        _ => list(&owner, ui).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(owner: &Connection, ui: Ui) -> Result<(), CliError> {
    let hooks = hooks::list(owner).await.map_err(refused)?;
    if ui.json {
        ui.json(&serde_json::json!({ "hooks": hooks }));
        return Ok(());
    }
    let row = |hook: &Subscription| {
        let event = match (&hook.table, &hook.operations) {
            (Some(table), Some(operations)) => format!("{} of {table}", operations.join(", ")),
            _ => hook.event.clone(),
        };
        let state = if hook.enabled { "on" } else { "off" };
        vec![
            hook.name.clone(),
            event,
            hook.target.clone(),
            state.to_owned(),
        ]
    };
    let rows: Vec<_> = hooks.iter().map(row).collect();
    ui.data(ui.table(&["name", "event", "target", "state"], &rows));
    Ok(())
}

async fn show_deliveries(owner: &Connection, which: &Deliveries, ui: Ui) -> Result<(), CliError> {
    let deliveries = hooks::deliveries(owner, which).await.map_err(refused)?;
    if ui.json {
        ui.json(&serde_json::json!({ "deliveries": deliveries }));
        return Ok(());
    }
    let row = |delivery: &Delivery| {
        let answered = delivery.response_status.map(|status| status.to_string());
        vec![
            delivery.id.to_string(),
            delivery.hook.clone(),
            delivery.target.clone(),
            delivery.status.clone(),
            format!("{}/{}", delivery.attempts, delivery.max_attempts),
            answered.unwrap_or_default(),
            delivery
                .created_at
                .format("%Y-%m-%d %H:%M:%S UTC")
                .to_string(),
        ]
    };
    let rows: Vec<_> = deliveries.iter().map(row).collect();
    let columns = [
        "id", "hook", "target", "status", "attempts", "answer", "created",
    ];
    ui.data(ui.table(&columns, &rows));
    Ok(())
}

async fn redeliver(owner: &Connection, id: JobId, ui: Ui) -> Result<(), CliError> {
    let copy = hooks::redeliver(owner, id)
        .await
        .map_err(|error| match error {
            JobsError::Db(error) => refused(error),
            other => CliError::failed(other).next("sb hooks deliveries"),
        })?;
    if ui.json {
        ui.json(&serde_json::json!({ "id": copy }));
    } else {
        ui.data(copy);
    }
    ui.done(format_args!("delivering {id} again as job {copy}"), None);
    Ok(())
}

fn refused(error: DbError) -> CliError {
    if matches!(
        error.code(),
        Some(&SqlState::UNDEFINED_TABLE | &SqlState::INVALID_SCHEMA_NAME)
    ) {
        let message = "this database has no hooks yet: it was migrated by an older version";
        return CliError::new(Exit::Database, message).next("sb migrate");
    }
    CliError::new(Exit::Database, error)
}
