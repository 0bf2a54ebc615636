//! Rate limits per client, and delays after wrong passwords.
//!
//! Each test says what it would take for it to fail.

use std::collections::HashSet;

use axum::http::Request;
use futures_util::future::join_all;
use serde_json::json;

use super::support::{App, Call, PASSWORD, Reply, load, service_token};
use crate::support::TestApp;

const ANA: &str = "ana@example.com";
const WRONG: &str = "wrong password";

/// Sign-in, sign-up, refresh: this many per minute and client.
async fn limited_to(token: &'static str, signup: &'static str, refresh: &'static str) -> App {
    App::with_settings(&[
        ("auth.rate_limit_token_per_window", token),
        ("auth.rate_limit_signup_per_window", signup),
        ("auth.rate_limit_refresh_per_window", refresh),
    ])
    .await
}

/// From an address where nobody is signed in.
fn sign_in<'a>(app: &'a App, email: &str, password: &str) -> Call<'a> {
    let body = json!({"email": email, "password": password});
    let call = app.request("POST", "/token?grant_type=password");
    call.json(body).from("203.0.113.1")
}

async fn sign_in_from(app: &App, ip: &str, password: &str) -> Reply {
    sign_in(app, ANA, password).from(ip).send().await
}

/// Wrong passwords from an address of its own each.
async fn fail(app: &App, email: &str, times: u32) {
    for number in 1..=times {
        let call = sign_in(app, email, WRONG).from(&format!("198.51.100.{number}"));
        call.send().await.refused(400, "invalid_credentials");
    }
}

#[track_caller]
fn limited(reply: &Reply, retry_after: &str) {
    reply.refused(429, "over_request_rate_limit");
    assert_eq!(reply.header("retry-after"), retry_after);
}

/// Fails when `count_attempt` takes no token, or the bucket does not refill evenly.
#[tokio::test]
async fn sign_ins_are_limited_per_address() {
    let app = limited_to("3", "100", "100").await;
    app.sign_up(ANA).await.ok();
    for _ in 0..3 {
        sign_in_from(&app, "192.0.2.1", PASSWORD).await.ok();
    }
    let hashes = app.password_hashes();
    let refused = sign_in_from(&app, "192.0.2.1", PASSWORD).await;
    limited(&refused, "20");
    assert_eq!(app.password_hashes(), hashes, "refused without work");
    let old = sign_in(&app, ANA, PASSWORD).from("192.0.2.1");
    let old = old.without_version().send().await;
    assert_eq!(
        (old.status.as_u16(), old.header("retry-after")),
        (429, "20")
    );
    assert_eq!(old.body["error_code"], "over_request_rate_limit");
    sign_in_from(&app, "192.0.2.2", PASSWORD).await.ok();
    app.advance(19);
    limited(&sign_in_from(&app, "192.0.2.1", PASSWORD).await, "1");
    app.advance(1);
    sign_in_from(&app, "192.0.2.1", PASSWORD).await.ok();
    limited(&sign_in_from(&app, "192.0.2.1", PASSWORD).await, "20");
}

/// Fails when sign-ups take no token, or take it after the password was hashed.
#[tokio::test]
async fn sign_ups_are_limited_per_address() {
    let app = limited_to("100", "2", "100").await;
    for email in ["a@example.com", "b@example.com"] {
        app.sign_up(email).await.ok();
    }
    let hashes = app.password_hashes();
    limited(&app.sign_up("c@example.com").await, "30");
    assert_eq!(app.password_hashes(), hashes);
    assert_eq!(app.value("select count(*) from auth.users").await, "2");
    app.sign_in("a@example.com", PASSWORD).await.ok();
    app.advance(30);
    app.sign_up("c@example.com").await.ok();
}

/// Fails when `X-Forwarded-For` is believed from anybody, or IPv6 addresses are counted one by one.
#[tokio::test]
async fn addresses_that_a_client_can_choose_are_one() {
    let app = limited_to("3", "100", "100").await;
    app.sign_up(ANA).await.ok();
    let spoofed = (0..4).map(|number| {
        let call = sign_in(&app, ANA, PASSWORD).from("192.0.2.1");
        call.header("x-forwarded-for", &format!("203.0.113.{number}"))
    });
    let rotated = (1..=4).map(|number| {
        let ip = format!("2001:db8:0:1:{number:x}::{number:x}");
        sign_in(&app, ANA, PASSWORD).from(&ip)
    });
    for calls in [spoofed.collect::<Vec<_>>(), rotated.collect()] {
        let mut statuses = Vec::new();
        for call in calls {
            statuses.push(call.send().await.status.as_u16());
        }
        assert_eq!(statuses, [200, 200, 200, 429]);
    }
    sign_in_from(&app, "2001:db8:0:2::1", PASSWORD).await.ok();
}

