//! `sb keygen`: signing keys and API keys. Data (ids, keys) goes to stdout, words to stderr.

use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};

use super::error::CliError;
use super::ui::Ui;
use super::{CommandResult, Session, database};
use crate::app;
use crate::clock::Clock;
use crate::config::Config;
use crate::db::Connection;
use crate::keys::manage::{self, ApiKeyKind, Rotation};
use crate::keys::{KeyStatus, KeysError, MasterKey};

/// Arguments of `sb keygen`.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make the first signing key, if there is none, and print the id of the one that signs.
    Init,
    /// Make a new signing key: in reserve, so that everybody can learn of it before it signs.
    Rotate {
        /// Let it sign at once.
        #[arg(long)]
        now: bool,
    },
    /// Let a key in reserve sign; the one that signed goes on verifying.
    Activate {
        // One id in 64 begins with a hyphen.
        /// Default: the newest one.
        #[arg(allow_hyphen_values = true)]
        kid: Option<String>,
    },
    /// Revoke former keys whose every token has expired.
    Prune,
    /// Revoke one key at once: what it signed is refused from now on.
    Revoke {
        #[arg(allow_hyphen_values = true)]
        kid: String,
    },
    /// List signing keys.
    List,
    /// Make, list and revoke API keys (`sb_publishable_…`, `sb_secret_…`).
    #[command(subcommand, arg_required_else_help = true)]
    ApiKey(ApiKeyAction),
    /// Make an API key in JWT form, for clients that know no other. It is valid for ten years.
    Jwt {
        /// The role it stands for.
        #[arg(long, value_name = "ROLE", value_parser = ["anon", "service_role"])]
        role: String,
    },
}

#[derive(Debug, Subcommand)]
enum ApiKeyAction {
    /// Make a key. It is printed once: only its hash is kept.
    Create {
        /// A name of your own.
        #[arg(long)]
        name: String,
        /// Who may see it.
        #[arg(long = "type", value_name = "TYPE")]
        kind: Kind,
    },
    /// List keys by name and first characters.
    List,
    /// Revoke a key by name.
    Revoke { name: String },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// Everybody: role anon.
    Publishable,
    /// Servers only: role `service_role`.
    Secret,
}

/// What every action works with.
pub(super) struct Workshop {
    pub(super) ui: Ui,
    pub(super) config: Config,
    pub(super) connection: Connection,
    pub(super) master: MasterKey,
    pub(super) clock: Clock,
}

pub(super) async fn run(args: Args, session: Session) -> CommandResult {
    let workshop = Workshop::open(session).await?;
    match workshop.act(args.action).await {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error @ (KeysError::NoSuchKey { .. } | KeysError::NoStandbyKey)) => {
            Err(CliError::failed(error).next("sb keygen list"))
        }
        Err(error @ (KeysError::NoSuchApiKey(_) | KeysError::NameTaken(_))) => {
            Err(CliError::failed(error).next("sb keygen api-key list"))
        }
        Err(error) => Err(database::build_error(error.into())),
    }
}

impl Workshop {
    pub(super) async fn open(session: Session) -> Result<Self, CliError> {
        let config = session.project.required()?.config_with_database()?;
        Ok(Self {
            connection: database::owner(&config).await?,
            master: app::master_key(&config)?,
            ui: session.ui,
            config,
            clock: Clock::system(),
        })
    }

