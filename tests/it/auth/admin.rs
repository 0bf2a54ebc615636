//! `/admin/users`, and the commands that share its services.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use sb::auth::{Client, ListUsers, NewAccount};
use serde_json::json;

use super::support::{App, PASSWORD, token};
use crate::support::TestApp;

/// Attack 45. Leave `Service` out of a handler, or let it take any caller, and this fails.
#[tokio::test]
async fn only_the_service_key_may_enter() {
    let app = App::new().await;
    let session = app.sign_up("ana@example.com").await.ok();
    let id = session.text("/user/id").to_owned();
    for (method, path) in [
        ("GET", "/admin/users".to_owned()),
        ("POST", "/admin/users".to_owned()),
        ("GET", format!("/admin/users/{id}")),
        ("PUT", format!("/admin/users/{id}")),
        ("DELETE", format!("/admin/users/{id}")),
    ] {
        let call = || app.request(method, &path).json(json!({}));
        call().send().await.refused(401, "no_authorization");
        call()
            .bearer(&token(json!({"role": "anon"})))
            .send()
            .await
            .refused(403, "not_admin");
        let user = call()
            .bearer(session.access_token())
            .header("role", "service_role");
        user.send().await.refused(403, "not_admin");
        call()
            .bearer("not.a.token")
            .send()
            .await
            .refused(403, "bad_jwt");
    }
    assert_eq!(app.value("select count(*) from auth.users").await, "1");
}

/// Attack 45, with real keys. Remove the look at `exp` in `keys::token::check_times`, and this fails.
#[tokio::test]
async fn a_service_key_that_has_expired_opens_nothing() {
    let app = TestApp::new().await;
    let expires = app.clock.now().timestamp() + 60;
    let claims = json!({"role": "service_role", "exp": expires});
    let key = app.running.sign(claims.as_object().unwrap()).unwrap();
    let list = async || app.get("/auth/v1/admin/users", Some(&key)).await;
    assert_eq!(list().await.status, 200);
    app.clock.advance(TimeDelta::seconds(60));
    let reply = list().await;
    assert_eq!(
        (reply.status.as_u16(), &reply.json()["code"]),
        (403, &json!("bad_jwt"))
    );
}

#[tokio::test]
async fn an_account_is_made_with_everything() {
    let app = App::with_settings(&[("auth.disable_signup", "true")]).await;
    let id = "7d7bd1f6-3f05-4c43-9d67-0c3a9d5b1a10";
    let body = json!({
        "id": id, "email": "Ana@Example.com", "phone": "+4912345678", "password": PASSWORD,
        "email_confirm": true, "phone_confirm": true, "user_metadata": {"nick": "ana"},
        "app_metadata": {"plan": "pro"}, "ban_duration": "24h", "unknown": 1
    });
    let user = app.admin("POST", "", body).await.ok();
    assert_eq!(user.text("/id"), id);
    assert_eq!(
        (user.text("/email"), user.text("/phone")),
        ("ana@example.com", "4912345678")
    );
    assert_eq!(user.text("/email_confirmed_at"), "2026-01-01T12:00:00Z");
    assert_eq!(user.text("/phone_confirmed_at"), "2026-01-01T12:00:00Z");
    assert_eq!(user.text("/banned_until"), "2026-01-02T12:00:00Z");
    assert_eq!(
        user.body["app_metadata"],
        json!({"plan": "pro", "provider": "email", "providers": ["email", "phone"]})
    );
    assert_eq!(user.body["user_metadata"], json!({"nick": "ana"}));
    let providers: BTreeSet<_> = user.body["identities"]
        .as_array()
        .unwrap()
        .iter()
        .map(|identity| identity["provider"].as_str().unwrap())
        .collect();
    assert_eq!(providers, BTreeSet::from(["email", "phone"]));
    assert_eq!(
        app.admin("GET", &format!("/{id}"), json!({}))
            .await
            .ok()
            .body,
        user.body
    );
    app.admin("PUT", &format!("/{id}"), json!({"ban_duration": "none"}))
        .await
        .ok();
    app.sign_in("ana@example.com", PASSWORD).await.ok();
    let by_phone = json!({"phone": "+4912345678", "password": PASSWORD});
    app.post("/token?grant_type=password", by_phone).await.ok();
    let audit = app
        .value("select payload::jsonb - 'traits' from auth.audit_log_entries limit 1")
        .await;
    assert!(
        audit.contains("service_role") && audit.contains("user_signedup"),
        "{audit}"
    );
}

