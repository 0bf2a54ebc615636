//! The project's folder of templates.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::has_ending;

/// A folder of templates is small; what is more is not read.
const MAX_FILES: usize = 500;
const MAX_FILE_BYTES: u64 = 262_144;

/// Every `.html` and `.txt` in `folder` itself, by name. A link that leads out of the folder is left out, as is what
/// cannot be read: the mail then goes out with the built-in part.
pub(super) fn read(folder: &Path) -> BTreeMap<String, String> {
    let Ok(home) = folder.canonicalize() else {
        return BTreeMap::new();
    };
    let entries = fs::read_dir(&home).into_iter().flatten().flatten();
    let read = entries.take(MAX_FILES).filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let is_template = has_ending(&name, "html") || has_ending(&name, "txt");
        let path = entry.path().canonicalize().ok()?;
        let size = path.metadata().ok().filter(fs::Metadata::is_file)?.len();
        if !is_template || !path.starts_with(&home) || size > MAX_FILE_BYTES {
            return None;
        }
        match fs::read_to_string(&path) {
            Ok(text) => Some((name, text)),
            Err(error) => {
                tracing::warn!(file = name, error = %error, "a mail template cannot be read");
                None
            }
        }
    });
    read.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_in_the_folder_is_read() {
        let project = tempfile::tempdir().unwrap();
        let folder = project.path().join("templates");
        fs::create_dir(&folder).unwrap();
        fs::write(project.path().join("secret.txt"), "secret").unwrap();
        fs::write(folder.join("recovery.html"), "<p>").unwrap();
        fs::write(folder.join("notes.md"), "no").unwrap();
        fs::create_dir(folder.join("folder.html")).unwrap();
        std::os::unix::fs::symlink("../secret.txt", folder.join("out.txt")).unwrap();
        std::os::unix::fs::symlink("recovery.html", folder.join("in.html")).unwrap();
        fs::write(folder.join("large.txt"), "x".repeat(262_145)).unwrap();
        fs::write(folder.join("binary.txt"), [0xff, 0xfe]).unwrap();
        let names: Vec<String> = read(&folder).into_keys().collect();
        assert_eq!(names, ["in.html", "recovery.html"]);
        assert!(read(&project.path().join("none")).is_empty());
    }
}
