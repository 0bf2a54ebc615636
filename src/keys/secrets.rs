//! Symmetric secrets: they sign what only `sb` itself reads again, such as states and links.
//!
//! They live in Postgres like the signing keys (`auth.secrets`, sealed with the master key) and go through the same
//! states. All but revoked ones verify, **standby ones too**: a node that signs with a secret that was just activated
//! is believed by nodes that have not heard of the activation. What was signed names its secret.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};

use super::{KeyStatus, KeysError, MasterKey, queries};
use crate::clock::{Clock, random_bytes, random_token};
use crate::config::Config;
use crate::db::{Connection, DbError, SystemConnection};

/// What a secret is for; what one signed is nothing to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// The state of a sign-in at another provider.
    OauthState,
    /// Links in mails and the like.
    Links,
    /// Addresses of stored files.
    StorageSignedUrl,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::OauthState, Self::Links, Self::StorageSignedUrl];

    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OauthState => "oauth_state",
            Self::Links => "links",
            Self::StorageSignedUrl => "storage_signed_url",
        }
    }

    /// Reads the word, or the short forms `oauth` and `storage`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "oauth_state" | "oauth" => Some(Self::OauthState),
            "links" => Some(Self::Links),
            "storage_signed_url" | "storage" => Some(Self::StorageSignedUrl),
            _ => None,
        }
    }
}

/// A secret as an operator sees it: without its bytes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SecretInfo {
    /// What it is for.
    pub family: String,
    /// Its id, within the family.
    pub kid: String,
    /// Where it is in its life.
    pub status: KeyStatus,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it began to sign.
    pub activated_at: Option<DateTime<Utc>>,
    /// When it ceased to sign.
    pub retired_at: Option<DateTime<Utc>>,
}

/// A row a node needs.
pub(super) struct SecretRow {
    pub(super) family: String,
    pub(super) kid: String,
    pub(super) is_active: bool,
    pub(super) secret: Vec<u8>,
}

/// Handle on the secrets in force. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Secrets(Arc<RwLock<Arc<Set>>>);

#[derive(Default)]
struct Set {
    active: HashMap<Family, (String, hmac::Key)>,
    usable: HashMap<(Family, String), hmac::Key>,
}

impl std::fmt::Debug for Set {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.usable.keys()).finish()
    }
}

impl Secrets {
    /// Signs `data` and returns `KID.MAC`, which goes beside it: letters, digits, `-`, `_` and one dot.
    ///
    /// # Errors
    /// [`KeysError::NoActiveKey`] when the family has no secret.
    pub fn sign(&self, family: Family, data: &[u8]) -> Result<String, KeysError> {
        let set = self.set();
        let (kid, key) = set.active.get(&family).ok_or(KeysError::NoActiveKey)?;
        let mac = hmac::sign(key, data);
        Ok(format!("{kid}.{}", URL_SAFE_NO_PAD.encode(mac)))
    }

    /// Whether `signature` is what a secret of the family in force has signed `data` with.
    pub fn verify(&self, family: Family, data: &[u8], signature: &str) -> bool {
        let set = self.set();
        let Some((kid, mac)) = signature.split_once('.') else {
            return false;
        };
        let (Some(key), Ok(mac)) = (
            set.usable.get(&(family, kid.to_owned())),
            URL_SAFE_NO_PAD.decode(mac),
        ) else {
            return false;
        };
        let expected = hmac::sign(key, data);
        constant_time::verify_slices_are_equal(expected.as_ref(), &mac).is_ok()
    }

