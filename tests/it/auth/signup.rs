//! `POST /signup`.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use super::support::{App, Options, PASSWORD, claims};

#[tokio::test]
async fn signing_up_gives_a_user_and_a_session() {
    let app = App::new().await;
    let body = json!({
        "email": "Ana@Example.com", "password": PASSWORD, "data": {"nick": "ana"},
        "gotrue_meta_security": {}, "code_challenge": null
    });
    let call = app.request("POST", "/signup").json(body);
    let reply = call.header("user-agent", "test/1").send().await.ok();
    assert_eq!(reply.text("/token_type"), "bearer");
    assert_eq!(reply.body["expires_in"], 3600);
    assert_eq!(reply.body["expires_at"], app.clock.now().timestamp() + 3600);
    let id = reply.text("/user/id");
    let now = "2026-01-01T12:00:00Z";
    let mut user = reply.body["user"].clone();
    let identity_id = user["identities"][0]["identity_id"].take();
    assert!(identity_id.is_string());
    assert_eq!(
        user,
        json!({
            "id": id, "aud": "authenticated", "role": "authenticated", "email": "ana@example.com",
            "email_confirmed_at": now, "phone": "", "confirmed_at": now, "last_sign_in_at": now,
            "app_metadata": {"provider": "email", "providers": ["email"]},
            "user_metadata": {"nick": "ana"},
            "identities": [{
                "identity_id": null, "id": id, "user_id": id, "provider": "email", "email": "ana@example.com",
                "identity_data": {"sub": id, "email": "ana@example.com", "email_verified": false, "phone_verified": false},
                "last_sign_in_at": now, "created_at": now, "updated_at": now
            }],
            "created_at": now, "updated_at": now, "is_anonymous": false
        })
    );
    let claims = claims(reply.access_token());
    assert_eq!(claims["sub"], id);
    assert_eq!(claims["iss"], "http://sb.test/auth/v1");
    assert_eq!(claims["aud"], "authenticated");
    assert_eq!(claims["role"], "authenticated");
    assert_eq!(claims["aal"], "aal1");
    assert_eq!(claims["amr"][0]["method"], "password");
    let session = app
        .value("select id || ' ' || host(ip) || ' ' || user_agent from auth.sessions")
        .await;
    assert_eq!(
        session,
        format!(
            "{} 127.0.0.1 test/1",
            claims["session_id"].as_str().unwrap()
        )
    );
    let audit = app
        .value("select payload from auth.audit_log_entries")
        .await;
    let audit: serde_json::Value = serde_json::from_str(&audit).unwrap();
    assert_eq!(
        audit,
        json!({
            "actor_id": id, "actor_username": "ana@example.com", "actor_via_sso": false,
            "action": "user_signedup", "log_type": "team", "traits": {"provider": "email"}
        })
    );
}

#[tokio::test]
async fn an_address_has_one_account() {
    let app = App::new().await;
    app.sign_up("ana@example.com").await.ok();
    let again = app.sign_up("ANA@example.com").await;
    again.refused(422, "user_already_exists");
    assert_eq!(again.text("/message"), "User already registered");
}

/// supython weak point 24: three of four were answered 500. Fails when `saving` does not know the constraint.
#[tokio::test]
async fn parallel_sign_ups_of_one_address_make_one_account() {
    let app = App::with(Options {
        pool_max_size: 16,
        ..Options::default()
    })
    .await;
    let spellings = [
        "ana@example.com",
        "Ana@example.com",
        "ANA@EXAMPLE.COM",
        "ana@Example.Com",
    ];
    // All of them have begun to insert before the first may go on.
    let taken = "begin; insert into auth.users (email) values ('ana@example.com')";
    app.owner.batch_execute(taken).await.unwrap();
    let released = async {
        app.wait_for_blocked(8).await;
        app.owner.batch_execute("rollback").await.unwrap();
    };
    let callers = join_all(
        spellings
            .iter()
            .chain(&spellings)
            .map(|email| app.sign_up(email)),
    );
    let (replies, ()) = tokio::join!(callers, released);
    let (made, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 200);
    assert_eq!((made.len(), refused.len()), (1, 7));
    for reply in refused {
        reply.refused(422, "user_already_exists");
    }
    let counts = "select concat_ws(' ', (select count(*) from auth.users), (select count(*) from auth.identities), (select count(*) from auth.sessions))";
    assert_eq!(app.value(counts).await, "1 1 1");
}

