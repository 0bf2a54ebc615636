//! Who Postgres is when `sb` is root: Postgres refuses to be root, and containers and CI often are.
//!
//! First choice is a user namespace in which root's files belong to an ordinary user: nothing changes hands and
//! nothing has to move. Where namespaces are refused (most containers), Postgres becomes an unprivileged user, and
//! what it needs is kept where that user can reach it.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Signal, getegid, geteuid};

use super::StackError;
use super::process::{self, Launch};

/// What to do when `sb` runs as root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenRoot {
    /// A user namespace where the system allows one, otherwise an unprivileged user.
    #[default]
    NamespaceOrUser,
    /// Always an unprivileged user.
    User,
}

/// The identity of the Postgres processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RunAs {
    /// Whoever `sb` is.
    Same,
    /// Root's files seen as `uid`'s.
    Namespace { uid: u32 },
    /// Somebody else.
    User { uid: u32, gid: u32 },
}

impl RunAs {
    pub(super) async fn choose(when_root: WhenRoot) -> Result<Self, StackError> {
        if !geteuid().is_root() {
            return Ok(Self::Same);
        }
        let (uid, gid) = unprivileged().ok_or(StackError::NoOtherUser)?;
        if when_root == WhenRoot::NamespaceOrUser && namespaces_work(uid).await {
            return Ok(Self::Namespace { uid });
        }
        Ok(Self::User { uid, gid })
    }

    /// The owner that files of the cluster have, as seen from here.
    pub(super) fn owner(self) -> (u32, u32) {
        match self {
            Self::Same | Self::Namespace { .. } => (geteuid().as_raw(), getegid().as_raw()),
            Self::User { uid, gid } => (uid, gid),
        }
    }

    /// Hands a directory that `sb` made to the cluster's owner. Never what a link points to: whoever can put one there
    /// could have any file of root's handed over.
    pub(super) fn give(self, path: &Path, mode: u32) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::open(path, flags, Mode::empty())?;
        self.give_open(&File::from(opened), mode)
    }

    /// The same for a file or directory that is open.
    pub(super) fn give_open(self, file: &File, mode: u32) -> io::Result<()> {
        // Also in a namespace: an earlier start may have been somebody else.
        if self != Self::Same {
            let (uid, gid) = self.owner();
            fchown(file, Some(uid), Some(gid))?;
        }
        file.set_permissions(Permissions::from_mode(mode))
    }

    /// Whether `uid` is somebody this `sb`, or an earlier start of it, runs Postgres as.
    pub(super) fn may_have_been(self, uid: u32) -> bool {
        uid == geteuid().as_raw()
            || uid == self.owner().0
            || (self != Self::Same && unprivileged().is_some_and(|(other, _)| other == uid))
    }

    /// Hands over a whole tree, for a data directory that was made under another identity.
    pub(super) fn give_tree(self, path: &Path) -> io::Result<()> {
        let (uid, gid) = self.owner();
        std::os::unix::fs::lchown(path, Some(uid), Some(gid))?;
        if fs::symlink_metadata(path)?.is_dir() {
            for entry in fs::read_dir(path)? {
                self.give_tree(&entry?.path())?;
            }
        }
        Ok(())
    }

    /// Whether this identity can get to `path`, as far as it exists.
    pub(super) fn can_reach(self, path: &Path) -> bool {
        let Self::User { uid, gid } = self else {
            return true;
        };
        path.ancestors()
            .skip(1)
            .all(|directory| match fs::metadata(directory) {
                Ok(metadata) => may_pass(
                    metadata.mode(),
                    (metadata.uid(), metadata.gid()),
                    (uid, gid),
                ),
                Err(_) => true,
            })
    }
}

fn unprivileged() -> Option<(u32, u32)> {
    unprivileged_user(&fs::read_to_string("/etc/passwd").unwrap_or_default())
}

/// `postgres` if there is one, then `nobody`, then anybody: initdb insists on a uid that has a name.
fn unprivileged_user(passwd: &str) -> Option<(u32, u32)> {
    let users: Vec<(&str, u32, u32)> = passwd
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            (uid != 0).then_some((name, uid, gid))
        })
        .collect();
    let named = |wanted: &str| users.iter().find(|(name, ..)| *name == wanted);
    let (_, uid, gid) = named("postgres")
        .or_else(|| named("nobody"))
        .or_else(|| users.first())?;
    Some((*uid, *gid))
}

/// Tries it with a program that does not exist: "not found" means that everything before the exec worked.
async fn namespaces_work(uid: u32) -> bool {
    if !cfg!(target_os = "linux") {
        return false;
    }
    let probe = Launch {
        program: "/nonexistent/namespace-probe".into(),
        args: Vec::<OsString>::new(),
        env: Vec::new(),
        run_as: RunAs::Namespace { uid },
        death_signal: Signal::KILL,
    };
    let Ok(null) = File::options().write(true).open("/dev/null") else {
        return false;
    };
    match process::launch(&probe, &null).await {
        Ok(_) => false,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

fn may_pass(mode: u32, owner: (u32, u32), user: (u32, u32)) -> bool {
    let bit = if owner.0 == user.0 {
        0o100
    } else if owner.1 == user.1 {
        0o010
    } else {
        0o001
    };
    mode & bit != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picks_postgres_then_nobody_then_anybody() {
        let root = "root:x:0:0:root:/root:/bin/sh\n";
        let bin = "bin:x:2:3:bin:/bin:/usr/sbin/nologin\n";
        let nobody = "nobody:x:65534:65534::/:/bin/false\n";
        let postgres = "postgres:x:70:71::/:/bin/sh\n";
        assert_eq!(unprivileged_user(root), None);
        assert_eq!(unprivileged_user(&format!("{root}{bin}")), Some((2, 3)));
        assert_eq!(
            unprivileged_user(&format!("{root}{bin}{nobody}")),
            Some((65534, 65534))
        );
        assert_eq!(
            unprivileged_user(&format!("{root}{nobody}{postgres}")),
            Some((70, 71))
        );
    }

    #[test]
    fn passing_a_directory_needs_the_bit_of_the_right_class() {
        assert!(!may_pass(0o700, (0, 0), (70, 70)));
        assert!(may_pass(0o711, (0, 0), (70, 70)));
        assert!(may_pass(0o710, (0, 70), (70, 70)));
        assert!(!may_pass(0o077, (70, 0), (70, 70)));
    }
}
