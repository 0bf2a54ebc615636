//! The project's line: which files were applied, and applying the rest.
//!
//! History is `sb.project_migrations`. A file runs in one transaction with its row there; one that says
//! `-- sb: no-transaction` runs statement by statement, and its row counts them, so that a half-applied file is known
//! as such. Files older than the latest applied one are applied too: branches are merged in any order.

use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

use chrono::{DateTime, Utc};

pub use super::files::{Migration, load, load_all, new};
use super::split::Statement;
use super::{MigrateError, Options, StatementError, lock};
use crate::clock::Clock;
use crate::db::{Connection, DbError};

/// What is known of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Applied as it stands.
    Applied,
    /// Not applied yet.
    Pending,
    /// Not applied yet, and older than the latest applied one.
    OutOfOrder,
    /// Applied, and changed since.
    Edited,
    /// Applied, and gone since.
    Missing,
    /// A file without a transaction that stopped in the middle.
    Half,
}

/// One line of `sb migrate status`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Status {
    /// The file's number.
    pub version: String,
    /// What its name says.
    pub name: String,
    /// What is known of it.
    pub state: State,
    /// When it was applied.
    pub applied_at: Option<DateTime<Utc>>,
}

/// A file that was applied just now.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Applied {
    /// The file's number.
    pub version: String,
    /// Folder and file name.
    pub file: String,
    /// How long it took.
    pub duration_ms: i64,
    /// It is older than another one that had been applied before.
    pub out_of_order: bool,
}

/// Compares the files of `dir` with the history, in the order of versions. Changes nothing.
pub async fn status(connection: &Connection, dir: &Path) -> Result<Vec<Status>, MigrateError> {
    status_of(connection, &load(dir)?).await
}

/// The same for migrations that were read already.
pub async fn status_of(
    connection: &Connection,
    migrations: &[Migration],
) -> Result<Vec<Status>, MigrateError> {
    Ok(compare(migrations, &history(connection).await?))
}

/// Applies every file that was not, in order, as the connected owner.
///
/// # Errors
/// Nothing is applied when a file was edited, is missing or is half applied. A file that fails leaves the ones before
/// it applied.
pub async fn apply(
    connection: &Connection,
    dir: &Path,
    options: &Options,
    clock: &Clock,
) -> Result<Vec<Applied>, MigrateError> {
    apply_all(connection, &load(dir)?, options, clock).await
}

/// The same for migrations that were read already.
pub async fn apply_all(
    connection: &Connection,
    migrations: &[Migration],
    options: &Options,
    clock: &Clock,
) -> Result<Vec<Applied>, MigrateError> {
    lock::acquire(connection, options.lock_wait).await?;
    let result = apply_locked(connection, migrations, options, clock).await;
    let released = lock::release(connection).await;
    let applied = result?;
    released?;
    Ok(applied)
}

async fn apply_locked(
    connection: &Connection,
    migrations: &[Migration],
    options: &Options,
    clock: &Clock,
) -> Result<Vec<Applied>, MigrateError> {
    connection.batch_execute(CREATE_HISTORY).await?;
    let history = history(connection).await?;
    let status = compare(migrations, &history);
    check(migrations, &status, &history)?;
    let pending: HashMap<&str, State> = status
        .iter()
        .filter(|line| matches!(line.state, State::Pending | State::OutOfOrder))
        .map(|line| (line.version.as_str(), line.state))
        .collect();
    let mut applied = Vec::new();
    for migration in migrations {
        if let Some(state) = pending.get(migration.version.as_str()) {
            let duration_ms = Run::new(connection, migration, options, clock)
                .run()
                .await?;
            applied.push(Applied {
                version: migration.version.clone(),
                file: migration.file.clone(),
                duration_ms,
                out_of_order: *state == State::OutOfOrder,
            });
        }
    }
    Ok(applied)
}

const CREATE_HISTORY: &str = "
    create table if not exists sb.project_migrations (
      version text primary key,
      name text not null,
      checksum text not null,
      applied_at timestamptz not null,
      duration_ms bigint not null,
      complete boolean not null,
      statements integer not null
    );
    alter table sb.project_migrations enable row level security";

struct Record {
    version: String,
    name: String,
    checksum: String,
    applied_at: DateTime<Utc>,
    complete: bool,
    statements: i32,
}