/// supython weak point 0: a sign-up held one connection while it waited for another. Fails when hooks are asked inside
/// of the transaction.
#[tokio::test]
async fn more_sign_ups_than_connections_are_all_answered() {
    let extensions = sb::auth::Extensions::default()
        .before_user_created(|_, _| async { Ok(()) })
        .after_signup(|_, _| async { Ok(()) });
    let app = App::with(Options {
        extensions,
        pool_max_size: 4,
        ..Options::default()
    })
    .await;
    let emails: Vec<_> = (0..24).map(|n| format!("user{n}@example.com")).collect();
    let all = join_all(emails.iter().map(|email| app.sign_up(email)));
    let replies = tokio::time::timeout(Duration::from_mins(1), all)
        .await
        .unwrap();
    for reply in replies {
        reply.ok();
    }
    assert_eq!(app.value("select count(*) from auth.users").await, "24");
}

/// supython weak point 0. Fails when a connection is held while a hook runs.
#[tokio::test]
async fn a_hook_may_use_the_only_connection() {
    let db = std::sync::Arc::new(std::sync::OnceLock::<sb::db::Db>::new());
    let held = std::sync::Arc::clone(&db);
    let extensions = sb::auth::Extensions::default().before_user_created(move |_, _| {
        let db = held.get().unwrap().clone();
        async move {
            let connections = [db.auth().connection().await, db.auth().connection().await];
            assert!(connections.iter().all(Result::is_ok));
            Ok(())
        }
    });
    let app = App::with(Options {
        extensions,
        pool_max_size: 1,
        pool_timeout: Duration::from_secs(2),
        ..Options::default()
    })
    .await;
    db.set(app.db.clone()).unwrap();
    app.sign_up("ana@example.com").await.ok();
}

/// supython weak point 14: a rejected password came back. Fails when the answer repeats what was sent.
#[tokio::test]
async fn weak_passwords_are_refused_with_reasons_and_not_echoed() {
    let app = App::new().await;
    let body = json!({"email": "ana@example.com", "password": "abcXY"});
    let reply = app.post("/signup", body).await;
    reply.refused(422, "weak_password");
    assert_eq!(reply.body["weak_password"]["reasons"], json!(["length"]));
    assert!(!reply.body.to_string().contains("abcXY"));
    let long = json!({"email": "ana@example.com", "password": "x".repeat(1025)});
    app.post("/signup", long)
        .await
        .refused(400, "validation_failed");
    let none = json!({"email": "ana@example.com"});
    app.post("/signup", none)
        .await
        .refused(400, "validation_failed");
    assert_eq!(app.value("select count(*) from auth.users").await, "0");
}

#[tokio::test]
async fn only_addresses_can_sign_up() {
    let app = App::new().await;
    let anonymous = json!({"data": {}});
    app.post("/signup", anonymous)
        .await
        .refused(422, "anonymous_provider_disabled");
    let phone = json!({"phone": "+4912345678", "password": PASSWORD});
    app.post("/signup", phone)
        .await
        .refused(422, "phone_provider_disabled");
    for email in [
        " ana@example.com",
        "ana@example.com\r\nBcc: b@example.com",
        "ana",
        "\u{212a}ate@example.com",
    ] {
        app.sign_up(email).await.refused(400, "validation_failed");
    }
}

