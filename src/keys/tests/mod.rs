//! Key sets in memory: what they sign, publish and authenticate. [`attacks`] has what they must refuse.

mod attacks;

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{TimeDelta, TimeZone as _, Utc};
use serde_json::{Map, Value, json};

use crate::clock::Clock;
use crate::config::{self, Algorithm, Config, Secret};
use crate::http::authenticate::Credentials;
use crate::keys::key_pair::KeyPair;
use crate::keys::key_set::{KeySet, Signer, sha256};
use crate::keys::queries::KeyRow;
use crate::keys::{Keys, KeysError, MasterKey, TokenError};

const NOW: i64 = 1_800_000_000;
const LEGACY: &str = "super-secret-jwt-token-with-at-least-32-characters";

static RSA: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate(Algorithm::Rs256).unwrap());
static EC: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate(Algorithm::Es256).unwrap());
static OTHER_EC: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate(Algorithm::Es256).unwrap());

fn master() -> MasterKey {
    MasterKey::from_secret(&Secret::new("m".repeat(40))).unwrap()
}

fn row(pair: &KeyPair, kid: &str, status: &str) -> KeyRow {
    let sealed = master().seal(&pair.to_pkcs8().unwrap(), kid.as_bytes());
    KeyRow {
        kid: kid.to_owned(),
        alg: pair.algorithm().as_str().to_owned(),
        status: status.to_owned(),
        public_jwk: pair.public_members(),
        private_key: (status == "active").then_some(sealed),
    }
}

fn set(rows: &[KeyRow]) -> KeySet {
    let opaque = |key: &str, role: &str| (sha256(key.as_bytes()).to_vec(), role.to_owned());
    let api_keys = vec![
        opaque("sb_publishable_known", "anon"),
        opaque("sb_secret_known", "service_role"),
    ];
    KeySet::build(rows, api_keys, &master()).unwrap()
}

/// The RSA key signs, the EC key did before, another EC key waits.
fn usual_set() -> KeySet {
    set(&[
        row(&RSA, "rsa", "active"),
        row(&EC, "ec", "previous"),
        row(&OTHER_EC, "next", "standby"),
    ])
}

fn keys_with(set: KeySet, change: impl FnOnce(&mut Config)) -> (Keys, Clock) {
    let clock = Clock::test(Utc.timestamp_opt(NOW, 0).unwrap());
    let mut config = Config::default();
    change(&mut config);
    let keys = Keys::with_set(set, clock.clone(), config::Handle::new(config));
    (keys, clock)
}

fn keys() -> Keys {
    keys_with(usual_set(), |_| {}).0
}