async fn history(connection: &Connection) -> Result<Vec<Record>, DbError> {
    if !connection.has_relation("sb.project_migrations").await? {
        return Ok(Vec::new());
    }
    let sql = "
        select version
             , name
             , checksum
             , applied_at
             , complete
             , statements
          from sb.project_migrations";
    let rows = connection.query(sql, &[]).await?;
    Ok(rows
        .iter()
        .map(|row| Record {
            version: row.get("version"),
            name: row.get("name"),
            checksum: row.get("checksum"),
            applied_at: row.get("applied_at"),
            complete: row.get("complete"),
            statements: row.get("statements"),
        })
        .collect())
}

fn compare(migrations: &[Migration], history: &[Record]) -> Vec<Status> {
    let number = |version: &str| version.parse::<u64>().unwrap_or(0);
    let latest = history.iter().map(|record| number(&record.version)).max();
    let mut lines: Vec<Status> = migrations
        .iter()
        .map(|migration| {
            let record = history.iter().find(|r| r.version == migration.version);
            let state = match record {
                None if latest.is_some_and(|latest| migration.number < latest) => State::OutOfOrder,
                None => State::Pending,
                Some(record) if !record.complete => State::Half,
                Some(record) if record.checksum != migration.checksum => State::Edited,
                Some(_) => State::Applied,
            };
            Status {
                version: migration.version.clone(),
                name: migration.name.clone(),
                state,
                applied_at: record.map(|record| record.applied_at),
            }
        })
        .collect();
    let gone = history
        .iter()
        .filter(|record| migrations.iter().all(|m| m.version != record.version));
    lines.extend(gone.map(|record| Status {
        version: record.version.clone(),
        name: record.name.clone(),
        state: State::Missing,
        applied_at: Some(record.applied_at),
    }));
    lines.sort_by_key(|line| number(&line.version));
    lines
}

fn check(
    migrations: &[Migration],
    status: &[Status],
    history: &[Record],
) -> Result<(), MigrateError> {
    let forget =
        |version: &str| format!("`delete from sb.project_migrations where version = '{version}'`");
    let problems: Vec<String> = status
        .iter()
        .filter_map(|line| {
            let version = &line.version;
            let file = migrations
                .iter()
                .find(|migration| migration.version == *version)
                .map_or_else(|| format!("{version}_{}", line.name), |m| m.file.clone());
            match line.state {
                State::Edited => Some(format!(
                    "{file}: was edited after it had been applied\n  undo the edit and put the change into a new file (`sb migrate new …`)"
                )),
                State::Missing => Some(format!(
                    "{file}: was applied, but the file is gone\n  bring it back, or if it is meant to be gone, say so: {}",
                    forget(version)
                )),
                State::Half => {
                    let done = history
                        .iter()
                        .find(|record| record.version == *version)
                        .map_or(0, |record| record.statements);
                    Some(format!(
                        "{file}: only its first {done} statements were applied (it runs without a transaction)\n  undo them by hand, then {} and `sb migrate`",
                        forget(version)
                    ))
                }
                State::Applied | State::Pending | State::OutOfOrder => None,
            }
        })
        .collect();
    if problems.is_empty() {
        Ok(())
    } else {
        Err(MigrateError::History(problems))
    }
}

/// One file being applied.
struct Run<'a> {
    connection: &'a Connection,
    migration: &'a Migration,
    options: &'a Options,
    clock: &'a Clock,
    started: Instant,
}

impl<'a> Run<'a> {
    fn new(
        connection: &'a Connection,
        migration: &'a Migration,
        options: &'a Options,
        clock: &'a Clock,
    ) -> Self {
        Self {
            connection,
            migration,
            options,
            clock,
            started: Instant::now(),
        }
    }

    async fn run(&self) -> Result<i64, MigrateError> {
        let statements = self.migration.statements()?;
        if self.migration.transaction {
            self.run_whole(&statements).await?;
        } else {
            self.run_one_by_one(&statements).await?;
        }
        Ok(self.elapsed_ms())
    }

