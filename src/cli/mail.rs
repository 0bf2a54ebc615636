//! `sb mail`: the development inbox on a terminal.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Subcommand;
use serde_json::json;
use uuid::Uuid;

use super::error::Exit;
use super::ui::Ui;
use super::{CliError, CommandResult, Session, database};
use crate::app::Running;
use crate::config::Config;
use crate::db::{Connection, DbError};
use crate::lifecycle;
use crate::mail::inbox::{self, Search, Summary};
use crate::mail::preview::{self, PreviewError};

/// Between two looks for new mails.
const LOOK: Duration = Duration::from_millis(500);

/// Arguments of `sb mail`.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the mails that `sb dev` kept instead of sending them, newest first.
    Inbox(InboxArgs),
    /// Show one mail as text.
    Show {
        /// Its id, or `latest`.
        #[arg(default_value = "latest")]
        id: String,
    },
    /// Show a template with made-up values; fail when a part of it is broken.
    Preview(PreviewArgs),
}

#[derive(Debug, clap::Args)]
struct InboxArgs {
    /// Only mails to this address, or a part of it.
    #[arg(long, value_name = "ADDRESS")]
    to: Option<String>,
    /// How many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=500))]
    limit: i64,
    /// Go on with mails as they arrive, until Ctrl-C.
    #[arg(long, short)]
    follow: bool,
}

#[derive(Debug, clap::Args)]
struct PreviewArgs {
    /// `confirmation`, `recovery` …, or one of the project's own.
    template: String,
    /// Print the HTML instead of the text.
    #[arg(long)]
    html: bool,
    /// As somebody gets it whose language this is.
    #[arg(long, value_name = "TAG")]
    language: Option<String>,
}

pub(super) async fn run(args: Args, session: Session) -> CommandResult {
    let Session { ui, project, .. } = session;
    let config = project.required()?.config_with_database()?;
    super::logging::start(&config, Some("error"))?;
    let owner = database::owner(&config).await?;
    match args.action {
        Action::Inbox(args) => {
            let mut ended = std::pin::pin!(lifecycle::shutdown_signal());
            tokio::select! {
                result = &mut ended => result.map_err(CliError::from)?,
                result = list(&owner, args, ui) => result?,
            }
            Ok(ExitCode::SUCCESS)
        }
        Action::Show { id } => show(&owner, &id, ui).await,
        Action::Preview(args) => show_template(&owner, &config, &args, ui).await,
    }
}

/// What backend `console` prints in development.
pub(super) fn print_with(running: &Running, ui: Ui) {
    running.context().mail.print_with(Arc::new(move |mail| {
        let head = ui.bold(&line(&format!("mail to {}: {}", mail.to, mail.subject)));
        ui.say(format_args!("\n{head}\n{}", block(&mail.text)));
    }));
}

async fn list(owner: &Connection, args: InboxArgs, ui: Ui) -> Result<(), CliError> {
    let mut search = Search {
        to: args.to.into_iter().collect(),
        ..Search::default()
    };
    let (mails, _) = inbox::list(owner, &search, (0, args.limit))
        .await
        .map_err(refused)?;
    if !args.follow {
        print(&mails, ui);
        return Ok(());
    }
    let mut ticks = tokio::time::interval(LOOK);
    let mut new = mails;
    loop {
        search.after = new.first().map(|mail| mail.number).or(search.after);
        // The newest at the end, where the next ones follow.
        for mail in new.iter().rev() {
            follow(mail, ui)?;
        }
        ticks.tick().await;
        (new, _) = inbox::list(owner, &search, (0, args.limit))
            .await
            .map_err(refused)?;
    }
}

fn print(mails: &[Summary], ui: Ui) {
    if ui.json {
        ui.json(&json!({ "messages": mails }));
    } else if mails.is_empty() {
        ui.say("no mail");
    } else {
        let row = |mail: &Summary| {
            vec![
                mail.id.to_string(),
                mail.created_at.format("%H:%M:%S").to_string(),
                line(&mail.to),
                line(&mail.subject),
            ]
        };
        let rows: Vec<_> = mails.iter().map(row).collect();
        ui.data(ui.table(&["id", "time (UTC)", "to", "subject"], &rows));
    }
}

fn follow(mail: &Summary, ui: Ui) -> Result<(), CliError> {
    if ui.json {
        ui.data(serde_json::to_string(mail).map_err(CliError::failed)?);
    } else {
        let at = mail.created_at.format("%H:%M:%S");
        let text = line(&format!("{}  {}", mail.to, mail.subject));
        ui.data(format_args!("{at}  {}  {text}", mail.id));
    }
    Ok(())
}

async fn show(owner: &Connection, id: &str, ui: Ui) -> CommandResult {
    let id = if id == "latest" {
        let newest = inbox::list(owner, &Search::default(), (0, 1))
            .await
            .map_err(refused)?;
        newest.0.first().map(|mail| mail.id)
    } else {
        let id: Uuid = id.parse().map_err(|_| {
            CliError::new(Exit::Usage, format!("{id} is no id of a mail")).next("sb mail inbox")
        })?;
        Some(id)
    };
    let mail = match id {
        Some(id) => inbox::find(owner, id).await.map_err(refused)?,
        None => None,
    };
    let mail =
        mail.ok_or_else(|| CliError::failed("there is no such mail").next("sb mail inbox"))?;
    if ui.json {
        ui.json(&mail);
        return Ok(ExitCode::SUCCESS);
    }
    let row = |name: &str, text: &str| format!("{} {}", ui.dim(&format!("{name:<8}")), line(text));
    let summary = &mail.summary;
    ui.data(row("to", &summary.to));
    ui.data(row("from", &summary.from));
    ui.data(row("subject", &summary.subject));
    ui.data(row(
        "time",
        &summary
            .created_at
            .format("%Y-%m-%d %H:%M:%S UTC")
            .to_string(),
    ));
    ui.data(format_args!("\n{}", block(mail.text.trim_end())));
    Ok(ExitCode::SUCCESS)
}

async fn show_template(
    owner: &Connection,
    config: &Config,
    args: &PreviewArgs,
    ui: Ui,
) -> CommandResult {
    let language = args.language.as_deref();
    let shown = preview::preview(owner, config, &args.template, language).await;
    let shown = shown.map_err(|error| match error {
        PreviewError::Db(error) => refused(error),
        PreviewError::Template(text) => {
            let built_in = preview::names().join(", ");
            CliError::failed(text).next(format!("sb mail preview NAME   # built in: {built_in}"))
        }
    })?;
    if ui.json {
        ui.json(&shown);
    } else if args.html {
        ui.data(shown.html.as_deref().unwrap_or_default());
    } else {
        ui.data(format_args!("{} {}\n", ui.dim("subject"), shown.subject));
        ui.data(block(shown.text.trim_end()));
    }
    for broken in &shown.broken {
        ui.warn(broken);
    }
    let code = u8::from(!shown.broken.is_empty());
    Ok(ExitCode::from(code))
}

fn refused(error: DbError) -> CliError {
    database::not_migrated(&error).unwrap_or_else(|| error.into())
}

/// One line that can do no harm to a terminal: mails hold what people wrote.
fn line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '·' } else { c })
        .collect()
}

/// The same for several lines.
fn block(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(line).collect();
    lines.join("\n")
}
