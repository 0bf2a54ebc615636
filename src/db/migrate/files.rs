//! The files of the project's line: names, text, checksums.
//!
//! `20240101000000_name.sql` as Supabase and dbmate name them (any number of digits), or `V1__name.sql`.

use std::path::{Path, PathBuf};

use super::MigrateError;
use super::split::{Problem, Statement, split};
use crate::clock::Clock;

/// A file of the project's line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// Its number, without leading zeros.
    pub version: String,
    /// What the name says.
    pub name: String,
    /// Folder and file name, for people.
    pub file: String,
    /// SHA-256 of its text, in hex. Line ends and a byte order mark do not count.
    pub checksum: String,
    /// Runs in one transaction.
    pub transaction: bool,
    pub(super) number: u64,
    pub(super) sql: String,
}

/// Reads all migrations of `dir` in the order of their versions. A folder that does not exist has none.
///
/// # Errors
/// A file whose name or text cannot be used, and two files with one version, by name.
pub fn load(dir: &Path) -> Result<Vec<Migration>, MigrateError> {
    let folder = dir.file_name().unwrap_or(dir.as_os_str()).to_string_lossy();
    let unreadable = |error: std::io::Error| {
        let next = "make the folder readable, or set db.migrations_dir to another one";
        MigrateError::file(folder.as_ref(), error.to_string(), next)
    };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        if is_sql(&path) && !path.is_dir() {
            paths.push(path);
        }
    }
    paths.sort();
    let migrations = paths
        .iter()
        .map(|path| read(path, &folder))
        .collect::<Result<Vec<_>, _>>()?;
    in_order(migrations)
}

/// Reads the migrations of `dir` and those built into the program as one line.
pub fn load_all(
    dir: &Path,
    embedded: &[include_dir::Dir<'static>],
) -> Result<Vec<Migration>, MigrateError> {
    let mut migrations = load(dir)?;
    for file in embedded.iter().flat_map(include_dir::Dir::files) {
        if is_sql(file.path()) {
            let name = file.path().to_string_lossy();
            migrations.push(parse(&name, "(program)", file.contents().to_vec())?);
        }
    }
    in_order(migrations)
}

fn in_order(mut migrations: Vec<Migration>) -> Result<Vec<Migration>, MigrateError> {
    migrations.sort_by_key(|migration| migration.number);
    match migrations
        .windows(2)
        .find(|pair| pair[0].number == pair[1].number)
    {
        None => Ok(migrations),
        Some(pair) => Err(MigrateError::file(
            &pair[1].file,
            format!("has the same version as {}", pair[0].file),
            "rename one of them to a version of its own",
        )),
    }
}

/// Makes an empty migration named `name` with the time as its version, later than all others.
pub fn new(dir: &Path, name: &str, clock: &Clock) -> Result<PathBuf, MigrateError> {
    let words: Vec<String> = name
        .split(|character: char| !character.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    if words.is_empty() {
        let next = "give it one, such as `sb migrate new create_todos`";
        return Err(MigrateError::file("migration", "has no name", next));
    }
    let stamp = clock.now().format("%Y%m%d%H%M%S").to_string();
    let stamp: u64 = stamp.parse().expect("a time of digits is a number");
    let latest = load(dir)?.last().map_or(0, |migration| migration.number);
    let path = dir.join(format!("{}_{}.sql", stamp.max(latest + 1), words.join("_")));
    let text = format!("-- {}\n\n", words.join(" "));
    std::fs::create_dir_all(dir)
        .and_then(|()| {
            let mut file = std::fs::File::create_new(&path)?;
            std::io::Write::write_all(&mut file, text.as_bytes())
        })
        .map_err(|error| {
            let next = "make the folder writable and try again";
            MigrateError::file(path.display().to_string(), error.to_string(), next)
        })?;
    Ok(path)
}

impl Migration {
    /// Its statements, checked for what only psql can do.
    pub(super) fn statements(&self) -> Result<Vec<Statement<'_>>, MigrateError> {
        let statements = split(&self.sql).map_err(|error| {
            let (problem, next) = match error.problem {
                Problem::MetaCommand => (
                    "a command of psql, which Postgres does not know".to_owned(),
                    "remove the line; `\\restrict` and `\\unrestrict` come from pg_dump and can go",
                ),
                Problem::Unterminated(what) => {
                    (format!("a {what} begins here and never ends"), "close it")
                }
            };
            MigrateError::file(format!("{}:{}", self.file, error.line), problem, next)
        })?;
        if let Some(copy) = statements.iter().find(|s| s.copies_from_client) {
            return Err(MigrateError::file(
                format!("{}:{}", self.file, copy.line),
                "`copy … from stdin` reads rows that only psql can send",
                "dump the data with `pg_dump --inserts`, or load it with psql",
            ));
        }
        if self.transaction {
            self.without_transaction_control(statements)
        } else {
            Ok(statements)
        }
    }

    /// A file may wrap itself, or a part, in `begin` and `commit`: that happens anyway. Half of a pair, or a rollback,
    /// would break the promise that a file is applied whole or not at all.
    fn without_transaction_control<'a>(
        &self,
        statements: Vec<Statement<'a>>,
    ) -> Result<Vec<Statement<'a>>, MigrateError> {
        let mut kept = Vec::with_capacity(statements.len());
        let mut open = None;
        for statement in statements {
            if begins(&statement) && open.is_none() {
                open = Some(statement);
            } else if commits(&statement) && open.is_some() {
                open = None;
            } else if begins(&statement) || commits(&statement) || rolls_back(&statement) {
                return Err(self.breaks_the_transaction(&statement));
            } else {
                kept.push(statement);
            }
        }
        open.map_or(Ok(kept), |begin| Err(self.breaks_the_transaction(&begin)))
    }

    fn breaks_the_transaction(&self, statement: &Statement<'_>) -> MigrateError {
        MigrateError::file(
            format!("{}:{}", self.file, statement.line),
            format!(
                "`{}` in the middle of a migration, which is one transaction",
                statement.words[0]
            ),
            "remove it, or begin the file with `-- sb: no-transaction` to run its statements one by one",
        )
    }
}

