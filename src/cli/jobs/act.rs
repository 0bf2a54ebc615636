//! `sb jobs cancel`, `retry`, `purge`, `pause` and `resume`.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::{PurgeArgs, RetryArgs, refused, text};
use crate::cli::CommandResult;
use crate::cli::error::{CliError, Exit};
use crate::cli::ui::Ui;
use crate::db::Connection;
use crate::jobs::control::{self, Filter, MAX_LIST, Purge};
use crate::jobs::{JobId, JobsError, Status};

/// What became of several jobs; those that were refused are told at the end.
#[derive(Debug, Default)]
struct Tally {
    done: Vec<Value>,
    refused: Vec<(JobId, String)>,
}

impl Tally {
    /// Counts a refusal; a failure of the database ends the command.
    fn refuse(&mut self, id: JobId, error: JobsError) -> Result<(), CliError> {
        match error {
            JobsError::NotFound(_) | JobsError::WrongState(_) => {
                self.refused.push((id, error.to_string()));
                Ok(())
            }
            other => Err(refused(other)),
        }
    }

    fn report(self, ui: Ui) -> ExitCode {
        if ui.json {
            let refused = self.refused.iter();
            let refused: Vec<_> = refused
                .map(|(id, error)| json!({ "id": id, "message": error }))
                .collect();
            ui.json(&json!({ "jobs": self.done, "refused": refused }));
        }
        for (_, error) in &self.refused {
            ui.warn_error(error);
        }
        if self.refused.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(Exit::Failed as u8)
        }
    }
}

pub(super) async fn cancel(owner: &Connection, ids: &[JobId], ui: Ui) -> CommandResult {
    let mut tally = Tally::default();
    for &id in ids {
        match control::cancel(owner, id).await {
            Ok(status) => {
                let words = if status == "running" {
                    "is being stopped by its worker"
                } else {
                    "cancelled"
                };
                ui.done(format_args!("job {id} {words}"), None);
                tally.done.push(json!({ "id": id, "status": status }));
            }
            Err(error) => tally.refuse(id, error)?,
        }
    }
    Ok(tally.report(ui))
}

pub(super) async fn retry(owner: &Connection, args: RetryArgs, ui: Ui) -> CommandResult {
    let mut tally = Tally::default();
    if !args.all {
        for &id in &args.ids {
            match control::retry(owner, id).await {
                Ok(()) => {
                    ui.done(format_args!("job {id} runs again"), None);
                    tally.done.push(json!({ "id": id }));
                }
                Err(error) => tally.refuse(id, error)?,
            }
        }
        return Ok(tally.report(ui));
    }
    if !matches!(
        args.status,
        Status::Failed | Status::Cancelled | Status::Scheduled
    ) {
        let message = format!("jobs that are {} cannot be retried", args.status.as_str());
        return Err(CliError::new(Exit::Usage, message).next("sb jobs retry --all --status failed"));
    }
    let filter = Filter {
        status: Some(args.status),
        queue: args.queue,
        name: args.name,
        limit: MAX_LIST,
        offset: 0,
    };
    // Downwards: a job that fails again meanwhile is not met twice.
    let mut below = JobId::MAX;
    loop {
        let ids = control::ids_below(owner, &filter, below)
            .await
            .map_err(refused)?;
        let Some(&last) = ids.last() else { break };
        below = last;
        for id in ids {
            match control::retry(owner, id).await {
                Ok(()) => tally.done.push(json!({ "id": id })),
                Err(error) => tally.refuse(id, error)?,
            }
        }
    }
    match tally.done.len() {
        0 => ui.say("there is nothing to retry"),
        1 => ui.done("1 job runs again", None),
        count => ui.done(format_args!("{count} jobs run again"), None),
    }
    Ok(tally.report(ui))
}

pub(super) async fn purge(owner: &Connection, args: PurgeArgs, ui: Ui) -> CommandResult {
    if args.status == Some(Status::Running) {
        let message = "running jobs cannot be removed";
        return Err(CliError::new(Exit::Usage, message).next("sb jobs cancel ID   # stops one"));
    }
    let wanted = Purge {
        status: args.status,
        queue: args.queue,
    };
    if !args.yes {
        let count = control::count(owner, &wanted).await.map_err(refused)?;
        let question = format!(
            "{} would be removed for good; type {} to do it:",
            text::jobs(count),
            ui.bold("yes")
        );
        match ui.ask(&question) {
            Some(answer) if answer == "yes" => {}
            Some(_) => return Err(CliError::failed("nothing was removed").next("sb jobs list")),
            None => {
                let message = format!(
                    "this removes {} for good, and there is no terminal to ask; nothing was removed",
                    text::jobs(count)
                );
                return Err(CliError::new(Exit::Usage, message).next("sb jobs purge --yes"));
            }
        }
    }
    let removed = control::purge(owner, &wanted).await.map_err(refused)?;
    if ui.json {
        ui.json(&json!({ "removed": removed }));
    } else {
        ui.data(removed);
    }
    ui.done(format_args!("removed {}", text::jobs(removed)), None);
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn pause(owner: &Connection, queue: &str, paused: bool, ui: Ui) -> CommandResult {
    let changed = control::pause(owner, queue, paused)
        .await
        .map_err(refused)?;
    if ui.json {
        ui.json(&json!({ "queue": queue, "paused": paused, "changed": changed }));
    }
    match (changed, paused) {
        (true, true) => ui.done(format_args!("{queue} is paused; what runs goes on"), None),
        (true, false) => ui.done(format_args!("{queue} goes on"), None),
        (false, true) => ui.say(format_args!("{queue} was paused already")),
        (false, false) => ui.say(format_args!("{queue} was not paused")),
    }
    Ok(ExitCode::SUCCESS)
}
