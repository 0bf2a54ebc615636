//! ID tokens that a client brings.

use serde_json::{Value, json};

use super::provider::{Key, Provider, s256};
use super::*;

/// Hexadecimal SHA-256 of "raw nonce".
fn hashed(nonce: &str) -> String {
    hex::encode(aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA256,
        nonce.as_bytes(),
    ))
}

async fn bring(app: &App, body: Value) -> Reply {
    app.post("/token?grant_type=id_token", body).await
}

fn verified(app: &App) -> Value {
    json!({"email": "ana@example.com", "email_verified": true, "iat": now(app)})
}

/// Attack 27. Remove `use_once`, and a token that was seen on its way signs in again.
#[tokio::test]
async fn a_token_with_its_nonce_signs_in_once() {
    let (app, provider) = project(&[]).await;
    let mut claims = verified(&app);
    claims["nonce"] = json!(hashed("raw nonce"));
    claims["at_hash"] = json!(at_hash("access"));
    let token = provider.id_token(now(&app), &claims);
    let body = json!({"provider": "acme", "id_token": token, "nonce": "raw nonce", "access_token": "access"});
    let session = bring(&app, body.clone()).await.ok();
    assert_eq!(session.body["user"]["email"], "ana@example.com");
    assert_eq!(session.body.get("provider_token"), None);
    bring(&app, body).await.refused(400, "bad_oauth_callback");
    // Without a nonce nothing says that it is the same sign-in.
    let plain = provider.id_token(now(&app), &verified(&app));
    for body in [
        json!({"provider": "custom:acme", "id_token": plain}),
        json!({"issuer": provider.url, "id_token": plain}),
    ] {
        bring(&app, body).await.ok();
    }
    assert_eq!(counts(&app).await, "1,1,3");
    // A token that tells less takes nothing away.
    let less = provider.id_token(now(&app), &json!({"iat": now(&app)}));
    let session = bring(&app, json!({"provider": "acme", "id_token": less}))
        .await
        .ok();
    let identity = &session.body["user"]["identities"][0];
    assert_eq!(identity["email"], "ana@example.com");
    assert_eq!(identity["identity_data"]["email_verified"], true);
}

fn at_hash(access_token: &str) -> String {
    use base64::Engine as _;
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, access_token.as_bytes());
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16])
}

/// Each line is one thing that does not fit. Fails when its check is left out of `id_token::verify`.
#[tokio::test]
async fn a_token_in_which_anything_does_not_fit_is_refused() {
    let (app, provider) =
        project(&[("auth.external.acme.client_id", "sb-client:1,other-of-ours")]).await;
    let now = now(&app);
    let with = |changes: Value| {
        let mut claims = verified(&app);
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        provider.id_token(now, &claims)
    };
    let bring = async |token: &str, more: Value| {
        let mut body = json!({"provider": "acme", "id_token": token});
        super::provider::merge(&mut body, &more);
        app.post("/token?grant_type=id_token", body).await
    };
    for changes in [
        json!({"iss": "https://evil.example"}),
        json!({"iss": format!("{}/", provider.url)}),
        json!({"iss": null}),
        json!({"aud": "somebody else"}),
        json!({"aud": null}),
        json!({"aud": ["sb-client:1", "somebody else"], "azp": "sb-client:1"}),
        json!({"aud": ["sb-client:1", "other-of-ours"]}),
        json!({"azp": "somebody else"}),
        json!({"exp": now}),
        json!({"exp": now - 1}),
        json!({"exp": null}),
        json!({"iat": now + 3600}),
        json!({"sub": null}),
        json!({"sub": ""}),
        json!({"sub": "x".repeat(300)}),
        json!({"nonce": hashed("one that is not sent along")}),
    ] {
        bring(&with(changes.clone()), json!({}))
            .await
            .refused(400, "bad_oauth_callback");
    }
    for (changes, more) in [
        (json!({}), json!({"nonce": "raw nonce"})),
        (json!({"nonce": "raw nonce"}), json!({"nonce": "raw nonce"})),
        (
            json!({"nonce": hashed("other")}),
            json!({"nonce": "raw nonce"}),
        ),
        (
            json!({"at_hash": at_hash("another")}),
            json!({"access_token": "access"}),
        ),
        (
            json!({"aud": "other-of-ours"}),
            json!({"client_id": "sb-client:1"}),
        ),
        (json!({}), json!({"client_id": "somebody else"})),
    ] {
        bring(&with(changes), more)
            .await
            .refused(400, "bad_oauth_callback");
    }
    assert_eq!(counts(&app).await, "0,0,0");
    bring(
        &with(json!({"aud": ["sb-client:1", "other-of-ours"], "azp": "other-of-ours"})),
        json!({}),
    )
    .await
    .ok();
    let nonce = json!({"nonce": "raw nonce"});
    bring(&with(json!({"nonce": hashed("raw nonce")})), nonce)
        .await
        .ok();
}

