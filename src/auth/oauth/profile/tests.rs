//! Whose word on an address is taken.

#![expect(
    clippy::needless_pass_by_value,
    reason = "a JSON literal reads better without a borrow"
)]

use super::*;
use crate::config::{Config, Sources};

fn provider(toml: &str) -> Provider {
    let config = Config::load(Sources {
        toml: Some(toml.to_owned()),
        ..Sources::default()
    })
    .unwrap();
    Provider::find(&config, &config.external[0].name).unwrap()
}

fn acme() -> Provider {
    provider("[auth.external.acme]\nclient_id = \"x\"\nurl = \"https://id.example.com\"")
}

fn is_vouched(provider: &Provider, claims: Value) -> bool {
    let mut claims = claims.as_object().cloned().unwrap();
    claims.insert("sub".to_owned(), "1".into());
    Profile::from_claims(provider, &claims).unwrap().is_vouched
}

/// Fails when anything but the boolean counts as verified.
#[test]
fn an_address_is_verified_by_true_and_by_nothing_that_looks_like_it() {
    let acme = acme();
    let email = "ana@b.example";
    assert!(is_vouched(
        &acme,
        json!({"email": email, "email_verified": true})
    ));
    for claims in [
        json!({"email": email}),
        json!({"email": email, "email_verified": false}),
        json!({"email": email, "email_verified": "true"}),
        json!({"email": email, "email_verified": 1}),
        json!({"email": email, "email_verified": [true]}),
        json!({"email": email, "email_verified": null}),
        json!({"email": "no address", "email_verified": true}),
        json!({"email_verified": true}),
    ] {
        assert!(!is_vouched(&acme, claims.clone()), "{claims}");
    }
    let apple = provider("[auth.external.apple]\nclient_id = \"x\"");
    assert!(is_vouched(
        &apple,
        json!({"email": email, "email_verified": "true"})
    ));
    assert!(!is_vouched(
        &apple,
        json!({"email": email, "email_verified": "false"})
    ));
}

#[test]
fn microsoft_vouches_with_a_claim_of_its_own_or_for_listed_tenants() {
    let azure = provider("[auth.external.azure]\nclient_id = \"x\"");
    let email = "ana@b.example";
    assert!(!is_vouched(
        &azure,
        json!({"email": email, "email_verified": true})
    ));
    assert!(!is_vouched(
        &azure,
        json!({"email": email, "xms_edov": false})
    ));
    assert!(is_vouched(
        &azure,
        json!({"email": email, "xms_edov": true})
    ));
    let own = provider("[auth.external.azure]\nclient_id = \"x\"\ntenants = [\"t\"]");
    assert!(is_vouched(&own, json!({"email": email})));
}

#[test]
fn a_provider_may_be_believed_on_its_own_domains_only() {
    let google = provider(
        "[auth.external.google]\nclient_id = \"x\"\nemail_authority = \"domain\"\nemail_domains = \"own.example\"",
    );
    for (email, hd, vouched) in [
        ("ana@gmail.com", None, true),
        ("ana@corp.example", Some("corp.example"), true),
        ("ana@own.example", None, true),
        ("ana@corp.example", None, false),
        ("ana@other.example", Some("corp.example"), false),
    ] {
        let claims = json!({"email": email, "email_verified": true, "hd": hd});
        assert_eq!(is_vouched(&google, claims), vouched, "{email}");
    }
    let never = provider("[auth.external.google]\nclient_id = \"x\"\nemail_authority = \"never\"");
    let claims = json!({"email": "ana@gmail.com", "email_verified": true});
    assert!(!is_vouched(&never, claims));
}

#[test]
fn an_identity_says_what_supabase_clients_read() {
    let claims = json!({
        "sub": "7", "iss": "https://id.example.com", "email": "ANA@b.example", "email_verified": true,
        "name": "Ana\0", "picture": "https://img.example/a.png", "hd": "b.example", "role": "admin",
        "at_hash": "x", "nonce": "y"
    });
    let profile = Profile::from_claims(&acme(), claims.as_object().unwrap()).unwrap();
    assert_eq!(
        Value::Object(profile.data),
        json!({
            "sub": "7", "provider_id": "7", "iss": "https://id.example.com", "email": "ana@b.example",
            "email_verified": true, "phone_verified": false, "name": "Ana", "full_name": "Ana",
            "picture": "https://img.example/a.png", "avatar_url": "https://img.example/a.png",
            "custom_claims": {"hd": "b.example"}
        })
    );
    for sub in [json!(""), json!(7), json!("x".repeat(256)), json!(null)] {
        let claims = json!({"sub": sub});
        assert!(Profile::from_claims(&acme(), claims.as_object().unwrap()).is_err());
    }
}

#[test]
fn github_counts_the_verified_primary_address() {
    let github_provider = provider("[auth.external.github]\nclient_id = \"x\"");
    let user = json!({"id": 7, "login": "ana", "email": "public@b.example", "name": null});
    let emails = |verified: bool| {
        json!([
            {"email": "other@b.example", "verified": true, "primary": false},
            {"email": "ana@b.example", "verified": verified, "primary": true}
        ])
    };
    let profile = github(&github_provider, &user, &emails(true)).unwrap();
    assert_eq!(profile.subject, "7");
    assert_eq!(profile.email.unwrap().as_str(), "ana@b.example");
    assert!(profile.is_vouched);
    assert_eq!(profile.data["user_name"], "ana");
    assert!(
        !github(&github_provider, &user, &emails(false))
            .unwrap()
            .is_vouched
    );
    let none = github(&github_provider, &user, &json!({"message": "no"})).unwrap();
    assert!(none.email.is_none() && !none.is_vouched);
    assert!(github(&github_provider, &json!({"id": "7"}), &emails(true)).is_err());
}

#[test]
fn a_name_beside_the_token_is_shown_and_no_more() {
    let apple = provider("[auth.external.apple]\nclient_id = \"x\"");
    let claims = json!({"sub": "1"});
    let mut profile = Profile::from_claims(&apple, claims.as_object().unwrap()).unwrap();
    profile.add_name(Some("not json"));
    profile.add_name(Some(
        r#"{"name": {"firstName": "Ana", "lastName": "B"}, "email": "evil@b.example", "sub": "2"}"#,
    ));
    assert_eq!(profile.data["full_name"], "Ana B");
    assert!(profile.email.is_none());
    assert_eq!(profile.subject, "1");
}
