//! `sb doctor`: looks at everything `sb` needs, in the order it needs it, and says what to do about each finding.

mod database;
mod keys;
mod machine;
mod queries;

use std::process::ExitCode;

use serde::Serialize;

use super::error::Exit;
use super::project::Project;
use super::state::State;
use super::ui::{Ui, count};
use super::{CommandResult, Session};
use crate::app::App;
use crate::config::{Config, Secret};

/// Arguments of `sb doctor`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    /// As it should be.
    Ok,
    /// Works, but not as well as it could.
    Warn,
    /// Does not work.
    Fail,
}

/// What one check found. Never holds a password.
#[derive(Debug, Serialize)]
struct Finding {
    level: Level,
    check: &'static str,
    message: String,
    /// What to do.
    remedy: Option<String>,
}

/// Tells each finding as it comes and remembers it.
struct Report {
    ui: Ui,
    findings: Vec<Finding>,
}

impl Report {
    fn ok(&mut self, check: &'static str, message: impl std::fmt::Display) {
        self.add(Level::Ok, check, message.to_string(), None);
    }

    fn warn(
        &mut self,
        check: &'static str,
        message: impl std::fmt::Display,
        remedy: impl Into<String>,
    ) {
        self.add(Level::Warn, check, message.to_string(), Some(remedy.into()));
    }

    fn fail(
        &mut self,
        check: &'static str,
        message: impl std::fmt::Display,
        remedy: impl Into<String>,
    ) {
        self.add(Level::Fail, check, message.to_string(), Some(remedy.into()));
    }

    fn add(&mut self, level: Level, check: &'static str, message: String, remedy: Option<String>) {
        if !self.ui.json {
            let word = match level {
                Level::Ok => self.ui.green("ok:"),
                Level::Warn => self.ui.yellow("warn:"),
                Level::Fail => self.ui.red("fail:"),
            };
            self.ui.data(format_args!("{word} {check}: {message}"));
            if let Some(remedy) = &remedy {
                self.ui.data(format_args!("      {}", self.ui.dim(remedy)));
            }
        }
        self.findings.push(Finding {
            level,
            check,
            message,
            remedy,
        });
    }

    fn count(&self, level: Level) -> usize {
        self.findings
            .iter()
            .filter(|finding| finding.level == level)
            .count()
    }
}

pub(super) async fn run(_: Args, session: Session) -> CommandResult {
    let Session { ui, project, app } = session;
    let mut report = Report {
        ui,
        findings: Vec::new(),
    };
    Box::pin(examine(&project, app, &mut report)).await;
    if ui.json {
        let healthy = report.count(Level::Fail) == 0;
        ui.json(&serde_json::json!({ "healthy": healthy, "findings": report.findings }));
    }
    let (failures, warnings) = (report.count(Level::Fail), report.count(Level::Warn));
    ui.say(format_args!(
        "\n{}, {}",
        count(failures, "failure"),
        count(warnings, "warning")
    ));
    Ok(if failures == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(Exit::Failed as u8)
    })
}

/// Stops where later checks would only repeat an earlier failure.
async fn examine(project: &Project, app: App, report: &mut Report) {
    let config = match project.config() {
        Ok(config) => config,
        Err(error) => {
            return report.fail(
                "configuration",
                error,
                "sb info --fields   # lists every setting",
            );
        }
    };
    report.ok(
        "configuration",
        format_args!("every setting in {} is valid", project.dir.display()),
    );
    // Commands that follow read no log.
    if let Err(error) = super::logging::start(&config, Some("error")) {
        report.fail("log.level", error, "sb info   # shows where it comes from");
    }
    let state = State::read(&config.state_dir());
    machine::files(&config, report);
    machine::stack(project, &config, state.as_ref(), report);
    let Some(config) = with_database(config, state.as_ref(), report) else {
        return;
    };
    let Some(connection) = database::reach(&config, report).await else {
        return;
    };
    if !database::server(&connection, report).await {
        return;
    }
    if !database::migrations(&connection, &config, &app, report).await {
        return;
    }
    database::setup(&connection, report).await;
    if keys::signing(&connection, report).await {
        Box::pin(keys::postgrest(app, config, report)).await;
    }
}

/// The configuration with the database and the PostgREST that run, where none are configured.
fn with_database(mut config: Config, state: Option<&State>, report: &mut Report) -> Option<Config> {
    if config.db.url.is_none() {
        let Some(state) = state else {
            let message = "DATABASE_URL is not set and no development database runs, so nothing in it was checked";
            report.warn("database", message, "sb up && sb doctor");
            return None;
        };
        config.db.url = Some(Secret::new(state.db_url.clone()));
    }
    if config.rest.url.is_none() {
        config.rest.url = state.map(|state| state.rest_url.clone());
    }
    Some(config)
}
