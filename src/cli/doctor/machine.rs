//! Files, modes, ports and what earlier runs left behind.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::Report;
use crate::cli::backend;
use crate::cli::project::Project;
use crate::cli::state::State;
use crate::config::Config;
use crate::stack::{self, Leftover};

/// Files that hold secrets, in `.sb/`.
const SECRET_FILES: &[&str] = &[
    "master.key",
    "keys.json",
    "state.json",
    "compose.env",
    "postgrest.conf",
];

pub(super) fn files(config: &Config, report: &mut Report) {
    let dotenv = config.project_dir.join(".env");
    if dotenv.is_file() {
        if is_tracked(&config.project_dir, ".env") {
            let remedy =
                "git rm --cached .env && echo .env >> .gitignore   # then change its secrets";
            report.fail(
                ".env",
                "is tracked by git, so its secrets are in the history",
                remedy,
            );
        }
        closed(&dotenv, ".env", report);
    }
    let state_dir = config.state_dir();
    if !state_dir.is_dir() {
        return;
    }
    if is_tracked(&config.project_dir, ".sb") {
        let remedy =
            "git rm -r --cached .sb && echo .sb/ >> .gitignore   # then `sb keygen rotate --now`";
        report.fail(
            ".sb",
            "is tracked by git, so its keys are in the history",
            remedy,
        );
    }
    closed(&state_dir, ".sb", report);
    for name in SECRET_FILES {
        let path = state_dir.join(name);
        if path.exists() {
            closed(&path, name, report);
        }
    }
}

/// Ports and leftovers matter only while nothing runs: then they are in use rightly.
pub(super) fn stack(
    project: &Project,
    config: &Config,
    state: Option<&State>,
    report: &mut Report,
) {
    if let Some(state) = state {
        return report.ok(
            "running",
            format_args!("pid {}, {}", state.pid, state.api_url),
        );
    }
    if config.state_dir().is_dir() {
        leftovers(project, config, report);
    }
    let wanted = [
        (
            "server.port",
            SocketAddr::new(config.server.host, config.server.port),
            true,
        ),
        (
            "stack.port",
            SocketAddr::from(([127, 0, 0, 1], config.stack.port)),
            config.db.url.is_none(),
        ),
        (
            "rest.port",
            SocketAddr::from(([127, 0, 0, 1], config.rest.port)),
            config.rest.url.is_none(),
        ),
    ];
    for (name, address, needed) in wanted {
        if needed && address.port() != 0 && TcpListener::bind(address).is_err() {
            let message = format!(
                "{address} is in use; `sb dev` takes a free port instead, `sb serve` does not start"
            );
            report.warn(
                name,
                message,
                format!(
                    "ss -ltnp 'sport = :{}'   # shows who listens there",
                    address.port()
                ),
            );
        }
    }
}

fn leftovers(project: &Project, config: &Config, report: &mut Report) {
    let Ok(options) = backend::stack_options(project, config) else {
        return;
    };
    for leftover in stack::leftovers(&options) {
        let remedy = "sb dev   # ends and removes it at its start";
        match leftover {
            Leftover::Process { name, pid } => {
                report.warn(
                    "leftovers",
                    format_args!("{name} (pid {pid}) runs without its sb"),
                    remedy,
                );
            }
            Leftover::Path(path) => {
                report.warn(
                    "leftovers",
                    format_args!("{} is from a run that did not end well", path.display()),
                    remedy,
                );
            }
        }
    }
}

fn closed(path: &Path, name: &'static str, report: &mut Report) {
    let Ok(metadata) = std::fs::metadata(path) else {
        return;
    };
    let mode = metadata.permissions().mode() & 0o777;
    if mode.trailing_zeros() >= 6 {
        report.ok(name, "only its owner can read it");
    } else {
        let wanted = if metadata.is_dir() { "700" } else { "600" };
        let message = format!("others can read it (mode {mode:03o})");
        report.warn(name, message, format!("chmod {wanted} {}", path.display()));
    }
}

fn is_tracked(dir: &Path, name: &str) -> bool {
    let mut git = Command::new("git");
    git.arg("-C")
        .arg(dir)
        .args(["ls-files", "--error-unmatch", name]);
    git.stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    git.status().is_ok_and(|status| status.success())
}
