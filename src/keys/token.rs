//! Verifying a token. Pure: a key set, rules and a moment in, claims or a reason out.
//!
//! The header only selects a key that is already known; the key, never the header, says which algorithm is used.
//! Nothing in a header leads to another key, a file or an address.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm as JwsAlgorithm, DecodingKey};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::key_set::KeySet;
use crate::config::{Algorithm, Secret};

/// Longest token looked at. Header lines end near 16 KiB too.
const MAX_LEN: usize = 16 * 1024;
/// Seconds another node's clock may be ahead of ours.
const NOT_BEFORE_LEEWAY: f64 = 5.0;
/// The last second of the year 9999: a later expiry is nonsense, not a date.
const MAX_EXPIRY: f64 = 253_402_300_799.0;

/// What a token must satisfy beyond its signature.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules<'a> {
    /// `None` leaves it to the caller to look whom the token is for.
    pub audience: Option<&'a str>,
    /// Who must have issued a user's token. `None` leaves that to the caller.
    pub issuer: Option<&'a str>,
    pub legacy_secret: Option<&'a Secret>,
    /// Seconds since 1970.
    pub now: i64,
}

/// Why a token is refused. The text is for clients and says nothing they did not send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not three parts of base64url, or no JSON inside.
    #[error("invalid JWT: unable to parse or verify signature, token is malformed: {0}")]
    Malformed(&'static str),
    /// The algorithm is not the one of the key.
    #[error(
        "invalid JWT: unable to parse or verify signature, token signature is invalid: signing method is not accepted"
    )]
    Algorithm,
    /// No key in force has this id.
    #[error(
        "invalid JWT: unable to parse or verify signature, token is unverifiable: unrecognized JWT kid"
    )]
    UnknownKey,
    /// The signature does not fit.
    #[error("invalid JWT: unable to parse or verify signature, token signature is invalid")]
    Signature,
    /// It has expired.
    #[error(
        "invalid JWT: unable to parse or verify signature, token has invalid claims: token is expired"
    )]
    Expired,
    /// It is not valid yet.
    #[error(
        "invalid JWT: unable to parse or verify signature, token has invalid claims: token is not valid yet"
    )]
    NotYetValid,
    /// `exp` is missing or no time, or `nbf` is no time.
    #[error(
        "invalid JWT: unable to parse or verify signature, token has invalid claims: exp must be a time in seconds"
    )]
    BadTime,
    /// It was made for somebody else.
    #[error(
        "invalid JWT: unable to parse or verify signature, token has invalid claims: token has invalid audience"
    )]
    Audience,
    /// It names a user, and somebody else has issued it.
    #[error(
        "invalid JWT: unable to parse or verify signature, token has invalid claims: token has invalid issuer"
    )]
    Issuer,
}

impl TokenError {
    /// Whether a key set newer than ours could change the verdict.
    pub(super) fn may_be_news(self) -> bool {
        self == Self::UnknownKey
    }
}

/// The members a header may have. One that asks for anything else is refused rather than half understood.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    kid: Option<String>,
    #[serde(rename = "typ")]
    _typ: Option<String>,
}

pub(super) fn verify(
    keys: &KeySet,
    token: &str,
    rules: Rules<'_>,
) -> Result<Map<String, Value>, TokenError> {
    if token.len() > MAX_LEN {
        return Err(TokenError::Malformed("token is too long"));
    }
    let (message, signature) = token.rsplit_once('.').ok_or(SEGMENTS)?;
    let (header, payload) = message.split_once('.').ok_or(SEGMENTS)?;
    if payload.contains('.') {
        return Err(SEGMENTS);
    }
    let header: Header = read(header, "could not JSON decode header")?;
    let signer = check_signature(keys, &header, message, signature, rules.legacy_secret)?;
    let claims: Map<String, Value> = read(payload, "could not JSON decode claim")?;
    check_times(&claims, rules.now)?;
    if let Some(ours) = rules.audience {
        check_audience(&claims, ours)?;
    }
    if let (Some(ours), SignedBy::Key) = (rules.issuer, signer) {
        check_issuer(&claims, ours)?;
    }
    Ok(claims)
}