/// Fails when a proxy's clients share its bucket, or when a client behind it can name another address in front.
#[tokio::test]
async fn clients_behind_a_trusted_proxy_are_counted_apart() {
    let app = App::with_settings(&[
        ("auth.rate_limit_token_per_window", "1"),
        ("server.trusted_proxies", "10.0.0.0/8"),
    ])
    .await;
    app.sign_up(ANA).await.ok();
    for (forwarded, status) in [
        ("192.0.2.1", 200),
        ("192.0.2.2", 200),
        ("192.0.2.1", 429),
        ("203.0.113.1, 192.0.2.1", 429),
    ] {
        let call = sign_in(&app, ANA, PASSWORD).from("10.0.0.1");
        let reply = call.header("x-forwarded-for", forwarded).send().await;
        assert_eq!(reply.status, status, "{forwarded}");
    }
}

/// Fails when the buckets or the failures live in a node.
#[tokio::test]
async fn nodes_share_limits_and_failures() {
    let app = limited_to("4", "100", "100").await;
    let other = app.another_node().await;
    app.sign_up(ANA).await.ok();
    for node in [&app, &other, &app, &other] {
        sign_in_from(node, "192.0.2.1", PASSWORD).await.ok();
    }
    for node in [&app, &other] {
        limited(&sign_in_from(node, "192.0.2.1", PASSWORD).await, "15");
    }
    fail(&app, ANA, 3).await;
    fail(&other, ANA, 2).await;
    limited(&sign_in_from(&app, "192.0.2.9", PASSWORD).await, "1");
}

/// Fails when a service key is counted, or when anything else a client can send is taken for one.
#[tokio::test]
async fn the_service_key_is_not_limited_per_address() {
    let app = limited_to("1", "1", "1").await;
    let user = app.sign_up(ANA).await.ok();
    let (service, forged) = (service_token(), format!("{}x", service_token()));
    let call = || sign_in(&app, ANA, PASSWORD);
    call().send().await.ok();
    for _ in 0..3 {
        call().bearer(&service).send().await.ok();
    }
    for token in [user.access_token(), forged.as_str(), "sb_secret_x"] {
        limited(&call().bearer(token).send().await, "60");
    }
    app.sign_up("b@example.com")
        .await
        .refused(429, "over_request_rate_limit");
    let body = json!({"email": "b@example.com", "password": PASSWORD});
    let call = app.request("POST", "/signup").json(body).bearer(&service);
    call.send().await.ok();
}

/// Fails when the delay is missing, does not double, has no upper bound, or does not end.
#[tokio::test]
async fn wrong_passwords_are_followed_by_longer_and_longer_delays() {
    let app = App::new().await;
    app.sign_up(ANA).await.ok();
    for email in [ANA, "nobody@example.com"] {
        fail(&app, email, 5).await;
        for delay in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900] {
            let hashes = app.password_hashes();
            limited(
                &sign_in(&app, email, WRONG).send().await,
                &delay.to_string(),
            );
            app.advance(delay - 1);
            limited(&sign_in(&app, email, WRONG).send().await, "1");
            assert_eq!(app.password_hashes(), hashes, "refused without work");
            app.advance(1);
            let wrong = sign_in(&app, email, WRONG).send().await;
            wrong.refused(400, "invalid_credentials");
        }
    }
}

/// Fails when a right password is looked at during a delay, or is told by the answer.
#[tokio::test]
async fn during_a_delay_a_right_password_looks_like_a_wrong_one() {
    let app = App::new().await;
    app.sign_up(ANA).await.ok();
    fail(&app, ANA, 5).await;
    fail(&app, "nobody@example.com", 5).await;
    let wrong = sign_in_from(&app, "192.0.2.1", WRONG).await;
    limited(&wrong, "1");
    let right = sign_in_from(&app, "192.0.2.1", PASSWORD).await;
    let unknown = sign_in(&app, "nobody@example.com", PASSWORD);
    let unknown = unknown.from("192.0.2.1").send().await;
    for reply in [&right, &unknown] {
        limited(reply, "1");
        assert_eq!(reply.body, wrong.body);
        let names = |reply: &Reply| reply.headers.keys().cloned().collect::<HashSet<_>>();
        assert_eq!(names(reply), names(&wrong));
    }
    app.advance(1);
    sign_in_from(&app, "192.0.2.1", PASSWORD).await.ok();
}

