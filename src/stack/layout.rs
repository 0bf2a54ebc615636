//! Where the files of one project's stack are, and how they get there.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;

use super::event::{EventSink, StackEvent};
use super::leftovers::Places;
use super::run_as::RunAs;
use super::{StackError, StackOptions};

/// The kernel's limit for a socket path (104 on macOS, 108 on Linux, both with a zero at the end).
const SOCKET_PATH_LIMIT: usize = if cfg!(target_os = "linux") { 107 } else { 103 };
/// `/.s.PGSQL.65535`, and the same with `.lock` is only a file.
const SOCKET_NAME_LENGTH: usize = 15;

/// Folders that exist and that Postgres can reach.
pub(super) struct Layout {
    pub(super) places: Places,
    pub(super) socket_dir: PathBuf,
    pub(super) cache_dir: PathBuf,
}

/// As they are now, without changing anything.
pub(super) fn places(options: &StackOptions) -> Places {
    let linked = options.state_dir.join("pgdata");
    // Moved away for an unprivileged Postgres by an earlier start.
    let data_dir = fs::read_link(&linked).unwrap_or(linked);
    Places {
        new_data_dir: data_dir.with_extension("new"),
        data_dir,
        postgrest_config: options.state_dir.join("postgrest.conf"),
    }
}

impl Layout {
    /// Creates the folders; those an unprivileged Postgres could not reach are kept in `options.root_dir` instead.
    pub(super) fn prepare(
        options: &StackOptions,
        run_as: RunAs,
        events: &EventSink,
    ) -> Result<Self, StackError> {
        let mut places = places(options);
        let mut cache_dir = options.cache_dir.clone();
        let mut socket_dir = options.runtime_dir.clone();
        let elsewhere = options.root_dir.join(&project_id(&options.state_dir)[..12]);
        let mut moved = Vec::new();
        if !run_as.can_reach(&places.data_dir) {
            let target = elsewhere.join("pgdata");
            create(&elsewhere, run_as, 0o700)?;
            relocate(&options.state_dir.join("pgdata"), &target)?;
            places.new_data_dir = target.with_extension("new");
            places.data_dir = target;
            moved.push(format!("data in {}", places.data_dir.display()));
        }
        if places.data_dir.starts_with(&elsewhere) {
            // Moved by a start that was somebody else.
            create(&elsewhere, run_as, 0o700)?;
        }
        if !run_as.can_reach(&cache_dir.join("package")) {
            cache_dir = options.root_dir.join("cache");
            moved.push(format!("programs in {}", cache_dir.display()));
        }
        if !run_as.can_reach(&socket_dir) {
            create(&elsewhere, run_as, 0o700)?;
            socket_dir = elsewhere.join("run");
        }
        create_private(&socket_dir, run_as)?;
        let length = socket_dir.as_os_str().as_bytes().len();
        let limit = SOCKET_PATH_LIMIT - SOCKET_NAME_LENGTH;
        if length > limit {
            return Err(StackError::SocketPathTooLong {
                path: socket_dir,
                length,
                limit,
            });
        }
        remove_old_sockets(&socket_dir);
        if let Some(how) = explain(run_as, &moved) {
            events(StackEvent::NotRoot { how });
        }
        Ok(Self {
            places,
            socket_dir,
            cache_dir,
        })
    }
}

/// A stable name for the project that owns `state_dir`.
fn project_id(state_dir: &Path) -> String {
    let path = state_dir
        .canonicalize()
        .unwrap_or_else(|_| state_dir.to_owned());
    hex::encode(digest::digest(&digest::SHA256, path.as_os_str().as_bytes()))
}

fn create(directory: &Path, run_as: RunAs, mode: u32) -> Result<(), StackError> {
    fs::create_dir_all(directory).map_err(StackError::io("create", directory))?;
    run_as
        .give(directory, mode)
        .map_err(StackError::io("hand over", directory))
}

