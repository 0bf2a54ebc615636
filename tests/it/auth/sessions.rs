//! The list of sessions, their limits, and what ends them.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::support::{App, Options, PASSWORD, Reply, claims, service_token};

async fn get(app: &App, path: &str, token: &str) -> Reply {
    app.request("GET", path).bearer(token).send().await
}

async fn delete(app: &App, path: &str, token: &str) -> Reply {
    app.request("DELETE", path).bearer(token).send().await
}

fn session_id(reply: &Reply) -> String {
    claims(reply.access_token())["session_id"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn ids(reply: &Reply) -> Vec<String> {
    let sessions = reply.body["sessions"].as_array().unwrap();
    let ids = sessions.iter().map(|session| session["id"].as_str());
    ids.map(|id| id.unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_user_sees_its_live_sessions_and_nobody_elses() {
    let app = App::new().await;
    app.sign_up("bo@example.com").await.ok();
    let first = app.sign_up("ana@example.com").await.ok();
    app.advance(60);
    let body = json!({"email": "ana@example.com", "password": PASSWORD});
    let call = app.request("POST", "/token?grant_type=password").json(body);
    let call = call.header("user-agent", "a phone").from("192.0.2.7");
    let second = call.send().await.ok();
    let list = get(&app, "/sessions", first.access_token()).await.ok();
    assert_eq!(ids(&list), [session_id(&second), session_id(&first)]);
    let phone = &list.body["sessions"][0];
    assert_eq!(
        *phone,
        json!({
            "id": session_id(&second), "created_at": "2026-01-01T12:01:00Z", "refreshed_at": null, "not_after": null,
            "aal": "aal1", "amr": [{"method": "password", "timestamp": 1_767_268_860}], "ip": "192.0.2.7",
            "user_agent": "a phone", "is_current": false
        })
    );
    assert_eq!(list.body["sessions"][1]["is_current"], true);
    app.advance(60);
    app.refresh(first.refresh_token()).await.ok();
    let list = get(&app, "/sessions", second.access_token()).await.ok();
    assert_eq!(ids(&list), [session_id(&first), session_id(&second)]);
    // What has expired is as good as gone.
    app.advance(2_592_000 - 30);
    let list = get(&app, "/sessions", first.access_token()).await.ok();
    assert_eq!(ids(&list), [session_id(&first)]);
}

#[tokio::test]
async fn a_user_ends_one_of_its_sessions() {
    let app = App::new().await;
    let stranger = app.sign_up("bo@example.com").await.ok();
    let first = app.sign_up("ana@example.com").await.ok();
    let second = app.sign_in("ana@example.com", PASSWORD).await.ok();
    let path = |reply: &Reply| format!("/sessions/{}", session_id(reply));
    delete(&app, &path(&stranger), first.access_token())
        .await
        .refused(404, "not_found");
    app.refresh(stranger.refresh_token()).await.ok();
    let ended = delete(&app, &path(&second), first.access_token()).await;
    assert_eq!(ended.status, 204);
    app.refresh(second.refresh_token())
        .await
        .refused(400, "refresh_token_not_found");
    app.get_user(second.access_token())
        .await
        .refused(403, "session_not_found");
    // What it could do before, it cannot do now.
    delete(&app, &path(&first), second.access_token())
        .await
        .refused(403, "session_not_found");
    delete(&app, &path(&second), first.access_token())
        .await
        .refused(404, "not_found");
    delete(&app, "/sessions/x", first.access_token())
        .await
        .refused(404, "validation_failed");
    app.refresh(first.refresh_token()).await.ok();
    assert!(
        app.audit().await.ends_with(" logout"),
        "{}",
        app.audit().await
    );
    let own = delete(&app, &path(&first), first.access_token()).await;
    assert_eq!(own.status, 204);
    app.refresh(first.refresh_token())
        .await
        .refused(400, "refresh_token_not_found");
}

#[tokio::test]
async fn an_admin_sees_and_ends_the_sessions_of_a_user() {
    let app = App::new().await;
    let stranger = app.sign_up("bo@example.com").await.ok();
    let first = app.sign_up("ana@example.com").await.ok();
    app.sign_in("ana@example.com", PASSWORD).await.ok();
    let path = format!("/{}/sessions", first.text("/user/id"));
    let list = app.admin("GET", &path, json!({})).await.ok();
    assert_eq!(list.body["sessions"].as_array().unwrap().len(), 2);
    for method in ["GET", "DELETE"] {
        let call = app.request(method, &format!("/admin/users{path}"));
        let call = call.bearer(first.access_token());
        call.send().await.refused(403, "not_admin");
        let nobody = "/00000000-0000-4000-8000-000000000000/sessions";
        app.admin(method, nobody, json!({}))
            .await
            .refused(404, "user_not_found");
    }
    let ended = app.admin("DELETE", &path, json!({})).await.ok();
    assert_eq!(ended.body, json!({"revoked": 2}));
    app.refresh(first.refresh_token())
        .await
        .refused(400, "refresh_token_not_found");
    app.refresh(stranger.refresh_token()).await.ok();
}

/// Take the age out of `ROTATE`'s condition, and this fails.
#[tokio::test]
async fn a_session_ends_at_its_age_however_much_it_is_used() {
    let app = App::with_settings(&[("auth.sessions_timebox", "3600")]).await;
    let mut last = app.sign_up("ana@example.com").await.ok();
    for _ in 0..3 {
        app.advance(1_199);
        last = app.refresh(last.refresh_token()).await.ok();
    }
    app.advance(3);
    app.refresh(last.refresh_token())
        .await
        .refused(400, "session_expired");
    let other = app.sign_in("ana@example.com", PASSWORD).await.ok();
    let alive = get(&app, "/sessions", other.access_token()).await.ok();
    assert_eq!(ids(&alive), [session_id(&other)]);
}

/// Attack 15. Take the last use out of `ROTATE`'s condition, and this fails.
#[tokio::test]
async fn an_idle_session_ends() {
    let app = App::with_settings(&[("auth.sessions_inactivity_timeout", "600")]).await;
    let mut last = app.sign_up("ana@example.com").await.ok();
    for _ in 0..5 {
        app.advance(599);
        last = app.refresh(last.refresh_token()).await.ok();
    }
    app.advance(600);
    app.refresh(last.refresh_token())
        .await
        .refused(400, "session_expired");
}

#[tokio::test]
async fn a_sign_in_ends_the_other_sessions_where_one_is_allowed() {
    let app = App::with_settings(&[("auth.sessions_single_per_user", "true")]).await;
    let stranger = app.sign_up("bo@example.com").await.ok();
    let first = app.sign_up("ana@example.com").await.ok();
    let sql = "insert into auth.sessions (user_id, oauth_client_id) select id, gen_random_uuid() from auth.users where email = 'ana@example.com'";
    app.owner.batch_execute(sql).await.unwrap();
    let second = app.sign_in("ana@example.com", PASSWORD).await.ok();
    app.refresh(first.refresh_token())
        .await
        .refused(400, "refresh_token_not_found");
    app.refresh(second.refresh_token()).await.ok();
    app.refresh(stranger.refresh_token()).await.ok();
    let clients = "select count(*) from auth.sessions where oauth_client_id is not null";
    assert_eq!(app.value(clients).await, "1");
}

/// Two sign-ins at once do not see each other: the refresh decides. With `ROTATE` in place of `ROTATE_NEWEST` both go on.
#[tokio::test]
async fn of_two_sessions_the_newer_one_goes_on() {
    let app = App::with_settings(&[("auth.sessions_single_per_user", "true")]).await;
    let session = app.sign_up("ana@example.com").await.ok();
    let sql = "insert into auth.sessions (user_id, created_at) select user_id, created_at + interval '1 ms' from auth.sessions";
    app.owner.batch_execute(sql).await.unwrap();
    app.refresh(session.refresh_token())
        .await
        .refused(400, "session_expired");
    assert_eq!(app.value("select count(*) from auth.sessions").await, "1");
    app.refresh(session.refresh_token())
        .await
        .refused(400, "refresh_token_not_found");
}

/// Attack 15. What a user did, what its own session answers then, and what its other one does. Fails without
/// `end_sessions` in `user::change_in` or `admin::update_dependents`, and without the ban in `ROTATE`.
#[tokio::test]
async fn each_end_of_a_session_has_its_answer() {
    type Answer = Option<&'static str>;
    const GONE: Answer = Some("refresh_token_not_found");
    let new_password = json!({"password": "another password"});
    let cases: [(&str, &str, &str, Value, Answer, Answer); 9] = [
        (
            "user",
            "POST",
            "/logout?scope=global",
            json!({}),
            GONE,
            GONE,
        ),
        ("user", "POST", "/logout?scope=local", json!({}), GONE, None),
        (
            "user",
            "POST",
            "/logout?scope=others",
            json!({}),
            None,
            GONE,
        ),
        ("user", "PUT", "/user", new_password.clone(), None, GONE),
        ("admin", "PUT", "", new_password, GONE, GONE),
        (
            "admin",
            "PUT",
            "",
            json!({"ban_duration": "1h"}),
            Some("user_banned"),
            Some("user_banned"),
        ),
        ("admin", "DELETE", "/sessions", json!({}), GONE, GONE),
        (
            "admin",
            "DELETE",
            "",
            json!({"should_soft_delete": true}),
            GONE,
            GONE,
        ),
        ("admin", "DELETE", "", json!({}), GONE, GONE),
    ];
    for (who, method, path, body, own, other) in cases {
        let app = App::new().await;
        let first = app.sign_up("ana@example.com").await.ok();
        let second = app.sign_in("ana@example.com", PASSWORD).await.ok();
        let done = if who == "admin" {
            let path = format!("/{}{path}", first.text("/user/id"));
            app.admin(method, &path, body).await
        } else {
            let call = app.request(method, path).bearer(first.access_token());
            call.json(body).send().await
        };
        assert!(done.status.is_success(), "{method} {path}: {}", done.body);
        for (session, expected) in [(&first, own), (&second, other)] {
            let reply = app.refresh(session.refresh_token()).await;
            match expected {
                Some(code) => reply.refused(400, code),
                None => assert_eq!(reply.status, 200, "{method} {path}"),
            }
        }
    }
}

/// With a check and a write in two statements, instead of one, several families would come of it (or none). Attack 11.
/// Take the counter out of `ROTATE`'s condition, and this fails.
#[tokio::test]
async fn a_thousand_refreshes_at_once_leave_one_family() {
    let app = App::with(Options {
        pool_max_size: 40,
        pool_timeout: Duration::from_mins(1),
        ..Options::default()
    })
    .await;
    let first = app.sign_up("ana@example.com").await.ok();
    let replies = join_all((0..1_000).map(|_| app.refresh(first.refresh_token()))).await;
    let mut successors: Vec<String> = replies
        .into_iter()
        .map(|reply| reply.ok().refresh_token().to_owned())
        .collect();
    successors.dedup();
    assert_eq!(successors.len(), 1);
    let state = "select count(*) || ' ' || max(refresh_token_counter) from auth.sessions";
    assert_eq!(app.value(state).await, "1 1");
    // The family goes on, and a stolen older token ends it.
    app.advance(60);
    let third = app.refresh(&successors[0]).await.ok();
    app.get_user(third.access_token()).await.ok();
    app.advance(60);
    app.refresh(first.refresh_token())
        .await
        .refused(400, "refresh_token_already_used");
    app.refresh(third.refresh_token())
        .await
        .refused(400, "refresh_token_not_found");
    app.get_user(third.access_token())
        .await
        .refused(403, "session_not_found");
    assert!(app.audit().await.ends_with(" token_revoked"));
}

/// Attack 44. Fails when passwords are hashed on the threads that serve requests, as nothing would be answered before the
/// first is checked; and when more are hashed at once than there are places.
#[tokio::test]
async fn others_are_served_while_fifty_passwords_are_hashed() {
    let app = App::with_settings(&[("auth.argon2_concurrency", "2")]).await;
    let session = app.sign_up("ana@example.com").await.ok();
    // As slow as a hash may be.
    let slow = "$argon2id$v=19$m=262144,t=10,p=1$c29tZXNhbHRzb21lc2FsdA$c29tZWhhc2hzb21laGFzaHNvbWVoYXNoc29tZWhhc2g";
    let people: Vec<_> = (0..50).map(|n| format!("bo{n}@example.com")).collect();
    for email in &people {
        let person = json!({"email": email, "email_confirm": true, "password_hash": slow});
        app.admin("POST", "", person).await.ok();
    }
    let before = app.password_hashes();
    let sign_ins = join_all(people.iter().map(|email| app.sign_in(email, PASSWORD)));
    let others = async {
        let mut answered = 0;
        // Until both places are taken, however late a busy machine begins.
        while answered < 50 || app.password_hashes() < before + 2 {
            app.get_user(session.access_token()).await.ok();
            get(&app, "/health", &service_token()).await.ok();
            answered += 1;
        }
        app.password_hashes() - before
    };
    tokio::pin!(sign_ins);
    tokio::select! {
        biased;
        _ = &mut sign_ins => panic!("the passwords were checked first"),
        hashes = others => {
            assert_eq!(hashes, 2, "so many of the fifty were begun with two places");
        }
    }
}

/// Attack 44: so many wait for their turn, and the others come back later. Fails when the queue (`admitted` in
/// `Passwords`) has no end: all of them are hashed.
#[tokio::test]
async fn of_a_thousand_sign_ins_at_once_the_queue_takes_what_it_holds() {
    let app = App::with(Options {
        settings: vec![
            ("auth.argon2_memory_kib", "16384"),
            ("auth.argon2_concurrency", "1"),
            ("auth.argon2_queue", "8"),
            ("auth.rate_limit_token_per_window", "100000"),
        ],
        pool_max_size: 40,
        pool_timeout: Duration::from_mins(1),
        ..Options::default()
    })
    .await;
    app.sign_up("ana@example.com").await.ok();
    let before = app.password_hashes();
    let names: Vec<_> = (0..1_000).map(|n| format!("user{n}@example.com")).collect();
    let replies = join_all(names.iter().map(|email| app.sign_in(email, PASSWORD))).await;
    let (looked_at, sent_away): (Vec<_>, Vec<_>) =
        replies.iter().partition(|reply| reply.status == 400);
    for reply in &looked_at {
        reply.refused(400, "invalid_credentials");
    }
    for reply in &sent_away {
        reply.refused(503, "service_unavailable");
        assert_eq!(reply.header("retry-after"), "1");
    }
    assert!(!looked_at.is_empty() && !sent_away.is_empty());
    let hashes = app.password_hashes() - before;
    assert_eq!(hashes, looked_at.len() as u64);
    app.sign_in("ana@example.com", PASSWORD).await.ok();
}
