//! Attacks on the verifier: forged headers, wrong keys, impossible times.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use serde_json::json;

use super::*;

#[test]
fn a_token_of_every_key_in_force_is_accepted() {
    let keys = keys();
    let by_rsa = keys.verify(&rsa_token(&json!({}))).unwrap();
    assert_eq!(by_rsa["role"], "authenticated");
    let header = json!({ "alg": "ES256", "kid": "ec", "typ": "JWT" });
    assert!(
        keys.verify(&signed(&EC, &header, &claims(&json!({}))))
            .is_ok()
    );
}

/// Attack 1. Fails when a token is taken whose algorithm is none of a key: the two arms of `(None, _)` in
/// `check_signature`.
#[test]
fn alg_none_is_refused_in_any_spelling() {
    let keys = keys_with(usual_set(), |config| {
        config.jwt.legacy_secret = Some(Secret::new(LEGACY));
    })
    .0;
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        for header in [json!({ "alg": alg }), json!({ "alg": alg, "kid": "rsa" })] {
            let message = message(&header, &claims(&json!({})));
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

/// Attack 2. Fails when a known key is used with the algorithm that the header names, as a secret.
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
            let token = hmac_signed(secret, &header, &claims(&json!({})));
            assert!(keys().verify(&token).is_err());
            assert!(with_legacy.verify(&token).is_err());
        }
    }
}

/// Attack 3. Fails when an unknown `kid` leads to a key all the same: the arms of `(None, _)` in `check_signature`.
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
            keys.verify(&signed(&RSA, &header, &claims(&json!({}))))
                .is_err(),
            "{kid}"
        );
    }
    let without = signed(&RSA, &json!({ "alg": "RS256" }), &claims(&json!({})));
    assert_eq!(keys.verify(&without), Err(TokenError::UnknownKey));
}

/// Attack 5. Remove the comparison of `header.alg` with the key in `check_signature`, and some of them are taken.
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
        let token = signed(
            pair,
            &json!({ "alg": alg, "kid": kid }),
            &claims(&json!({})),
        );
        assert!(keys.verify(&token).is_err(), "{alg} with {kid}");
    }
}

/// Attack 4. Fails when headers may have more members (`deny_unknown_fields`).
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
                keys.verify(&signed(pair, &header, &claims(&json!({}))))
                    .is_err(),
                "{header}"
            );
        }
    }
}

/// Fails when the header is read into a map, where the last one of two counts, and not into `Header`.
#[test]
fn a_header_that_names_a_member_twice_is_refused() {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","kid":"ec","kid":"rsa"}"#);
    let payload = URL_SAFE_NO_PAD.encode(claims(&json!({})).to_string());
    let message = format!("{header}.{payload}");
    let signature = URL_SAFE_NO_PAD.encode(RSA.sign(message.as_bytes()).unwrap());
    let error = keys()
        .verify(&format!("{message}.{signature}"))
        .unwrap_err();
    assert!(matches!(error, TokenError::Malformed(_)));
}

/// Attack 7. Fails when `exp` may be missing, text, or out of bounds: the conditions of `check_times`.
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
            keys.verify(&rsa_token(&json!({ "exp": exp }))),
            Err(expected),
            "{exp}"
        );
    }
    assert!(
        keys.verify(&rsa_token(&json!({ "exp": 1_800_000_000.5 })))
            .is_ok()
    );
    // Not even parsed as a number by JSON: infinity and the like.
    let payload = URL_SAFE_NO_PAD.encode(r#"{"role":"anon","exp":1e999}"#);
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","kid":"rsa"}"#);
    let message = format!("{header}.{payload}");
    let signature = URL_SAFE_NO_PAD.encode(RSA.sign(message.as_bytes()).unwrap());
    assert!(keys.verify(&format!("{message}.{signature}")).is_err());
}

