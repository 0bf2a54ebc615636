//! What a person reads when a migration fails: where, what Postgres said, and what to type next.

use std::fmt;

use crate::db::{DbError, SqlState};

/// Why migrations were not applied.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database failed outside any file.
    #[error(transparent)]
    Db(#[from] DbError),
    /// Another process held the lock for too long.
    #[error(
        "another process is migrating this database ({holder}); it was still at it after {waited_s} s\n  try `sb migrate` again when it is done"
    )]
    Locked {
        /// Who holds the lock.
        holder: String,
        /// How long we waited.
        waited_s: u64,
    },
    /// A migration of the framework's own line failed.
    #[error(
        "the framework's migrations could not be applied: {0}\n  nothing of the failed one was kept"
    )]
    Framework(String),
    /// A file cannot be taken as a migration.
    #[error("{file}: {problem}\n  {next}")]
    File {
        /// Folder and name, with the line where there is one.
        file: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        next: String,
    },
    /// A statement of a file failed.
    #[error(transparent)]
    Statement(Box<StatementError>),
    /// Files and history disagree: one paragraph per file.
    #[error("{}", .0.join("\n"))]
    History(Vec<String>),
}

impl MigrateError {
    pub(super) fn file(
        file: impl Into<String>,
        problem: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self::File {
            file: file.into(),
            problem: problem.into(),
            next: next.into(),
        }
    }
}

/// A failed statement of a project migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementError {
    /// Folder and name of the file.
    pub file: String,
    /// Line in it: where Postgres points to, else where the statement begins.
    pub line: usize,
    /// Postgres' message.
    pub message: String,
    /// SQLSTATE, when Postgres answered.
    pub code: Option<String>,
    /// Postgres' detail.
    pub detail: Option<String>,
    /// Our advice where there is some, else Postgres' hint.
    pub hint: Option<String>,
    /// The function and its line, when the error came from inside one.
    pub context: Option<String>,
    /// What was kept and what to type next.
    pub next: String,
}

impl StatementError {
    pub(super) fn new(
        file: &str,
        line: usize,
        statement: &str,
        error: &DbError,
        next: String,
    ) -> Self {
        let DbError::Postgres(postgres) = error else {
            return Self::bare(file, line, error.to_string(), next);
        };
        let Some(db) = postgres.as_db_error() else {
            return Self::bare(file, line, error.to_string(), next);
        };
        let at = match db.position() {
            Some(tokio_postgres::error::ErrorPosition::Original(position)) => {
                line + lines_before(statement, *position)
            }
            _ => line,
        };
        Self {
            file: file.to_owned(),
            line: at,
            message: db.message().to_owned(),
            code: Some(db.code().code().to_owned()),
            detail: db.detail().map(str::to_owned),
            hint: advice(db.code(), db.message()).or_else(|| db.hint().map(str::to_owned)),
            context: db
                .where_()
                .and_then(|context| context.lines().next())
                .map(str::to_owned),
            next,
        }
    }

    fn bare(file: &str, line: usize, message: String, next: String) -> Self {
        Self {
            file: file.to_owned(),
            line,
            message,
            code: None,
            detail: None,
            hint: None,
            context: None,
            next,
        }
    }
}

impl fmt::Display for StatementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)?;
        if let Some(code) = &self.code {
            write!(f, " (SQLSTATE {code})")?;
        }
        let notes = [
            ("detail", &self.detail),
            ("hint", &self.hint),
            ("in", &self.context),
        ];
        for (name, text) in notes {
            if let Some(text) = text {
                write!(f, "\n  {name}: {text}")?;
            }
        }
        write!(f, "\n  {}", self.next)
    }
}

impl std::error::Error for StatementError {}

/// `position` counts characters from 1.
fn lines_before(statement: &str, position: u32) -> usize {
    let before = usize::try_from(position).unwrap_or(1).saturating_sub(1);
    statement
        .chars()
        .take(before)
        .filter(|character| *character == '\n')
        .count()
}

/// Where Postgres names no way out that helps here.
fn advice(code: &SqlState, message: &str) -> Option<String> {
    let advice = match *code {
        SqlState::ACTIVE_SQL_TRANSACTION => {
            "put the statement into a file of its own that begins with `-- sb: no-transaction`"
        }
        SqlState::UNSAFE_NEW_ENUM_VALUE_USAGE => {
            "add the enum value in a file of its own, before the one that uses it"
        }
        SqlState::FEATURE_NOT_SUPPORTED
            if message == r#"extension "pgcrypto" is not available"# =>
        {
            "delete the line: gen_random_uuid(), sha256() and md5() are built in; for digest(), hmac() or crypt() set \
             stack.bin_dir to the bin folder of a Postgres that has pgcrypto"
        }
        SqlState::FEATURE_NOT_SUPPORTED if message.ends_with(" is not available") => {
            "delete the line if nothing needs it, or set stack.bin_dir to the bin folder of a Postgres that has it"
        }
        SqlState::INVALID_SCHEMA_NAME | SqlState::UNDEFINED_TABLE => {
            let schema = missing_schema(message)?;
            return Some(format!(
                "Supabase has a schema {schema} which is not in this database: leave out what uses it"
            ));
        }
        _ => return None,
    };
    Some(advice.to_owned())
}

/// The schema of Supabase's services that `message` misses, as a whole or a relation in it.
fn missing_schema(message: &str) -> Option<&'static str> {
    let name = message.split('"').nth(1)?;
    let name = if message.starts_with("relation") {
        name.split_once('.')?.0
    } else {
        name
    };
    [
        "storage",
        "realtime",
        "vault",
        "cron",
        "net",
        "supabase_functions",
    ]
    .into_iter()
    .find(|schema| *schema == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_postgres_lacks_comes_with_a_way_out() {
        let unsupported = |message| advice(&SqlState::FEATURE_NOT_SUPPORTED, message);
        let pgcrypto = unsupported(r#"extension "pgcrypto" is not available"#).expect("advice");
        assert!(pgcrypto.contains("gen_random_uuid()"), "{pgcrypto}");
        let vector = unsupported(r#"extension "vector" is not available"#).expect("advice");
        assert!(vector.contains("stack.bin_dir"), "{vector}");
        assert_eq!(unsupported("something else"), None);
    }

    #[test]
    fn schemas_of_supabase_are_told_from_mistakes() {
        let table = |message| advice(&SqlState::UNDEFINED_TABLE, message);
        let storage = table(r#"relation "storage.buckets" does not exist"#).expect("advice");
        assert!(storage.contains("schema storage"), "{storage}");
        assert!(
            advice(
                &SqlState::INVALID_SCHEMA_NAME,
                r#"schema "cron" does not exist"#
            )
            .is_some()
        );
        assert_eq!(table(r#"relation "public.todos" does not exist"#), None);
        assert_eq!(table(r#"relation "storage" does not exist"#), None);
    }
}
