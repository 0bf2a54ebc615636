//! The log of one child: appended to by the child itself, so nothing is lost when `sb` dies; bounded in size.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// A log may grow to this size and keeps one older part of the same size.
const LIMIT: u64 = 8 * 1024 * 1024;
/// How much of the end of a log goes into an error.
const TAIL_BYTES: u64 = 8 * 1024;
const TAIL_LINES: usize = 15;

/// `NAME.log` and, once it was full, `NAME.log.1`.
#[derive(Debug, Clone)]
pub(super) struct LogFile {
    path: PathBuf,
}

impl LogFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opened for appending, as the output of a child; for its owner only, since statements in it hold data.
    pub(super) fn open(&self) -> io::Result<File> {
        self.rotate()?;
        if let Some(directory) = self.path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)?;
        }
        File::options()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.path)
    }

    /// Where the log ends now; what comes later belongs to the next child.
    pub(super) fn end(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }

    /// Copies and truncates: the child keeps its open file and, because it appends, goes on at the new end.
    pub(super) fn rotate(&self) -> io::Result<()> {
        if self.end() < LIMIT {
            return Ok(());
        }
        fs::copy(&self.path, self.path.with_extension("log.1"))?;
        File::options().write(true).open(&self.path)?.set_len(0)
    }

    /// The last lines written after `start`.
    pub(super) fn tail(&self, start: u64) -> String {
        self.read_tail(start)
            .unwrap_or_else(|error| format!("(the log cannot be read: {error})"))
    }

    fn read_tail(&self, start: u64) -> io::Result<String> {
        let end = self.end();
        let start = if start > end { 0 } else { start };
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(start.max(end.saturating_sub(TAIL_BYTES))))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        Ok(lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn the_tail_begins_where_the_child_did() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let log = LogFile::new(dir.path().join("child.log"));
        let mut file = log.open().expect("a new file");
        writeln!(file, "of the last child").expect("written");
        let start = log.end();
        for number in 0..100 {
            writeln!(file, "line {number}").expect("written");
        }
        let tail = log.tail(start);
        assert_eq!(tail.lines().count(), TAIL_LINES);
        assert!(tail.ends_with("line 99"));
        assert!(!log.tail(log.end()).contains("last child"));
    }

    #[test]
    fn a_log_is_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().expect("a temporary directory");
        let log = LogFile::new(dir.path().join("logs").join("child.log"));
        log.open().expect("a new file");
        for (path, mode) in [(log.path(), 0o600), (&dir.path().join("logs"), 0o700)] {
            let metadata = fs::metadata(path).expect("it is there");
            assert_eq!(metadata.permissions().mode() & 0o777, mode);
        }
    }

    #[test]
    fn a_full_log_is_moved_aside_under_an_open_writer() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let log = LogFile::new(dir.path().join("child.log"));
        let mut file = log.open().expect("a new file");
        file.write_all(&vec![b'x'; usize::try_from(LIMIT).expect("fits")])
            .expect("written");
        log.rotate().expect("rotated");
        writeln!(file, "after").expect("written");
        assert_eq!(log.tail(0), "after");
        assert_eq!(
            fs::metadata(dir.path().join("child.log.1"))
                .expect("kept")
                .len(),
            LIMIT
        );
    }
}