#[tokio::test]
async fn addresses_numbers_and_ids_are_unique() {
    let app = App::new().await;
    let id = "7d7bd1f6-3f05-4c43-9d67-0c3a9d5b1a10";
    let first = json!({"id": id, "email": "ana@example.com", "phone": "4912345678"});
    app.admin("POST", "", first).await.ok();
    app.admin("POST", "", json!({"email": "ANA@example.com"}))
        .await
        .refused(422, "email_exists");
    app.admin("POST", "", json!({"phone": "+4912345678"}))
        .await
        .refused(422, "phone_exists");
    let same_id = json!({"id": id, "email": "bo@example.com"});
    app.admin("POST", "", same_id)
        .await
        .refused(409, "conflict");
    let other = app
        .admin("POST", "", json!({"email": "bo@example.com"}))
        .await
        .ok();
    let path = format!("/{}", other.text("/id"));
    app.admin("PUT", &path, json!({"email": "ana@example.com"}))
        .await
        .refused(422, "email_exists");
    app.admin("PUT", &path, json!({"phone": "4912345678"}))
        .await
        .refused(422, "phone_exists");
}

#[tokio::test]
async fn bad_accounts_are_refused() {
    let app = App::new().await;
    for (body, status, code) in [
        (json!({}), 400, "validation_failed"),
        (
            json!({"id": "x", "email": "a@example.com"}),
            400,
            "validation_failed",
        ),
        (json!({"email": "nonsense"}), 400, "validation_failed"),
        (json!({"phone": "12"}), 400, "validation_failed"),
        (
            json!({"email": "a@example.com", "password": "abc"}),
            422,
            "weak_password",
        ),
        (
            json!({"email": "a@example.com", "role": "service_role"}),
            400,
            "validation_failed",
        ),
        (
            json!({"email": "a@example.com", "role": "postgres"}),
            400,
            "validation_failed",
        ),
        (
            json!({"email": "a@example.com", "ban_duration": "tomorrow"}),
            400,
            "validation_failed",
        ),
        (
            json!({"email": "a@example.com", "app_metadata": []}),
            400,
            "validation_failed",
        ),
        (
            json!({"email": "a@example.com", "aud": "a\u{0}"}),
            400,
            "validation_failed",
        ),
        (
            json!({"email": "a@example.com", "password_hash": "x"}),
            400,
            "validation_failed",
        ),
        (
            json!({"email": "a@example.com", "password": PASSWORD, "password_hash": "x"}),
            400,
            "validation_failed",
        ),
    ] {
        let reply = app.admin("POST", "", body.clone()).await;
        assert_eq!(
            (reply.status.as_u16(), reply.text("/code")),
            (status, code),
            "{body}"
        );
    }
    assert_eq!(app.value("select count(*) from auth.users").await, "0");
}

#[tokio::test]
async fn an_imported_hash_signs_in_and_a_hostile_one_is_refused() {
    let app = App::new().await;
    app.sign_up("ana@example.com").await.ok();
    let hash = app.value("select encrypted_password from auth.users").await;
    let body = json!({"email": "bo@example.com", "password_hash": hash});
    app.admin("POST", "", body).await.ok();
    app.sign_in("bo@example.com", PASSWORD).await.ok();
    let hostile = hash.replace("m=64", "m=4000000");
    let body = json!({"email": "cy@example.com", "password_hash": hostile});
    app.admin("POST", "", body)
        .await
        .refused(400, "validation_failed");
    // The same hash, written by SQL: no work is spent on it beyond that of any sign-in.
    let sql = format!(
        "update auth.users set encrypted_password = '{hostile}' where email = 'bo@example.com'"
    );
    app.owner.batch_execute(&sql).await.unwrap();
    app.sign_in("bo@example.com", PASSWORD)
        .await
        .refused(400, "invalid_credentials");
}