/// Fails when addresses are counted as they are typed.
#[tokio::test]
async fn spellings_of_an_address_are_one_account() {
    let app = App::new().await;
    app.sign_up(ANA).await.ok();
    for email in [ANA, "ANA@example.com", "Ana@Example.Com", "ana@EXAMPLE.com"] {
        fail(&app, email, 1).await;
    }
    fail(&app, ANA, 1).await;
    limited(&sign_in(&app, "aNa@example.com", WRONG).send().await, "1");
}

/// Fails when an attempt is counted only after its password was checked: then all of them see an innocent account.
#[tokio::test(flavor = "multi_thread")]
async fn guesses_made_at_once_are_no_more_than_guesses_made_in_a_row() {
    let app = App::new().await;
    let other = app.another_node().await;
    app.sign_up(ANA).await.ok();
    for email in [ANA, "nobody@example.com"] {
        let before = app.password_hashes() + other.password_hashes();
        let guesses = (1..=100).map(|number| {
            let node = if number % 2 == 0 { &app } else { &other };
            let ip = format!("198.51.100.{number}");
            sign_in(node, email, &format!("guess {number}"))
                .from(&ip)
                .send()
        });
        let replies = join_all(guesses).await;
        let with = |status: u16| {
            replies
                .iter()
                .filter(|reply| reply.status == status)
                .count()
        };
        let checked = app.password_hashes() + other.password_hashes() - before;
        assert_eq!((checked, with(400)), (5, 5), "{email}");
        // Who had to wait for the outcome too long is told to come back, and had no guess either.
        assert_eq!(with(429) + with(503), 95, "{email}");
    }
}

/// Fails when an attempt that is being checked is taken for a failure, or a success does not take the others along.
#[tokio::test(flavor = "multi_thread")]
async fn right_passwords_at_once_are_all_accepted() {
    let app = App::new().await;
    let other = app.another_node().await;
    app.sign_up(ANA).await.ok();
    // Also for somebody who was wrong before.
    for failures in [0, 4] {
        fail(&app, ANA, failures).await;
        let calls = (1..=20).map(|number| {
            let node = if number % 2 == 0 { &app } else { &other };
            sign_in(node, ANA, PASSWORD).from("192.0.2.1").send()
        });
        for reply in join_all(calls).await {
            reply.ok();
        }
        // Signed in from there now: counted apart, which is another test.
        app.owner
            .batch_execute("delete from auth.sessions")
            .await
            .unwrap();
    }
    let left = app.value("select count(*) from auth.sign_in_failures");
    assert_eq!(left.await, "0");
}

/// Fails when a success does not clear the counter, also a success that a ban or an unconfirmed address then refuses.
#[tokio::test]
async fn a_right_password_clears_the_failures() {
    let app = App::new().await;
    let user = app.sign_up(ANA).await.ok();
    let path = format!("/{}", user.text("/user/id"));
    for ban in ["none", "1h"] {
        app.admin("PUT", &path, json!({"ban_duration": ban}))
            .await
            .ok();
        fail(&app, ANA, 4).await;
        let reply = sign_in_from(&app, "192.0.2.1", PASSWORD).await;
        assert_eq!(reply.status, if ban == "none" { 200 } else { 400 });
        fail(&app, ANA, 4).await;
        app.owner
            .batch_execute("delete from auth.sign_in_failures")
            .await
            .unwrap();
        app.owner
            .batch_execute("delete from auth.sessions")
            .await
            .unwrap();
    }
    // Not by time alone, unless it is a day.
    fail(&app, ANA, 4).await;
    app.advance(86_399);
    fail(&app, ANA, 1).await;
    limited(&sign_in(&app, ANA, WRONG).send().await, "1");
    app.advance(86_400);
    fail(&app, ANA, 4).await;
}

