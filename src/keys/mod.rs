//! Signing keys and API keys: who may sign, who is believed.
//!
//! Keys live in Postgres (`auth.signing_keys`, private halves sealed with the [`MasterKey`]; `auth.api_keys`, as
//! hashes), because nodes are stateless. A write there publishes the key set to PostgREST and notifies every node in
//! the same transaction. A node holds the [`Keys`] handle: an immutable set of keys that is swapped whole.
//!
//! A key is *standby* (published, not used), *active* (signs), *previous* (verifies what it signed) and at last
//! *revoked*. Invariants: one key is active; a header never chooses the algorithm; no symmetric token is accepted
//! unless a legacy secret is configured; a private key never leaves this folder unsealed.

mod api_keys;
mod authenticate;
pub mod dev_keys;
mod follow;
mod key_pair;
mod key_set;
mod legacy;
pub mod manage;
mod master;
mod queries;
pub mod role_passwords;
pub mod secrets;
mod token;
mod verified;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

pub use api_keys::{ApiKeyKind, create_api_key, list_api_keys, mint_api_jwt, revoke_api_key};
pub(crate) use authenticate::is_opaque;
pub use dev_keys::DevKeys;
pub use master::MasterKey;
pub use secrets::Secrets;
pub use token::TokenError;

use crate::clock::Clock;
use crate::config;
use crate::db::{Db, DbError, Listener};
use crate::error::ErrorCode;
use crate::http::ApiError;
use crate::identity::Caller;
use crate::lifecycle::Lifecycle;
use key_set::KeySet;

/// Seconds a role token lives, and how many of them must be left when it is handed out again.
const ROLE_TOKEN_LIFE: i64 = 300;
const ROLE_TOKEN_RESERVE: i64 = 60;

/// Handle on the keys in force. Clones share it.
#[derive(Debug, Clone)]
pub struct Keys(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    set: RwLock<KeySet>,
    secrets: Secrets,
    role_tokens: Mutex<HashMap<String, RoleToken>>,
    newer_wanted: tokio::sync::Notify,
    config: config::Handle,
    clock: Clock,
}

#[derive(Debug)]
struct RoleToken {
    token: Arc<str>,
    expires: i64,
}

/// Where a key is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyStatus {
    /// Published, not used yet.
    Standby,
    /// Signs.
    Active,
    /// Verifies what it signed.
    Previous,
    /// Of no use any more.
    Revoked,
}

impl KeyStatus {
    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standby => "standby",
            Self::Active => "active",
            Self::Previous => "previous",
            Self::Revoked => "revoked",
        }
    }

    fn parse(word: &str) -> Self {
        [Self::Standby, Self::Active, Self::Previous]
            .into_iter()
            .find(|status| status.as_str() == word)
            .unwrap_or(Self::Revoked)
    }
}

/// A signing key as an operator sees it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct SigningKey {
    /// Its id: the RFC 7638 thumbprint unless it was imported under another one.
    pub kid: String,
    /// "RS256" or "ES256".
    pub algorithm: String,
    /// Where it is in its life.
    pub status: KeyStatus,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it began to sign.
    pub activated_at: Option<DateTime<Utc>>,
    /// When it stopped.
    pub retired_at: Option<DateTime<Utc>>,
    /// API keys in JWT form carry its id: it is never pruned.
    pub pinned: bool,
    /// Its public half.
    pub public_jwk: Value,
}

/// An opaque API key as an operator sees it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct ApiKey {
    /// Its row.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// "publishable" or "secret".
    #[serde(rename = "type")]
    pub kind: String,
    /// The role it stands for.
    pub role: String,
    /// Its first characters.
    pub prefix: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// What can go wrong with keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The master key cannot be used.
    #[error("jwt.master_key (SB_MASTER_KEY): {0}")]
    MasterKey(String),
    /// A file cannot be read or written.
    #[error("{0}")]
    File(String),
    /// A private key was sealed with another master key.
    #[error(
        "the signing key in the database was sealed with another master key: set SB_MASTER_KEY to the one it was made with, or run `sb keygen rotate --now` to make a new key (which ends all sessions)"
    )]
    Sealed,
    /// No key signs.
    #[error("there is no active signing key: run `sb keygen init`")]
    NoActiveKey,
    /// No key of this id can be used for this.
    #[error("no {wanted} key has the id {kid}: `sb keygen list` shows them")]
    NoSuchKey {
        /// The id asked for.
        kid: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// There is nothing to activate.
    #[error("there is no standby key: run `sb keygen rotate` first")]
    NoStandbyKey,
    /// The key to import cannot be used.
    #[error("jwt.private_key: {0}")]
    Import(String),
    /// A row of `auth.signing_keys` makes no sense.
    #[error("signing key {0} in the database is broken: revoke it with `sb keygen revoke {0}`")]
    BrokenKey(String),
    /// An API key of this name exists.
    #[error("an API key named \"{0}\" exists already")]
    NameTaken(String),
    /// No API key in force has this name.
    #[error("no API key in force is named \"{0}\"")]
    NoSuchApiKey(String),
    /// The cryptographic library failed.
    #[error("a cryptographic operation failed")]
    Crypto,
}

impl KeysError {
    fn file(path: &Path, error: &std::io::Error) -> Self {
        Self::File(format!("{}: {error}", path.display()))
    }
}

impl From<KeysError> for ApiError {
    fn from(error: KeysError) -> Self {
        match error {
            KeysError::Db(error) => error.into(),
            other => Self::internal(other),
        }
    }
}

impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> Self {
        Self::new(ErrorCode::BadJwt, error.to_string())
    }
}

impl Keys {
    /// Loads the keys and follows their changes for as long as `lifecycle` runs.
    ///
    /// # Errors
    /// The database cannot be read, or [`KeysError::Sealed`].
    pub async fn open(
        db: &Db,
        listener: &Listener,
        clock: Clock,
        config: config::Handle,
        master: MasterKey,
        lifecycle: &Lifecycle,
    ) -> Result<Self, KeysError> {
        let keys = Self::with_set(follow::load(db, &master).await?, clock, config);
        keys.secrets()
            .load(&db.auth().connection().await?, &master)
            .await?;
        follow::start(&keys, db.clone(), master, listener.clone(), lifecycle);
        Ok(keys)
    }

    fn with_set(set: KeySet, clock: Clock, config: config::Handle) -> Self {
        Self(Arc::new(Inner {
            set: RwLock::new(set),
            secrets: Secrets::default(),
            role_tokens: Mutex::default(),
            newer_wanted: tokio::sync::Notify::new(),
            config,
            clock,
        }))
    }

    /// The symmetric secrets in force.
    pub fn secrets(&self) -> &Secrets {
        &self.0.secrets
    }

    /// Signs `claims` as they are with the active key.
    ///
    /// # Errors
    /// [`KeysError::NoActiveKey`].
    pub fn sign(&self, claims: &Map<String, Value>) -> Result<String, KeysError> {
        let set = self.set();
        set.signer().ok_or(KeysError::NoActiveKey)?.sign(claims)
    }

    /// The claims of `token`, if it was signed by a key in force, has not expired and was made for us.
    ///
    /// `exp` is required; `aud`, where there is one, must contain `jwt.aud`; what names a user (`sub`) must name this
    /// service as `iss`. A legacy HS256 token is accepted only when `jwt.legacy_secret` is set and its `kid` is none of
    /// ours; it was issued elsewhere, and may say so.
    pub fn verify(&self, token: &str) -> Result<Map<String, Value>, TokenError> {
        self.verify_with(&self.set(), token)
    }

    /// The claims of `token`, if it was signed by one of our keys in force and has not expired, whoever it is for.
    /// A legacy token is none of them.
    pub fn verify_for_anybody(&self, token: &str) -> Result<Map<String, Value>, TokenError> {
        let rules = token::Rules {
            audience: None,
            issuer: None,
            legacy_secret: None,
            now: self.0.clock.now().timestamp(),
        };
        self.check(&self.set(), token, rules)
    }

    fn verify_with(&self, set: &KeySet, token: &str) -> Result<Map<String, Value>, TokenError> {
        let config = self.0.config.current();
        let issuer = config.issuer();
        let rules = token::Rules {
            audience: Some(&config.jwt.aud),
            issuer: Some(&issuer),
            legacy_secret: config.jwt.legacy_secret.as_ref(),
            now: self.0.clock.now().timestamp(),
        };
        self.check(set, token, rules)
    }

    fn check(
        &self,
        set: &KeySet,
        token: &str,
        rules: token::Rules<'_>,
    ) -> Result<Map<String, Value>, TokenError> {
        token::verify(set, token, rules).inspect_err(|error| {
            if error.may_be_news() {
                self.0.newer_wanted.notify_one();
            }
        })
    }

    /// The caller of `token`; see [`Keys::verify`]. The same token is not verified again while the keys stay.
    pub fn caller(&self, token: &str) -> Result<Caller, TokenError> {
        let set = self.set();
        let digest = key_set::sha256(token.as_bytes());
        if let Some(caller) = set.verified().get(&digest, self.0.clock.now().timestamp()) {
            return Ok(caller);
        }
        let caller = Caller::from_claims(self.verify_with(&set, token)?);
        set.verified().put(digest, &caller);
        Ok(caller)
    }

    /// The public key set as JSON text, standby keys included: `{"keys":[…]}`.
    pub fn jwks(&self) -> Arc<str> {
        self.set().jwks()
    }

    /// A token of at most five minutes that says nothing but `role`: what an opaque API key becomes before PostgREST.
    pub fn role_token(&self, role: &str) -> Result<Arc<str>, KeysError> {
        let now = self.0.clock.now().timestamp();
        let mut tokens = self
            .0
            .role_tokens
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = tokens.get(role)
            && known.expires - now > ROLE_TOKEN_RESERVE
        {
            return Ok(Arc::clone(&known.token));
        }
        let expires = now + ROLE_TOKEN_LIFE;
        let config = self.0.config.current();
        let claims = json!({
            "role": role,
            "iss": config.issuer(),
            "aud": config.jwt.aud,
            "iat": now,
            "exp": expires,
        });
        let claims = claims.as_object().cloned().unwrap_or_default();
        let token: Arc<str> = self.sign(&claims)?.into();
        let kept = RoleToken {
            token: Arc::clone(&token),
            expires,
        };
        tokens.insert(role.to_owned(), kept);
        Ok(token)
    }

    /// The role of an opaque API key that is in force.
    pub fn api_key_role(&self, key: &str) -> Option<Arc<str>> {
        self.set().api_key_role(key)
    }

    fn set(&self) -> KeySet {
        self.0
            .set
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn install(&self, set: KeySet) {
        *self.0.set.write().unwrap_or_else(PoisonError::into_inner) = set;
        // After the swap: a token minted in between was signed by the new key or is dropped here.
        self.0
            .role_tokens
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

#[cfg(test)]
mod tests;
