//! Attacks on the verifier, each against key sets in memory; and what signs, follows and authenticates.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{TimeDelta, TimeZone as _, Utc};
use serde_json::{Map, Value, json};

use super::key_pair::KeyPair;
use super::key_set::{KeySet, Signer, sha256};
use super::queries::KeyRow;
use super::{Keys, KeysError, MasterKey, TokenError};
use crate::clock::Clock;
use crate::config::{self, Algorithm, Config, Secret};
use crate::http::authenticate::Credentials;

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

fn claims(change: Value) -> Value {
    let mut claims = json!({
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

fn rsa_token(change: Value) -> String {
    signed(
        &RSA,
        &json!({ "alg": "RS256", "kid": "rsa" }),
        &claims(change),
    )
}

#[test]
fn a_token_of_every_key_in_force_is_accepted() {
    let keys = keys();
    let by_rsa = keys.verify(&rsa_token(json!({}))).unwrap();
    assert_eq!(by_rsa["role"], "authenticated");
    let header = json!({ "alg": "ES256", "kid": "ec", "typ": "JWT" });
    assert!(
        keys.verify(&signed(&EC, &header, &claims(json!({}))))
            .is_ok()
    );
}

#[test]
fn alg_none_is_refused_in_any_spelling() {
    let keys = keys_with(usual_set(), |config| {
        config.jwt.legacy_secret = Some(Secret::new(LEGACY));
    })
    .0;
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        for header in [json!({ "alg": alg }), json!({ "alg": alg, "kid": "rsa" })] {
            let message = message(&header, &claims(json!({})));
            for token in [
                format!("{message}."),
                message.clone(),
                format!("{message}.AAAA"),
            ] {
                assert!(keys.verify(&token).is_err(), "{header}");
            }
        }
    }
}

#[test]
fn a_public_key_is_no_hmac_secret() {
    let public = RSA.public_members();
    let der = {
        use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
        use aws_lc_rs::signature::KeyPair as _;
        let KeyPair::Rsa(pair) = &*RSA else {
            unreachable!()
        };
        let der: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        der.as_ref().to_vec()
    };
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        STANDARD.encode(&der)
    );
    let jwks = keys().jwks();
    let secrets: Vec<Vec<u8>> = vec![
        der,
        pem.into_bytes(),
        public.to_string().into_bytes(),
        public["n"].as_str().unwrap().as_bytes().to_vec(),
        jwks.as_bytes().to_vec(),
        Vec::new(),
    ];
    let with_legacy = keys_with(usual_set(), |config| {
        config.jwt.legacy_secret = Some(Secret::new(LEGACY));
    })
    .0;
    for secret in &secrets {
        for header in [
            json!({ "alg": "HS256" }),
            json!({ "alg": "HS256", "kid": "rsa" }),
        ] {
            let token = hmac_signed(secret, &header, &claims(json!({})));
            assert!(keys().verify(&token).is_err());
            assert!(with_legacy.verify(&token).is_err());
        }
    }
}

#[test]
fn a_key_id_only_selects_from_the_set() {
    let keys = keys();
    let kids = [
        json!("../../etc/passwd"),
        json!("rsa' or '1'='1"),
        json!("http://127.0.0.1:1/key"),
        json!("RSA"),
        json!(""),
        json!("rsa\u{0}"),
        json!("k".repeat(10_000)),
        json!(["rsa"]),
        json!({ "rsa": 1 }),
        json!(1),
        json!(null),
        json!(true),
    ];
    for kid in kids {
        let header = json!({ "alg": "RS256", "kid": kid });
        assert!(
            keys.verify(&signed(&RSA, &header, &claims(json!({}))))
                .is_err(),
            "{kid}"
        );
    }
    let without = signed(&RSA, &json!({ "alg": "RS256" }), &claims(json!({})));
    assert_eq!(keys.verify(&without), Err(TokenError::UnknownKey));
}

#[test]
fn the_algorithm_is_the_keys_own() {
    let keys = keys();
    let cases = [
        (&*RSA, "RS256", "ec"),
        (&*EC, "ES256", "rsa"),
        (&*EC, "RS256", "ec"),
        (&*RSA, "ES256", "rsa"),
        (&*RSA, "RS512", "rsa"),
        (&*RSA, "PS256", "rsa"),
        (&*RSA, "rs256", "rsa"),
        (&*EC, "ES384", "ec"),
    ];
    for (pair, alg, kid) in cases {
        let token = signed(pair, &json!({ "alg": alg, "kid": kid }), &claims(json!({})));
        assert!(keys.verify(&token).is_err(), "{alg} with {kid}");
    }
}

#[test]
fn a_header_brings_no_key_along() {
    let keys = keys();
    let attacker = OTHER_EC.public_members();
    let extras = [
        json!({ "jwk": attacker }),
        json!({ "jku": "http://127.0.0.1:1/jwks.json" }),
        json!({ "x5u": "http://127.0.0.1:1/cert.pem" }),
        json!({ "x5c": ["MIIB"] }),
        json!({ "crit": ["exp"] }),
        json!({ "b64": false, "crit": ["b64"] }),
        json!({ "zip": "DEF" }),
    ];
    for extra in extras {
        for (kid, alg, pair) in [("rsa", "RS256", &*RSA), ("ec", "ES256", &*OTHER_EC)] {
            let mut header = extra.clone();
            header["kid"] = json!(kid);
            header["alg"] = json!(alg);
            assert!(
                keys.verify(&signed(pair, &header, &claims(json!({}))))
                    .is_err(),
                "{header}"
            );
        }
    }
}

#[test]
fn a_header_that_names_a_member_twice_is_refused() {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","kid":"ec","kid":"rsa"}"#);
    let payload = URL_SAFE_NO_PAD.encode(claims(json!({})).to_string());
    let message = format!("{header}.{payload}");
    let signature = URL_SAFE_NO_PAD.encode(RSA.sign(message.as_bytes()).unwrap());
    let error = keys()
        .verify(&format!("{message}.{signature}"))
        .unwrap_err();
    assert!(matches!(error, TokenError::Malformed(_)));
}

#[test]
fn an_expiry_is_required_and_is_a_time() {
    let keys = keys();
    let cases = [
        (json!(null), TokenError::BadTime),
        (json!("2000000000"), TokenError::BadTime),
        (json!([NOW + 60]), TokenError::BadTime),
        (json!(true), TokenError::BadTime),
        (json!(u64::MAX), TokenError::BadTime),
        (json!(1e300), TokenError::BadTime),
        (json!(-1), TokenError::BadTime),
        (json!(0), TokenError::Expired),
        (json!(NOW), TokenError::Expired),
        (json!(NOW - 1), TokenError::Expired),
    ];
    for (exp, expected) in cases {
        assert_eq!(
            keys.verify(&rsa_token(json!({ "exp": exp }))),
            Err(expected),
            "{exp}"
        );
    }
    assert!(
        keys.verify(&rsa_token(json!({ "exp": 1_800_000_000.5 })))
            .is_ok()
    );
    // Not even parsed as a number by JSON: infinity and the like.
    let payload = URL_SAFE_NO_PAD.encode(r#"{"role":"anon","exp":1e999}"#);
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","kid":"rsa"}"#);
    let message = format!("{header}.{payload}");
    let signature = URL_SAFE_NO_PAD.encode(RSA.sign(message.as_bytes()).unwrap());
    assert!(keys.verify(&format!("{message}.{signature}")).is_err());
}

#[test]
fn a_token_is_not_valid_before_its_time() {
    let keys = keys();
    assert!(keys.verify(&rsa_token(json!({ "nbf": NOW + 5 }))).is_ok());
    let early = keys.verify(&rsa_token(json!({ "nbf": NOW + 6 })));
    assert_eq!(early, Err(TokenError::NotYetValid));
    let text = keys.verify(&rsa_token(json!({ "nbf": "0" })));
    assert_eq!(text, Err(TokenError::BadTime));
}

#[test]
fn a_token_expires_as_the_clock_moves() {
    let (keys, clock) = keys_with(usual_set(), |_| {});
    let token = rsa_token(json!({ "exp": NOW + 60 }));
    clock.advance(TimeDelta::seconds(59));
    assert!(keys.verify(&token).is_ok());
    clock.advance(TimeDelta::seconds(1));
    assert_eq!(keys.verify(&token), Err(TokenError::Expired));
}

#[test]
fn an_audience_that_is_named_must_be_ours() {
    let keys = keys();
    for aud in [
        json!(null),
        json!("authenticated"),
        json!(["x", "authenticated"]),
    ] {
        assert!(
            keys.verify(&rsa_token(json!({ "aud": aud }))).is_ok(),
            "{aud}"
        );
    }
    for aud in [
        json!("other"),
        json!(["x"]),
        json!([]),
        json!(7),
        json!({}),
        json!(""),
    ] {
        let result = keys.verify(&rsa_token(json!({ "aud": aud })));
        assert_eq!(result, Err(TokenError::Audience), "{aud}");
    }
}

#[test]
fn nothing_can_be_changed_after_signing() {
    let keys = keys();
    let token = rsa_token(json!({}));
    let (message_part, signature) = token.rsplit_once('.').unwrap();
    let header = message_part.split_once('.').unwrap().0;
    let forged = URL_SAFE_NO_PAD.encode(claims(json!({ "role": "service_role" })).to_string());
    assert_eq!(
        keys.verify(&format!("{header}.{forged}.{signature}")),
        Err(TokenError::Signature)
    );
    for changed in [
        format!("{message_part}."),
        format!("{message_part}.{}", &signature[..signature.len() - 4]),
        format!("{message_part}.{signature}=="),
        format!("{message_part}.{signature}.{signature}"),
        format!(" {token}"),
        format!("{token}\n"),
        header.to_owned(),
        String::new(),
        "..".to_owned(),
        "a.b.c".to_owned(),
        format!("{token}{}", "A".repeat(20_000)),
    ] {
        assert!(keys.verify(&changed).is_err(), "{changed:.60}");
    }
}

#[test]
fn a_payload_that_is_no_object_is_refused() {
    let header = json!({ "alg": "RS256", "kid": "rsa" });
    for payload in [json!([]), json!("x"), json!(1), json!(null)] {
        let error = keys().verify(&signed(&RSA, &header, &payload)).unwrap_err();
        assert!(matches!(error, TokenError::Malformed(_)), "{payload}");
    }
}

#[test]
fn a_key_verifies_only_in_its_window() {
    let header = json!({ "alg": "ES256", "kid": "next" });
    let token = signed(&OTHER_EC, &header, &claims(json!({})));
    let waiting = keys();
    assert_eq!(
        waiting.verify(&token),
        Err(TokenError::UnknownKey),
        "standby"
    );
    waiting.install(set(&[
        row(&OTHER_EC, "next", "active"),
        row(&RSA, "rsa", "previous"),
    ]));
    assert!(waiting.verify(&token).is_ok(), "active");
    assert!(waiting.verify(&rsa_token(json!({}))).is_ok(), "previous");
    waiting.install(set(&[row(&OTHER_EC, "next", "previous")]));
    assert!(waiting.verify(&token).is_ok(), "previous");
    assert_eq!(
        waiting.verify(&rsa_token(json!({}))),
        Err(TokenError::UnknownKey),
        "revoked"
    );
}

#[test]
fn a_shared_secret_counts_only_when_it_is_configured() {
    let (with, without) = (
        keys_with(usual_set(), |config| {
            config.jwt.legacy_secret = Some(Secret::new(LEGACY));
        })
        .0,
        keys(),
    );
    let anon = json!({ "role": "anon", "iss": "supabase", "exp": NOW + 60 });
    for header in [
        json!({ "alg": "HS256", "typ": "JWT" }),
        json!({ "alg": "HS256", "kid": "from-elsewhere" }),
    ] {
        let token = hmac_signed(LEGACY.as_bytes(), &header, &anon);
        assert_eq!(with.verify(&token).unwrap()["role"], "anon");
        assert!(without.verify(&token).is_err());
        let wrong = hmac_signed(b"another secret of some length ...", &header, &anon);
        assert_eq!(with.verify(&wrong), Err(TokenError::Signature));
    }
    let ours = hmac_signed(
        LEGACY.as_bytes(),
        &json!({ "alg": "HS256", "kid": "rsa" }),
        &anon,
    );
    assert_eq!(
        with.verify(&ours),
        Err(TokenError::Algorithm),
        "a known key is never symmetric"
    );
    let longer = hmac_signed(LEGACY.as_bytes(), &json!({ "alg": "HS512" }), &anon);
    assert!(with.verify(&longer).is_err());
    let expired = hmac_signed(
        LEGACY.as_bytes(),
        &json!({ "alg": "HS256" }),
        &json!({ "role": "anon", "exp": NOW }),
    );
    assert_eq!(with.verify(&expired), Err(TokenError::Expired));
}

#[test]
fn what_is_signed_verifies_under_the_active_key() {
    for (pair, alg) in [(&*RSA, "RS256"), (&*EC, "ES256")] {
        let keys = keys_with(set(&[row(pair, "k", "active")]), |_| {}).0;
        let claims = claims(json!({})).as_object().unwrap().clone();
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
    let user = rsa_token(json!({}));
    let service_jwt = rsa_token(json!({ "role": "service_role", "sub": null, "aud": null }));
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
    let expired = rsa_token(json!({ "exp": NOW }));
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
    let user = rsa_token(json!({}));
    let anon_jwt = rsa_token(json!({ "role": "anon", "sub": null, "aud": null }));
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
    let row = row(&EC, "ec", "active");
    let signer = Signer::open(&row, row.private_key.as_deref().unwrap(), &master()).unwrap();
    let KeyPair::Ec(pair) = &*EC else {
        unreachable!()
    };
    use aws_lc_rs::encoding::{AsBigEndian as _, EcPrivateKeyBin};
    let private: EcPrivateKeyBin<'_> = pair.private_key().as_be_bytes().unwrap();
    let shown = format!("{signer:?}");
    let hex: String = private
        .as_ref()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    assert!(!shown.contains(&hex) && !shown.contains(&format!("{:?}", private.as_ref())));
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
