//! One database cluster on disk: made by `initdb` exactly once, configured before every start.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::process::Signal;

use super::StackError;
use super::event::{EventSink, StackEvent};
use super::leftovers::Places;
use super::log_file::LogFile;
use super::postgres_binaries::PostgresBinaries;
use super::process::{self, Launch};
use super::run_as::RunAs;

/// The name of the superuser, and of the database that exists from the start.
pub(super) const SUPERUSER: &str = "postgres";

/// Our settings; `postgresql.conf` includes it, and `alter system` still wins over it.
const SETTINGS_FILE: &str = "sb.conf";

/// Everything about one cluster but its port.
pub(super) struct Cluster {
    pub(super) binaries: PostgresBinaries,
    pub(super) places: Places,
    pub(super) socket_dir: PathBuf,
    pub(super) log: LogFile,
    pub(super) run_as: RunAs,
    pub(super) durable: bool,
    pub(super) settings: Vec<(String, String)>,
    pub(super) env: Vec<(OsString, OsString)>,
}

impl Cluster {
    /// Makes the data directory if there is none. It gets its name only when it is complete, so an interrupted
    /// `initdb` never counts as a cluster.
    pub(super) async fn create(
        &self,
        password: &str,
        events: &EventSink,
    ) -> Result<(), StackError> {
        if self.places.data_dir.exists() {
            return self.take_over(events);
        }
        let started = Instant::now();
        let new = &self.places.new_data_dir;
        fs::create_dir_all(new).map_err(StackError::io("create", new))?;
        self.run_as
            .give(new, 0o700)
            .map_err(StackError::io("hand over", new))?;
        self.initdb(new, password).await?;
        self.include_settings(new)
            .map_err(StackError::io("configure", new))?;
        fs::rename(new, &self.places.data_dir).map_err(StackError::io("rename", new))?;
        let data_dir = self.places.data_dir.clone();
        events(StackEvent::InitdbDone {
            data_dir,
            duration: started.elapsed(),
        });
        Ok(())
    }

