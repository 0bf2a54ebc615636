//! Pinned packages in the user's cache: checked before they are unpacked, and again before every use.
//!
//! A folder appears under its final name only when it is complete (unpack beside it, then rename), and a file lock
//! makes two processes download once.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::event::{EventSink, StackEvent};
use super::pins::Pin;
use super::{StackError, package_client, unpack};

const MANIFEST: &str = "manifest.json";
const LOCK_INTERVAL: Duration = Duration::from_millis(100);

/// What a folder in the cache was made from.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    name: String,
    archive_sha256: String,
    main_sha256: String,
}

/// The user's cache, and what is needed to fill it.
#[derive(Clone)]
pub(super) struct Cache {
    pub(super) directory: PathBuf,
    pub(super) search_path: Option<std::ffi::OsString>,
    pub(super) events: EventSink,
}

impl Cache {
    /// The installation of `pin`, if it is here and undamaged; a damaged one is removed.
    pub(super) fn find(&self, pin: &Pin) -> Result<Option<PathBuf>, StackError> {
        let folder = self.folder(pin);
        if !folder.exists() {
            return Ok(None);
        }
        let root = folder.join(pin.root);
        match check(&folder, pin) {
            Ok(()) => Ok(Some(root)),
            Err(reason) => {
                fs::remove_dir_all(&folder).map_err(StackError::io("remove", &folder))?;
                let what = format!("removed {} from the cache: {reason}", pin.name());
                (self.events)(StackEvent::Recovered { what });
                Ok(None)
            }
        }
    }

    /// Downloads, checks and unpacks `pin`; the reasons of every failed try go to `attempts`.
    pub(super) async fn fetch(
        &self,
        pin: &Pin,
        prepare: impl Fn(&Path) -> io::Result<()> + Send + 'static,
        attempts: &mut Vec<String>,
    ) -> Result<Option<PathBuf>, StackError> {
        let clients = package_client::available(pin.source, self.search_path.as_deref());
        if clients.is_empty() {
            attempts.push(format!(
                "{}: needs {} on the PATH",
                pin.name(),
                package_client::names(pin.source)
            ));
            return Ok(None);
        }
        fs::create_dir_all(&self.directory).map_err(StackError::io("create", &self.directory))?;
        let _lock = self.lock(pin).await?;
        if let Some(root) = self.find(pin)? {
            return Ok(Some(root));
        }
        self.remove_half_made(pin);
        for client in &clients {
            let directory = tempfile::Builder::new()
                .prefix(&half_made(pin))
                .tempdir_in(&self.directory)
                .map_err(StackError::io("create a folder in", &self.directory))?;
            let last = AtomicU64::new(u64::MAX);
            let progress = |bytes: u64| {
                let bytes = bytes.min(pin.size);
                if last.swap(bytes, Ordering::Relaxed) != bytes {
                    (self.events)(StackEvent::Downloading {
                        name: pin.name(),
                        bytes,
                        total: pin.size,
                    });
                }
            };
            progress(0);
            let search_path: Option<&OsStr> = self.search_path.as_deref();
            let archive = match package_client::download(
                client,
                pin,
                directory.path(),
                search_path,
                progress,
            )
            .await
            {
                Ok(archive) => archive,
                Err(reason) => {
                    self.failed(pin, reason, attempts);
                    continue;
                }
            };
            let found = hash(&archive).map_err(StackError::io("read", &archive))?;
            if found != pin.sha256 {
                // The folder, and with it the archive, is removed at the end of this turn.
                let reason = format!(
                    "refused and removed the download: its SHA-256 is {found}, expected {} (corrupt, truncated or changed)",
                    pin.sha256
                );
                self.failed(pin, reason, attempts);
                continue;
            }
            progress(pin.size);
            let unpacked = directory.path().join("unpacked");
            let (folder, job_pin) = (self.folder(pin), pin.clone());
            let job = move || install(&archive, &unpacked, &folder, &job_pin, prepare);
            let installed = tokio::task::spawn_blocking(job)
                .await
                .map_err(io::Error::other)
                .flatten();
            installed.map_err(StackError::io("unpack the download in", &self.directory))?;
            let root = self.folder(pin).join(pin.root);
            (self.events)(StackEvent::Unpacked {
                name: pin.name(),
                path: root.clone(),
            });
            return Ok(Some(root));
        }
        Ok(None)
    }

    fn folder(&self, pin: &Pin) -> PathBuf {
        self.directory.join(folder_name(pin))
    }

    fn failed(&self, pin: &Pin, reason: String, attempts: &mut Vec<String>) {
        attempts.push(format!("{}: {reason}", pin.name()));
        (self.events)(StackEvent::SourceFailed {
            name: pin.name(),
            reason,
        });
    }

    async fn lock(&self, pin: &Pin) -> Result<File, StackError> {
        let path = self.directory.join(format!("{}.lock", folder_name(pin)));
        let file = File::create(&path).map_err(StackError::io("create", &path))?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if told => {}
                Err(TryLockError::WouldBlock) => {
                    (self.events)(StackEvent::WaitingForDownload { lock: path.clone() });
                    told = true;
                }
                Err(TryLockError::Error(source)) => {
                    return Err(StackError::io("lock", &path)(source));
                }
            }
            tokio::time::sleep(LOCK_INTERVAL).await;
        }
    }

    /// Called under the lock, so nobody works in these folders any more.
    fn remove_half_made(&self, pin: &Pin) {
        for entry in fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten()
        {
            if entry
                .file_name()
                .to_string_lossy()
                .starts_with(&half_made(pin))
                && fs::remove_dir_all(entry.path()).is_ok()
            {
                let what = format!("removed a half-made download ({})", entry.path().display());
                (self.events)(StackEvent::Recovered { what });
            }
        }
    }
}

fn folder_name(pin: &Pin) -> String {
    let package = pin.package.trim_start_matches('@').replace('/', "-");
    format!("{package}-{}-{}", pin.version, &pin.sha256[..12])
}

fn half_made(pin: &Pin) -> String {
    format!(".half-made-{}-", folder_name(pin))
}

fn install(
    archive: &Path,
    unpacked: &Path,
    folder: &Path,
    pin: &Pin,
    prepare: impl Fn(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let root = unpack::unpack(archive, unpacked, pin)?;
    prepare(&root)?;
    let manifest = Manifest {
        name: pin.name(),
        archive_sha256: pin.sha256.to_owned(),
        main_sha256: hash(&root.join(pin.main))?,
    };
    fs::write(
        unpacked.join(MANIFEST),
        serde_json::to_vec_pretty(&manifest)?,
    )?;
    fs::rename(unpacked, folder)
}

fn check(folder: &Path, pin: &Pin) -> Result<(), String> {
    let text = fs::read(folder.join(MANIFEST))
        .map_err(|error| format!("its manifest is missing ({error})"))?;
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|error| format!("its manifest is damaged ({error})"))?;
    if manifest.archive_sha256 != pin.sha256 {
        return Err("it was made from another archive".to_owned());
    }
    let main = folder.join(pin.root).join(pin.main);
    let found = hash(&main).map_err(|error| format!("{} is missing ({error})", pin.main))?;
    if found != manifest.main_sha256 {
        return Err(format!(
            "{} was changed or damaged since it was unpacked",
            pin.main
        ));
    }
    Ok(())
}

/// SHA-256 of a file, in lower-case hexadecimal.
fn hash(path: &Path) -> io::Result<String> {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match io::Read::read(&mut file, &mut buffer)? {
            0 => break,
            length => context.update(&buffer[..length]),
        }
    }
    Ok(hex::encode(context.finish()))
}
