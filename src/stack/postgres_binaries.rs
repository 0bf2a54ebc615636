//! Finds a Postgres: configured, cached, downloaded, or the system's, in that order.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::cache::Cache;
use super::event::StackEvent;
use super::package_client::{find_in_path, is_executable};
use super::platform::Platform;
use super::{StackError, extensions, pins};

/// The oldest major version `sb` works with.
const OLDEST: u32 = 15;

/// A usable installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PostgresBinaries {
    pub(super) bin_dir: PathBuf,
    pub(super) major: u32,
}

impl PostgresBinaries {
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.bin_dir.join(name)
    }

    /// The installation's own files (`share`), where they can be told from the place of the programs.
    pub(super) fn share_dir(&self) -> Option<PathBuf> {
        let share = self.bin_dir.parent()?.join("share");
        [share.join("postgresql"), share]
            .into_iter()
            .find(|directory| directory.join("postgres.bki").exists())
    }
}

/// What the search may use.
pub(super) struct Search<'a> {
    pub(super) configured: Option<&'a Path>,
    pub(super) cache: &'a Cache,
    pub(super) download: bool,
    /// The version that made the data directory, if there is one.
    pub(super) data_major: Option<u32>,
    pub(super) data_dir: &'a Path,
}

impl Search<'_> {
    pub(super) async fn run(&self) -> Result<PostgresBinaries, StackError> {
        let platform = Platform::here();
        let mut attempts = Vec::new();
        let mut other_majors = Vec::new();
        if let Some(bin_dir) = self.configured {
            return match self.inspect(bin_dir, &mut other_majors).await {
                Ok(Some(binaries)) => Ok(binaries),
                Ok(None) => Err(self.other_major(&other_majors)),
                Err(reason) => {
                    let attempts = vec![format!("{} (configured): {reason}", bin_dir.display())];
                    Err(StackError::NoPostgres {
                        attempts,
                        advice: "correct `bin_dir`, or remove it to let sb find one".into(),
                    })
                }
            };
        }
        let all = pins::postgres(platform);
        if all.is_empty() {
            attempts.push(format!(
                "no package is known for this platform ({platform:?})"
            ));
        }
        let (pins, unfit): (Vec<_>, Vec<_>) = all.into_iter().partition(|pin| self.fits(pin.major));
        other_majors.extend(unfit.iter().map(|pin| pin.major));
        for pin in &pins {
            if let Some(root) = self.cache.find(pin)? {
                match self.inspect(&root.join("bin"), &mut other_majors).await {
                    Ok(Some(binaries)) => return Ok(binaries),
                    Ok(None) => {}
                    Err(reason) => attempts.push(format!("{} (cached): {reason}", pin.name())),
                }
            }
        }
        if self.download {
            for pin in &pins {
                let Some(root) = self
                    .cache
                    .fetch(pin, extensions::complete, &mut attempts)
                    .await?
                else {
                    continue;
                };
                match self.inspect(&root.join("bin"), &mut other_majors).await {
                    Ok(Some(binaries)) => return Ok(binaries),
                    Ok(None) => {}
                    Err(reason) => attempts.push(format!("{}: {reason}", pin.name())),
                }
            }
        } else {
            attempts.push("downloads are switched off".to_owned());
        }
        let system = system_bin_dirs(self.cache.search_path.as_deref()).await;
        if system.is_empty() {
            attempts.push("this system has no Postgres installed".to_owned());
        }
        for bin_dir in system {
            match self.inspect(&bin_dir, &mut other_majors).await {
                Ok(Some(binaries)) => return Ok(binaries),
                Ok(None) => {}
                Err(reason) => attempts.push(format!("{} (system): {reason}", bin_dir.display())),
            }
        }
        if self.data_major.is_some() && !other_majors.is_empty() {
            return Err(self.other_major(&other_majors));
        }
        Err(StackError::NoPostgres {
            attempts,
            advice: pins::postgres_advice(platform),
        })
    }

    fn fits(&self, major: u32) -> bool {
        self.data_major.is_none_or(|wanted| wanted == major)
    }

    /// `None`: it works, but cannot open the data directory.
    async fn inspect(
        &self,
        bin_dir: &Path,
        other_majors: &mut Vec<u32>,
    ) -> Result<Option<PostgresBinaries>, String> {
        for name in ["postgres", "initdb"] {
            if !is_executable(&bin_dir.join(name)) {
                return Err(format!("there is no program `{name}` in it"));
            }
        }
        let version = version_of(&bin_dir.join("postgres")).await?;
        let major =
            major_of(&version).ok_or_else(|| format!("it says its version is {version:?}"))?;
        if major < OLDEST {
            return Err(format!(
                "Postgres {major} is too old, {OLDEST} is the oldest that works"
            ));
        }
        if !self.fits(major) {
            other_majors.push(major);
            return Ok(None);
        }
        (self.cache.events)(StackEvent::Using {
            name: "postgres",
            version,
            path: bin_dir.join("postgres"),
        });
        Ok(Some(PostgresBinaries {
            bin_dir: bin_dir.to_owned(),
            major,
        }))
    }

    fn other_major(&self, available: &[u32]) -> StackError {
        let mut available = available.to_vec();
        available.sort_unstable();
        available.dedup();
        let available: Vec<String> = available.iter().map(u32::to_string).collect();
        StackError::OtherMajor {
            data_dir: self.data_dir.to_owned(),
            found: self.data_major.unwrap_or_default(),
            available: available.join(" or "),
        }
    }
}