/// Fails when a stranger's failures count against a network where the owner is signed in, or when being signed in there
/// takes the limit away. A session that is over makes no network known.
#[tokio::test]
async fn strangers_cannot_keep_the_owner_out_of_a_known_device() {
    let app = App::new().await;
    app.sign_up(ANA).await.ok();
    sign_in_from(&app, "2001:db8:0:1::1", PASSWORD).await.ok();
    fail(&app, ANA, 5).await;
    limited(&sign_in_from(&app, "2001:db8:0:2::1", PASSWORD).await, "1");
    sign_in_from(&app, "2001:db8:0:1:ffff::2", PASSWORD)
        .await
        .ok();
    for over in ["created_at = 'epoch'", "not_after = '2026-01-01 11:59Z'"] {
        let sql = format!("update auth.sessions set {over}");
        app.owner.batch_execute(&sql).await.unwrap();
        limited(&sign_in_from(&app, "2001:db8:0:1::3", PASSWORD).await, "1");
        let undo = "update auth.sessions set created_at = '2026-01-01 12:00Z', not_after = null";
        app.owner.batch_execute(undo).await.unwrap();
    }
    // The owner's success there is none for the stranger.
    limited(&sign_in_from(&app, "198.51.100.1", WRONG).await, "1");
    for _ in 0..5 {
        let reply = sign_in_from(&app, "2001:db8:0:1::3", WRONG).await;
        reply.refused(400, "invalid_credentials");
    }
    limited(&sign_in_from(&app, "2001:db8:0:1::3", PASSWORD).await, "1");
    app.advance(1);
    sign_in_from(&app, "2001:db8:0:1::3", PASSWORD).await.ok();
}

/// Fails when a new password from an admin leaves the user waiting for the old one's delays.
#[tokio::test]
async fn an_admins_new_password_ends_the_delay() {
    let app = App::new().await;
    let user = app.sign_up(ANA).await.ok();
    sign_in_from(&app, "192.0.2.1", PASSWORD).await.ok();
    for _ in 0..5 {
        sign_in_from(&app, "192.0.2.1", WRONG).await;
        sign_in_from(&app, "192.0.2.2", WRONG).await;
    }
    fail(&app, "nobody@example.com", 1).await;
    let path = format!("/{}", user.text("/user/id"));
    app.admin("PUT", &path, json!({"user_metadata": {}}))
        .await
        .ok();
    limited(&sign_in_from(&app, "192.0.2.2", PASSWORD).await, "1");
    let new = json!({"password": "a new password"});
    app.admin("PUT", &path, new).await.ok();
    sign_in_from(&app, "192.0.2.2", "a new password").await.ok();
    let left = app.value("select count(*) from auth.sign_in_failures");
    assert_eq!(left.await, "1", "the other account's");
}

/// Fails when the current password can be guessed with a stolen access token, or that blocks the sign-in page.
#[tokio::test]
async fn the_current_password_cannot_be_guessed() {
    let app = App::new().await;
    let user = app.sign_up(ANA).await.ok();
    let change = |current: &str| json!({"password": "a new password", "current_password": current});
    for _ in 0..5 {
        let reply = app.put_user(user.access_token(), change(WRONG)).await;
        reply.refused(400, "current_password_invalid");
    }
    for current in [WRONG, PASSWORD] {
        limited(
            &app.put_user(user.access_token(), change(current)).await,
            "1",
        );
    }
    app.sign_in(ANA, PASSWORD).await.ok();
    app.advance(1);
    app.put_user(user.access_token(), change(PASSWORD))
        .await
        .ok();
}

/// Fails when a refresh is not limited, when it is answered 4xx (clients sign their user out then), or when a refused
/// one uses the token up.
#[tokio::test]
async fn a_throttled_refresh_keeps_the_session() {
    let app = limited_to("100", "100", "3").await;
    let user = app.sign_up(ANA).await.ok();
    let mut token = user.refresh_token().to_owned();
    for _ in 0..3 {
        token = app.refresh(&token).await.ok().refresh_token().to_owned();
    }
    for token in [token.as_str(), "unknown-token"] {
        let refused = app.refresh(token).await;
        refused.refused(503, "service_unavailable");
        assert_eq!(refused.header("retry-after"), "20");
    }
    let body = json!({"refresh_token": token});
    let elsewhere = app.request("POST", "/refresh").json(body).from("192.0.2.1");
    let elsewhere = elsewhere.send().await.ok();
    app.refresh(elsewhere.refresh_token())
        .await
        .refused(503, "service_unavailable");
    app.advance(20);
    app.refresh(elsewhere.refresh_token()).await.ok();
    assert_eq!(
        app.value("select count(*) from auth.rate_limits").await,
        "1",
        "the sign-up's"
    );
}

