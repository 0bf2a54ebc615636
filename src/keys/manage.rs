//! What an operator does with signing keys, on the owner's connection: make, rotate, activate, prune.
//!
//! Every function is one transaction; the database publishes the new key set when it commits.

use std::future::Future;

use chrono::TimeDelta;

use super::key_pair::KeyPair;
use super::queries::{self, NewKey};
use super::{KeyStatus, KeysError, MasterKey, SigningKey};
use crate::clock::Clock;
use crate::config::{Algorithm, Config};
use crate::db::Connection;

pub use super::api_keys::{
    ApiKeyKind, create_api_key, list_api_keys, mint_api_jwt, revoke_api_key,
};

/// When a new key begins to sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// After [`activate`]; until then everybody can learn of it.
    Standby,
    /// At once.
    Now,
}

/// Makes sure that a key signs: makes the first one, or imports `jwt.private_key` once. Safe to call at every start;
/// it also publishes the key set anew where a restored dump has lost it. Returns the id of the key that signs.
pub async fn init(
    connection: &Connection,
    master: &MasterKey,
    config: &Config,
    clock: &Clock,
) -> Result<String, KeysError> {
    let import = import(config)?;
    in_transaction(connection, async {
        let known = queries::list_keys(connection).await?;
        if let Some((kid, pair)) = import {
            match known.iter().find(|key| key.kid == kid) {
                None => insert(connection, master, (kid, &pair), Rotation::Now, clock).await?,
                Some(key) => check_same(key, &pair)?,
            }
        } else if !known.iter().any(|key| key.status == KeyStatus::Active) {
            let pair = KeyPair::generate(config.jwt.alg)?;
            insert(
                connection,
                master,
                (pair.thumbprint(), &pair),
                Rotation::Now,
                clock,
            )
            .await?;
        }
        super::secrets::init(connection, master, clock.now()).await?;
        queries::publish(connection).await?;
        let active = queries::active_key(connection).await?;
        active.map(|key| key.kid).ok_or(KeysError::NoActiveKey)
    })
    .await
}

/// Makes sure that `master` is the one this database was set up with, before anything is derived from it. A command
/// that was given another one, or none and made one, would change the passwords under the nodes that run.
///
/// # Errors
/// [`KeysError::Sealed`] when it does not open the key that signs. A database without one takes any.
pub async fn check_master(connection: &Connection, master: &MasterKey) -> Result<(), KeysError> {
    if !connection.has_relation("auth.signing_keys").await? {
        return Ok(());
    }
    let active = queries::active_key(connection).await?;
    let sealed = active.and_then(|key| Some((key.kid, key.private_key?)));
    sealed.map_or(Ok(()), |(kid, sealed)| {
        master.open(&sealed, kid.as_bytes()).map(drop)
    })
}

/// Makes a new key and returns its id. One in reserve must be sealed like the one that signs.
pub async fn rotate(
    connection: &Connection,
    master: &MasterKey,
    algorithm: Algorithm,
    rotation: Rotation,
    clock: &Clock,
) -> Result<String, KeysError> {
    let pair = KeyPair::generate(algorithm)?;
    let kid = pair.thumbprint();
    in_transaction(connection, async {
        if rotation == Rotation::Standby {
            check_master(connection, master).await?;
        }
        insert(connection, master, (kid.clone(), &pair), rotation, clock).await
    })
    .await?;
    Ok(kid)
}

/// Lets a standby (or previous) key sign, the newest standby one by default; the one that signed becomes previous.
/// Returns its id.
pub async fn activate(
    connection: &Connection,
    kid: Option<&str>,
    clock: &Clock,
) -> Result<String, KeysError> {
    in_transaction(connection, async {
        let kid = match kid {
            Some(kid) => kid.to_owned(),
            None => queries::newest_standby(connection)
                .await?
                .ok_or(KeysError::NoStandbyKey)?,
        };
        let active = queries::active_key(connection).await?;
        if active.is_some_and(|active| active.kid == kid) {
            return Ok(kid);
        }
        let now = clock.now();
        queries::retire_active(connection, now).await?;
        if queries::activate(connection, &kid, now).await? {
            Ok(kid)
        } else {
            let wanted = "standby or previous";
            Err(KeysError::NoSuchKey { kid, wanted })
        }
    })
    .await
}