const SEGMENTS: TokenError = TokenError::Malformed("token contains an invalid number of segments");

fn read<T: serde::de::DeserializeOwned>(
    part: &str,
    problem: &'static str,
) -> Result<T, TokenError> {
    URL_SAFE_NO_PAD
        .decode(part)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .ok_or(TokenError::Malformed(problem))
}

/// What a signature was made with.
enum SignedBy {
    Key,
    LegacySecret,
}

fn check_signature(
    keys: &KeySet,
    header: &Header,
    message: &str,
    signature: &str,
    legacy_secret: Option<&Secret>,
) -> Result<SignedBy, TokenError> {
    let known = header.kid.as_deref().and_then(|kid| keys.key(kid));
    let legacy;
    let (key, algorithm, signer) = match (known, legacy_secret) {
        (Some(known), _) => {
            if header.alg != known.algorithm.as_str() {
                return Err(TokenError::Algorithm);
            }
            if !known.verifies {
                return Err(TokenError::UnknownKey);
            }
            (&known.key, jws(known.algorithm), SignedBy::Key)
        }
        // Projects that come from elsewhere: a shared secret, and only when one is configured.
        (None, Some(secret)) if header.alg == "HS256" => {
            legacy = DecodingKey::from_secret(secret.expose().as_bytes());
            (&legacy, JwsAlgorithm::HS256, SignedBy::LegacySecret)
        }
        (None, _) if !ACCEPTED.contains(&header.alg.as_str()) => return Err(TokenError::Algorithm),
        (None, _) => return Err(TokenError::UnknownKey),
    };
    match jsonwebtoken::crypto::verify(signature, message.as_bytes(), key, algorithm) {
        Ok(true) => Ok(signer),
        Ok(false) | Err(_) => Err(TokenError::Signature),
    }
}

const ACCEPTED: [&str; 2] = [Algorithm::Rs256.as_str(), Algorithm::Es256.as_str()];

fn jws(algorithm: Algorithm) -> JwsAlgorithm {
    match algorithm {
        Algorithm::Rs256 => JwsAlgorithm::RS256,
        Algorithm::Es256 => JwsAlgorithm::ES256,
    }
}

/// `exp` is required. A fraction is allowed (RFC 7519), text is not.
#[expect(
    clippy::cast_precision_loss,
    reason = "seconds of this era are exact in a float"
)]
fn check_times(claims: &Map<String, Value>, now: i64) -> Result<(), TokenError> {
    let now = now as f64;
    let expiry = claims
        .get("exp")
        .and_then(Value::as_f64)
        .filter(|expiry| (0.0..=MAX_EXPIRY).contains(expiry))
        .ok_or(TokenError::BadTime)?;
    if expiry <= now {
        return Err(TokenError::Expired);
    }
    let Some(start) = claims.get("nbf") else {
        return Ok(());
    };
    let start = start.as_f64().ok_or(TokenError::BadTime)?;
    if start > now + NOT_BEFORE_LEEWAY {
        return Err(TokenError::NotYetValid);
    }
    Ok(())
}

/// API keys and role tokens name no audience; whoever does name one must name ours.
fn check_audience(claims: &Map<String, Value>, ours: &str) -> Result<(), TokenError> {
    let accepted = match claims.get("aud") {
        None => true,
        Some(Value::String(audience)) => audience == ours,
        Some(Value::Array(audiences)) => audiences.iter().any(|audience| audience == ours),
        Some(_) => false,
    };
    if accepted {
        Ok(())
    } else {
        Err(TokenError::Audience)
    }
}

/// A key can be shared with another service, and it signs more than access tokens: who a user is, is ours alone to say.
/// API keys and role tokens name no user, and may have been issued under another address of the project.
fn check_issuer(claims: &Map<String, Value>, ours: &str) -> Result<(), TokenError> {
    let issuer = claims.get("iss").and_then(Value::as_str);
    if !claims.contains_key("sub") || issuer == Some(ours) {
        Ok(())
    } else {
        Err(TokenError::Issuer)
    }
}
