//! The API keys of a development project, kept in `.sb/keys.json` so that `sb status` can print them.

use std::io::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::api_keys::{ApiKeyKind, create_api_key, is_live, mint_api_jwt};
use super::key_set::KeySet;
use super::queries::{self, KeyRow};
use super::{KeyStatus, KeysError, MasterKey, token};
use crate::clock::Clock;
use crate::db::Connection;

/// The four keys as text. Debug shows none of them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevKeys {
    /// JWT form, role `anon`.
    pub anon_key: String,
    /// JWT form, role `service_role`.
    pub service_role_key: String,
    /// Opaque, role `anon`.
    pub publishable_key: String,
    /// Opaque, role `service_role`.
    pub secret_key: String,
}

impl std::fmt::Debug for DevKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DevKeys")
    }
}

/// Reads the keys at `path`, or `None` when there are none or the file is no longer understood.
pub fn load(path: &Path) -> Option<DevKeys> {
    serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()
}

/// Reads the keys at `path` and makes anew those the database does not know (any more): after a reset, or when the
/// file was lost. The file has mode 0600.
pub async fn load_or_create(
    path: &Path,
    connection: &Connection,
    master: &MasterKey,
    issuer: &str,
    clock: &Clock,
) -> Result<DevKeys, KeysError> {
    let kept = load(path);
    let jwts = async |kept: Option<&String>, role: &str| match kept {
        Some(jwt) if verifies(connection, master, jwt, clock).await? => Ok(jwt.clone()),
        _ => mint_api_jwt(connection, master, issuer, role, clock)
            .await
            .map(|jwt| jwt.expose().to_owned()),
    };
    let opaque = async |kept: Option<&String>, kind: ApiKeyKind| match kept {
        Some(key) if is_live(connection, key).await? => Ok(key.clone()),
        _ => remake(connection, kind, clock).await,
    };
    let kept_ref = kept.as_ref();
    let keys = DevKeys {
        anon_key: jwts(kept_ref.map(|keys| &keys.anon_key), "anon").await?,
        service_role_key: jwts(kept_ref.map(|keys| &keys.service_role_key), "service_role").await?,
        publishable_key: opaque(
            kept_ref.map(|keys| &keys.publishable_key),
            ApiKeyKind::Publishable,
        )
        .await?,
        secret_key: opaque(kept_ref.map(|keys| &keys.secret_key), ApiKeyKind::Secret).await?,
    };
    if kept.as_ref() != Some(&keys) {
        write(path, &keys).map_err(|error| KeysError::file(path, &error))?;
    }
    Ok(keys)
}

/// Checked against the database, not the node's own set: there may be no node yet.
async fn verifies(
    connection: &Connection,
    master: &MasterKey,
    jwt: &str,
    clock: &Clock,
) -> Result<bool, KeysError> {
    let rows: Vec<KeyRow> = queries::list_keys(connection)
        .await?
        .into_iter()
        .filter(|key| key.status != KeyStatus::Revoked)
        .map(|key| KeyRow {
            kid: key.kid,
            alg: key.algorithm,
            status: key.status.as_str().to_owned(),
            public_jwk: key.public_jwk,
            private_key: None,
        })
        .collect();
    let set = KeySet::build(&rows, Vec::new(), master)?;
    let rules = token::Rules {
        audience: Some(""),
        issuer: None,
        legacy_secret: None,
        now: clock.now().timestamp(),
    };
    Ok(token::verify(&set, jwt, rules).is_ok())
}

/// The text of an opaque key cannot be read back, so a lost one is replaced under its name.
async fn remake(
    connection: &Connection,
    kind: ApiKeyKind,
    clock: &Clock,
) -> Result<String, KeysError> {
    let name = format!("development {}", kind.as_str());
    queries::delete_api_key(connection, &name).await?;
    let key = create_api_key(connection, &name, kind, clock).await?;
    Ok(key.expose().to_owned())
}

fn write(path: &Path, keys: &DevKeys) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    super::master::create_private_dir(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer_pretty(&mut file, keys)?;
    file.write_all(b"\n")?;
    file.persist(path)?;
    Ok(())
}
