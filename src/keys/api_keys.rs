//! API keys, in both forms: opaque and revocable one by one, or a long-lived token for older clients.

use chrono::{Months, Utc};
use serde_json::json;

use super::authenticate::{PUBLISHABLE_PREFIX, SECRET_PREFIX};
use super::key_set::{Signer, sha256};
use super::manage::in_transaction;
use super::{ApiKey, KeysError, MasterKey, queries};
use crate::clock::{Clock, random_token};
use crate::config::Secret;
use crate::db::{Connection, DbError, SqlState};

/// Characters of a key that lists show: the prefix and four of the random ones.
const SHOWN: usize = 4;
const JWT_LIFE: Months = Months::new(120);

/// What an opaque key may be shown to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiKeyKind {
    /// The world: role `anon`.
    Publishable,
    /// Servers only: role `service_role`.
    Secret,
}

impl ApiKeyKind {
    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Publishable => "publishable",
            Self::Secret => "secret",
        }
    }

    /// The role it stands for.
    pub const fn role(self) -> &'static str {
        match self {
            Self::Publishable => "anon",
            Self::Secret => "service_role",
        }
    }

    const fn prefix(self) -> &'static str {
        match self {
            Self::Publishable => PUBLISHABLE_PREFIX,
            Self::Secret => SECRET_PREFIX,
        }
    }
}

/// Makes an opaque API key and returns its text, which is kept nowhere: only its hash is.
///
/// # Errors
/// [`KeysError::NameTaken`].
pub async fn create_api_key(
    connection: &Connection,
    name: &str,
    kind: ApiKeyKind,
    clock: &Clock,
) -> Result<Secret, KeysError> {
    let key = format!("{}{}", kind.prefix(), random_token::<24>());
    let shown = &key[..kind.prefix().len() + SHOWN];
    let row = (name, kind.as_str(), kind.role());
    let hash = sha256(key.as_bytes());
    queries::insert_api_key(connection, row, (&hash, shown), clock.now())
        .await
        .map_err(|error| match error.code() {
            Some(&SqlState::UNIQUE_VIOLATION) => KeysError::NameTaken(name.to_owned()),
            _ => error.into(),
        })?;
    Ok(Secret::new(key))
}

/// Revokes an opaque API key by name; every node refuses it within moments.
///
/// # Errors
/// [`KeysError::NoSuchApiKey`].
pub async fn revoke_api_key(
    connection: &Connection,
    name: &str,
    clock: &Clock,
) -> Result<(), KeysError> {
    if queries::revoke_api_key(connection, name, clock.now()).await? {
        Ok(())
    } else {
        Err(KeysError::NoSuchApiKey(name.to_owned()))
    }
}

/// All opaque API keys, oldest first, revoked ones included.
pub async fn list_api_keys(connection: &Connection) -> Result<Vec<ApiKey>, KeysError> {
    Ok(queries::list_api_keys(connection).await?)
}

/// An API key in JWT form for `role`, valid ten years, signed by the active key, which is never pruned from then on.
pub async fn mint_api_jwt(
    connection: &Connection,
    master: &MasterKey,
    issuer: &str,
    role: &str,
    clock: &Clock,
) -> Result<Secret, KeysError> {
    let now = clock.now();
    let expires = now
        .checked_add_months(JWT_LIFE)
        .unwrap_or(chrono::DateTime::<Utc>::MAX_UTC);
    let claims = json!({
        "iss": issuer,
        "role": role,
        "iat": now.timestamp(),
        "exp": expires.timestamp(),
    });
    in_transaction(connection, async {
        let row = queries::active_key(connection).await?;
        let row = row.ok_or(KeysError::NoActiveKey)?;
        let sealed = row.private_key.as_deref().ok_or(KeysError::NoActiveKey)?;
        let signer = Signer::open(&row, sealed, master)?;
        let token = signer.sign(claims.as_object().expect("an object was written above"))?;
        queries::pin(connection, &row.kid).await?;
        Ok(Secret::new(token))
    })
    .await
}

/// Whether the database still knows this opaque key.
pub(super) async fn is_live(connection: &Connection, key: &str) -> Result<bool, DbError> {
    queries::is_live_api_key(connection, &sha256(key.as_bytes())).await
}
