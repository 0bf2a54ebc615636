//! `sb user`: accounts from the command line, by the same functions as the admin API.

use std::process::ExitCode;

use clap::Subcommand;
use serde::Serialize;

use super::error::{CliError, Exit};
use super::ui::Ui;
use super::{CommandResult, Session, database};
use crate::app::Running;
use crate::auth::{self, AuthError, Client, ListUsers, NewAccount, User};
use crate::clock::{Clock, random_token};

const PER_PAGE: u32 = 50;

/// Arguments of `sb user`.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make an account with a confirmed address. Without a password one is made and printed.
    Add {
        /// Its email address.
        email: String,
        /// Its password; `-` reads it from standard input, which keeps it out of the shell's history.
        #[arg(long)]
        password: Option<String>,
    },
    /// Delete an account with its sessions.
    Remove {
        /// Email address or id.
        who: String,
        /// Do not ask.
        #[arg(long, short)]
        yes: bool,
    },
    /// Ban an account: it cannot sign in or refresh, and its tokens end within their lifetime.
    Ban {
        /// Email address, number, user name or id.
        who: String,
        /// For how long, such as 24h or 1h30m. Default: a hundred years.
        #[arg(long = "for", value_name = "DURATION", default_value = "876600h")]
        duration: String,
    },
    /// Lift a ban.
    Unban {
        /// Email address, number, user name or id.
        who: String,
    },
    /// Give an account a new password, which ends its sessions. Without one it is made and printed.
    SetPassword {
        /// Email address, number, user name or id.
        who: String,
        /// The password; `-` reads it from standard input, which keeps it out of the shell's history.
        #[arg(long)]
        password: Option<String>,
    },
    /// Give an account a role of Postgres: what its next tokens name.
    SetRole {
        /// Email address, number, user name or id.
        who: String,
        /// One of `db.allowed_roles`, such as authenticated or guest.
        role: String,
    },
    /// End all sessions of an account.
    Logout {
        /// Email address, number, user name or id.
        who: String,
    },
    /// Open a session for an account and print its access token, to try out its rights.
    MintToken {
        /// Email address, number, user name or id.
        who: String,
    },
    /// Import accounts with their password hashes. Those that are there already are left alone.
    Import {
        /// JSON objects, one a line, or CSV: rows of Supabase's `auth.users`, records of `PocketBase`, or the fields of the
        /// admin API. `-` reads standard input.
        file: String,
    },
    /// List accounts, newest first.
    List {
        /// Fifty are on a page.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        page: u32,
        /// Only those whose address contains this.
        #[arg(long)]
        filter: Option<String>,
    },
}

pub(super) async fn run(args: Args, session: Session) -> CommandResult {
    let Session { ui, project, app } = session;
    let mut config = project.required()?.config_with_database()?;
    super::logging::start(&config, Some("error"))?;
    // The database may belong to servers that run another version.
    config.db.migrate_on_start = false;
    database::owner(&config).await?;
    let running = app.build(config).await.map_err(database::build_error)?;
    let result = act(&running, args.action, ui).await;
    running.shutdown().await;
    result.map(|()| ExitCode::SUCCESS)
}

async fn act(running: &Running, action: Action, ui: Ui) -> Result<(), CliError> {
    match action {
        Action::Add { email, password } => add(running, email, password.as_deref(), ui).await,
        Action::Remove { who, yes } => remove(running, &who, yes, ui).await,
        Action::Ban { who, duration } => {
            let user = auth::ban_user(running.auth(), &who, &duration, &operator()).await;
            changed(&user.map_err(refused)?, "banned", ui);
            Ok(())
        }
        Action::Unban { who } => {
            let user = auth::ban_user(running.auth(), &who, "none", &operator()).await;
            changed(&user.map_err(refused)?, "not banned any more:", ui);
            Ok(())
        }
        Action::SetPassword { who, password } => {
            set_password(running, &who, password.as_deref(), ui).await
        }
        Action::SetRole { who, role } => {
            let user = auth::set_role(running.auth(), &who, role, &operator()).await;
            changed(&user.map_err(refused)?, "changed", ui);
            Ok(())
        }
        Action::Logout { who } => {
            let ended = auth::log_out_user(running.auth(), &who, &operator()).await;
            let ended = ended.map_err(refused)?;
            if ui.json {
                ui.json(&serde_json::json!({ "revoked": ended }));
            } else {
                ui.data(ended);
            }
            ui.done(format_args!("ended {ended} sessions of {who}"), None);
            Ok(())
        }
        Action::MintToken { who } => {
            let session = auth::mint_token(running.auth(), &who, &operator()).await;
            let session = session.map_err(refused)?;
            if ui.json {
                ui.json(&session);
            } else {
                ui.data(&session.access_token);
            }
            ui.say(format_args!(
                "valid for {} seconds; `sb user logout` ends the session",
                session.expires_in
            ));
            Ok(())
        }
        Action::Import { file } => super::user_import::run(running, &file, &operator(), ui).await,
        Action::List { page, filter } => {
            list(
                running,
                ListUsers {
                    page,
                    per_page: PER_PAGE,
                    filter,
                    ..ListUsers::default()
                },
                ui,
            )
            .await
        }
    }
}