    async fn act(&self, action: Action) -> Result<(), KeysError> {
        let Self {
            ui,
            config,
            connection,
            master,
            clock,
        } = self;
        match action {
            Action::Init => {
                let kid = manage::init(connection, master, config, clock).await?;
                self.print("kid", &kid);
                ui.say("this key signs");
            }
            Action::Rotate { now } => {
                let rotation = if now {
                    Rotation::Now
                } else {
                    Rotation::Standby
                };
                let kid =
                    manage::rotate(connection, master, config.jwt.alg, rotation, clock).await?;
                self.print("kid", &kid);
                ui.say(if now {
                    "this key signs; the former one goes on verifying until it is pruned"
                } else {
                    "this key is published but does not sign yet: `sb keygen activate` lets it, in some minutes"
                });
            }
            Action::Activate { kid } => {
                let kid = manage::activate(connection, kid.as_deref(), clock).await?;
                self.print("kid", &kid);
                ui.say("this key signs; the former one goes on verifying until it is pruned");
            }
            Action::Prune => self.prune().await?,
            Action::Revoke { kid } => {
                manage::revoke(connection, &kid).await?;
                self.print("kid", &kid);
                ui.say("revoked: what this key signed is refused from now on");
            }
            Action::List => self.list().await?,
            Action::ApiKey(action) => self.api_key(action).await?,
            Action::Jwt { role } => {
                let issuer = config.issuer();
                let key = manage::mint_api_jwt(connection, master, &issuer, &role, clock).await?;
                self.print("key", key.expose());
                ui.say(format_args!(
                    "an API key for role {role}, valid for ten years; it ends with its signing key"
                ));
            }
        }
        Ok(())
    }

    async fn prune(&self) -> Result<(), KeysError> {
        let kids = manage::prune(&self.connection, &self.config, &self.clock).await?;
        if self.ui.json {
            self.ui.json(&serde_json::json!({ "revoked": kids }));
        } else {
            for kid in &kids {
                self.ui.data(kid);
            }
        }
        self.ui.say(match kids.len() {
            0 => "nothing to prune".to_owned(),
            count => format!("revoked {count} former keys"),
        });
        Ok(())
    }

    async fn list(&self) -> Result<(), KeysError> {
        let keys = manage::list(&self.connection).await?;
        if self.ui.json {
            self.ui.json(&keys);
            return Ok(());
        }
        let rows: Vec<Vec<String>> = keys
            .iter()
            .map(|key| {
                let status = if key.status == KeyStatus::Previous && key.pinned {
                    "previous (pinned)"
                } else {
                    key.status.as_str()
                };
                vec![
                    key.kid.clone(),
                    key.algorithm.clone(),
                    status.to_owned(),
                    time(key.created_at),
                ]
            })
            .collect();
        self.ui.data(
            self.ui
                .table(&["kid", "algorithm", "status", "created"], &rows),
        );
        Ok(())
    }

    async fn api_key(&self, action: ApiKeyAction) -> Result<(), KeysError> {
        let Self {
            ui,
            connection,
            clock,
            ..
        } = self;
        match action {
            ApiKeyAction::Create { name, kind } => {
                let kind = match kind {
                    Kind::Publishable => ApiKeyKind::Publishable,
                    Kind::Secret => ApiKeyKind::Secret,
                };
                let key = manage::create_api_key(connection, &name, kind, clock).await?;
                self.print("key", key.expose());
                ui.say(format_args!(
                    "API key \"{name}\" for role {}; it is shown this once",
                    kind.role()
                ));
            }
            ApiKeyAction::List => {
                let keys = manage::list_api_keys(connection).await?;
                if ui.json {
                    ui.json(&keys);
                    return Ok(());
                }
                let rows: Vec<Vec<String>> = keys
                    .iter()
                    .map(|key| {
                        let state = key.revoked_at.map_or_else(
                            || "in force".to_owned(),
                            |at| format!("revoked {}", time(at)),
                        );
                        vec![
                            key.name.clone(),
                            key.role.clone(),
                            format!("{}…", key.prefix),
                            time(key.created_at),
                            state,
                        ]
                    })
                    .collect();
                ui.data(ui.table(&["name", "role", "key", "created", "state"], &rows));
            }
            ApiKeyAction::Revoke { name } => {
                manage::revoke_api_key(connection, &name, clock).await?;
                self.print("name", &name);
                ui.say("revoked: every node refuses it within moments");
            }
        }
        Ok(())
    }

    pub(super) fn print(&self, name: &str, value: &str) {
        if self.ui.json {
            self.ui.json(&serde_json::json!({ name: value }));
        } else {
            self.ui.data(value);
        }
    }
}

fn time(time: chrono::DateTime<chrono::Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}
