//! ID tokens: believed only when everything fits.
//!
//! Issuer, audiences and algorithms come from the settings and the provider's discovery document; what a token says of
//! itself (`alg`, `kid`, `jku`, …) chooses among the provider's own keys at most. Symmetric and missing signatures are
//! never taken.

use aws_lc_rs::{constant_time, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use openidconnect::core::{
    CoreIdToken, CoreIdTokenVerifier, CoreJsonWebKey, CoreJwsSigningAlgorithm,
};
use openidconnect::{
    AccessToken, AccessTokenHash, ClaimsVerificationError, ClientId, IssuerUrl, JsonWebKeySet,
    SignatureVerificationError,
};
use serde_json::{Map, Value};

use super::provider::{Kind, Provider};
use crate::auth::Auth;

/// Longer tokens are not looked at, in bytes.
const MAX_LEN: usize = 16 * 1024;

/// How far the provider's clock may be ahead.
const CLOCK_SKEW: TimeDelta = TimeDelta::minutes(1);

/// Signatures that only the holder of a private key can make.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// Which nonce a token must have.
#[derive(Debug, Clone, Copy)]
pub(super) enum Nonce<'a> {
    /// The one that was sent.
    Sent(&'a str),
    /// The hexadecimal SHA-256 of the one a client brings; none when it brings none.
    HashOf(Option<&'a str>),
    /// Any or none: the project does not look at it.
    Unchecked,
}

/// What a token comes with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beside<'a> {
    pub(super) nonce: Nonce<'a>,
    /// The access token, which the ID token may name by a hash.
    pub(super) access_token: Option<&'a str>,
}

/// Why a token is not believed, for the log.
pub(super) type Refusal = String;

/// The claims of a token that is the provider's, for this project and valid now.
///
/// # Errors
/// Why it is not.
pub(super) async fn verify(
    auth: &Auth,
    provider: &Provider,
    token: &str,
    beside: Beside<'_>,
) -> Result<Map<String, Value>, Refusal> {
    let Kind::Oidc { issuer, rule } = &provider.kind else {
        return Err("the provider gives no ID tokens".to_owned());
    };
    let claims = unverified_claims(token)?;
    let discovery = auth.oauth().discovery();
    let at = (issuer.as_str(), *rule);
    let metadata = discovery.metadata(auth, at).await?;
    let discovered = metadata.issuer().as_str();
    let expected = rule.expected(discovered, &claims, &provider.settings.tenants)?;
    let client_id = audience(&claims, &provider.settings.client_ids)?;
    let token: CoreIdToken = token
        .parse()
        .map_err(|_| "it is no ID token with the claims of one".to_owned())?;
    let check = Check {
        issuer: IssuerUrl::new(expected).map_err(|_| "its issuer is no address".to_owned())?,
        client_id: ClientId::new(client_id.to_owned()),
        client_ids: &provider.settings.client_ids,
        algorithms: algorithms(metadata.id_token_signing_alg_values_supported()),
        beside,
    };
    let keys = discovery.keys(auth, at, false).await?;
    let mut verified = check.run(auth, &token, &keys);
    if matches!(&verified, Err(Failure::UnknownKey)) {
        let keys = discovery.keys(auth, at, true).await?;
        verified = check.run(auth, &token, &keys);
    }
    verified.map_err(Failure::text)?;
    Ok(claims)
}

/// The payload, as text and numbers of whoever made it.
fn unverified_claims(token: &str) -> Result<Map<String, Value>, Refusal> {
    let problem = || "it is no signed JWT".to_owned();
    if token.len() > MAX_LEN {
        return Err("it is too long".to_owned());
    }
    let mut parts = token.split('.');
    let (Some(_), Some(payload), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(problem());
    };
    let bytes = URL_SAFE_NO_PAD.decode(payload).map_err(|_| problem())?;
    serde_json::from_slice(&bytes).map_err(|_| problem())
}

/// The client id of ours that the token is for. All of its audiences, and its authorized party, must be ours.
fn audience<'a>(
    claims: &Map<String, Value>,
    client_ids: &'a [String],
) -> Result<&'a str, &'static str> {
    let audiences: Vec<&str> = match claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let ours = |id: &str| client_ids.iter().find(|known| *known == id);
    let authorized = match claims.get("azp") {
        None | Some(Value::Null) => None,
        Some(Value::String(party)) => Some(ours(party).ok_or("its authorized party is another")?),
        Some(_) => return Err("its authorized party cannot be read"),
    };
    if audiences.len() > 1 && authorized.is_none() {
        return Err("it has several audiences and no authorized party");
    }
    let found = audiences.into_iter().find_map(ours);
    found
        .map(String::as_str)
        .ok_or("it is for another audience")
}

/// Those the provider says it uses, and RS256, which it must be able to.
fn algorithms(announced: &[CoreJwsSigningAlgorithm]) -> Vec<CoreJwsSigningAlgorithm> {
    let used = ALGORITHMS.into_iter().filter(|it| {
        announced.contains(it) || *it == CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256
    });
    used.collect()
}

struct Check<'a> {
    issuer: IssuerUrl,
    client_id: ClientId,
    client_ids: &'a [String],
    algorithms: Vec<CoreJwsSigningAlgorithm>,
    beside: Beside<'a>,
}

enum Failure {
    UnknownKey,
    Other(String),
}

impl Failure {
    fn text(self) -> String {
        match self {
            Self::UnknownKey => "its key is none of the provider's".to_owned(),
            Self::Other(text) => text,
        }
    }
}