/// Fails when the limits cannot be switched off, or settings need a restart.
#[tokio::test]
async fn limits_follow_the_settings() {
    let app = limited_to("1", "1", "1").await;
    let user = app.sign_up(ANA).await.ok();
    app.sign_in(ANA, PASSWORD).await.ok();
    app.refresh(user.refresh_token()).await.ok();
    limited(&app.sign_in(ANA, PASSWORD).await, "60");
    let current = app.config.current();
    let wider = load(&[("auth.rate_limit_token_per_window", "2")]);
    app.config.replace(current.with_live_of(&wider));
    app.sign_in(ANA, PASSWORD).await.ok();
    app.config
        .replace(current.with_live_of(&load(&[("auth.rate_limit_enabled", "false")])));
    for _ in 0..10 {
        let wrong = app.sign_in(ANA, WRONG).await;
        wrong.refused(400, "invalid_credentials");
    }
    for _ in 0..3 {
        app.sign_in(ANA, PASSWORD).await.ok();
        app.refresh(user.refresh_token()).await.ok();
    }
    app.sign_up("b@example.com").await.ok();
}

/// Fails when the tables keep what has expired, or hold an address that can be read.
#[tokio::test]
async fn the_tables_stay_small_and_hold_no_addresses() {
    let app = App::new().await;
    for number in 0..20 {
        let call = sign_in(&app, &format!("{number}@example.com"), WRONG);
        let call = call.from(&format!("192.0.2.{number}"));
        call.send().await.refused(400, "invalid_credentials");
    }
    let counts = "select (select count(*) from auth.rate_limits) || ' ' || (select count(*) from auth.sign_in_failures)";
    // One more bucket keeps a flood of failures out of the audit log.
    assert_eq!(app.value(counts).await, "21 20");
    let clear = "select count(*)
                   from auth.rate_limits b, auth.sign_in_failures f
                  where position('192.0.2'::bytea in b.key) > 0
                     or position('example'::bytea in f.account) > 0
                     or f.account in (select sha256((n || '@example.com')::bytea) from generate_series(0, 19) n)";
    assert_eq!(app.value(clear).await, "0");
    app.advance(86_400);
    for number in 20..29 {
        app.sign_in(&format!("{number}@example.com"), WRONG).await;
    }
    assert_eq!(app.value(counts).await, "2 11");
    app.sign_up(ANA).await.ok();
    assert_eq!(app.value(counts).await, "2 11");
}

/// Fails when checks that never ended, because their client or node went away, are waited for for ever.
#[tokio::test]
async fn an_abandoned_check_is_soon_taken_for_a_failure() {
    let app = App::new().await;
    app.sign_up(ANA).await.ok();
    fail(&app, ANA, 1).await;
    let abandoned = "update auth.sign_in_failures set failures = 20, pending = 1";
    app.owner.batch_execute(abandoned).await.unwrap();
    let waiting = sign_in(&app, ANA, PASSWORD).send();
    let (reply, ()) = tokio::join!(waiting, async { app.advance(10) });
    limited(&reply, "890");
}

/// Fails when the real key ring's service key is counted, sent as browsers' clients send their key.
#[tokio::test]
async fn a_service_key_in_the_apikey_header_is_not_limited() {
    let app = TestApp::with(&[("auth.rate_limit_signup_per_window", "1")]).await;
    let sign_up = async |role: &str, email: &str| {
        let key = app.running.role_token(role).unwrap();
        let body = json!({"email": email, "password": PASSWORD}).to_string();
        let request = Request::post("/auth/v1/signup")
            .header("apikey", key)
            .header("content-type", "application/json");
        let reply = app.send(request.body(body.into()).unwrap()).await;
        reply.status.as_u16()
    };
    assert_eq!(sign_up("anon", "a@example.com").await, 200);
    assert_eq!(sign_up("anon", "b@example.com").await, 429);
    assert_eq!(sign_up("service_role", "b@example.com").await, 200);
}