fn begins(statement: &Statement<'_>) -> bool {
    let words: Vec<&str> = statement.words.iter().map(String::as_str).collect();
    matches!(
        words.as_slice(),
        ["begin", ..] | ["start", "transaction", ..]
    )
}

fn commits(statement: &Statement<'_>) -> bool {
    matches!(
        statement.words.first().map(String::as_str),
        Some("commit" | "end")
    )
}

/// `rollback to savepoint` stays inside the transaction.
fn rolls_back(statement: &Statement<'_>) -> bool {
    let words: Vec<&str> = statement.words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["abort", ..] | ["prepare", "transaction", ..] => true,
        ["rollback", rest @ ..] => !rest.contains(&"to"),
        _ => false,
    }
}

/// Hidden files are editors' and systems' own.
fn is_sql(path: &Path) -> bool {
    let hidden = path
        .file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with('.'));
    let extension = path.extension().unwrap_or_default();
    !hidden && extension.eq_ignore_ascii_case("sql")
}

fn read(path: &Path, folder: &str) -> Result<Migration, MigrateError> {
    let file_name = path.file_name().unwrap_or_default().to_string_lossy();
    let bytes = std::fs::read(path).map_err(|error| {
        MigrateError::file(
            format!("{folder}/{file_name}"),
            error.to_string(),
            "make the file readable and try again",
        )
    })?;
    parse(&file_name, folder, bytes)
}

fn parse(file_name: &str, folder: &str, bytes: Vec<u8>) -> Result<Migration, MigrateError> {
    let file = format!("{folder}/{file_name}");
    let (number, name) = parse_name(file_name).ok_or_else(|| {
        MigrateError::file(
            &file,
            "is no name of a migration",
            "name it like 20240101000000_create_todos.sql (`sb migrate new create_todos` does), or move it out of the folder",
        )
    })?;
    if file_name.to_ascii_lowercase().ends_with(".down.sql") {
        let next = "move it out of the folder: migrations only go forward";
        return Err(MigrateError::file(file, "undoes a migration", next));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.split(|byte| *byte == b'\n').count();
        MigrateError::file(
            format!("{file}:{line}"),
            "is not UTF-8 text",
            "save it in UTF-8 and try again",
        )
    })?;
    let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n");
    let directives = directives(&text, &file)?;
    Ok(Migration {
        version: number.to_string(),
        name,
        file,
        checksum: checksum(&text),
        transaction: directives.transaction,
        number,
        sql: text[..directives.end].to_owned(),
    })
}

fn parse_name(file_name: &str) -> Option<(u64, String)> {
    let stem = &file_name[..file_name.len() - ".sql".len()];
    let (digits, name) = match stem.strip_prefix(['V', 'v']) {
        Some(rest) => rest.split_once("__")?,
        None => stem.split_once('_')?,
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits
        .parse()
        .ok()
        .filter(|_| is_number && !name.is_empty())?;
    // A bigger one could not be counted up.
    (number < u64::MAX).then(|| (number, name.to_owned()))
}

struct Directives {
    transaction: bool,
    /// Where the part to run ends.
    end: usize,
}

/// `-- sb: no-transaction` before the first statement. Files of dbmate say `-- migrate:up` (with
/// `transaction:false`) and `-- migrate:down`, after which nothing is run.
fn directives(text: &str, file: &str) -> Result<Directives, MigrateError> {
    let mut found = Directives {
        transaction: true,
        end: text.len(),
    };
    let (mut offset, mut head, mut dbmate) = (0, true, false);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let trimmed = line.trim();
        head &= trimmed.is_empty() || trimmed.starts_with("--");
        let comment = line.strip_prefix("--").map_or("", str::trim);
        if let Some(up) = comment.strip_prefix("migrate:up").filter(|_| head) {
            dbmate = true;
            found.transaction &= !up.contains("transaction:false");
        } else if dbmate && comment.starts_with("migrate:down") {
            found.end = offset;
            break;
        } else if let Some(directive) = comment.strip_prefix("sb:").filter(|_| head) {
            if directive.trim() != "no-transaction" {
                let problem = format!("unknown directive \"sb:{directive}\"");
                let next = "the only one is `-- sb: no-transaction`";
                let at = format!("{file}:{}", index + 1);
                return Err(MigrateError::file(at, problem, next));
            }
            found.transaction = false;
        }
        offset += line.len();
    }
    Ok(found)
}

fn checksum(text: &str) -> String {
    hex::encode(aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA256,
        text.as_bytes(),
    ))
}