    fn set(&self) -> Arc<Set> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads them anew. One that was sealed with another master key is left out, which the log says.
    ///
    /// # Errors
    /// The database's; the secrets stay as they were.
    pub async fn load(
        &self,
        connection: &SystemConnection,
        master: &MasterKey,
    ) -> Result<(), DbError> {
        let mut set = Set::default();
        for row in queries::usable_secrets(connection).await? {
            let Some(family) = Family::parse(&row.family) else {
                continue;
            };
            let Ok(bytes) = master.open(&row.secret, &aad(family, &row.kid)) else {
                tracing::error!(
                    secret.family = row.family,
                    secret.kid = row.kid,
                    "a secret was sealed with another master key"
                );
                continue;
            };
            let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
            if row.is_active {
                set.active.insert(family, (row.kid.clone(), key.clone()));
            }
            set.usable.insert((family, row.kid), key);
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(set);
        Ok(())
    }
}

/// What a sealed secret belongs to.
fn aad(family: Family, kid: &str) -> Vec<u8> {
    format!("secret {} {kid}", family.as_str()).into_bytes()
}

/// Makes sure that every family has a secret that signs.
///
/// # Errors
/// The database's.
pub async fn init(
    connection: &Connection,
    master: &MasterKey,
    now: DateTime<Utc>,
) -> Result<(), KeysError> {
    let known = queries::list_secrets(connection).await?;
    for family in Family::ALL {
        let has = |secret: &SecretInfo| {
            secret.family == family.as_str() && secret.status == KeyStatus::Active
        };
        if !known.iter().any(has) {
            insert(connection, master, (family, KeyStatus::Active), now).await?;
        }
    }
    Ok(())
}

async fn insert(
    connection: &Connection,
    master: &MasterKey,
    (family, status): (Family, KeyStatus),
    now: DateTime<Utc>,
) -> Result<String, KeysError> {
    let kid = random_token::<6>();
    let sealed = master.seal(&random_bytes::<32>(), &aad(family, &kid));
    let name = (family.as_str(), kid.as_str());
    queries::insert_secret(connection, name, status, (&sealed, now)).await?;
    Ok(kid)
}

/// All secrets, oldest first.
pub async fn list(connection: &Connection) -> Result<Vec<SecretInfo>, KeysError> {
    Ok(queries::list_secrets(connection).await?)
}

/// Makes a secret in reserve and returns its id. Every node believes it at once; none signs with it yet.
pub async fn rotate(
    connection: &Connection,
    master: &MasterKey,
    family: Family,
    clock: &Clock,
) -> Result<String, KeysError> {
    super::manage::in_transaction(connection, async {
        super::manage::check_master(connection, master).await?;
        let what = (family, KeyStatus::Standby);
        insert(connection, master, what, clock.now()).await
    })
    .await
}

/// Lets a secret in reserve (or a former one) sign, by default the newest in reserve; the one that signed becomes
/// previous. Returns its id.
///
/// # Errors
/// [`KeysError::NoStandbyKey`], [`KeysError::NoSuchKey`].
pub async fn activate(
    connection: &Connection,
    family: Family,
    kid: Option<&str>,
    clock: &Clock,
) -> Result<String, KeysError> {
    super::manage::in_transaction(connection, async {
        let known = queries::list_secrets(connection).await?;
        let mut of_family = known
            .into_iter()
            .filter(|secret| secret.family == family.as_str());
        let kid = match kid {
            Some(kid) => kid.to_owned(),
            None => {
                of_family
                    .rfind(|secret| secret.status == KeyStatus::Standby)
                    .ok_or(KeysError::NoStandbyKey)?
                    .kid
            }
        };
        if queries::activate_secret(connection, (family.as_str(), &kid), clock.now()).await? {
            return Ok(kid);
        }
        let wanted = "standby or previous";
        Err(KeysError::NoSuchKey { kid, wanted })
    })
    .await
}

/// Revokes and wipes former secrets once nothing that they have signed is good any more, and `jwt.rotation_grace_seconds`
/// beyond that, but not within a day; at once when `force` says so. Returns family and id of each.
pub async fn prune(
    connection: &Connection,
    family: Option<Family>,
    (config, force): (&Config, bool),
    clock: &Clock,
) -> Result<Vec<(String, String)>, KeysError> {
    const SHORTEST_GRACE: u64 = 86_400;
    let longest_use = config.auth.longest_link_ttl().max(SHORTEST_GRACE);
    let grace = longest_use.saturating_add(config.jwt.rotation_grace_seconds);
    let grace = i64::try_from(grace).ok().and_then(TimeDelta::try_seconds);
    let before = match grace {
        _ if force => Some(clock.now()),
        grace => grace.and_then(|grace| clock.now().checked_sub_signed(grace)),
    };
    let Some(before) = before else {
        return Ok(Vec::new());
    };
    let family = family.map(Family::as_str);
    Ok(queries::prune_secrets(connection, family, before).await?)
}