impl From<ClaimsVerificationError> for Failure {
    fn from(error: ClaimsVerificationError) -> Self {
        match error {
            ClaimsVerificationError::SignatureVerification(
                SignatureVerificationError::NoMatchingKey,
            ) => Self::UnknownKey,
            ClaimsVerificationError::SignatureVerification(cause) => {
                Self::Other(short(&cause.to_string()))
            }
            other => Self::Other(short(&other.to_string())),
        }
    }
}

/// The crate repeats claims, which can be long.
fn short(text: &str) -> String {
    text.chars().take(200).collect()
}

impl Check<'_> {
    fn run(
        &self,
        auth: &Auth,
        token: &CoreIdToken,
        keys: &JsonWebKeySet<CoreJsonWebKey>,
    ) -> Result<(), Failure> {
        let now = auth.clock().now();
        let not_from_the_future = move |at| {
            if at > now + CLOCK_SKEW {
                Err("it was issued in the future".to_owned())
            } else {
                Ok(())
            }
        };
        let verifier = CoreIdTokenVerifier::new_public_client(
            self.client_id.clone(),
            self.issuer.clone(),
            keys.clone(),
        )
        .set_allowed_algs(self.algorithms.clone())
        .set_other_audience_verifier_fn(|other| {
            self.client_ids.iter().any(|known| *known == **other)
        })
        .set_time_fn(move || now)
        .set_issue_time_verifier_fn(not_from_the_future);
        let nonce = |found: Option<&openidconnect::Nonce>| {
            self.beside
                .nonce
                .check(found.map(|nonce| nonce.secret().as_str()))
        };
        let claims = token.claims(&verifier, nonce)?;
        self.check_access_token(token, &verifier, claims.access_token_hash())
    }

    fn check_access_token(
        &self,
        token: &CoreIdToken,
        verifier: &CoreIdTokenVerifier<'_>,
        named: Option<&AccessTokenHash>,
    ) -> Result<(), Failure> {
        let (Some(access_token), Some(named)) = (self.beside.access_token, named) else {
            return Ok(());
        };
        let unfit = || Failure::Other("its access token cannot be compared".to_owned());
        let algorithm = token.signing_alg().map_err(|_| unfit())?;
        let key = token.signing_key(verifier).map_err(|_| unfit())?;
        let access_token = AccessToken::new(access_token.to_owned());
        let hash = AccessTokenHash::from_token(&access_token, algorithm, key);
        if hash.map_err(|_| unfit())? == *named {
            Ok(())
        } else {
            let text = "it belongs to another access token";
            Err(Failure::Other(text.to_owned()))
        }
    }
}

impl Nonce<'_> {
    fn check(self, found: Option<&str>) -> Result<(), String> {
        let found = found.filter(|nonce| !nonce.is_empty());
        let expected = match self {
            Self::Unchecked => return Ok(()),
            Self::Sent(nonce) => Some(nonce.to_owned()),
            Self::HashOf(nonce) => {
                nonce.map(|nonce| hex::encode(digest::digest(&digest::SHA256, nonce.as_bytes())))
            }
        };
        match (expected, found) {
            (None, None) => Ok(()),
            (Some(expected), Some(found))
                if constant_time::verify_slices_are_equal(
                    expected.as_bytes(),
                    found.as_bytes(),
                )
                .is_ok() =>
            {
                Ok(())
            }
            (Some(_), Some(_)) => Err("nonces differ".to_owned()),
            _ => Err("only one side has a nonce".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(
        clippy::needless_pass_by_value,
        reason = "a JSON literal reads better without a borrow"
    )]
    fn audience_of(claims: Value) -> Result<String, &'static str> {
        let ids = ["web".to_owned(), "ios".to_owned()];
        let claims = claims.as_object().cloned().unwrap();
        audience(&claims, &ids).map(str::to_owned)
    }

    #[test]
    fn a_token_is_for_us_and_was_asked_for_by_us() {
        for claims in [
            json!({"aud": "web"}),
            json!({"aud": ["web"]}),
            json!({"aud": "web", "azp": "ios"}),
            json!({"aud": ["web", "ios"], "azp": "web"}),
        ] {
            assert_eq!(audience_of(claims).as_deref(), Ok("web"));
        }
        for claims in [
            json!({}),
            json!({"aud": "other"}),
            json!({"aud": "Web"}),
            json!({"aud": []}),
            json!({"aud": {"web": 1}}),
            json!({"aud": ["web", "ios"]}),
            json!({"aud": "web", "azp": "other"}),
            json!({"aud": "web", "azp": ["web"]}),
        ] {
            assert!(audience_of(claims.clone()).is_err(), "{claims}");
        }
    }

    #[test]
    fn a_nonce_is_on_both_sides_or_on_none() {
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(Nonce::HashOf(Some("abc")).check(Some(hash)).is_ok());
        assert!(Nonce::HashOf(None).check(None).is_ok());
        assert!(Nonce::Sent("abc").check(Some("abc")).is_ok());
        assert!(Nonce::Unchecked.check(Some("x")).is_ok());
        for (nonce, found) in [
            (Nonce::HashOf(Some("abc")), Some("abc")),
            (Nonce::HashOf(Some("abc")), None),
            (Nonce::HashOf(None), Some(hash)),
            (Nonce::HashOf(Some("abd")), Some(hash)),
            (Nonce::Sent("abc"), Some("abd")),
            (Nonce::Sent("abc"), None),
            (Nonce::Sent("abc"), Some("")),
        ] {
            assert!(nonce.check(found).is_err(), "{nonce:?} {found:?}");
        }
    }
}
