//! `sb init`: a new project folder whose example works at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use include_dir::{Dir, File, include_dir};

use super::error::{CliError, Exit};
use super::{CommandResult, Session};

static SCAFFOLD: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/scaffold");

/// What an existing folder may hold without counting as in use.
const IGNORED: &[&str] = &[".git", ".DS_Store"];
/// Secrets and state: never replaced, not even with `--force`.
const KEPT: &[&str] = &[".env", ".sb"];
/// Also the longest name of a compose project and of a Postgres role.
const MAX_NAME: usize = 63;

/// Arguments of `sb init`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name or path of the new folder; `.` is the current one.
    name: PathBuf,
    /// Write into a folder that is in use, and replace files that stand in the way (never .env and keys).
    #[arg(long)]
    force: bool,
}

/// A file of the scaffold and where it goes.
struct Planned {
    file: &'static File<'static>,
    /// Relative to the new folder.
    path: PathBuf,
}

pub(super) fn run(args: &Args, session: &Session) -> CommandResult {
    let ui = session.ui;
    let dir = std::path::absolute(&args.name)?;
    let name = project_name(&args.name, &dir)?;
    let plan = plan(&SCAFFOLD);
    if !args.force {
        refuse_used(&dir, &args.name)?;
    }
    let mut written = Vec::new();
    for planned in &plan {
        if write(planned, &dir, &name)? {
            ui.say(format_args!("  wrote {}", planned.path.display()));
            written.push(planned.path.display().to_string());
        } else {
            ui.warn(format_args!(
                "kept {}, which is never replaced",
                planned.path.display()
            ));
        }
    }
    if ui.json {
        ui.json(&serde_json::json!({ "project": dir, "name": name, "files": written }));
    }
    ui.done(format_args!("made the project {}", ui.bold(&name)), None);
    let next = if args.name == Path::new(".") {
        "sb dev".to_owned()
    } else {
        format!(
            "cd {} && sb dev",
            shell_word(&args.name.display().to_string())
        )
    };
    ui.say(format_args!("\n  {}", ui.cyan(&next)));
    Ok(ExitCode::SUCCESS)
}

/// The folder's name. It becomes the name of a compose project, so not every name will do; that of the current
/// folder is adapted, since it was chosen for other reasons.
fn project_name(given: &Path, dir: &Path) -> Result<String, CliError> {
    let name = dir
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let adapted = adapt(&name);
    let is_current = given
        .components()
        .all(|part| matches!(part, std::path::Component::CurDir));
    if adapted.is_empty() || (adapted != name && !is_current) {
        let message = format!(
            "\"{name}\" is no project name: use up to {MAX_NAME} lower-case letters, digits, - and _, beginning with a letter"
        );
        let suggested = if adapted.is_empty() {
            "my-app"
        } else {
            &adapted
        };
        let path = given.parent().unwrap_or(Path::new("")).join(suggested);
        return Err(CliError::new(Exit::Usage, message).next(format!(
            "sb init {}",
            shell_word(&path.display().to_string())
        )));
    }
    Ok(adapted)
}

fn adapt(name: &str) -> String {
    let lower = name.to_lowercase();
    let word = lower.chars().map(|c| {
        if c.is_ascii_alphanumeric() || c == '_' {
            c
        } else {
            '-'
        }
    });
    let word: String = word
        .skip_while(|c| !c.is_ascii_alphabetic())
        .take(MAX_NAME)
        .collect();
    word.trim_end_matches('-').to_owned()
}

fn refuse_used(dir: &Path, given: &Path) -> Result<(), CliError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(CliError::file(Exit::Failed, "use", dir, &error)),
    };
    let names = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names
        .filter(|name| !IGNORED.contains(&name.as_str()))
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    names.sort();
    let more = if names.len() > 8 {
        format!(" and {} more", names.len() - 8)
    } else {
        String::new()
    };
    names.truncate(8);
    let message = format!("{} is not empty: {}{more}", dir.display(), names.join(", "));
    let next = format!(
        "sb init {} --force   # replaces files of the same name",
        shell_word(&given.display().to_string())
    );
    Err(CliError::failed(message).next(next))
}

fn plan(dir: &'static Dir<'static>) -> Vec<Planned> {
    let mut plan: Vec<Planned> = dir
        .files()
        .map(|file| Planned {
            file,
            path: target(file.path()),
        })
        .collect();
    plan.extend(dir.dirs().flat_map(self::plan));
    plan
}

/// Dot files carry another name in the repository, where they would take effect.
fn target(path: &Path) -> PathBuf {
    match path.file_name().and_then(|name| name.to_str()) {
        Some(name @ ("gitignore" | "env.example" | "dockerignore")) => {
            path.with_file_name(format!(".{name}"))
        }
        _ => path.to_owned(),
    }
}

/// Writes one file; `false` when what is there must stay.
fn write(planned: &Planned, dir: &Path, name: &str) -> Result<bool, CliError> {
    let path = dir.join(&planned.path);
    let first = planned
        .path
        .components()
        .next()
        .map(|part| part.as_os_str().to_string_lossy().into_owned());
    if first.is_some_and(|first| KEPT.contains(&first.as_str())) && path.exists() {
        return Ok(false);
    }
    let content = match planned.file.contents_utf8() {
        Some(text) => text.replace("{{name}}", name).into_bytes(),
        None => planned.file.contents().to_vec(),
    };
    let folder = path.parent().unwrap_or(dir);
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, content));
    written.map_err(|error| CliError::file(Exit::Failed, "write", &path, &error))?;
    Ok(true)
}

/// Quoted when a shell would take it apart.
pub(super) fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:@%+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_and_a_better_one_is_offered() {
        let name = |given: &str| project_name(Path::new(given), &Path::new("/w").join(given));
        assert_eq!(name("todo-app_2").unwrap(), "todo-app_2");
        assert_eq!(name("apps/todos").unwrap(), "todos");
        for bad in ["2fast", "My App", "-x", "ünï", "a.b"] {
            assert!(name(bad).is_err(), "{bad}");
        }
        assert_eq!(
            project_name(Path::new("."), Path::new("/w/My App")).unwrap(),
            "my-app"
        );
    }

    #[test]
    fn dot_files_get_their_dot_and_folders_stay() {
        assert_eq!(target(Path::new("gitignore")), Path::new(".gitignore"));
        assert_eq!(
            target(Path::new("docs/env.example")),
            Path::new("docs/.env.example")
        );
        assert_eq!(
            target(Path::new("migrations/1_a.sql")),
            Path::new("migrations/1_a.sql")
        );
    }

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(shell_word("a/b-c.d"), "a/b-c.d");
        assert_eq!(shell_word("it's here"), "'it'\\''s here'");
    }
}
