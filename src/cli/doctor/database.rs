//! The database: reachable, recent enough, migrated, and set up as far as its owner may.

use std::collections::HashSet;

use chrono::TimeDelta;

use super::{Report, queries};
use crate::app::App;
use crate::cli::database;
use crate::cli::migrate::{is_drift, word};
use crate::clock::Clock;
use crate::config::Config;
use crate::db::migrate::framework;
use crate::db::migrate::project::{self, State};
use crate::db::{Connection, DbError};

/// The oldest minor release of each major without a known serious hole or data loss; older ones are called out.
const OLDEST_MINORS: &[(i32, i32)] = &[(15, 14), (16, 10), (17, 6), (18, 0)];
const OLDEST_MAJOR: i32 = 15;
const TOLERATED_SKEW: TimeDelta = TimeDelta::seconds(30);

/// A connection as the owner, with what the failure to get one means.
pub(super) async fn reach(config: &Config, report: &mut Report) -> Option<Connection> {
    let target = match database::target(config) {
        Ok(target) => target,
        Err(error) => {
            report.fail(
                "database",
                error,
                "sb info   # shows where DATABASE_URL comes from",
            );
            return None;
        }
    };
    match Connection::open(&target).await {
        Ok(connection) => {
            report.ok(
                "database",
                format_args!("reached {}", database::describe(&target)),
            );
            Some(connection)
        }
        Err(error) => {
            let remedy = remedy(&error, &target.address());
            report.fail(
                "database",
                format_args!("{error}: {}", database::describe(&target)),
                remedy,
            );
            None
        }
    }
}

fn remedy(error: &DbError, address: &str) -> String {
    use crate::db::SqlState;
    match error.code() {
        Some(&SqlState::INVALID_PASSWORD | &SqlState::INVALID_AUTHORIZATION_SPECIFICATION) => {
            "check user and password in DATABASE_URL; special characters must be percent-encoded"
                .to_owned()
        }
        Some(&SqlState::INVALID_CATALOG_NAME) => {
            "createdb NAME   # or name another database".to_owned()
        }
        _ => format!("check that Postgres listens at {address} and that no firewall is between"),
    }
}

/// Version, time, settings; `false` when nothing else can be expected to work.
pub(super) async fn server(connection: &Connection, report: &mut Report) -> bool {
    let server = match queries::server(connection).await {
        Ok(server) => server,
        Err(error) => {
            report.fail(
                "server",
                error,
                "sb doctor   # again; the connection was lost",
            );
            return false;
        }
    };
    let (major, minor) = (server.version / 10_000, server.version % 10_000);
    if major < OLDEST_MAJOR {
        let message = format!("Postgres {major} is older than {OLDEST_MAJOR}");
        report.fail(
            "version",
            message,
            format!("upgrade to Postgres {OLDEST_MAJOR} or later"),
        );
        return false;
    }
    match OLDEST_MINORS.iter().find(|(known, _)| *known == major) {
        Some((_, oldest)) if minor < *oldest => {
            let message = format!("Postgres {major}.{minor} lacks fixes of later minor releases");
            report.warn(
                "version",
                message,
                format!("upgrade to the latest {major}.x; it needs a restart only"),
            );
        }
        _ => report.ok("version", format_args!("Postgres {major}.{minor}")),
    }
    let skew = Clock::system().now() - server.now;
    if skew.abs() > TOLERATED_SKEW {
        let message = format!(
            "the clocks here and in the database differ by {} s",
            skew.num_seconds()
        );
        report.fail(
            "clock",
            message,
            "timedatectl set-ntp true   # on both machines",
        );
    } else {
        report.ok("clock", "agrees with the database's");
    }
    if server.wal_level == "logical" {
        report.ok("wal_level", "logical");
    } else {
        let message = format!(
            "is {}; realtime changes will need logical",
            server.wal_level
        );
        report.warn(
            "wal_level",
            message,
            "alter system set wal_level = logical   -- then restart Postgres",
        );
    }
    if server.max_connections < 50 {
        let message = format!("max_connections is {}", server.max_connections);
        report.warn(
            "connections",
            message,
            "lower db.pool_max_size, or raise max_connections",
        );
    }
    true
}

