//! `sb password`: new passwords for the roles of the database.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;

use super::error::{CliError, Exit};
use super::{CommandResult, Session, database};
use crate::app;
use crate::clock::random_token;
use crate::config::Secret;
use crate::db::Connection;
use crate::keys::role_passwords;

/// Arguments of `sb password`.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Give a role a new password. Nodes that run follow by themselves where the password is derived from the master key;
    /// else it is written to `.env`, and printed.
    Rotate {
        /// `sb_auth`, `sb_jobs`, `sb_hooks`, `authenticator`, or the role of `DATABASE_URL`.
        role: String,
    },
}

pub(super) async fn run(args: Args, session: Session) -> CommandResult {
    let Action::Rotate { role } = args.action;
    let project = session.project.required()?;
    let config = project.config_with_database()?;
    let target = database::target(&config)?;
    let owner = database::owner(&config).await?;
    let ui = session.ui;
    let configured = role == "authenticator" && config.db.authenticator_password.is_some();
    if role_passwords::ROLES.contains(&role.as_str()) && !configured {
        let master = app::master_key(&config)?;
        role_passwords::rotate(&owner, &master, &role)
            .await
            .map_err(|error| database::build_error(error.into()))?;
        if ui.json {
            ui.json(&serde_json::json!({ "role": role, "derived": true }));
        }
        ui.done(
            format_args!("{role} has its next derived password; every node follows by itself"),
            None,
        );
        return Ok(ExitCode::SUCCESS);
    }
    let (name, value, password) = if configured {
        let password = random_token::<24>();
        ("AUTHENTICATOR_PASSWORD", password.clone(), password)
    } else if role == target.user() {
        let password = random_token::<24>();
        let url = config.db.url.as_ref().map_or("", |url| url.expose());
        ("DATABASE_URL", with_password(url, &password)?, password)
    } else {
        let message = format!("no password of role {role} is known to sb");
        return Err(CliError::new(Exit::Usage, message).next("sb password rotate --help"));
    };
    let file = project.dir.join(".env");
    set(&owner, &role, &password).await?;
    // Only now: a file that names a password nobody has would lock everybody out.
    let written = replace_in_file(&file, name, &value).map_err(|error| {
        let message = format!(
            "{role} has the new password {password}, but {} could not be written: {error}",
            file.display()
        );
        CliError::failed(message).next(format!("put {name} into its place by hand"))
    })?;
    if ui.json {
        ui.json(&serde_json::json!({ "role": role, "password": password, "env_updated": written }));
    } else {
        ui.data(&password);
    }
    ui.done(
        format_args!("{role} has this new password, shown this once"),
        None,
    );
    ui.say(if written {
        format!("{name} in .env holds it; what reads its environment elsewhere needs it too")
    } else {
        format!("{name} does not stand in .env: set it where it comes from, and restart")
    });
    Ok(ExitCode::SUCCESS)
}

async fn set(owner: &Connection, role: &str, password: &str) -> Result<(), CliError> {
    let password = Secret::new(password);
    Ok(role_passwords::set(owner, role, &password).await?)
}

/// The same address with another password.
fn with_password(url: &str, password: &str) -> Result<String, CliError> {
    let changed = url::Url::parse(url).ok().and_then(|mut url| {
        url.set_password(Some(password)).ok()?;
        Some(url.to_string())
    });
    changed.ok_or_else(|| {
        let message = "DATABASE_URL is not in the form postgresql://user:password@host/database";
        CliError::new(Exit::Config, message).next("sb info   # shows where DATABASE_URL comes from")
    })
}

/// Replaces the line of a variable, if there is one; the file appears whole or not at all and keeps its mode.
fn replace_in_file(path: &Path, name: &str, value: &str) -> std::io::Result<bool> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let is_ours = |line: &str| {
        let line = line.trim_start();
        let line = line.strip_prefix("export ").unwrap_or(line);
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('='))
    };
    if !text.lines().any(is_ours) {
        return Ok(false);
    }
    let mut changed = String::new();
    for line in text.split_inclusive('\n') {
        if is_ours(line) {
            changed.extend([name, "=", value, "\n"]);
        } else {
            changed.push_str(line);
        }
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(changed.as_bytes())?;
    file.as_file().sync_all()?;
    file.as_file()
        .set_permissions(std::fs::metadata(path)?.permissions())?;
    file.persist(path)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_keeps_everything_but_its_password() {
        let old = "postgresql://ana:old%40pass@db.example.com:5433/app?sslmode=require";
        assert_eq!(
            with_password(old, "new_pass-1").unwrap(),
            "postgresql://ana:new_pass-1@db.example.com:5433/app?sslmode=require"
        );
        assert!(with_password("host=localhost password=old", "new").is_err());
    }

    #[test]
    fn only_the_line_of_the_variable_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env");
        assert!(!replace_in_file(&path, "DATABASE_URL", "new").unwrap());
        std::fs::write(
            &path,
            "# DATABASE_URL=x\nA=1\nDATABASE_URL=old\nDATABASE_URL_2=y",
        )
        .unwrap();
        assert!(replace_in_file(&path, "DATABASE_URL", "new").unwrap());
        assert!(!replace_in_file(&path, "B", "new").unwrap());
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "# DATABASE_URL=x\nA=1\nDATABASE_URL=new\nDATABASE_URL_2=y"
        );
    }
}