/// Fails when the algorithm or the key is taken from the token.
#[tokio::test]
async fn a_signature_that_is_not_the_providers_is_refused() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
    let (app, provider) = project(&[]).await;
    let claims = provider.claims(now(&app), &verified(&app));
    let payload = BASE64.encode(claims.to_string());
    let good = provider.id_token(now(&app), &verified(&app));
    let forged = Key::new("key-1").sign(&claims);
    let unknown = Key::new("key-2").sign(&claims);
    let hs256 = {
        let secret = super::CLIENT_SECRET.as_bytes();
        let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
        jsonwebtoken::encode(
            &header,
            &claims,
            &jsonwebtoken::EncodingKey::from_secret(secret),
        )
        .unwrap()
    };
    let (head, rest) = good.split_once('.').unwrap();
    let (_, signature) = rest.split_once('.').unwrap();
    let mut changed = claims.clone();
    changed["sub"] = json!("victim");
    let header = |alg: &str| {
        BASE64.encode(
            json!({"alg": alg, "kid": "key-1", "jku": "http://127.0.0.1:9/keys"}).to_string(),
        )
    };
    for token in [
        forged,
        unknown,
        hs256,
        format!("{head}.{}.{signature}", BASE64.encode(changed.to_string())),
        format!("{head}.{payload}."),
        format!("{head}.{payload}"),
        format!("{}.{payload}.", header("none")),
        format!("{}.{payload}.", header("nOnE")),
        format!("{}.{payload}.{signature}", header("RS256")),
        format!("{}.{payload}.{signature}", header("ES384")),
        "x".to_owned(),
        "..".to_owned(),
        format!("{head}.{payload}.{signature}.{signature}.{signature}"),
        "a".repeat(100_000),
    ] {
        let reply = bring(&app, json!({"provider": "acme", "id_token": token})).await;
        reply.refused(400, "bad_oauth_callback");
    }
    for body in [
        json!({"provider": "acme"}),
        json!({"id_token": good}),
        json!({"provider": "acme", "id_token": ""}),
    ] {
        bring(&app, body).await.refused(400, "validation_failed");
    }
    bring(&app, json!({"provider": "nobody", "id_token": good}))
        .await
        .refused(400, "provider_disabled");
    assert_eq!(counts(&app).await, "0,0,0");
    bring(&app, json!({"provider": "acme", "id_token": good}))
        .await
        .ok();
}

/// A key that is not known is looked for, and not more than once a minute. Fails without the cooldown.
#[tokio::test]
async fn a_new_key_is_found_and_made_up_ones_make_no_calls() {
    let (app, provider) = project(&[]).await;
    let body = |token: String| json!({"provider": "acme", "id_token": token});
    bring(&app, body(provider.id_token(now(&app), &verified(&app))))
        .await
        .ok();
    assert_eq!(provider.calls("/jwks"), 1);
    provider.behave(|it| it.keys = vec![Key::new("key-new")]);
    let token = || provider.id_token(now(&app), &verified(&app));
    bring(&app, body(token()))
        .await
        .refused(400, "bad_oauth_callback");
    app.advance(61);
    bring(&app, body(token())).await.ok();
    assert_eq!(provider.calls("/jwks"), 2);
    for number in 0..10 {
        let made_up = Key::new(&format!("made-up-{number}"));
        let claims = provider.claims(now(&app), &verified(&app));
        bring(&app, body(made_up.sign(&claims)))
            .await
            .refused(400, "bad_oauth_callback");
    }
    assert_eq!(provider.calls("/jwks"), 2);
    assert_eq!(provider.calls("/.well-known/openid-configuration"), 1);
    app.advance(3600);
    bring(&app, body(token())).await.ok();
    assert_eq!(provider.calls("/.well-known/openid-configuration"), 2);
}

/// Fails when the issuer is not compared with the tenant, or the tenant not with the list.
#[tokio::test]
async fn a_microsoft_token_is_of_an_admitted_tenant() {
    let provider = Provider::start().await;
    let (ours, foreign) = (
        "11111111-2222-4333-8444-555555555555",
        "99999999-2222-4333-8444-555555555555",
    );
    provider.behave(|it| {
        it.discovery = json!({"issuer": format!("{}/{{tenantid}}/v2.0", provider.url)});
    });
    let mut settings = external("azure", &provider.url);
    settings.retain(|(name, _)| *name != "auth.external.azure.url");
    settings.extend([
        (
            "auth.external.azure.url",
            text(format!("{}/common", provider.url)),
        ),
        ("auth.external.azure.tenants", ours),
        ("outbound.allow", "127.0.0.0/8"),
    ]);
    let app = App::with_settings(&settings).await;
    let token = |issuer_tenant: &str, tid: &str| {
        let issuer = format!("{}/{issuer_tenant}/v2.0", provider.url);
        let claims = json!({"iss": issuer, "tid": tid, "email": "ana@example.com"});
        json!({"provider": "azure", "id_token": provider.id_token(now(&app), &claims)})
    };
    for (issuer_tenant, tid) in [
        (foreign, foreign),
        (foreign, ours),
        (ours, foreign),
        ("{tenantid}", ours),
        (ours, ""),
    ] {
        bring(&app, token(issuer_tenant, tid))
            .await
            .refused(400, "bad_oauth_callback");
    }
    let session = bring(&app, token(ours, ours)).await.ok();
    assert_eq!(session.body["user"]["identities"][0]["provider"], "azure");
}

#[tokio::test]
async fn the_nonce_check_can_be_switched_off() {
    let (app, provider) = project(&[("auth.external.acme.skip_nonce_check", "true")]).await;
    let mut claims = verified(&app);
    claims["nonce"] = json!(s256("made by a library"));
    let body = json!({"provider": "acme", "id_token": provider.id_token(now(&app), &claims)});
    bring(&app, body.clone()).await.ok();
    bring(&app, body).await.ok();
}