#[tokio::test]
async fn sign_ups_can_be_switched_off() {
    let app = App::with_settings(&[("auth.disable_signup", "true")]).await;
    app.sign_up("ana@example.com")
        .await
        .refused(422, "signup_disabled");
    assert_eq!(app.password_hashes(), 0);
}

#[tokio::test]
async fn metadata_must_be_an_object_that_postgres_can_keep() {
    let app = App::new().await;
    for data in [
        json!([]),
        json!("x"),
        json!({"a": "nul \0"}),
        json!({"\0": 1}),
    ] {
        let body = json!({"email": "ana@example.com", "password": PASSWORD, "data": data});
        app.post("/signup", body)
            .await
            .refused(400, "validation_failed");
    }
}

#[tokio::test]
async fn with_confirmation_a_taken_address_looks_free() {
    let app = App::with_settings(&[("auth.require_email_confirmation", "true")]).await;
    let first = app.sign_up("ana@example.com").await.ok();
    assert!(first.body.get("access_token").is_none());
    assert_eq!(first.text("/email"), "ana@example.com");
    assert!(first.body.get("email_confirmed_at").is_none());
    app.owner
        .batch_execute("update auth.users set email_confirmed_at = now()")
        .await
        .unwrap();
    app.advance(61);
    let again = app.sign_up("Ana@example.com").await.ok();
    assert_eq!(again.body["identities"], json!([]));
    assert_ne!(again.text("/id"), first.text("/id"));
    let keys = |reply: &super::support::Reply| -> Vec<String> {
        reply.body.as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(keys(&first), keys(&again));
    assert_eq!(app.password_hashes(), 2);
    assert_eq!(app.value("select count(*) from auth.sessions").await, "0");
    app.owner
        .batch_execute("update auth.users set email_confirmed_at = null")
        .await
        .unwrap();
    let right = app.sign_in("ana@example.com", PASSWORD).await;
    right.refused(400, "email_not_confirmed");
    let wrong = app.sign_in("ana@example.com", "wrong password").await;
    wrong.refused(400, "invalid_credentials");
    assert_eq!(
        app.audit().await,
        "user_signedup user_confirmation_requested user_repeated_signup login_failed"
    );
}

#[tokio::test]
async fn triggers_of_the_project_see_and_change_the_new_user() {
    let app = App::new().await;
    let sql = "
        create table public.profiles (id uuid primary key references auth.users, nick text unique);
        create function public.on_user() returns trigger language plpgsql security definer set search_path = '' as $$
        begin
          insert into public.profiles values (new.id, new.raw_user_meta_data ->> 'nick');
          update auth.users set raw_app_meta_data = raw_app_meta_data || '{\"plan\": \"free\"}' where id = new.id;
          return new;
        end $$;
        create trigger on_user after insert on auth.users for each row execute function public.on_user();";
    app.owner.batch_execute(sql).await.unwrap();
    let with_nick =
        |email: &str| json!({"email": email, "password": PASSWORD, "data": {"nick": "a"}});
    let reply = app.post("/signup", with_nick("ana@example.com")).await.ok();
    assert_eq!(reply.body["user"]["app_metadata"]["plan"], "free");
    assert_eq!(claims(reply.access_token())["app_metadata"]["plan"], "free");
    // The violated constraint is the project's: neither "exists" nor the cause is for the client.
    let reply = app.post("/signup", with_nick("bo@example.com")).await;
    reply.refused(500, "unexpected_failure");
    assert_eq!(reply.text("/message"), "Database error saving new user");
    assert!(!reply.body.to_string().contains("profiles"));
    assert_eq!(app.value("select count(*) from auth.users").await, "1");
}

#[tokio::test]
async fn a_unique_key_of_the_project_is_not_taken_for_ours() {
    let app = App::new().await;
    let sql = "
        create table public.users (id uuid primary key, phone text);
        alter table public.users add constraint users_phone_key unique (phone);
        create function public.on_user() returns trigger language plpgsql security definer set search_path = '' as $$
        begin insert into public.users values (new.id, 'one'); return new; end $$;
        create trigger on_user after insert on auth.users for each row execute function public.on_user();";
    app.owner.batch_execute(sql).await.unwrap();
    app.sign_up("ana@example.com").await.ok();
    app.sign_up("bo@example.com")
        .await
        .refused(500, "unexpected_failure");
}

#[tokio::test]
async fn a_trigger_that_refuses_or_suppresses_stores_nothing() {
    let app = App::new().await;
    let sql = "
        create function public.on_user() returns trigger language plpgsql as $$
        begin
          if new.email like 'quiet%' then return null; end if;
          raise exception 'secret reason';
        end $$;
        create trigger on_user before insert on auth.users for each row execute function public.on_user();";
    app.owner.batch_execute(sql).await.unwrap();
    for email in ["ana@example.com", "quiet@example.com"] {
        let reply = app.sign_up(email).await;
        reply.refused(500, "unexpected_failure");
        assert!(!reply.body.to_string().contains("secret"));
    }
    let counts =
        "select (select count(*) from auth.users) + (select count(*) from auth.audit_log_entries)";
    assert_eq!(app.value(counts).await, "0");
    let logs = super::support::logs();
    let logs = String::from_utf8(logs.lock().unwrap().clone()).unwrap();
    assert!(logs.contains("secret reason"));
}

/// Attack 44. Fails when the queue (`admitted` in `Passwords`) has no end.
#[tokio::test]
async fn more_password_work_than_fits_is_told_to_come_back() {
    let app = App::with_settings(&[
        ("auth.argon2_memory_kib", "65536"),
        ("auth.argon2_concurrency", "1"),
        ("auth.argon2_queue", "1"),
    ])
    .await;
    let emails = ["ana@example.com", "bo@example.com", "cy@example.com"];
    let replies = join_all(emails.map(|email| app.sign_up(email))).await;
    // Which of them comes last depends on how the database answers before.
    let (refused, accepted): (Vec<_>, Vec<_>) = emails
        .iter()
        .zip(&replies)
        .partition(|(_, reply)| reply.status == 503);
    assert_eq!((refused.len(), accepted.len()), (1, 2));
    let (email, reply) = refused[0];
    reply.refused(503, "service_unavailable");
    assert_eq!(reply.header("retry-after"), "1");
    app.sign_up(email).await.ok();
}

/// Attack 46. Pages of other sites can send text without asking, whatever `server.cors_origins` says; JSON they cannot.
/// Remove the look at `sec-fetch-site` in `http::extract`, and they make accounts in their visitors' names.
#[tokio::test]
async fn a_page_of_another_site_sends_nothing_without_asking() {
    let app = App::new().await;
    let body = json!({"email": "ana@example.com", "password": PASSWORD});
    let body = || body.to_string().into_bytes();
    for site in ["cross-site", "same-site"] {
        let call = || {
            app.request("POST", "/signup")
                .header("sec-fetch-site", site)
        };
        for call in [
            call().body("text/plain;charset=UTF-8", body()),
            call().body("application/x-www-form-urlencoded", body()),
            call().untyped_body(body()),
        ] {
            call.send().await.refused(415, "unsupported_media_type");
        }
    }
    assert_eq!(app.value("select count(*) from auth.users").await, "0");
    // What has asked, and what is no page of another site.
    let call = app
        .request("POST", "/signup")
        .header("sec-fetch-site", "cross-site");
    call.body("application/json;charset=UTF-8", body())
        .send()
        .await
        .ok();
    for (site, email) in [
        ("same-origin", "bo@example.com"),
        ("none", "cy@example.com"),
    ] {
        let body = json!({"email": email, "password": PASSWORD})
            .to_string()
            .into_bytes();
        let call = app
            .request("POST", "/signup")
            .header("sec-fetch-site", site);
        call.body("text/plain", body).send().await.ok();
    }
}