    /// Writes our settings; they follow the options of this start.
    pub(super) fn configure(&self) -> Result<(), StackError> {
        let path = self.places.data_dir.join(SETTINGS_FILE);
        let text = settings(self.durable, has_time_zones(&self.binaries), &self.settings);
        // A new file takes the place of the old one: in a directory of another user, the old one may be a link.
        tempfile::NamedTempFile::new_in(&self.places.data_dir)
            .and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                self.run_as.give_open(file.as_file(), 0o600)?;
                file.persist(&path)?;
                Ok(())
            })
            .map_err(StackError::io("write", &path))
    }

    /// What belongs to this process and not to the cluster is given as arguments, which win over everything else.
    pub(super) fn launch(&self, port: u16) -> Launch {
        let mut args = vec![OsString::from("-D"), self.places.data_dir.clone().into()];
        let mut set =
            |name: &str, value: &str| args.extend(["-c".into(), format!("{name}={value}").into()]);
        set("port", &port.to_string());
        set("listen_addresses", "127.0.0.1,::1");
        // A list, in which quotes keep a folder with a comma or a blank in one piece.
        let socket_dir = self.socket_dir.display().to_string().replace('"', "\"\"");
        set("unix_socket_directories", &format!("\"{socket_dir}\""));
        set("logging_collector", "off");
        set("log_destination", "stderr");
        Launch {
            program: self.binaries.program("postgres"),
            args,
            env: self.child_env(),
            run_as: self.run_as,
            // Immediate shutdown: the main process takes its children along, and the next start replays the log.
            death_signal: Signal::QUIT,
        }
    }

    async fn initdb(&self, target: &Path, password: &str) -> Result<(), StackError> {
        let failed = |output: String| StackError::Initdb { output };
        let mut password_file = tempfile::NamedTempFile::new_in(&self.socket_dir)
            .map_err(StackError::io("create a file in", &self.socket_dir))?;
        writeln!(password_file, "{password}")
            .and_then(|()| self.run_as.give_open(password_file.as_file(), 0o600))
            .map_err(StackError::io("write", password_file.path()))?;
        let mut args: Vec<OsString> = vec![
            "-D".into(),
            target.into(),
            "--pwfile".into(),
            password_file.path().into(),
        ];
        args.extend(["-U", SUPERUSER, "--encoding=UTF8", "--no-instructions"].map(OsString::from));
        // The socket is in a folder that only this user can enter; everybody else needs a password.
        args.extend(["--auth-local=trust", "--auth-host=scram-sha-256"].map(OsString::from));
        args.extend(locale(self.binaries.major).iter().map(OsString::from));
        args.push(
            if self.durable {
                "--data-checksums"
            } else {
                "--no-sync"
            }
            .into(),
        );
        let launch = Launch {
            program: self.binaries.program("initdb"),
            args,
            env: self.child_env(),
            run_as: self.run_as,
            death_signal: Signal::KILL,
        };
        let log = self
            .log
            .open()
            .map_err(StackError::io("open", self.log.path()))?;
        let start = self.log.end();
        let mut running =
            process::launch(&launch, &log)
                .await
                .map_err(|source| StackError::Spawn {
                    program: launch.program.clone(),
                    source,
                })?;
        if running.succeeded().await {
            Ok(())
        } else {
            Err(failed(self.log.tail(start)))
        }
    }

    fn include_settings(&self, data_dir: &Path) -> io::Result<()> {
        let mut file = File::options()
            .append(true)
            .open(data_dir.join("postgresql.conf"))?;
        writeln!(
            file,
            "\n# Written before every start; change settings with `alter system` instead."
        )?;
        writeln!(file, "include_if_exists = '{SETTINGS_FILE}'")?;
        let settings = File::create_new(data_dir.join(SETTINGS_FILE))?;
        self.run_as.give_open(&settings, 0o600)
    }

    /// An existing data directory may have been made while `sb` had another identity.
    fn take_over(&self, events: &EventSink) -> Result<(), StackError> {
        let data_dir = &self.places.data_dir;
        let metadata = fs::metadata(data_dir).map_err(StackError::io("read", data_dir))?;
        let (wanted, _) = self.run_as.owner();
        if metadata.uid() == wanted {
            return Ok(());
        }
        if self.run_as == RunAs::Same {
            return Err(StackError::ForeignOwner {
                data_dir: data_dir.clone(),
                owner: metadata.uid(),
                wanted,
            });
        }
        self.run_as
            .give_tree(data_dir)
            .map_err(StackError::io("change the owner of", data_dir))?;
        let what = format!(
            "gave {} to uid {wanted}, as whom Postgres runs now",
            data_dir.display()
        );
        events(StackEvent::Recovered { what });
        Ok(())
    }

    fn child_env(&self) -> Vec<(OsString, OsString)> {
        let mut env = self.env.clone();
        // Some builds for musl keep ICU's data in a file of their own.
        let icu = self
            .binaries
            .share_dir()
            .map(|share| share.join("icu"))
            .filter(|directory| directory.is_dir());
        env.extend(icu.map(|directory| ("ICU_DATA".into(), directory.into())));
        env
    }
}

/// The version that made a data directory; `None` if there is no usable one.
pub(super) fn data_major(data_dir: &Path) -> Option<u32> {
    if !data_dir.join("global/pg_control").exists() {
        return None;
    }
    fs::read_to_string(data_dir.join("PG_VERSION"))
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// Moves a folder out of the way that is named like a data directory but cannot be one; never deletes anything.
pub(super) fn set_unusable_aside(data_dir: &Path, events: &EventSink) -> Result<(), StackError> {
    if !data_dir.exists() || data_major(data_dir).is_some() {
        return Ok(());
    }
    // What cannot be looked into may be a whole database of somebody else.
    for path in [
        data_dir,
        &data_dir.join("global"),
        &data_dir.join("PG_VERSION"),
    ] {
        if let Err(error) = fs::File::open(path)
            && error.kind() == std::io::ErrorKind::PermissionDenied
        {
            return Err(StackError::io("read", path)(error));
        }
    }
    // Empty: made by hand, or a fresh volume.
    if fs::remove_dir(data_dir).is_ok() {
        return Ok(());
    }
    let aside = (1_u64..=u64::MAX)
        .map(|number| data_dir.with_extension(format!("broken-{number}")))
        .find(|path| !path.exists())
        .expect("numbers do not run out");
    fs::rename(data_dir, &aside).map_err(StackError::io("move aside", data_dir))?;
    let what = format!(
        "{} was not a complete data directory; moved it to {} and made a new one",
        data_dir.display(),
        aside.display()
    );
    events(StackEvent::Recovered { what });
    Ok(())
}

/// The same sorting and case rules on every machine. Postgres 17 brings its own; before, the C library's have to do.
fn locale(major: u32) -> &'static [&'static str] {
    if major >= 17 {
        &[
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
        ]
    } else if cfg!(target_os = "macos") {
        &["--locale=C", "--lc-ctype=UTF-8"]
    } else {
        &["--locale=C.UTF-8", "--lc-collate=C"]
    }
}