/// Attack 7. Fails without the look at `nbf` in `check_times`.
#[test]
fn a_token_is_not_valid_before_its_time() {
    let keys = keys();
    assert!(keys.verify(&rsa_token(&json!({ "nbf": NOW + 5 }))).is_ok());
    let early = keys.verify(&rsa_token(&json!({ "nbf": NOW + 6 })));
    assert_eq!(early, Err(TokenError::NotYetValid));
    let text = keys.verify(&rsa_token(&json!({ "nbf": "0" })));
    assert_eq!(text, Err(TokenError::BadTime));
}

/// Attack 7. Fails without the look at `exp` in `check_times`, or when another clock than the service's is asked.
#[test]
fn a_token_expires_as_the_clock_moves() {
    let (keys, clock) = keys_with(usual_set(), |_| {});
    let token = rsa_token(&json!({ "exp": NOW + 60 }));
    clock.advance(TimeDelta::seconds(59));
    assert!(keys.verify(&token).is_ok());
    clock.advance(TimeDelta::seconds(1));
    assert_eq!(keys.verify(&token), Err(TokenError::Expired));
}

/// Attacks 7 and 8. Remove `check_audience`, and this fails.
#[test]
fn an_audience_that_is_named_must_be_ours() {
    let keys = keys();
    for aud in [
        json!(null),
        json!("authenticated"),
        json!(["x", "authenticated"]),
    ] {
        assert!(
            keys.verify(&rsa_token(&json!({ "aud": aud }))).is_ok(),
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
        let result = keys.verify(&rsa_token(&json!({ "aud": aud })));
        assert_eq!(result, Err(TokenError::Audience), "{aud}");
    }
}

/// Attack 8. Leave `check_issuer` out and this fails.
#[test]
fn a_users_token_is_issued_by_us() {
    let keys = keys();
    for iss in [
        json!(null),
        json!("https://evil.example/auth/v1"),
        json!(format!("{}/", Config::default().issuer())),
        json!([Config::default().issuer()]),
        json!(""),
    ] {
        let token = rsa_token(&json!({ "iss": iss }));
        assert_eq!(keys.verify(&token), Err(TokenError::Issuer), "{iss}");
        assert_eq!(keys.caller(&token), Err(TokenError::Issuer), "{iss}");
        // An API key, from whenever the project had another address.
        let key = rsa_token(&json!({ "iss": iss, "sub": null, "role": "service_role" }));
        assert_eq!(keys.verify(&key).unwrap()["role"], "service_role", "{iss}");
    }
    let migrating = keys_with(usual_set(), |config| {
        config.jwt.legacy_secret = Some(Secret::new(LEGACY));
    });
    let theirs = claims(&json!({ "iss": "https://ref.supabase.example/auth/v1" }));
    let legacy = hmac_signed(LEGACY.as_bytes(), &json!({ "alg": "HS256" }), &theirs);
    assert!(migrating.0.verify(&legacy).is_ok());
}

#[test]
fn nothing_can_be_changed_after_signing() {
    let keys = keys();
    let token = rsa_token(&json!({}));
    let (message_part, signature) = token.rsplit_once('.').unwrap();
    let header = message_part.split_once('.').unwrap().0;
    let forged = URL_SAFE_NO_PAD.encode(claims(&json!({ "role": "service_role" })).to_string());
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

/// Attack 6. Remove the look at `verifies` in `check_signature`, and a standby key is believed.
#[test]
fn a_key_verifies_only_in_its_window() {
    let header = json!({ "alg": "ES256", "kid": "next" });
    let token = signed(&OTHER_EC, &header, &claims(&json!({})));
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
    assert!(waiting.verify(&rsa_token(&json!({}))).is_ok(), "previous");
    waiting.install(set(&[row(&OTHER_EC, "next", "previous")]));
    assert!(waiting.verify(&token).is_ok(), "previous");
    assert_eq!(
        waiting.verify(&rsa_token(&json!({}))),
        Err(TokenError::UnknownKey),
        "revoked"
    );
}

/// Fails when HS256 is taken without `jwt.legacy_secret`, or for a key of ours: the comparison of `header.alg` with the
/// key.
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
