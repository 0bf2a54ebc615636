//! The audit log: who may read what, what failures leave, and that nobody changes it unnoticed.

use sb::auth::{AuditKey, AuditReport, Head, keep_audit, verify_audit};
use sb::config::Secret;
use sb::keys::MasterKey;
use serde_json::json;

use super::support::{App, PASSWORD, Reply, service_token, token};
use crate::scratch::eventually;
use crate::support::{MASTER_KEY, TestApp};

const KEY: [u8; 32] = [9; 32];

async fn keep(app: &App) -> (usize, i64) {
    let key = AuditKey::new(&KEY);
    keep_audit(&app.db, &key, app.clock.now(), 30)
        .await
        .unwrap()
}

async fn verify(app: &App) -> AuditReport {
    let key = AuditKey::new(&KEY);
    verify_audit(&app.owner, &key, None).await.unwrap()
}

async fn get(app: &App, path: &str, token: &str) -> Reply {
    app.request("GET", path).bearer(token).send().await
}

fn actions(reply: &Reply) -> Vec<&str> {
    let entries = reply.body.as_array().unwrap();
    let actions = entries.iter().map(|entry| &entry["payload"]["action"]);
    actions.map(|action| action.as_str().unwrap()).collect()
}

/// Three entries in two seals.
async fn with_seals() -> App {
    let app = App::new().await;
    let ana = app.sign_up("ana@example.com").await.ok();
    app.sign_up("bo@example.com").await.ok();
    assert_eq!(keep(&app).await, (2, 0));
    app.put_user(ana.access_token(), json!({"data": {"nick": "ana"}}))
        .await
        .ok();
    assert_eq!(keep(&app).await, (1, 0));
    assert_eq!(keep(&app).await, (0, 0));
    app
}

#[tokio::test]
async fn an_untouched_log_is_sound() {
    let app = with_seals().await;
    app.sign_in("ana@example.com", PASSWORD).await.ok();
    let report = verify(&app).await;
    assert_eq!(report.problems, Vec::<String>::new());
    assert_eq!(
        (report.sealed, report.unsealed, report.first),
        (3, 1, Some(1))
    );
    assert_eq!(report.head.unwrap().number, 2);
}

/// Each by the owner of the database, who may do all but know the key. Leave the digest or the mac out of the check, and
/// this fails.
#[tokio::test]
async fn every_change_of_what_was_sealed_is_noticed() {
    for change in [
        "update auth.audit_log_entries set payload = '{\"action\": \"login\"}' where seal = 1",
        "update auth.audit_log_entries set payload = replace(payload::text, ',', ', ')::json where seal = 2",
        "update auth.audit_log_entries set ip_address = '192.0.2.1' where seal = 2",
        "update auth.audit_log_entries set created_at = created_at + interval '1 microsecond' where seal = 2",
        "update auth.audit_log_entries set id = gen_random_uuid() where seal = 2",
        "update auth.audit_log_entries set seal = null where seal = 2",
        "update auth.audit_log_entries set seal = 3 - seal",
        "delete from auth.audit_log_entries where seal = 2",
        "delete from auth.audit_log_entries where id in (select id from auth.audit_log_entries where seal = 1 limit 1)",
        "insert into auth.audit_log_entries (payload, seal) values ('{}', 1)",
        "insert into auth.audit_log_entries (payload, seal) values ('{}', 9)",
        "delete from auth.audit_seals where number = 1; delete from auth.audit_log_entries where seal = 1",
        "update auth.audit_seals set mac = digest where number = 2",
        "update auth.audit_seals set newest_at = newest_at - interval '1 year'",
        // The whole chain anew: with a key that is not ours.
        "update auth.audit_seals set mac = sha256(mac)",
        // As if it had been removed for its age.
        "delete from auth.audit_log_entries where seal = 1;
         insert into auth.audit_anchor (number, newest_at, seal_mac, pruned_at, mac)
           select number, newest_at, mac, now(), mac from auth.audit_seals where number = 1;
         delete from auth.audit_seals where number = 1",
    ] {
        let app = with_seals().await;
        app.owner.batch_execute(change).await.unwrap();
        let report = verify(&app).await;
        assert!(!report.problems.is_empty(), "{change}");
    }
}

#[tokio::test]
async fn a_log_that_was_cut_off_is_noticed_by_who_kept_its_head() {
    let app = with_seals().await;
    let head = verify(&app).await.head.unwrap();
    let known: Head = head.to_string().parse().unwrap();
    let cut = "delete from auth.audit_log_entries where seal = 2; delete from auth.audit_seals where number = 2";
    app.owner.batch_execute(cut).await.unwrap();
    // By itself it looks sound: that is the limit of what the database can say of itself.
    assert_eq!(verify(&app).await.problems, Vec::<String>::new());
    let key = AuditKey::new(&KEY);
    let report = verify_audit(&app.owner, &key, Some(&known)).await.unwrap();
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
}

