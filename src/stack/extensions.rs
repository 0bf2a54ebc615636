//! Completes a downloaded Postgres: existing migrations begin with `create extension "uuid-ossp"` or `pgcrypto`.
//!
//! Where the module is missing, `uuid-ossp` comes as SQL with the same functions and results. A missing `pgcrypto`
//! cannot be had that way, so it becomes an error that names what to write instead.

use std::fs;
use std::io;
use std::path::Path;

const FILES: [(&str, &str, &str); 4] = [
    (
        "uuid-ossp",
        "uuid-ossp.control",
        include_str!("uuid_ossp/uuid-ossp.control"),
    ),
    (
        "uuid-ossp",
        "uuid-ossp--1.1.sql",
        include_str!("uuid_ossp/uuid-ossp--1.1.sql"),
    ),
    (
        "pgcrypto",
        "pgcrypto.control",
        include_str!("pgcrypto_hint/pgcrypto.control"),
    ),
    (
        "pgcrypto",
        "pgcrypto--1.3.sql",
        include_str!("pgcrypto_hint/pgcrypto--1.3.sql"),
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
    let missing = |name: &str| !directory.join(format!("{name}.control")).exists();
    let wanted: Vec<_> = FILES
        .iter()
        .filter(|(extension, ..)| missing(extension))
        .collect();
    for (_, file, text) in wanted {
        fs::write(directory.join(file), text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_missing_extensions_are_added() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let extension = dir.path().join("share/extension");
        fs::create_dir_all(&extension).expect("created");
        fs::write(extension.join("pgcrypto.control"), "the real one").expect("written");
        complete(dir.path()).expect("completed");
        assert!(extension.join("uuid-ossp--1.1.sql").exists());
        assert!(!extension.join("pgcrypto--1.3.sql").exists());
        assert_eq!(
            fs::read_to_string(extension.join("pgcrypto.control")).expect("kept"),
            "the real one"
        );
    }
}
