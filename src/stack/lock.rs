//! One stack for each project: a lock the kernel lets go of whenever, and however, its holder ends.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use super::StackError;

/// Held as long as the stack lives.
#[derive(Debug)]
pub(super) struct StackLock {
    file: File,
}

impl StackLock {
    pub(super) fn take(state_dir: &Path) -> Result<Self, StackError> {
        let path = state_dir.join("stack.lock");
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(StackError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _ = file.read_to_string(&mut pid);
                let pid = if pid.trim().is_empty() {
                    "unknown".to_owned()
                } else {
                    pid.trim().to_owned()
                };
                return Err(StackError::AlreadyRunning {
                    pid,
                    state_dir: state_dir.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(StackError::io("lock", &path)(source)),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(StackError::io("write", &path))?;
        Ok(Self { file })
    }

    /// Whether some process holds the lock now.
    pub(super) fn is_held(state_dir: &Path) -> bool {
        File::open(state_dir.join("stack.lock"))
            .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}

impl Drop for StackLock {
    /// Closing the file is not enough: a child that is being launched right now has a copy of it until it runs its own
    /// program.
    fn drop(&mut self) {
        if let Err(error) = self.file.unlock() {
            tracing::debug!(error = %error, "the lock of the stack is let go of when its last copy is closed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_learns_the_pid_of_the_first() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let first = StackLock::take(dir.path()).expect("nobody holds it");
        assert!(StackLock::is_held(dir.path()));
        let refused = StackLock::take(dir.path()).expect_err("it is held");
        let text = refused.to_string();
        assert!(text.contains(&std::process::id().to_string()), "{text}");
        assert!(text.contains("sb down"), "{text}");
        drop(first);
        assert!(!StackLock::is_held(dir.path()));
        StackLock::take(dir.path()).expect("it was let go");
    }
}
