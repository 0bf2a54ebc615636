//! Completes a downloaded Postgres: many existing migrations begin with `create extension "uuid-ossp"`.
//!
//! Where that module is missing it comes as SQL, with the same functions and results. A missing `pgcrypto` cannot be
//! had that way; whoever asks for it reads what to write instead (`db/migrate/error.rs`).

use std::fs;
use std::io;
use std::path::Path;

const CONTROL: &str = "uuid-ossp.control";
const FILES: [(&str, &str); 2] = [
    (CONTROL, include_str!("uuid_ossp/uuid-ossp.control")),
    (
        "uuid-ossp--1.1.sql",
        include_str!("uuid_ossp/uuid-ossp--1.1.sql"),
    ),
];

/// Adds what is missing to the installation in `root`; what is there is left alone.
pub(super) fn complete(root: &Path) -> io::Result<()> {
    let share = root.join("share");
    let candidates = [share.join("postgresql/extension"), share.join("extension")];
    let Some(directory) = candidates.into_iter().find(|directory| directory.is_dir()) else {
        return Err(io::Error::other(
            "the package has no folder share/extension",
        ));
    };
    if directory.join(CONTROL).exists() {
        return Ok(());
    }
    for (file, text) in FILES {
        fs::write(directory.join(file), text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_added() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let extension = dir.path().join("share/extension");
        fs::create_dir_all(&extension).expect("created");
        complete(dir.path()).expect("completed");
        assert!(extension.join("uuid-ossp--1.1.sql").exists());

        fs::write(extension.join(CONTROL), "the real one").expect("written");
        fs::remove_file(extension.join("uuid-ossp--1.1.sql")).expect("removed");
        complete(dir.path()).expect("nothing is missing");
        assert!(!extension.join("uuid-ossp--1.1.sql").exists());
        assert_eq!(
            fs::read_to_string(extension.join(CONTROL)).expect("kept"),
            "the real one"
        );
    }
}