/// Revokes previous keys whose every token has expired, `jwt.rotation_grace_seconds` ago or longer, and wipes their
/// private halves. Keys that API keys in JWT form carry stay. Returns their ids.
pub async fn prune(
    connection: &Connection,
    config: &Config,
    clock: &Clock,
) -> Result<Vec<String>, KeysError> {
    let longest = config
        .auth
        .access_token_ttl
        .max(super::ROLE_TOKEN_LIFE.unsigned_abs());
    let seconds = longest.saturating_add(config.jwt.rotation_grace_seconds);
    let before = i64::try_from(seconds)
        .ok()
        .and_then(TimeDelta::try_seconds)
        .and_then(|age| clock.now().checked_sub_signed(age));
    match before {
        Some(before) => Ok(queries::revoke_retired_before(connection, before).await?),
        None => Ok(Vec::new()),
    }
}

/// Revokes a key at once: what it signed is refused from now on, API keys in JWT form included.
///
/// # Errors
/// [`KeysError::NoSuchKey`] for the active key: rotate first.
pub async fn revoke(connection: &Connection, kid: &str) -> Result<(), KeysError> {
    if queries::revoke_key(connection, kid).await? {
        return Ok(());
    }
    Err(KeysError::NoSuchKey {
        kid: kid.to_owned(),
        wanted: "standby or previous",
    })
}

/// All keys, oldest first.
pub async fn list(connection: &Connection) -> Result<Vec<SigningKey>, KeysError> {
    Ok(queries::list_keys(connection).await?)
}

async fn insert(
    connection: &Connection,
    master: &MasterKey,
    (kid, pair): (String, &KeyPair),
    rotation: Rotation,
    clock: &Clock,
) -> Result<(), KeysError> {
    let now = clock.now();
    let status = match rotation {
        Rotation::Standby => KeyStatus::Standby,
        Rotation::Now => {
            queries::retire_active(connection, now).await?;
            KeyStatus::Active
        }
    };
    let key = NewKey {
        private_key: master.seal(&pair.to_pkcs8()?, kid.as_bytes()),
        public_jwk: pair.public_members(),
        alg: pair.algorithm().as_str(),
        status,
        kid,
        now,
    };
    Ok(queries::insert_key(connection, &key).await?)
}

/// `jwt.private_key` or the file `jwt.private_key_path`, with its id.
fn import(config: &Config) -> Result<Option<(String, KeyPair)>, KeysError> {
    let pem = match (&config.jwt.private_key, &config.jwt.private_key_path) {
        (Some(pem), _) => pem.expose().to_owned(),
        (None, Some(path)) => {
            let path = config.project_dir.join(path);
            let unreadable = |error| KeysError::Import(format!("{}: {error}", path.display()));
            std::fs::read_to_string(&path).map_err(unreadable)?
        }
        (None, None) => return Ok(None),
    };
    let pair = KeyPair::from_pem(&pem)?;
    let kid = config.jwt.kid.clone().filter(|kid| !kid.is_empty());
    Ok(Some((kid.unwrap_or_else(|| pair.thumbprint()), pair)))
}

/// A key that was imported before is left in whatever state an operator has brought it since.
fn check_same(known: &SigningKey, pair: &KeyPair) -> Result<(), KeysError> {
    let ours = pair.public_members();
    let same = ["n", "e", "x", "y"]
        .iter()
        .all(|name| known.public_jwk.get(name) == ours.get(name));
    if same {
        Ok(())
    } else {
        Err(KeysError::Import(format!(
            "another key has the id {} already; set jwt.kid (JWT_KID) to a new one",
            known.kid
        )))
    }
}

/// Runs `work` in a transaction that no other change of keys runs beside.
pub(super) async fn in_transaction<T>(
    connection: &Connection,
    work: impl Future<Output = Result<T, KeysError>>,
) -> Result<T, KeysError> {
    connection.batch_execute("begin").await?;
    let result = async {
        queries::lock(connection).await?;
        work.await
    }
    .await;
    let end = if result.is_ok() { "commit" } else { "rollback" };
    let ended = connection.batch_execute(end).await;
    let value = result?;
    ended?;
    Ok(value)
}
