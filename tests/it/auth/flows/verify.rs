//! Links and codes: what uses them up, and what they are good for.

use axum::body::Body;
use axum::http::Request;
use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::json;

use super::support::{ANA, Answer as _, BO, Flows, Mail, PASSWORD, parameters};

async fn link(flows: &Flows) -> Mail {
    flows.member(ANA).await;
    flows.post("/otp", json!({ "email": ANA })).await.ok();
    flows.mail_of("magic_link", ANA).await
}

/// A mail scanner reads links, follows them and runs their scripts. Fails when `show` uses the link up.
#[tokio::test]
async fn reading_a_link_uses_nothing_up() {
    let flows = Flows::new().await;
    let mail = link(&flows).await;
    for method in ["HEAD", "GET", "GET", "HEAD"] {
        let page = flows.open(method, &mail.link).await.ok();
        assert_eq!(page.headers["cache-control"], "no-store");
        assert_eq!(page.headers["referrer-policy"], "no-referrer");
        assert_eq!(page.headers["x-frame-options"], "DENY");
        let policy = page.headers["content-security-policy"].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none'; style-src 'sha256-"),
            "{policy}"
        );
        let rest =
            "base-uri 'none'; frame-ancestors 'none'; form-action 'self' https://site.example";
        assert!(policy.ends_with(rest), "{policy}");
        assert!(!page.text().contains("<script"));
    }
    assert_eq!(
        flows
            .value("select count(*) from auth.one_time_tokens")
            .await,
        "1"
    );
    let location = flows.press(&mail.link).await;
    assert!(parameters(location.fragment()).contains_key("access_token"));
}

#[tokio::test]
async fn a_link_can_be_used_at_once_where_that_is_set() {
    let flows = Flows::with(&[("auth.verify_get", "consume")]).await;
    let mail = link(&flows).await;
    flows.open("HEAD", &mail.link).await.ok();
    let reply = flows.open("GET", &mail.link).await;
    assert_eq!(reply.status, 303);
    let location = reply.headers["location"].to_str().unwrap();
    assert!(
        location.starts_with("https://site.example/app#access_token="),
        "{location}"
    );
    let again = flows.open("GET", &mail.link).await;
    let location = again.headers["location"].to_str().unwrap();
    assert!(location.contains("error_code=otp_expired"), "{location}");
}

/// What another site submits signs nobody in. Fails without the look at `Sec-Fetch-Site`.
#[tokio::test]
async fn a_form_of_another_site_presses_no_button() {
    let flows = Flows::new().await;
    let mail = link(&flows).await;
    let form = format!("token={}&type=magiclink", mail.token);
    for site in ["cross-site", "same-site"] {
        let request = Request::post("/auth/v1/verify/link")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("sec-fetch-site", site);
        let reply = flows
            .app
            .send(request.body(Body::from(form.clone())).unwrap())
            .await;
        assert_eq!(reply.status, 400, "{}", reply.text());
    }
    flows.verify_hash("magiclink", &mail.token).await.ok();
}

/// Attack 34. Fails when a link and its code are two rows, or neither `take_token_by_id` nor `burn_tokens` in `confirm`
/// removes it.
#[tokio::test]
async fn a_link_is_used_up_together_with_its_code() {
    let flows = Flows::new().await;
    let mail = link(&flows).await;
    flows.verify_hash("magiclink", &mail.token).await.ok();
    flows
        .verify_code("magiclink", ANA, &mail.code)
        .await
        .refused(403, "otp_expired");
    flows.later();
    flows.post("/otp", json!({ "email": ANA })).await.ok();
    let mail = flows.mail().await;
    flows.verify_code("email", ANA, &mail.code).await.ok();
    flows
        .verify_hash("magiclink", &mail.token)
        .await
        .refused(403, "otp_expired");
}