#[tokio::test]
async fn changes_are_partial_and_a_new_password_ends_all_sessions() {
    let app = App::new().await;
    let session = app.sign_up("ana@example.com").await.ok();
    let path = format!("/{}", session.text("/user/id"));
    let change =
        json!({"app_metadata": {"plan": "pro", "providers": null}, "email": "Bo@example.com"});
    let user = app.admin("PUT", &path, change).await.ok();
    assert_eq!(
        user.body["app_metadata"],
        json!({"plan": "pro", "provider": "email"})
    );
    assert_eq!(
        (user.text("/email"), user.text("/identities/0/email")),
        ("bo@example.com", "bo@example.com")
    );
    app.refresh(session.refresh_token()).await.ok();
    app.admin("PUT", &path, json!({"password": "another password"}))
        .await
        .ok();
    app.refresh(session.refresh_token())
        .await
        .refused(400, "refresh_token_not_found");
    app.sign_in("bo@example.com", "another password").await.ok();
}

#[tokio::test]
async fn a_confirmation_keeps_its_time_unless_the_address_changes() {
    let app = App::new().await;
    let user = app
        .admin(
            "POST",
            "",
            json!({"email": "ana@example.com", "email_confirm": true}),
        )
        .await
        .ok();
    let path = format!("/{}", user.text("/id"));
    app.advance(60);
    let same = app
        .admin("PUT", &path, json!({"email_confirm": true}))
        .await
        .ok();
    assert_eq!(same.text("/email_confirmed_at"), "2026-01-01T12:00:00Z");
    let change = json!({"email": "bo@example.com", "email_confirm": true});
    let other = app.admin("PUT", &path, change).await.ok();
    assert_eq!(other.text("/email_confirmed_at"), "2026-01-01T12:01:00Z");
    app.admin("PUT", &path, json!({"ban_duration": "1h"}))
        .await
        .ok();
    let unbanned = app
        .admin("PUT", &path, json!({"ban_duration": "none"}))
        .await
        .ok();
    assert!(unbanned.body.get("banned_until").is_none());
}

#[tokio::test]
async fn users_that_do_not_exist_are_not_found() {
    let app = App::new().await;
    let path = "/00000000-0000-4000-8000-000000000000";
    for method in ["GET", "PUT", "DELETE"] {
        app.admin(method, path, json!({}))
            .await
            .refused(404, "user_not_found");
        app.admin(method, "/not-an-id", json!({}))
            .await
            .refused(404, "validation_failed");
    }
}

#[tokio::test]
async fn deleting_cascades_and_a_soft_delete_keeps_nothing_personal() {
    let app = App::new().await;
    for (email, soft) in [("ana@example.com", false), ("bo@example.com", true)] {
        let session = app.sign_up(email).await.ok();
        let path = format!("/{}", session.text("/user/id"));
        let body = json!({"should_soft_delete": soft});
        let reply = app.admin("DELETE", &path, body).await.ok();
        assert_eq!(reply.body, json!({}));
        app.sign_in(email, PASSWORD)
            .await
            .refused(400, "invalid_credentials");
        app.refresh(session.refresh_token())
            .await
            .refused(400, "refresh_token_not_found");
        let shown = app.admin("GET", &path, json!({})).await;
        if soft {
            let user = shown.ok();
            assert_eq!(user.text("/deleted_at"), "2026-01-01T12:00:00Z");
            assert!(!user.body.to_string().contains("bo@"), "{}", user.body);
        } else {
            shown.refused(404, "user_not_found");
        }
        app.sign_up(email).await.ok();
    }
}

#[tokio::test]
async fn a_user_that_rows_refer_to_is_kept() {
    let app = App::new().await;
    let session = app.sign_up("ana@example.com").await.ok();
    let sql = "create table public.notes (author uuid references auth.users); insert into public.notes select id from auth.users";
    app.owner.batch_execute(sql).await.unwrap();
    let path = format!("/{}", session.text("/user/id"));
    app.admin("DELETE", &path, json!({}))
        .await
        .refused(409, "conflict");
    app.get_user(session.access_token()).await.ok();
}