async fn add(
    running: &Running,
    email: String,
    password: Option<&str>,
    ui: Ui,
) -> Result<(), CliError> {
    let (password, is_made) = chosen(password, ui)?;
    let account = NewAccount {
        email: Some(email),
        password: Some(password.clone()),
        email_confirm: Some(true),
        ..NewAccount::default()
    };
    let user = auth::add_user(running.auth(), account, &operator())
        .await
        .map_err(refused)?;
    print(&user, is_made.then_some(&password), ui);
    let note = if is_made {
        "; the second line is the password that was made, shown this once"
    } else {
        ""
    };
    ui.done(format_args!("added {}{note}", user.email), None);
    Ok(())
}

/// The password given, or else one made here, and whether it was.
fn chosen(given: Option<&str>, ui: Ui) -> Result<(String, bool), CliError> {
    Ok(match given {
        Some("-") => {
            let text = ui.piped("password", "sb user add EMAIL   # makes one and prints it")?;
            (text.trim_end_matches(['\r', '\n']).to_owned(), false)
        }
        Some(password) => (password.to_owned(), false),
        None => (random_token::<18>(), true),
    })
}

/// Prints an account, and the password that was made for it.
fn print(user: &User, made: Option<&String>, ui: Ui) {
    #[derive(Serialize)]
    struct Document<'a> {
        #[serde(flatten)]
        user: &'a User,
        #[serde(skip_serializing_if = "Option::is_none")]
        password: Option<&'a String>,
    }
    if ui.json {
        let password = made;
        return ui.json(&Document { user, password });
    }
    ui.data(user.id);
    if let Some(password) = made {
        ui.data(password);
    }
}

/// Prints an account that was changed.
fn changed(user: &User, how: &str, ui: Ui) {
    print(user, None, ui);
    ui.done(format_args!("{how} {}", name(user)), None);
}

async fn set_password(
    running: &Running,
    who: &str,
    password: Option<&str>,
    ui: Ui,
) -> Result<(), CliError> {
    let (password, is_made) = chosen(password, ui)?;
    let user = auth::set_password(running.auth(), who, password.clone(), &operator())
        .await
        .map_err(refused)?;
    print(&user, is_made.then_some(&password), ui);
    ui.done(
        format_args!(
            "{} has a new password, and its sessions have ended",
            name(&user)
        ),
        None,
    );
    Ok(())
}

async fn remove(running: &Running, who: &str, yes: bool, ui: Ui) -> Result<(), CliError> {
    if !yes {
        match ui.ask(&format!("type {} to delete this account:", ui.bold(who))) {
            Some(answer) if answer == who => {}
            Some(_) => {
                return Err(
                    CliError::failed("that is another name; nothing was changed")
                        .next("sb user list"),
                );
            }
            None => {
                let message =
                    "this deletes an account, and there is no terminal to ask; nothing was changed";
                let next = format!("sb user remove {} --yes", super::init::shell_word(who));
                return Err(CliError::new(Exit::Usage, message).next(next));
            }
        }
    }
    let user = auth::remove_user(running.auth(), who, &operator())
        .await
        .map_err(refused)?;
    print(&user, None, ui);
    ui.done(format_args!("removed {}", name(&user)), None);
    Ok(())
}

async fn list(running: &Running, wanted: ListUsers, ui: Ui) -> Result<(), CliError> {
    let page = auth::list_users(running.auth(), &wanted)
        .await
        .map_err(refused)?;
    if ui.json {
        ui.json(
            &serde_json::json!({ "users": page.users, "total": page.total, "page": wanted.page }),
        );
        return Ok(());
    }
    let now = Clock::system().now();
    let row = |user: &User| {
        let state = match user.banned_until.filter(|until| *until > now) {
            Some(until) => until.format("banned until %Y-%m-%d %H:%M UTC").to_string(),
            None if user.confirmed_at.is_some() => "confirmed".to_owned(),
            None => "unconfirmed".to_owned(),
        };
        let made = user.created_at.format("%Y-%m-%d %H:%M:%S UTC").to_string();
        vec![
            user.id.to_string(),
            name(user),
            user.role.clone(),
            state,
            made,
        ]
    };
    let rows: Vec<_> = page.users.iter().map(row).collect();
    ui.data(ui.table(&["id", "address", "role", "state", "created"], &rows));
    if page.total > i64::from(wanted.page) * i64::from(PER_PAGE) {
        ui.say(format_args!(
            "{} accounts; `--page {}` shows more",
            page.total,
            wanted.page + 1
        ));
    }
    Ok(())
}

fn operator() -> Client {
    Client {
        ip: None,
        user_agent: Some(concat!("sb/", env!("CARGO_PKG_VERSION")).to_owned()),
    }
}

fn name(user: &User) -> String {
    let ways = [Some(&user.email), Some(&user.phone), user.username.as_ref()];
    let mut named = ways.into_iter().flatten().filter(|text| !text.is_empty());
    named.next().cloned().unwrap_or_else(|| user.id.to_string())
}

fn refused(error: AuthError) -> CliError {
    match error {
        AuthError::UserNotFound | AuthError::EmailExists => {
            CliError::failed(error).next("sb user list")
        }
        AuthError::Invalid(_) | AuthError::WeakPassword { .. } => {
            CliError::new(Exit::Usage, error).next("sb user --help")
        }
        other => CliError::failed(other),
    }
}
