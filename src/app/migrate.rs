//! Both migration lines, framework and project, from settings.

use std::time::Duration;

use super::{App, StartError, parts};
use crate::clock::Clock;
use crate::config::Config;
use crate::db::Connection;
use crate::db::migrate::project::{self, Applied, Migration};
use crate::db::migrate::{MigrateError, Options, framework};
use crate::keys;

/// What a migration run changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Migrated {
    /// Names of the migrations that were new, in order.
    pub names: Vec<String>,
    /// How long each took, where that is known.
    pub durations: Vec<Option<Duration>>,
    /// The database was empty before.
    pub was_empty: bool,
}

impl App {
    /// Applies the framework's migrations, then the program's and the project's own. Safe to run on many nodes at
    /// once.
    ///
    /// # Errors
    /// [`KeysError::Sealed`](crate::keys::KeysError::Sealed), before anything is changed, when the master key is not the
    /// one of this database.
    pub async fn migrate(&self, config: &Config) -> Result<Migrated, StartError> {
        let owner = parts::owner(config)?;
        let master = parts::master_key(config)?;
        let connection = Connection::open(&owner).await?;
        keys::manage::check_master(&connection, &master).await?;
        let passwords = parts::role_passwords(&connection, config, &master).await?;
        drop(connection);
        let mut names = framework::apply(&owner, &passwords, &Options::new(config)).await?;
        let was_empty = names == framework::names();
        let mut durations = vec![None; names.len()];
        for applied in apply_project(config, &self.migrations).await? {
            durations.push(
                u64::try_from(applied.duration_ms)
                    .ok()
                    .map(Duration::from_millis),
            );
            names.push(applied.file);
        }
        Ok(Migrated {
            names,
            durations,
            was_empty,
        })
    }
}

/// Applies what is new of the project's line.
pub(super) async fn apply_project(
    config: &Config,
    embedded: &[include_dir::Dir<'static>],
) -> Result<Vec<Applied>, StartError> {
    // A connection of its own: the database's settings, just made, apply to new sessions only.
    let connection = Connection::open(&parts::owner(config)?).await?;
    let migrations = project_migrations(config, embedded)?;
    let options = Options::new(config);
    Ok(project::apply_all(&connection, &migrations, &options, &Clock::system()).await?)
}

/// The program's migrations and those of the project folder, as one line.
pub(crate) fn project_migrations(
    config: &Config,
    embedded: &[include_dir::Dir<'static>],
) -> Result<Vec<Migration>, MigrateError> {
    let folder = config.project_dir.join(&config.db.migrations_dir);
    project::load_all(&folder, embedded)
}
