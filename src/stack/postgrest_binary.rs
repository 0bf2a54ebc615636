//! Finds a PostgREST: configured, on the PATH, cached, or downloaded, in that order.

use std::path::{Path, PathBuf};

use super::cache::Cache;
use super::event::StackEvent;
use super::package_client::{find_in_path, is_executable};
use super::platform::Platform;
use super::postgres_binaries::{major_of, version_of};
use super::{StackError, pins};

/// The oldest major version `sb` works with.
const OLDEST: u32 = 12;

pub(super) async fn find(
    configured: Option<&Path>,
    cache: &Cache,
    download: bool,
) -> Result<PathBuf, StackError> {
    let platform = Platform::here();
    let mut attempts = Vec::new();
    if let Some(path) = configured {
        return inspect(path, cache)
            .await
            .map_err(|reason| StackError::NoPostgrest {
                attempts: vec![format!("{} (configured): {reason}", path.display())],
                advice: "correct the configured path, or remove it to let sb find one".into(),
            });
    }
    match find_in_path(cache.search_path.as_deref(), "postgrest") {
        None => attempts.push("there is no `postgrest` on the PATH".to_owned()),
        Some(path) => match inspect(&path, cache).await {
            Ok(path) => return Ok(path),
            Err(reason) => attempts.push(format!("{} (PATH): {reason}", path.display())),
        },
    }
    let pins = pins::postgrest(platform);
    if pins.is_empty() {
        attempts.push(format!(
            "no package is known for this platform ({platform:?})"
        ));
    }
    for pin in &pins {
        let root = match cache.find(pin)? {
            Some(root) => Some(root),
            None if download => cache.fetch(pin, |_| Ok(()), &mut attempts).await?,
            None => {
                attempts.push(format!(
                    "{}: not in the cache, and downloads are switched off",
                    pin.name()
                ));
                None
            }
        };
        let Some(root) = root else { continue };
        match inspect(&root.join(pin.main), cache).await {
            Ok(path) => return Ok(path),
            Err(reason) => attempts.push(format!("{}: {reason}", pin.name())),
        }
    }
    Err(StackError::NoPostgrest {
        attempts,
        advice: pins::postgrest_advice(platform),
    })
}

async fn inspect(path: &Path, cache: &Cache) -> Result<PathBuf, String> {
    if !is_executable(path) {
        return Err("it is not an executable file".to_owned());
    }
    let version = version_of(path).await?;
    let major = major_of(&version).ok_or_else(|| format!("it says its version is {version:?}"))?;
    if major < OLDEST {
        return Err(format!(
            "PostgREST {major} is too old, {OLDEST} is the oldest that works"
        ));
    }
    (cache.events)(StackEvent::Using {
        name: "postgrest",
        version,
        path: path.to_owned(),
    });
    Ok(path.to_owned())
}
