//! What a node knows of the keys at one moment: immutable, swapped whole.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value, json};

use super::key_pair::KeyPair;
use super::queries::KeyRow;
use super::verified::Verified;
use super::{KeysError, MasterKey};
use crate::config::Algorithm;

/// The keys in force. Clones share everything.
#[derive(Debug, Clone)]
pub(super) struct KeySet {
    published: Arc<HashMap<String, PublishedKey>>,
    signer: Option<Arc<Signer>>,
    api_keys: Arc<HashMap<[u8; 32], Arc<str>>>,
    jwks: Arc<str>,
    verified: Arc<Verified>,
}

/// The public half of a key, prepared.
#[derive(Debug)]
pub(super) struct PublishedKey {
    pub algorithm: Algorithm,
    /// A standby key is published ahead of its time and verifies nothing yet.
    pub verifies: bool,
    pub key: DecodingKey,
}

/// The key that signs.
#[derive(Debug)]
pub(super) struct Signer {
    pub kid: String,
    pub pair: KeyPair,
}

impl KeySet {
    /// # Errors
    /// [`KeysError::Sealed`] when the active key cannot be opened with `master`.
    pub(super) fn build(
        rows: &[KeyRow],
        api_keys: Vec<(Vec<u8>, String)>,
        master: &MasterKey,
    ) -> Result<Self, KeysError> {
        let mut set = Self::verifying(rows, api_keys)?;
        for row in rows {
            if let ("active", Some(sealed)) = (row.status.as_str(), &row.private_key) {
                set.signer = Some(Arc::new(Signer::open(row, sealed, master)?));
            }
        }
        Ok(set)
    }

    /// The same without a key that signs.
    pub(super) fn verifying(
        rows: &[KeyRow],
        api_keys: Vec<(Vec<u8>, String)>,
    ) -> Result<Self, KeysError> {
        let mut published = HashMap::new();
        for row in rows {
            published.insert(row.kid.clone(), PublishedKey::read(row)?);
        }
        let jwks = json!({ "keys": rows.iter().map(published_jwk).collect::<Vec<_>>() });
        let api_keys = api_keys
            .into_iter()
            .filter_map(|(hash, role)| Some((hash.try_into().ok()?, role.into())))
            .collect();
        Ok(Self {
            published: Arc::new(published),
            signer: None,
            api_keys: Arc::new(api_keys),
            jwks: jwks.to_string().into(),
            verified: Arc::default(),
        })
    }

    /// The key with this id, standby ones included.
    pub(super) fn key(&self, kid: &str) -> Option<&PublishedKey> {
        self.published.get(kid)
    }

    pub(super) fn signer(&self) -> Option<&Arc<Signer>> {
        self.signer.as_ref()
    }

    /// The same keys, signing with `signer`.
    pub(super) fn with_signer(mut self, signer: Arc<Signer>) -> Self {
        self.signer = Some(signer);
        self
    }

    /// The role of an opaque API key. Comparing hashes tells nothing of how close a guess was.
    pub(super) fn api_key_role(&self, key: &str) -> Option<Arc<str>> {
        self.api_keys.get(&sha256(key.as_bytes())).cloned()
    }

    /// Tokens these keys have verified.
    pub(super) fn verified(&self) -> &Verified {
        &self.verified
    }

    pub(super) fn jwks(&self) -> Arc<str> {
        Arc::clone(&self.jwks)
    }
}

impl PublishedKey {
    fn read(row: &KeyRow) -> Result<Self, KeysError> {
        let member = |name: &str| row.public_jwk.get(name).and_then(Value::as_str);
        let broken = || KeysError::BrokenKey(row.kid.clone());
        let two = |a: &str, b: &str| member(a).zip(member(b)).ok_or_else(broken);
        let (algorithm, key) = match row.alg.as_str() {
            "RS256" => {
                let (n, e) = two("n", "e")?;
                (Algorithm::Rs256, DecodingKey::from_rsa_components(n, e))
            }
            "ES256" => {
                let (x, y) = two("x", "y")?;
                (Algorithm::Es256, DecodingKey::from_ec_components(x, y))
            }
            _ => return Err(broken()),
        };
        Ok(Self {
            algorithm,
            verifies: row.status != "standby",
            key: key.map_err(|_| broken())?,
        })
    }
}

impl Signer {
    pub(super) fn open(row: &KeyRow, sealed: &[u8], master: &MasterKey) -> Result<Self, KeysError> {
        let algorithm = match row.alg.as_str() {
            "ES256" => Algorithm::Es256,
            _ => Algorithm::Rs256,
        };
        let der = master.open(sealed, row.kid.as_bytes())?;
        Ok(Self {
            kid: row.kid.clone(),
            pair: KeyPair::from_pkcs8(algorithm, &der)?,
        })
    }

    /// A signed token: header and claims as they are given.
    pub(super) fn sign(&self, claims: &Map<String, Value>) -> Result<String, KeysError> {
        let header = json!({
            "alg": self.pair.algorithm().as_str(),
            "kid": self.kid,
            "typ": "JWT",
        });
        let encode = |text: String| URL_SAFE_NO_PAD.encode(text);
        let claims = serde_json::to_string(claims).expect("claims are JSON");
        let mut token = format!("{}.{}", encode(header.to_string()), encode(claims));
        let signature = self.pair.sign(token.as_bytes())?;
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(signature));
        Ok(token)
    }
}

/// `alg` in every entry binds it to the key for PostgREST too. Members are picked one by one: a stray one in the
/// column stays unpublished.
fn published_jwk(row: &KeyRow) -> Value {
    let mut jwk = json!({
        "kid": row.kid,
        "alg": row.alg,
        "use": "sig",
        "key_ops": ["verify"],
    });
    for name in ["kty", "n", "e", "crv", "x", "y"] {
        if let Some(value) = row.public_jwk.get(name) {
            jwk[name] = value.clone();
        }
    }
    jwk
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes)
        .as_ref()
        .try_into()
        .expect("SHA-256 has 32 bytes")
}
