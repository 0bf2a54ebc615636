//! `sb user import`: accounts from a file, one at a time, however long it is.

use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::error::{CliError, Exit};
use super::ui::Ui;
use crate::app::Running;
use crate::auth::{self, AuthError, Client, ImportedUser};

/// Longer records are refused.
const MAX_RECORD: usize = 4 * 1024 * 1024;
/// More problems are counted only.
const MAX_TOLD: usize = 100;

const AGAIN: &str = "sb user import FILE   # again, when it is corrected";

/// What became of a file.
#[derive(Debug, Default, serde::Serialize)]
struct Report {
    added: u64,
    /// There was an account with this id, address, number or name.
    skipped: u64,
    failed: u64,
    problems: Vec<Problem>,
}

#[derive(Debug, serde::Serialize)]
struct Problem {
    line: usize,
    message: String,
}

/// Imports a file, or standard input when it is `-`. Records that do not fit are told by line and left out.
pub(super) async fn run(
    running: &Running,
    path: &str,
    operator: &Client,
    ui: Ui,
) -> Result<(), CliError> {
    let input: Box<dyn BufRead> = if path == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        let file = std::fs::File::open(path).map_err(|error| unreadable(path, &error))?;
        Box::new(BufReader::new(file))
    };
    let name = if path == "-" { "/dev/stdin" } else { path };
    let mut records = Records::new(name, input)?;
    let mut report = Report::default();
    while let Some((line, record)) = records.next()? {
        let outcome = match record {
            Ok(record) => import(running, &record).await,
            Err(message) => Outcome::Refused(message),
        };
        match outcome {
            Outcome::Added => report.added += 1,
            Outcome::Skipped => report.skipped += 1,
            Outcome::Refused(message) => {
                report.failed += 1;
                if report.problems.len() < MAX_TOLD {
                    ui.warn(format_args!("{path}:{line}: {message}"));
                    report.problems.push(Problem { line, message });
                }
            }
            Outcome::Stopped(error) => return Err(CliError::failed(error)),
        }
        if (report.added + report.skipped).is_multiple_of(1_000) {
            ui.progress(&format!("  {} added", report.added));
        }
    }
    auth::log_import(running.auth(), report.added, operator)
        .await
        .map_err(CliError::failed)?;
    finish(&report, ui)
}

fn finish(report: &Report, ui: Ui) -> Result<(), CliError> {
    if ui.json {
        ui.json(report);
    } else {
        ui.data(report.added);
    }
    ui.done(
        format_args!(
            "{} added, {} were there already, {} refused",
            report.added, report.skipped, report.failed
        ),
        None,
    );
    if report.failed == 0 {
        return Ok(());
    }
    let message = format!("{} records were refused; see above", report.failed);
    Err(CliError::failed(message).next(AGAIN))
}

enum Outcome {
    Added,
    Skipped,
    Refused(String),
    /// Not for this record's sake.
    Stopped(AuthError),
}

async fn import(running: &Running, record: &Map<String, Value>) -> Outcome {
    let now = running.context().clock.now();
    let user = match ImportedUser::from_record(record, now) {
        Ok(user) => user,
        Err(error) => return Outcome::Refused(error.to_string()),
    };
    match auth::import_user(running.auth(), &user).await {
        Ok(true) => Outcome::Added,
        Ok(false) => Outcome::Skipped,
        Err(error @ (AuthError::Invalid(_) | AuthError::SavingUser(_))) => {
            Outcome::Refused(error.to_string())
        }
        Err(error) => Outcome::Stopped(error),
    }
}

fn unreadable(path: &str, error: &std::io::Error) -> CliError {
    CliError::file(Exit::Failed, "read", Path::new(path), error)
}

/// The records of a file: JSON objects, one a line, or CSV whose first line names the columns.
struct Records<'a> {
    path: &'a str,
    input: Box<dyn BufRead>,
    line: usize,
    columns: Option<Vec<String>>,
    /// What was read to find out which of the two it is.
    pending: Option<String>,
}

type Record = Result<Map<String, Value>, String>;