fn claims(change: &Value) -> Value {
    let mut claims = json!({
        "iss": Config::default().issuer(),
        "sub": "5f6f3e0a-6d2c-4c1f-9d0b-2f9f5a4b7c11",
        "role": "authenticated",
        "aud": "authenticated",
        "exp": NOW + 3600,
    });
    for (name, value) in change.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

fn message(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

fn signed(pair: &KeyPair, header: &Value, claims: &Value) -> String {
    let message = message(header, claims);
    let signature = pair.sign(message.as_bytes()).unwrap();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn hmac_signed(secret: &[u8], header: &Value, claims: &Value) -> String {
    let message = message(header, claims);
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
    let tag = aws_lc_rs::hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
}

fn rsa_token(change: &Value) -> String {
    signed(
        &RSA,
        &json!({ "alg": "RS256", "kid": "rsa" }),
        &claims(change),
    )
}

#[test]
fn what_is_signed_verifies_under_the_active_key() {
    for (pair, alg) in [(&*RSA, "RS256"), (&*EC, "ES256")] {
        let keys = keys_with(set(&[row(pair, "k", "active")]), |_| {}).0;
        let claims = claims(&json!({})).as_object().unwrap().clone();
        let token = keys.sign(&claims).unwrap();
        assert_eq!(keys.verify(&token).unwrap(), claims);
        let header = URL_SAFE_NO_PAD
            .decode(token.split('.').next().unwrap())
            .unwrap();
        let header: Value = serde_json::from_slice(&header).unwrap();
        assert_eq!(header, json!({ "alg": alg, "kid": "k", "typ": "JWT" }));
    }
}

#[test]
fn without_an_active_key_nothing_is_signed() {
    let keys = keys_with(set(&[row(&RSA, "rsa", "previous")]), |_| {}).0;
    assert!(matches!(
        keys.sign(&Map::new()),
        Err(KeysError::NoActiveKey)
    ));
}

#[test]
fn a_key_sealed_for_another_id_or_master_does_not_open() {
    let mut moved = row(&RSA, "a", "active");
    moved.kid = "b".to_owned();
    let error = KeySet::build(&[moved], Vec::new(), &master()).unwrap_err();
    assert!(matches!(error, KeysError::Sealed));
    let other = MasterKey::from_secret(&Secret::new("o".repeat(40))).unwrap();
    let error = KeySet::build(&[row(&RSA, "a", "active")], Vec::new(), &other).unwrap_err();
    assert!(matches!(error, KeysError::Sealed));
}

#[test]
fn the_public_set_names_algorithms_and_holds_nothing_private() {
    let mut stray = row(&EC, "ec", "previous");
    stray.public_jwk["d"] = json!("private");
    let jwks = set(&[
        row(&RSA, "rsa", "active"),
        stray,
        row(&OTHER_EC, "next", "standby"),
    ])
    .jwks();
    let jwks: Value = serde_json::from_str(&jwks).unwrap();
    let seen: Vec<_> = jwks["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| {
            let names: Vec<_> = key
                .as_object()
                .unwrap()
                .keys()
                .map(String::as_str)
                .collect();
            (
                key["kid"].as_str().unwrap(),
                key["alg"].as_str().unwrap(),
                names.join(","),
            )
        })
        .collect();
    let ec = "alg,crv,key_ops,kid,kty,use,x,y".to_owned();
    assert_eq!(
        seen,
        [
            ("rsa", "RS256", "alg,e,key_ops,kid,kty,n,use".to_owned()),
            ("ec", "ES256", ec.clone()),
            ("next", "ES256", ec),
        ]
    );
}

#[test]
fn a_thumbprint_is_the_one_of_the_standard() {
    // The example of RFC 7638, section 3.1, whose private half nobody has: only the hashing is checked here.
    let members = json!({
        "e": "AQAB",
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    });
    let thumbprint = super::key_pair::thumbprint(&members);
    assert_eq!(thumbprint, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}

#[test]
fn private_keys_are_imported_from_every_pem_form() {
    use aws_lc_rs::encoding::{AsDer as _, EcPrivateKeyRfc5915Der};
    let pem = |label: &str, der: &[u8]| {
        format!(
            "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
            STANDARD.encode(der)
        )
    };
    for pair in [&*RSA, &*EC] {
        let text = pem("PRIVATE KEY", &pair.to_pkcs8().unwrap());
        for text in [text.clone(), text.replace('\n', "\\n")] {
            assert_eq!(
                KeyPair::from_pem(&text).unwrap().thumbprint(),
                pair.thumbprint()
            );
        }
    }
    // PKCS#8 wraps the older form of an RSA key of this size in 26 bytes.
    let pkcs1 = pem("RSA PRIVATE KEY", &RSA.to_pkcs8().unwrap()[26..]);
    assert_eq!(
        KeyPair::from_pem(&pkcs1).unwrap().thumbprint(),
        RSA.thumbprint()
    );
    let KeyPair::Ec(pair) = &*EC else {
        unreachable!()
    };
    let der: EcPrivateKeyRfc5915Der<'_> = pair.private_key().as_der().unwrap();
    let sec1 = pem("EC PRIVATE KEY", der.as_ref());
    assert_eq!(
        KeyPair::from_pem(&sec1).unwrap().thumbprint(),
        EC.thumbprint()
    );
    for text in [
        "",
        "nonsense",
        &pem("PRIVATE KEY", b"short"),
        &pem("PUBLIC KEY", b"x"),
    ] {
        let error = KeyPair::from_pem(text).unwrap_err();
        assert!(matches!(error, KeysError::Import(_)));
    }
}

#[test]
fn a_role_token_is_reused_until_it_nears_its_end_or_the_key_changes() {
    let (keys, clock) = keys_with(usual_set(), |_| {});
    let first = keys.role_token("anon").unwrap();
    assert_eq!(keys.role_token("anon").unwrap(), first);
    assert_ne!(keys.role_token("service_role").unwrap(), first);
    let claims = keys.verify(&first).unwrap();
    assert_eq!(
        (&claims["role"], &claims["exp"]),
        (&json!("anon"), &json!(NOW + 300))
    );
    assert!(!claims.contains_key("sub"));
    clock.advance(TimeDelta::seconds(239));
    assert_eq!(keys.role_token("anon").unwrap(), first);
    clock.advance(TimeDelta::seconds(1));
    let second = keys.role_token("anon").unwrap();
    assert_ne!(second, first);
    keys.install(set(&[row(&EC, "ec", "active")]));
    assert_ne!(keys.role_token("anon").unwrap(), second);
}

fn who(keys: &Keys, bearer: Option<&str>, api_key: Option<&str>) -> Result<String, (u16, String)> {
    keys.authenticate(Credentials { bearer, api_key })
        .map(|caller| caller.role().to_owned())
        .map_err(|error| (error.status().as_u16(), error.code().as_str().to_owned()))
}

fn refused(status: u16, code: &str) -> Result<String, (u16, String)> {
    Err((status, code.to_owned()))
}

#[test]
fn a_caller_is_who_the_bearer_says_then_the_api_key_then_anon() {
    let keys = keys();
    let user = rsa_token(&json!({}));
    let service_jwt = rsa_token(&json!({ "role": "service_role", "sub": null, "aud": null }));
    let (public, secret) = (Some("sb_publishable_known"), Some("sb_secret_known"));
    let ok = |role: &str| Ok(role.to_owned());
    assert_eq!(who(&keys, None, None), ok("anon"));
    assert_eq!(who(&keys, None, public), ok("anon"));
    assert_eq!(who(&keys, None, secret), ok("service_role"));
    assert_eq!(who(&keys, secret, public), ok("service_role"));
    assert_eq!(who(&keys, public, secret), ok("anon"), "the bearer wins");
    assert_eq!(
        who(&keys, Some(&user), secret),
        ok("authenticated"),
        "the bearer wins"
    );
    assert_eq!(who(&keys, None, Some(&service_jwt)), ok("service_role"));
    assert_eq!(who(&keys, Some(&service_jwt), None), ok("service_role"));
}

#[test]
fn bad_credentials_are_refused_not_downgraded() {
    let keys = keys();
    let expired = rsa_token(&json!({ "exp": NOW }));
    let bad_jwt = refused(403, "bad_jwt");
    let bad_key = refused(401, "invalid_api_key");
    assert_eq!(who(&keys, Some("nonsense"), None), bad_jwt);
    assert_eq!(who(&keys, Some(&expired), Some("sb_secret_known")), bad_jwt);
    assert_eq!(who(&keys, Some("sb_secret_unknown"), None), bad_key);
    assert_eq!(who(&keys, None, Some("sb_secret_unknown")), bad_key);
    assert_eq!(who(&keys, None, Some("nonsense")), bad_key);
    assert_eq!(who(&keys, None, Some(&expired)), bad_key);
    let credentials = Credentials {
        bearer: Some(&expired),
        api_key: None,
    };
    let message = keys
        .authenticate(credentials)
        .unwrap_err()
        .message()
        .to_owned();
    assert!(message.contains("token is expired"), "{message}");
}

#[test]
fn an_api_key_can_be_required() {
    let keys = keys_with(usual_set(), |config| config.rest.require_apikey = true).0;
    let user = rsa_token(&json!({}));
    let anon_jwt = rsa_token(&json!({ "role": "anon", "sub": null, "aud": null }));
    let bad_key = refused(401, "invalid_api_key");
    assert_eq!(who(&keys, None, None), bad_key);
    assert_eq!(who(&keys, Some(&user), None), bad_key);
    assert_eq!(
        who(&keys, Some(&user), Some("sb_publishable_unknown")),
        bad_key
    );
    assert_eq!(
        who(&keys, Some(&user), Some("sb_publishable_known")),
        Ok("authenticated".into())
    );
    assert_eq!(
        who(&keys, Some(&user), Some(&anon_jwt)),
        Ok("authenticated".into())
    );
    assert_eq!(who(&keys, Some(&anon_jwt), None), Ok("anon".into()));
    assert_eq!(
        who(&keys, Some("sb_secret_known"), None),
        Ok("service_role".into())
    );
}

#[test]
fn debug_of_a_signer_shows_no_private_half() {
    use aws_lc_rs::encoding::{AsBigEndian as _, EcPrivateKeyBin};
    let row = row(&EC, "ec", "active");
    let signer = Signer::open(&row, row.private_key.as_deref().unwrap(), &master()).unwrap();
    let KeyPair::Ec(pair) = &*EC else {
        unreachable!()
    };
    let private: EcPrivateKeyBin<'_> = pair.private_key().as_be_bytes().unwrap();
    let shown = format!("{signer:?}");
    assert!(
        !shown.contains(&format!("{:?}", private.as_ref())),
        "{shown}"
    );
    assert!(
        !shown.contains(&STANDARD.encode(private.as_ref())),
        "{shown}"
    );
}

/// Handlers and background tasks call these, so their futures must be able to move between threads.
#[expect(dead_code, reason = "it is enough that this compiles")]
fn operators_functions_can_run_in_a_handler(
    connection: &crate::db::Connection,
    path: &std::path::Path,
    config: &Config,
    clock: &Clock,
) {
    fn sendable(_: impl Send) {}
    let master = master();
    sendable(super::manage::init(connection, &master, config, clock));
    sendable(super::manage::activate(connection, None, clock));
    sendable(super::mint_api_jwt(connection, &master, "", "anon", clock));
    sendable(super::dev_keys::load_or_create(
        path, connection, &master, "", clock,
    ));
    let options = crate::db::migrate::Options::new(config);
    sendable(crate::db::migrate::project::apply(
        connection, path, &options, clock,
    ));
}