/// Attack 45: SQL in the filter. Fails when the filter is a pattern, or part of the statement.
#[tokio::test]
async fn users_are_listed_in_pages() {
    let app = App::new().await;
    for n in 0..5 {
        app.advance(1);
        let email = format!(
            "user{n}_{}@example.com",
            if n % 2 == 0 { "even" } else { "odd" }
        );
        app.admin("POST", "", json!({"email": email})).await.ok();
    }
    let emails = |reply: &super::support::Reply| -> Vec<String> {
        let users = reply.body["users"].as_array().unwrap();
        users
            .iter()
            .map(|user| user["email"].as_str().unwrap()[..5].to_owned())
            .collect()
    };
    let all = app.admin("GET", "?page=&per_page=", json!({})).await.ok();
    assert_eq!(emails(&all), ["user4", "user3", "user2", "user1", "user0"]);
    assert_eq!(all.text("/aud"), "authenticated");
    assert_eq!(
        all.body["users"][0]["identities"].as_array().unwrap().len(),
        1
    );
    let second = app.admin("GET", "?page=2&per_page=2", json!({})).await.ok();
    assert_eq!(emails(&second), ["user2", "user1"]);
    assert_eq!(second.header("x-total-count"), "5");
    assert_eq!(
        second.header("link"),
        "</auth/v1/admin/users?page=3&per_page=2>; rel=\"next\", </auth/v1/admin/users?page=3&per_page=2>; rel=\"last\""
    );
    let filtered = app.admin("GET", "?filter=ODD@", json!({})).await.ok();
    assert_eq!(
        (emails(&filtered), filtered.header("x-total-count")),
        (vec!["user3".into(), "user1".into()], "2")
    );
    for harmless in ["%25", "'%20or%20true--", "r%_"] {
        let none = app
            .admin("GET", &format!("?filter={harmless}"), json!({}))
            .await
            .ok();
        assert_eq!(emails(&none), Vec::<String>::new(), "{harmless}");
    }
    let underscore = app.admin("GET", "?filter=_", json!({})).await.ok();
    assert_eq!(underscore.header("x-total-count"), "5");
    let beyond = app
        .admin("GET", "?page=4294967295&per_page=99999999", json!({}))
        .await
        .ok();
    assert_eq!(emails(&beyond), Vec::<String>::new());
    for bad in ["?page=0", "?per_page=-1", "?page=x", "?filter=%00"] {
        app.admin("GET", bad, json!({}))
            .await
            .refused(400, "validation_failed");
    }
}

#[tokio::test]
async fn commands_add_list_and_remove_users() {
    let app = App::new().await;
    let operator = Client {
        ip: None,
        user_agent: None,
    };
    for email in ["ana@example.com", "bo@example.com"] {
        let account = NewAccount {
            email: Some(email.to_owned()),
            password: Some(PASSWORD.to_owned()),
            email_confirm: Some(true),
            ..NewAccount::default()
        };
        sb::auth::add_user(&app.auth, account, &operator)
            .await
            .unwrap();
    }
    let list = ListUsers {
        page: 1,
        per_page: 10,
        ..ListUsers::default()
    };
    let page = sb::auth::list_users(&app.auth, &list).await.unwrap();
    assert_eq!((page.total, page.users.len()), (2, 2));
    let bo = page
        .users
        .iter()
        .find(|user| user.email == "bo@example.com")
        .unwrap();
    for who in ["ANA@example.com".to_owned(), bo.id.to_string()] {
        sb::auth::remove_user(&app.auth, &who, &operator)
            .await
            .unwrap();
        let again = sb::auth::remove_user(&app.auth, &who, &operator).await;
        assert_eq!(again.unwrap_err().to_string(), "User not found");
    }
}

#[tokio::test]
async fn a_ban_for_ever_that_sql_wrote_is_a_ban_and_breaks_no_list() {
    let app = App::new().await;
    let session = app.sign_up("ana@example.com").await.ok();
    app.owner
        .batch_execute("update auth.users set banned_until = 'infinity'")
        .await
        .unwrap();
    let list = app.admin("GET", "", json!(null)).await.ok();
    assert_eq!(list.text("/users/0/banned_until"), "9999-12-31T00:00:00Z");
    app.get_user(session.access_token())
        .await
        .refused(403, "user_banned");
    app.sign_in("ana@example.com", PASSWORD)
        .await
        .refused(400, "user_banned");
    app.refresh(session.refresh_token())
        .await
        .refused(400, "user_banned");
    app.owner
        .batch_execute("update auth.users set banned_until = '-infinity'")
        .await
        .unwrap();
    app.refresh(session.refresh_token()).await.ok();
}