/// Attack 34. Fails when neither the statement that finds a token nor `burn_tokens` in `confirm` removes it.
#[tokio::test]
async fn of_many_uses_at_once_one_succeeds() {
    let flows = Flows::new().await;
    let mail = link(&flows).await;
    let before: usize = flows
        .value("select count(*) from auth.sessions")
        .await
        .parse()
        .unwrap();
    let by_hash = join_all((0..10).map(|_| flows.verify_hash("magiclink", &mail.token)));
    let by_code = join_all((0..4).map(|_| flows.verify_code("email", ANA, &mail.code)));
    let (by_hash, by_code) = tokio::join!(by_hash, by_code);
    let good = by_hash
        .iter()
        .chain(&by_code)
        .filter(|reply| reply.status == 200);
    assert_eq!(good.count(), 1);
    let after: usize = flows
        .value("select count(*) from auth.sessions")
        .await
        .parse()
        .unwrap();
    assert_eq!(after, before + 1);
}

/// Attack 35. Fails when `take_token_by_hash` does not look at the type; and when neither `try_codes` nor the hash of a
/// code knows its address, or what it is for.
#[tokio::test]
async fn no_purpose_stands_for_another() {
    let flows = Flows::new().await;
    flows.member(ANA).await;
    flows.sign_up(BO, PASSWORD).await.ok();
    let confirmation = flows.mail_of("confirmation", BO).await;
    flows.post("/recover", json!({ "email": ANA })).await.ok();
    let recovery = flows.mail_of("recovery", ANA).await;
    let kinds = [
        "signup",
        "invite",
        "magiclink",
        "recovery",
        "email_change",
        "email",
    ];
    for kind in kinds {
        if kind != "recovery" {
            flows
                .verify_hash(kind, &recovery.token)
                .await
                .refused(403, "otp_expired");
            flows
                .verify_code(kind, ANA, &recovery.code)
                .await
                .refused(403, "otp_expired");
        }
        if !matches!(kind, "signup" | "email") {
            flows
                .verify_hash(kind, &confirmation.token)
                .await
                .refused(403, "otp_expired");
        }
        // A code is good for the address that it was sent to only.
        flows
            .verify_code(kind, BO, &recovery.code)
            .await
            .refused(403, "otp_expired");
    }
    flows
        .verify_code("signup", ANA, &confirmation.code)
        .await
        .refused(403, "otp_expired");
    flows.verify_hash("recovery", &recovery.token).await.ok();
}

#[tokio::test]
async fn codes_and_links_become_too_old() {
    let flows = Flows::with(&[
        ("auth.otp_ttl", "600"),
        ("auth.otp_token_ttl", "300"),
        ("auth.recover_token_ttl", "1200"),
    ])
    .await;
    let mail = link(&flows).await;
    flows
        .post("/recover", json!({ "email": ANA }))
        .await
        .refused(429, "over_email_send_rate_limit");
    flows.app.clock.advance(TimeDelta::seconds(301));
    flows
        .verify_code("email", ANA, &mail.code)
        .await
        .refused(403, "otp_expired");
    flows.post("/recover", json!({ "email": ANA })).await.ok();
    let recovery = flows.mail().await;
    flows.app.clock.advance(TimeDelta::seconds(300));
    flows
        .verify_hash("magiclink", &mail.token)
        .await
        .refused(403, "otp_expired");
    flows.app.clock.advance(TimeDelta::seconds(890));
    flows.verify_hash("recovery", &recovery.token).await.ok();
}

/// Fails when what is stored can be used as it is.
#[tokio::test]
async fn what_the_database_holds_is_no_token() {
    let flows = Flows::new().await;
    let mail = link(&flows).await;
    for format in ["hex", "base64"] {
        for column in ["token_hash", "code_hash"] {
            let sql = format!("select encode({column}, '{format}') from auth.one_time_tokens");
            let stored = flows.value(&sql).await;
            flows
                .verify_hash("magiclink", &stored)
                .await
                .refused(403, "otp_expired");
            flows
                .verify_hash("magiclink", &format!("pkce_{stored}"))
                .await
                .refused(403, "otp_expired");
        }
    }
    let parts: Vec<_> = mail.token.split('.').map(str::len).collect();
    assert_eq!(parts, [43, 8, 43], "256 bits as base64url, signed");
    flows.verify_hash("magiclink", &mail.token).await.ok();
}