    async fn run_whole(&self, statements: &[Statement<'_>]) -> Result<(), MigrateError> {
        self.connection.batch_execute("begin").await?;
        let result = self.in_transaction(statements).await;
        if result.is_err() {
            // The file's own error matters more; a lost connection has rolled back by itself.
            let _ = self.connection.batch_execute(ROLLBACK_AND_RESET).await;
        }
        result
    }

    async fn in_transaction(&self, statements: &[Statement<'_>]) -> Result<(), MigrateError> {
        let connection = self.connection;
        let next = || {
            "nothing of this file was kept; correct it and try again (a running `sb dev` does when you save it)".to_owned()
        };
        connection.batch_execute(SEARCH_PATH).await?;
        connection
            .batch_execute("select sb.begin_migration()")
            .await?;
        for statement in statements {
            self.execute(statement)
                .await
                .map_err(|error| self.failed(statement, &error, next()))?;
        }
        // Settings the file made would reach into what follows.
        connection.batch_execute(RESET).await?;
        self.record(true, statements.len()).await?;
        self.finish().await?;
        // Deferred constraints speak up only now; the last statement is the best guess at the line.
        let commit = connection.batch_execute("commit").await;
        match (commit, statements.last()) {
            (Err(error), Some(last)) => Err(self.failed(last, &error, next())),
            (result, _) => Ok(result?),
        }
    }

    /// A row goes first and counts along, because nothing here can be rolled back.
    async fn run_one_by_one(&self, statements: &[Statement<'_>]) -> Result<(), MigrateError> {
        self.record(false, 0).await?;
        self.connection
            .batch_execute(SEARCH_PATH_OF_SESSION)
            .await?;
        for (done, statement) in statements.iter().enumerate() {
            if let Err(error) = self.execute(statement).await {
                let _ = self.connection.batch_execute(ROLLBACK_AND_RESET).await;
                if done == 0 {
                    self.forget().await?;
                }
                return Err(self.failed(statement, &error, self.what_was_kept(done)));
            }
            self.progress(done + 1).await?;
        }
        self.connection.batch_execute(RESET).await?;
        self.finish().await?;
        self.record(true, statements.len()).await?;
        Ok(())
    }

    fn what_was_kept(&self, done: usize) -> String {
        if done == 0 {
            return "nothing of this file was kept; correct it and try again (a running `sb dev` does when you save it)"
                .to_owned();
        }
        format!(
            "the {done} statements before it were kept (the file runs without a transaction): undo them by hand, then `delete from sb.project_migrations where version = '{}'` and `sb migrate`",
            self.migration.version
        )
    }

    async fn execute(&self, statement: &Statement<'_>) -> Result<(), DbError> {
        self.connection.batch_execute(statement.text).await
    }

    fn failed(&self, statement: &Statement<'_>, error: &DbError, next: String) -> MigrateError {
        let (file, line) = (&self.migration.file, statement.line);
        MigrateError::Statement(Box::new(StatementError::new(
            file,
            line,
            statement.text,
            error,
            next,
        )))
    }

    async fn finish(&self) -> Result<(), DbError> {
        super::set_default_grants(self.connection, self.options).await?;
        super::reload_schema(self.connection).await
    }

    async fn record(&self, complete: bool, statements: usize) -> Result<(), DbError> {
        let sql = "
            insert into sb.project_migrations as m
                 ( version, name, checksum, applied_at, duration_ms, complete, statements )
            values ( $1, $2, $3, $4, $5, $6, $7 )
            on conflict (version) do update
               set applied_at = excluded.applied_at
                 , duration_ms = excluded.duration_ms
                 , complete = excluded.complete
                 , statements = excluded.statements";
        let migration = self.migration;
        let count = i32::try_from(statements).unwrap_or(i32::MAX);
        self.connection
            .execute(
                sql,
                &[
                    &migration.version,
                    &migration.name,
                    &migration.checksum,
                    &self.clock.now(),
                    &self.elapsed_ms(),
                    &complete,
                    &count,
                ],
            )
            .await
            .map(drop)
    }

    async fn progress(&self, done: usize) -> Result<(), DbError> {
        let sql = "
            update sb.project_migrations
               set statements = $2
             where version = $1";
        let count = i32::try_from(done).unwrap_or(i32::MAX);
        self.connection
            .execute(sql, &[&self.migration.version, &count])
            .await
            .map(drop)
    }

    async fn forget(&self) -> Result<(), DbError> {
        let sql = "
            delete from sb.project_migrations
             where version = $1";
        self.connection
            .execute(sql, &[&self.migration.version])
            .await
            .map(drop)
    }

    fn elapsed_ms(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

const SEARCH_PATH: &str = r#"set local search_path = "$user", public, extensions"#;
const SEARCH_PATH_OF_SESSION: &str = r#"set search_path = "$user", public, extensions"#;
/// Not `discard all`, which would give up the advisory lock.
const RESET: &str = "reset session authorization; reset role; reset all";
const ROLLBACK_AND_RESET: &str = "rollback; reset session authorization; reset role; reset all";
