//! Tells `sb dev` what was saved: not what was merely read, be it by `sb` itself.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify_debouncer_mini::notify::{RecommendedWatcher, RecursiveMode};
use notify_debouncer_mini::{DebounceEventResult, Debouncer, new_debouncer};
use tokio::sync::mpsc;

use super::error::CliError;
use crate::config::Config;

/// Editors write a file in several steps.
const SETTLE: Duration = Duration::from_millis(100);
const SETTINGS: [&str; 2] = ["sb.toml", ".env"];

/// Follows a project's settings and migrations.
pub(super) struct Watch {
    debouncer: Debouncer<RecommendedWatcher>,
    events: mpsc::Receiver<Vec<PathBuf>>,
    project_dir: PathBuf,
    migrations_dir: PathBuf,
    /// How each file was last seen; the system also reports files that were opened only.
    seen: HashMap<PathBuf, Stamp>,
}

/// What was saved; one of both at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Saved {
    pub(super) settings: bool,
    pub(super) migrations: bool,
}

/// Time in seconds and nanoseconds, length and inode; `None` when there is no such file.
type Stamp = Option<(i64, i64, u64, u64)>;

impl Watch {
    pub(super) fn start(config: &Config) -> Result<Self, CliError> {
        let (sender, events) = mpsc::channel(16);
        let debouncer = new_debouncer(SETTLE, move |events: DebounceEventResult| {
            if let Ok(events) = events {
                let _ = sender.blocking_send(events.into_iter().map(|event| event.path).collect());
            }
        })
        .map_err(CliError::failed)?;
        let project_dir = config.project_dir.clone();
        let migrations_dir = project_dir.join(&config.db.migrations_dir);
        let mut watch = Self {
            debouncer,
            events,
            project_dir,
            migrations_dir,
            seen: HashMap::new(),
        };
        watch.remember();
        watch
            .debouncer
            .watcher()
            .watch(&watch.project_dir, RecursiveMode::NonRecursive)
            .map_err(CliError::failed)?;
        watch.follow_migrations();
        Ok(watch)
    }

    /// Waits for the next save.
    pub(super) async fn saved(&mut self) -> Saved {
        loop {
            let Some(paths) = self.events.recv().await else {
                return std::future::pending().await;
            };
            self.follow_migrations();
            let saved = self.look_at(paths);
            if saved.settings || saved.migrations {
                return saved;
            }
        }
    }

    fn look_at(&mut self, paths: Vec<PathBuf>) -> Saved {
        let mut saved = Saved {
            settings: false,
            migrations: false,
        };
        for path in paths {
            let settings = SETTINGS
                .iter()
                .any(|name| path == self.project_dir.join(name));
            let migrations = path == self.migrations_dir
                || path.parent() == Some(&self.migrations_dir) && is_sql(&path);
            if (settings || migrations) && self.is_new(path) {
                saved.settings |= settings;
                saved.migrations |= migrations;
            }
        }
        saved
    }

    fn is_new(&mut self, path: PathBuf) -> bool {
        let stamp = stamp(&path);
        self.seen.insert(path, stamp) != Some(stamp)
    }

    fn remember(&mut self) {
        let settings = SETTINGS.map(|name| self.project_dir.join(name));
        let migrations = std::fs::read_dir(&self.migrations_dir)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path());
        let paths = settings
            .into_iter()
            .chain(migrations)
            .chain([self.migrations_dir.clone()]);
        self.seen = paths.map(|path| (path.clone(), stamp(&path))).collect();
    }

    /// The folder may be made later; watching it twice is harmless.
    fn follow_migrations(&mut self) {
        let dir = &self.migrations_dir;
        if dir.is_dir()
            && let Err(error) = self
                .debouncer
                .watcher()
                .watch(dir, RecursiveMode::NonRecursive)
        {
            tracing::warn!(error = %error, "cannot watch the migrations folder");
        }
    }
}

fn is_sql(path: &Path) -> bool {
    path.extension().is_some_and(|kind| kind == "sql")
}

fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    // A folder changes with every file in it, which is reported by itself.
    if metadata.is_dir() {
        return Some((0, 0, 0, metadata.ino()));
    }
    Some((
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.len(),
        metadata.ino(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Saved = Saved {
        settings: false,
        migrations: false,
    };

    #[test]
    fn only_what_changed_counts_as_saved() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("sb.toml"), "").expect("written");
        let mut config = Config::default();
        config.project_dir = dir.path().to_owned();
        let mut watch = Watch::start(&config).expect("the folder can be watched");
        assert_eq!(watch.look_at(vec![path("sb.toml"), path(".env")]), NOTHING);
        assert_eq!(watch.look_at(vec![path("README.md")]), NOTHING);

        std::fs::write(path("sb.toml"), "[log]").expect("written");
        let settings = Saved {
            settings: true,
            ..NOTHING
        };
        assert_eq!(watch.look_at(vec![path("sb.toml")]), settings);
        assert_eq!(watch.look_at(vec![path("sb.toml")]), NOTHING);

        std::fs::create_dir(path("migrations")).expect("made");
        std::fs::write(path("migrations/1_a.sql"), "select 1").expect("written");
        let migrations = Saved {
            migrations: true,
            ..NOTHING
        };
        assert_eq!(watch.look_at(vec![path("migrations")]), migrations);
        assert_eq!(watch.look_at(vec![path("migrations/1_a.sql")]), migrations);
        assert_eq!(
            watch.look_at(vec![path("migrations"), path("migrations/1_a.sql")]),
            NOTHING
        );
        std::fs::remove_file(path("migrations/1_a.sql")).expect("removed");
        assert_eq!(watch.look_at(vec![path("migrations/1_a.sql")]), migrations);
    }
}