/// Both lines; `false` when the framework's tables are not there.
pub(super) async fn migrations(
    connection: &Connection,
    config: &Config,
    app: &App,
    report: &mut Report,
) -> bool {
    let known = match queries::framework_history(connection).await {
        Ok(names) => names.into_iter().collect::<HashSet<_>>(),
        Err(error) => {
            report.fail(
                "framework migrations",
                error,
                "connect as the owner of the database",
            );
            return false;
        }
    };
    let missing: Vec<String> = framework::names()
        .into_iter()
        .filter(|name| !known.contains(name))
        .collect();
    if !missing.is_empty() {
        report.fail(
            "framework migrations",
            format_args!("not applied: {}", missing.join(", ")),
            "sb migrate",
        );
        return !known.is_empty();
    }
    report.ok(
        "framework migrations",
        format_args!("all {} are applied", known.len()),
    );
    project_line(connection, config, app, report).await;
    true
}

async fn project_line(connection: &Connection, config: &Config, app: &App, report: &mut Report) {
    const CHECK: &str = "project migrations";
    let status = match crate::app::project_migrations(config, &app.migrations) {
        Ok(migrations) => project::status_of(connection, &migrations).await,
        Err(error) => Err(error),
    };
    let lines = match status {
        Ok(lines) => lines,
        Err(error) => return report.fail(CHECK, error, "sb migrate status"),
    };
    for line in lines.iter().filter(|line| line.state != State::Applied) {
        let message = format!("{}_{}: {}", line.version, line.name, word(line.state));
        if is_drift(line.state) {
            report.fail(CHECK, message, "sb migrate   # says what to do");
        } else {
            report.warn(CHECK, message, "sb migrate");
        }
    }
    let applied = lines
        .iter()
        .filter(|line| line.state == State::Applied)
        .count();
    if applied == lines.len() {
        report.ok(CHECK, format_args!("all {applied} are applied"));
    }
}

/// Roles, grants and what the owner may not set up.
pub(super) async fn setup(connection: &Connection, report: &mut Report) {
    if let Err(error) = try_setup(connection, report).await {
        report.fail("setup", error, "connect as the owner of the database");
    }
}

async fn try_setup(connection: &Connection, report: &mut Report) -> Result<(), DbError> {
    let mighty = queries::mighty_roles(connection).await?;
    for (role, powers) in &mighty {
        let undo: Vec<String> = powers
            .split(", ")
            .map(|power| format!("no{power}"))
            .collect();
        let remedy = format!("alter role {role} {}", undo.join(" "));
        report.fail(
            "roles",
            format_args!("{role} has {powers}, which it must not have"),
            remedy,
        );
    }
    let unreachable = queries::unreachable_roles(connection).await?;
    for role in &unreachable {
        let remedy = format!("grant {role} to authenticator");
        report.fail(
            "grants",
            format_args!("role authenticator cannot become {role}"),
            remedy,
        );
    }
    if mighty.is_empty() && unreachable.is_empty() {
        report.ok("roles", "attributes and memberships are as they should be");
    }
    for table in queries::open_tables(connection).await? {
        let message = format!("{table} has no row level security, and API roles have rights on it");
        report.warn(
            "row level security",
            message,
            format!("alter table {table} enable row level security"),
        );
    }
    let limitations = queries::limitations(connection).await?;
    for (name, detail, remedy) in &limitations {
        report.warn("setup", format_args!("{detail} ({name})"), remedy);
    }
    if limitations.is_empty() {
        report.ok("setup", "the owner could set up everything");
    }
    Ok(())
}