/// What `PROGRAM --version` says.
pub(super) async fn version_of(program: &Path) -> Result<String, String> {
    let output = Command::new(program)
        .arg("--version")
        .kill_on_drop(true)
        .output();
    let output = output
        .await
        .map_err(|error| format!("it does not run: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        let stderr = String::from_utf8_lossy(&output.stderr);
        Err(format!(
            "it does not run: {}",
            stderr.lines().last().unwrap_or("it said nothing")
        ))
    }
}

/// The first number of the last version-like word: `postgres (PostgreSQL) 17.10` and `PostgREST 12.0.2` alike.
pub(super) fn major_of(version: &str) -> Option<u32> {
    version.split_whitespace().find_map(|word| {
        let digits: String = word.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    })
}

/// Installations of the system, newest first within each kind.
async fn system_bin_dirs(search_path: Option<&OsStr>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if let Some(pg_config) = find_in_path(search_path, "pg_config")
        && let Ok(output) = Command::new(pg_config).arg("--bindir").output().await
    {
        found.push(PathBuf::from(
            String::from_utf8_lossy(&output.stdout).trim(),
        ));
    }
    for (parent, prefix, rest) in [
        ("/usr/lib/postgresql", "", "bin"),
        ("/usr/libexec", "postgresql", ""),
        ("/usr", "pgsql-", "bin"),
        ("/opt/homebrew/opt", "postgresql@", "bin"),
        ("/usr/local/opt", "postgresql@", "bin"),
    ] {
        found.extend(
            versioned(Path::new(parent), prefix)
                .into_iter()
                .map(|directory| directory.join(rest)),
        );
    }
    if let Some(postgres) =
        find_in_path(search_path, "postgres").and_then(|path| path.canonicalize().ok())
    {
        found.extend(postgres.parent().map(Path::to_owned));
    }
    let mut unique = Vec::new();
    for bin_dir in found {
        if is_executable(&bin_dir.join("postgres")) && !unique.contains(&bin_dir) {
            unique.push(bin_dir);
        }
    }
    unique
}

/// Folders `PREFIX<number>` in `parent`, highest number first.
fn versioned(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let number = |name: &OsString| name.to_str()?.strip_prefix(prefix)?.parse::<u32>().ok();
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((number(&entry.file_name())?, entry.path())))
        .collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, path)| path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_major_version_of_every_spelling() {
        assert_eq!(major_of("postgres (PostgreSQL) 17.10"), Some(17));
        assert_eq!(
            major_of("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"),
            Some(15)
        );
        assert_eq!(major_of("postgres (PostgreSQL) 19devel"), Some(19));
        assert_eq!(major_of("PostgREST 12.0.2"), Some(12));
        assert_eq!(
            major_of("PostgREST 12.0.2 (pre-release) (a4e00ff)"),
            Some(12)
        );
        assert_eq!(major_of("nothing"), None);
    }

    #[test]
    fn the_highest_version_folder_comes_first() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for name in ["9", "15", "17", "common"] {
            fs::create_dir(dir.path().join(name)).expect("created");
        }
        let found = versioned(dir.path(), "");
        assert_eq!(found, ["17", "15", "9"].map(|name| dir.path().join(name)));
    }
}