impl<'a> Records<'a> {
    fn new(path: &'a str, input: Box<dyn BufRead>) -> Result<Self, CliError> {
        let mut records = Self {
            path,
            input,
            line: 0,
            columns: None,
            pending: None,
        };
        while let Some(text) = records.read()? {
            let first = text.trim_start_matches('\u{feff}');
            if first.trim().is_empty() {
                continue;
            }
            if first.trim_start().starts_with('{') {
                records.pending = Some(first.to_owned());
            } else {
                records.columns = Some(fields(first.trim_end_matches(['\r', '\n'])));
            }
            break;
        }
        Ok(records)
    }

    /// The next record and the line on which it begins.
    fn next(&mut self) -> Result<Option<(usize, Record)>, CliError> {
        loop {
            let text = match self.pending.take() {
                Some(text) => text,
                None => match self.read()? {
                    Some(text) => text,
                    None => return Ok(None),
                },
            };
            let line = self.line;
            if text.trim().is_empty() {
                continue;
            }
            if text.len() > MAX_RECORD {
                return Ok(Some((line, Err("the record is too long".to_owned()))));
            }
            return Ok(Some((line, self.record(text)?)));
        }
    }

    fn record(&mut self, mut text: String) -> Result<Record, CliError> {
        let Some(columns) = self.columns.clone() else {
            return Ok(serde_json::from_str(&text).map_err(|error| {
                // Its own text could echo a value.
                format!("no JSON object (column {})", error.column())
            }));
        };
        // An odd number of quotes: the field goes on on the next line.
        while text.matches('"').count() % 2 == 1 {
            match self.read()? {
                Some(more) if text.len() + more.len() <= MAX_RECORD => text.push_str(&more),
                _ => return Ok(Err("a quoted field does not end".to_owned())),
            }
        }
        let values = fields(text.trim_end_matches(['\r', '\n']));
        if values.len() != columns.len() {
            let (found, wanted) = (values.len(), columns.len());
            return Ok(Err(format!("{found} fields instead of {wanted}")));
        }
        let members = columns
            .into_iter()
            .zip(values)
            .filter(|(_, value)| !value.is_empty() && value != "\\N")
            .map(|(name, value)| (name, json!(value)));
        Ok(Ok(members.collect()))
    }

    fn read(&mut self) -> Result<Option<String>, CliError> {
        let mut bytes = Vec::new();
        let read = self.input.read_until(b'\n', &mut bytes);
        if read.map_err(|error| unreadable(self.path, &error))? == 0 {
            return Ok(None);
        }
        self.line += 1;
        String::from_utf8(bytes).map(Some).map_err(|_| {
            let message = format!("{}:{}: the line is not UTF-8", self.path, self.line);
            CliError::failed(message).next(AGAIN)
        })
    }
}

/// The fields of a line of CSV.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        let field = fields.last_mut().expect("it begins with one");
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => field.push(other),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &'static str) -> Vec<(usize, Record)> {
        let mut records = Records::new("a.csv", Box::new(text.as_bytes())).unwrap();
        std::iter::from_fn(|| records.next().unwrap()).collect()
    }

    #[test]
    fn json_lines_are_records() {
        let found = read("\n{\"email\": \"a@b.example\"}\n\n{\"email\n[1]");
        assert_eq!(found.len(), 3);
        assert_eq!(found[0].0, 2);
        assert_eq!(found[0].1.as_ref().unwrap()["email"], "a@b.example");
        assert_eq!((found[1].0, found[1].1.is_err()), (4, true));
        assert_eq!((found[2].0, found[2].1.is_err()), (5, true));
    }

    #[test]
    fn csv_has_quotes_line_breaks_and_empty_fields() {
        let found = read(
            "\u{feff}id,email,raw_user_meta_data,phone\r\n1,a@b.example,\"{\"\"nick\"\": \"\"a,\n b\"\"}\",\r\n2,c\n3,d@b.example,,\\N\n4,\"e\n",
        );
        let first = found[0].1.as_ref().unwrap();
        assert_eq!(first["raw_user_meta_data"], "{\"nick\": \"a,\n b\"}");
        assert!(!first.contains_key("phone"));
        assert_eq!(
            found.iter().map(|(line, _)| *line).collect::<Vec<_>>(),
            [2, 4, 5, 6]
        );
        assert_eq!(found[1].1, Err("2 fields instead of 4".to_owned()));
        assert_eq!(found[2].1.as_ref().unwrap().len(), 2);
        assert_eq!(found[3].1, Err("a quoted field does not end".to_owned()));
    }
}