#[tokio::test]
async fn bad_input_is_refused_with_a_code() {
    let flows = Flows::new().await;
    for body in [
        json!({}),
        json!({ "type": "" }),
        json!({ "type": "email" }),
        json!({ "type": "nonsense", "token_hash": "x" }),
        json!({ "type": "email", "token_hash": "x", "token": "123456" }),
        json!({ "type": "email", "token_hash": "x", "email": ANA }),
        json!({ "type": "email", "token": "123456" }),
        json!({ "type": "email", "token": "123456", "email": "no address" }),
        json!({ "type": 1 }),
    ] {
        flows
            .post("/verify", body)
            .await
            .refused(400, "validation_failed");
    }
    for (path, expected) in [
        ("/verify", 400),
        ("/verify?token=x", 400),
        ("/verify?type=signup", 400),
        ("/verify?token=x&type=nonsense", 400),
        ("/verify?token=%22%3E%3Cscript%3E&type=signup", 200),
    ] {
        let page = flows
            .open("GET", &format!("http://sb.test/auth/v1{path}"))
            .await;
        assert_eq!(page.status, expected, "{path}");
        assert!(!page.text().contains("<script"), "{path}");
    }
    let text = json!({ "type": "email", "email": ANA, "token": "nul \0 and \u{1F600}" });
    flows
        .post("/verify", text)
        .await
        .refused(403, "otp_expired");
    let hash = json!({ "type": "email", "token_hash": "\0" });
    flows
        .post("/verify", hash)
        .await
        .refused(403, "otp_expired");
}

/// A link leads where the project allows, and mails are built from settings. Fails when `target` is not asked again, or
/// a header makes an address.
#[tokio::test]
async fn no_header_and_no_link_leads_elsewhere() {
    let flows = Flows::new().await;
    flows.member(ANA).await;
    let service = flows.app.running.role_token("service_role").unwrap();
    let mut links = Vec::new();
    for (path, email) in [("otp", ANA), ("recover", ANA), ("invite", BO)] {
        flows.later();
        let path = format!("/auth/v1/{path}?redirect_to=https%3A%2F%2Fevil.example%2F");
        let request = Request::post(path)
            .header("authorization", format!("Bearer {service}"))
            .header("content-type", "application/json")
            .header("host", "evil.example")
            .header("x-forwarded-host", "evil.example")
            .header("x-forwarded-proto", "gopher")
            .header("forwarded", "host=evil.example")
            .header("origin", "https://evil.example")
            .header("referer", "https://evil.example/")
            .header("redirect_to", "https://evil.example/");
        let body = Body::from(json!({ "email": email }).to_string());
        flows.app.send(request.body(body).unwrap()).await.ok();
        let mail = flows.mail().await;
        assert!(
            mail.link.starts_with("http://sb.test/auth/v1/verify?"),
            "{}",
            mail.link
        );
        assert!(!mail.values.to_string().contains("evil"), "{}", mail.values);
        links.push(mail.link);
    }
    let changed = [("redirect_to", "https://site.example.evil.example/")];
    let location = flows.press_with(&links[1], &changed).await;
    assert!(
        location.as_str().starts_with("https://site.example/app#"),
        "{location}"
    );
    let strict = Flows::with(&[("auth.redirect_strict", "true")]).await;
    let path = "/otp?redirect_to=https%3A%2F%2Fevil.example%2F";
    strict
        .post(path, json!({ "email": ANA }))
        .await
        .refused(400, "validation_failed");
}

/// One account or a clean refusal: a mail never goes to an address that only looks like the account's. Fails when
/// `Email::parse` folds case outside ASCII or cuts anything off.
#[tokio::test]
async fn spellings_of_an_address_reach_its_owner_or_nobody() {
    let flows = Flows::new().await;
    flows.member("kim@example.com").await;
    for same in ["KIM@EXAMPLE.COM", "Kim@Example.com"] {
        flows.post("/recover", json!({ "email": same })).await.ok();
        flows.mail_of("recovery", "kim@example.com").await;
        flows.later();
    }
    for other in [
        "\u{212a}im@example.com",
        "k\u{131}m@example.com",
        "kim@example.com.",
        " kim@example.com",
        "kim@example.com ",
        "kim@example.com\0",
        "\"kim\"@example.com",
        "kim@\u{ff45}xample.com\r\nBcc: evil@example.com",
        "kim@example.com,evil@example.com",
        "evil@example.com>kim@example.com",
    ] {
        let refused = flows.post("/recover", json!({ "email": other })).await;
        refused.refused(400, "validation_failed");
    }
    flows.no_mail().await;
}