fn settings(durable: bool, time_zones: bool, extra: &[(String, String)]) -> String {
    // Without time zone data only this one name exists.
    let zone = if time_zones { "UTC" } else { "GMT" };
    let mut all: Vec<(&str, &str)> = vec![
        ("max_connections", "100"),
        ("shared_buffers", "128MB"),
        ("wal_level", "logical"),
        ("max_wal_senders", "10"),
        ("max_replication_slots", "10"),
        ("max_slot_wal_keep_size", "1GB"),
        ("max_wal_size", "512MB"),
        ("min_wal_size", "80MB"),
        ("password_encryption", "scram-sha-256"),
        ("unix_socket_permissions", "0700"),
        ("timezone", zone),
        ("log_timezone", zone),
        ("lc_messages", "C"),
        ("log_line_prefix", "%m [%p] %q%u@%d "),
    ];
    if !durable {
        all.extend([
            ("fsync", "off"),
            ("full_page_writes", "off"),
            ("synchronous_commit", "off"),
        ]);
    }
    all.extend(
        extra
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    );
    let mut text = String::from(
        "# Written by sb before every start; change settings with `alter system` instead.\n",
    );
    for (name, value) in all {
        let value = value.replace('\\', "\\\\").replace('\'', "''");
        text.push_str(name);
        text.push_str(" = '");
        text.push_str(&value);
        text.push_str("'\n");
    }
    text
}

fn has_time_zones(binaries: &PostgresBinaries) -> bool {
    let own = binaries
        .share_dir()
        .is_some_and(|share| share.join("timezone/UTC").exists());
    own || Path::new("/usr/share/zoneinfo/UTC").exists()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn settings_are_quoted_and_the_callers_come_last() {
        let extra = [("application_name".to_owned(), r"it's \x".to_owned())];
        let text = settings(true, true, &extra);
        assert!(
            text.ends_with("application_name = 'it''s \\\\x'\n"),
            "{text}"
        );
        assert!(text.contains("wal_level = 'logical'"));
        assert!(
            !text.contains("fsync"),
            "a durable cluster keeps Postgres' own default"
        );
        assert!(settings(false, true, &[]).contains("fsync = 'off'"));
        assert!(settings(false, false, &[]).contains("timezone = 'GMT'"));
    }

    #[test]
    fn an_incomplete_directory_is_moved_aside_and_an_empty_one_removed() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let quiet: EventSink = Arc::new(|_| {});
        let data = dir.path().join("pgdata");
        fs::create_dir(&data).expect("created");
        set_unusable_aside(&data, &quiet).expect("removed");
        assert!(!data.exists());
        fs::create_dir(&data).expect("created");
        fs::write(data.join("PG_VERSION"), "17\n").expect("written");
        set_unusable_aside(&data, &quiet).expect("moved");
        assert!(!data.exists());
        assert!(dir.path().join("pgdata.broken-1/PG_VERSION").exists());
    }

    #[test]
    fn a_complete_directory_has_a_version() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::write(dir.path().join("PG_VERSION"), "17\n").expect("written");
        assert_eq!(data_major(dir.path()), None);
        fs::create_dir(dir.path().join("global")).expect("created");
        fs::write(dir.path().join("global/pg_control"), "").expect("written");
        assert_eq!(data_major(dir.path()), Some(17));
    }
}