/// The socket's folder may stand in one that everybody can write, under a name that everybody can guess: what is there
/// already must be a real folder, made by an earlier start.
fn create_private(directory: &Path, run_as: RunAs) -> Result<(), StackError> {
    if let Some(parent) = directory.parent() {
        fs::create_dir_all(parent).map_err(StackError::io("create", parent))?;
    }
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let found =
                fs::symlink_metadata(directory).map_err(StackError::io("look at", directory))?;
            if !found.is_dir() || !run_as.may_have_been(found.uid()) {
                return Err(StackError::ForeignSocketDir {
                    path: directory.to_owned(),
                    owner: found.uid(),
                });
            }
        }
        made => made.map_err(StackError::io("create", directory))?,
    }
    run_as
        .give(directory, 0o700)
        .map_err(StackError::io("hand over", directory))
}

/// Leaves a link, so that every later start, and `sb reset`, finds the data.
fn relocate(linked: &Path, target: &Path) -> Result<(), StackError> {
    if fs::read_link(linked).is_ok_and(|found| found == target) {
        return Ok(());
    }
    if linked.exists() {
        fs::rename(linked, target).map_err(StackError::io(
            "move to where Postgres can reach it",
            linked,
        ))?;
    } else {
        // A link to nothing, if any.
        let _ = fs::remove_file(linked);
    }
    symlink(target, linked).map_err(StackError::io("link", linked))
}

/// The folder is ours alone and no Postgres of ours runs: what is there is from a run that did not end well, and its
/// lock file may name a process that is somebody else now.
fn remove_old_sockets(socket_dir: &Path) {
    for entry in fs::read_dir(socket_dir).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(".s.PGSQL.") {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn explain(run_as: RunAs, moved: &[String]) -> Option<String> {
    match run_as {
        RunAs::Same => None,
        RunAs::Namespace { uid } => Some(format!(
            "Postgres refuses to be root: it runs in a user namespace as uid {uid}, its files stay root's"
        )),
        RunAs::User { uid, .. } if moved.is_empty() => Some(format!(
            "Postgres refuses to be root: it runs as uid {uid}, who owns its data directory"
        )),
        RunAs::User { uid, .. } => Some(format!(
            "Postgres refuses to be root: it runs as uid {uid}, which cannot reach this project's folders, so they are elsewhere: {}",
            moved.join(", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_planted_socket_folder_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let victim = dir.path().join("victim");
        fs::create_dir(&victim).expect("created");
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&victim, open).expect("changed");
        let planted = dir.path().join("sb-0-123456789abc");
        symlink(&victim, &planted).expect("linked");
        let refused = create_private(&planted, RunAs::Same).expect_err("it is a link");
        assert!(matches!(refused, StackError::ForeignSocketDir { .. }));
        assert!(
            RunAs::Same.give(&planted, 0o700).is_err(),
            "never through a link"
        );
        let mode = fs::metadata(&victim).expect("it is there").mode() & 0o777;
        assert_eq!(mode, 0o755);
    }

    #[test]
    fn a_folder_of_an_earlier_start_is_closed_again() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let socket_dir = dir.path().join("run").join("sb");
        let mode = || fs::metadata(&socket_dir).expect("it is there").mode() & 0o777;
        create_private(&socket_dir, RunAs::Same).expect("made");
        assert_eq!(mode(), 0o700);
        let open = fs::Permissions::from_mode(0o777);
        fs::set_permissions(&socket_dir, open).expect("changed");
        create_private(&socket_dir, RunAs::Same).expect("it is ours");
        assert_eq!(mode(), 0o700);
    }

    #[test]
    fn a_folder_of_another_user_is_refused() {
        // Root's own; a test that is root cannot tell itself from it.
        if !rustix::process::geteuid().is_root() {
            let refused = create_private(Path::new("/tmp"), RunAs::Same);
            assert!(matches!(refused, Err(StackError::ForeignSocketDir { .. })));
        }
        assert!(!RunAs::Same.may_have_been(u32::MAX - 1));
    }
}