#[tokio::test]
async fn sealing_waits_for_nobody_and_nobody_for_it() {
    let app = App::new().await;
    app.sign_up("ana@example.com").await.ok();
    // Somebody writes an entry and has not committed.
    app.owner
        .batch_execute("begin; insert into auth.audit_log_entries (payload, created_at) values ('{}', '2020-01-01')")
        .await
        .unwrap();
    assert_eq!(keep(&app).await, (1, 0));
    // While somebody else seals, entries are written.
    let sealing = app.db.jobs().begin().await.unwrap();
    sealing
        .query("select number from auth.audit_head()", &[])
        .await
        .unwrap();
    app.sign_in("ana@example.com", PASSWORD).await.ok();
    sealing.rollback().await.unwrap();
    app.owner.batch_execute("commit").await.unwrap();
    // The late one, older than all, has its place in the next seal.
    let key = AuditKey::new(&KEY);
    let days = 10_000;
    let kept = keep_audit(&app.db, &key, app.clock.now(), days)
        .await
        .unwrap();
    assert_eq!(kept, (2, 0));
    let report = verify(&app).await;
    assert_eq!((report.sealed, report.problems), (3, Vec::new()));
}

/// supython weak point 39: the audit log was never pruned. Remove `prune` from `keep_audit`, and this fails.
#[tokio::test]
async fn old_entries_go_and_the_rest_stays_checkable() {
    let app = with_seals().await;
    app.advance(20 * 86_400);
    app.sign_in("ana@example.com", PASSWORD).await.ok();
    assert_eq!(keep(&app).await, (1, 0));
    let known = verify(&app).await.head.unwrap();
    app.advance(11 * 86_400);
    app.sign_in("bo@example.com", PASSWORD).await.ok();
    assert_eq!(keep(&app).await, (1, 3));
    let key = AuditKey::new(&KEY);
    let report = verify_audit(&app.owner, &key, Some(&known)).await.unwrap();
    assert_eq!(report.problems, Vec::<String>::new());
    assert_eq!((report.sealed, report.first), (2, Some(3)));
    // All of it, and on from there.
    app.advance(100 * 86_400);
    assert_eq!(keep(&app).await, (0, 2));
    assert_eq!(verify(&app).await.problems, Vec::<String>::new());
    app.sign_in("bo@example.com", PASSWORD).await.ok();
    assert_eq!(keep(&app).await, (1, 0));
    let report = verify(&app).await;
    assert_eq!((report.first, report.problems), (Some(5), Vec::new()));
    // Somebody who removes more than that, by hand.
    let more = "update auth.audit_anchor set number = 5; delete from auth.audit_log_entries; delete from auth.audit_seals";
    app.owner.batch_execute(more).await.unwrap();
    assert!(!verify(&app).await.problems.is_empty());
}

#[tokio::test]
async fn the_services_can_only_append() {
    let app = with_seals().await;
    for (role, sql) in [
        (
            "sb_auth",
            "update auth.audit_log_entries set payload = null",
        ),
        ("sb_auth", "delete from auth.audit_log_entries"),
        (
            "sb_auth",
            "insert into auth.audit_log_entries (payload, seal) values ('{}', 1)",
        ),
        ("sb_auth", "select from auth.audit_seals"),
        (
            "sb_auth",
            "select auth.prune_audit(1, now(), '', now(), '')",
        ),
        (
            "supabase_auth_admin",
            "insert into auth.audit_log_entries (payload, seal) values ('{}', 1)",
        ),
        ("supabase_auth_admin", "delete from auth.audit_log_entries"),
        ("sb_jobs", "select from auth.audit_log_entries"),
        ("sb_jobs", "update auth.audit_seals set entries = 1"),
        ("service_role", "select auth.audit_head()"),
        ("authenticated", "select auth.unsealed_audit_entries(1)"),
    ] {
        let sql = format!("begin; set local role {role}; {sql}");
        let refused = app.owner.batch_execute(&sql).await.unwrap_err();
        let code = refused.code().map(|code| code.code().to_owned());
        assert_eq!(code.as_deref(), Some("42501"), "{sql}: {refused}");
        app.owner.batch_execute("rollback").await.unwrap();
    }
}

/// Attack 47. Fails when `sign_in_failed` writes down the address that was typed: it may be a password.
#[tokio::test]
async fn failed_sign_ins_are_logged_without_what_was_typed() {
    let app = App::new().await;
    let ana = app.sign_up("ana@example.com").await.ok();
    app.advance(1);
    app.sign_in("ana@example.com", "hunter2hunter2").await;
    app.sign_in("hunter2hunter2", "hunter2hunter2").await;
    app.sign_in("nobody@example.com", "hunter2hunter2").await;
    let list = get(
        &app,
        "/admin/audit?query=action:login_failed",
        &service_token(),
    )
    .await
    .ok();
    assert_eq!(list.body.as_array().unwrap().len(), 3);
    let text = list.body.to_string();
    assert!(
        !text.contains("hunter2") && !text.contains("nobody@"),
        "{text}"
    );
    let own = get(&app, "/events", ana.access_token()).await.ok();
    assert_eq!(actions(&own), ["login_failed", "user_signedup"]);
}

/// Without the bucket, this many entries would be there and more.
#[tokio::test]
async fn a_flood_of_failures_does_not_fill_the_log() {
    let app = App::new().await;
    app.sign_up("ana@example.com").await.ok();
    for n in 0..120 {
        app.sign_in(&format!("nobody{n}@example.com"), "wrong")
            .await;
    }
    let failures =
        "select count(*) from auth.audit_log_entries where payload ->> 'action' = 'login_failed'";
    assert_eq!(app.value(failures).await, "100");
    // It hides nothing that happens to accounts.
    app.sign_in("ana@example.com", "wrong").await;
    assert_eq!(app.value(failures).await, "101");
    app.advance(3);
    app.sign_in("nobody@example.com", "wrong").await;
    app.sign_in("nobody2@example.com", "wrong").await;
    assert_eq!(app.value(failures).await, "102");
}

/// Attack 45: SQL in the query. Fails when what is searched for is a pattern, or part of the statement.
#[tokio::test]
async fn the_service_key_searches_the_log() {
    let app = App::new().await;
    let ana = app.sign_up("ana@example.com").await.ok();
    app.advance(1);
    app.sign_up("bo@example.com").await.ok();
    app.advance(1);
    app.sign_in("ana@example.com", PASSWORD).await.ok();
    let search = async |query: &str| {
        let path = format!("/admin/audit{query}");
        get(&app, &path, &service_token()).await.ok()
    };
    let all = search("").await;
    assert_eq!(actions(&all), ["login", "user_signedup", "user_signedup"]);
    let entry = all.body[0].as_object().unwrap();
    let members: Vec<_> = entry.keys().map(String::as_str).collect();
    assert_eq!(members, ["created_at", "id", "ip_address", "payload"]);
    assert_eq!(entry["payload"]["actor_id"], ana.body["user"]["id"]);
    assert_eq!(actions(&search("?query=author:ANA").await).len(), 2);
    assert_eq!(actions(&search("?query=action:login").await), ["login"]);
    assert_eq!(actions(&search("?query=type:team").await).len(), 2);
    let page = search("?page=2&per_page=1&query=type:team").await;
    assert_eq!(page.header("x-total-count"), "2");
    assert_eq!(
        page.header("link"),
        "</auth/v1/admin/audit?page=2&per_page=1&query=type%3Ateam>; rel=\"last\""
    );
    for harmless in ["author:'%20or%20true--", "author:%25", "action:login'"] {
        let none = search(&format!("?query={harmless}")).await;
        assert_eq!(none.body, json!([]), "{harmless}");
    }
    for bad in [
        "?query=login",
        "?query=role:x",
        "?query=author:%00",
        "?page=0",
    ] {
        get(&app, &format!("/admin/audit{bad}"), &service_token())
            .await
            .refused(400, "validation_failed");
    }
}

#[tokio::test]
async fn users_see_their_own_part_of_the_log() {
    let app = App::new().await;
    let ana = app.sign_up("ana@example.com").await.ok();
    let bo = app.sign_up("bo@example.com").await.ok();
    app.advance(1);
    let path = format!("/{}", ana.text("/user/id"));
    app.admin("PUT", &path, json!({"app_metadata": {"plan": "pro"}}))
        .await
        .ok();
    let own = get(&app, "/events", ana.access_token()).await.ok();
    assert_eq!(actions(&own), ["user_modified", "user_signedup"]);
    let own = get(&app, "/events?per_page=1", bo.access_token())
        .await
        .ok();
    assert_eq!(actions(&own), ["user_signedup"]);
    assert_eq!(own.header("x-total-count"), "1");
    get(&app, "/admin/audit", ana.access_token())
        .await
        .refused(403, "not_admin");
    get(&app, "/events", &token(json!({"role": "anon"})))
        .await
        .refused(403, "bad_jwt");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_seals_the_log_with_the_master_key() {
    let app = TestApp::new().await;
    app.sign_up("ana@example.com").await;
    let _worker = app.running.start_worker().await.unwrap();
    let owner = app.owner().await;
    let master = MasterKey::from_secret(&Secret::new(MASTER_KEY)).unwrap();
    let key = AuditKey::new(&master.derive("sb/audit-log"));
    let sealed = async || {
        let report = verify_audit(&owner, &key, None).await.unwrap();
        assert_eq!(report.problems, Vec::<String>::new());
        report.sealed == 1 && report.unsealed == 0
    };
    eventually("the worker has sealed the entry", sealed).await;
    app.running.shutdown().await;
}
