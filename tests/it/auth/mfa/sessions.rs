//! What a second factor does to sessions and their tokens.

use futures_util::future::join_all;
use serde_json::json;

use crate::auth::support::{App, Options, PASSWORD, claims};

const LEVELS: &str = "select string_agg(aal, ' ' order by aal) from auth.sessions";

/// Attack 14. Fails when the counter is not advanced by two in `raise_session`: the token is then the parent of the
/// session's new one, and gets it.
#[tokio::test]
async fn a_refresh_token_from_before_never_gives_the_new_level() {
    let app = App::new().await;
    let before = app.sign_up("ana@example.com").await.ok();
    let totp = app.enroll(before.access_token(), "phone").await;
    let raised = app.verify(before.access_token(), &totp).await.ok();
    // At once: a refresh of the same client may be under way, so the session goes on.
    for _ in 0..3 {
        app.refresh(before.refresh_token())
            .await
            .refused(400, "refresh_token_already_used");
    }
    let next = app.refresh(raised.refresh_token()).await.ok();
    assert_eq!(claims(next.access_token())["aal"], "aal2");
    assert_eq!(claims(next.access_token())["amr"][0]["method"], "totp");
    // Later it is a token that somebody has stolen.
    app.refresh(before.refresh_token())
        .await
        .refused(400, "refresh_token_already_used");
    app.refresh(next.refresh_token())
        .await
        .refused(400, "refresh_token_not_found");
}

/// Fails without the age in outcome `outdated`.
#[tokio::test]
async fn a_refresh_token_from_before_ends_the_session_later() {
    let app = App::new().await;
    let before = app.sign_up("ana@example.com").await.ok();
    let totp = app.enroll(before.access_token(), "phone").await;
    let raised = app.verify(before.access_token(), &totp).await.ok();
    app.advance(11);
    app.refresh(before.refresh_token())
        .await
        .refused(400, "refresh_token_already_used");
    app.refresh(raised.refresh_token())
        .await
        .refused(400, "refresh_token_not_found");
}

/// Fails without `known_counter` in `raise_session`.
#[tokio::test]
async fn that_holds_too_when_the_counter_was_lost_in_a_crash() {
    let app = App::new().await;
    let first = app.sign_up("ana@example.com").await.ok();
    let mut before = app.refresh(first.refresh_token()).await.ok();
    before = app.refresh(before.refresh_token()).await.ok();
    let totp = app.enroll(before.access_token(), "phone").await;
    // As after a crash: commits of refreshes do not wait for the disk.
    let lost = "update auth.sessions set refresh_token_counter = 1";
    app.owner.batch_execute(lost).await.unwrap();
    app.verify(before.access_token(), &totp).await.ok();
    app.refresh(before.refresh_token())
        .await
        .refused(400, "refresh_token_already_used");
}

/// Attack 14, at once. Fails when the counter is not advanced by two in `raise_session`.
#[tokio::test]
async fn parallel_refreshes_around_a_verification_never_raise_the_old_token() {
    let app = App::with(Options {
        pool_max_size: 30,
        ..Options::default()
    })
    .await;
    let before = app.sign_up("ana@example.com").await.ok();
    let totp = app.enroll(before.access_token(), "phone").await;
    let challenge = app.challenge(before.access_token(), &totp.id).await;
    let code = totp.code(&app);
    // The verification is first, and the refreshes have begun before it ends.
    app.owner
        .batch_execute("begin; select 1 from auth.sessions for update")
        .await
        .unwrap();
    let verified = app.answer(before.access_token(), &totp.id, &challenge, &code);
    let refreshes = async {
        app.wait_for_blocked(1).await;
        join_all((0..8).map(|_| app.refresh(before.refresh_token()))).await
    };
    let released = async {
        app.wait_for_blocked(9).await;
        app.owner.batch_execute("commit").await.unwrap();
    };
    let (raised, replies, ()) = tokio::join!(verified, refreshes, released);
    let raised = raised.ok();
    assert_eq!(claims(raised.access_token())["aal"], "aal2");
    for reply in replies {
        reply.refused(400, "refresh_token_already_used");
    }
    app.refresh(raised.refresh_token()).await.ok();
}

#[tokio::test]
async fn verifying_ends_the_lower_sessions_of_the_user_only() {
    let app = App::new().await;
    let stranger = app.sign_up("bo@example.com").await.ok();
    let (raised, totp) = app.with_totp("ana@example.com").await;
    let lower = app.sign_in("ana@example.com", PASSWORD).await.ok();
    let second = app.sign_in("ana@example.com", PASSWORD).await.ok();
    app.verify(second.access_token(), &totp).await.ok();
    app.refresh(lower.refresh_token())
        .await
        .refused(400, "refresh_token_not_found");
    app.refresh(raised.refresh_token()).await.ok();
    app.refresh(stranger.refresh_token()).await.ok();
    assert_eq!(app.value(LEVELS).await, "aal1 aal2 aal2");
}

#[tokio::test]
async fn removing_a_factor_lowers_the_sessions_it_raised() {
    let app = App::new().await;
    let (first, totp) = app.with_totp("ana@example.com").await;
    let second = app.sign_in("ana@example.com", PASSWORD).await.ok();
    let second = app.verify(second.access_token(), &totp).await.ok();
    let path = format!("/factors/{}", totp.id);
    app.call("DELETE", &path, first.access_token(), json!({}))
        .await
        .ok();
    assert_eq!(app.value(LEVELS).await, "aal1 aal1");
    for session in [first, second] {
        let next = app.refresh(session.refresh_token()).await.ok();
        let claims = claims(next.access_token());
        assert_eq!(claims["aal"], "aal1");
        assert_eq!(claims["amr"].as_array().unwrap().len(), 1);
        assert_eq!(claims["amr"][0]["method"], "password");
    }
    assert!(app.audit().await.ends_with(" factor_unenrolled"));
}

#[tokio::test]
async fn a_second_factor_leaves_those_raised_by_others_alone() {
    let app = App::new().await;
    let (first, totp) = app.with_totp("ana@example.com").await;
    let tablet = app.enroll(first.access_token(), "tablet").await;
    app.verify(first.access_token(), &tablet).await.ok();
    let second = app.sign_in("ana@example.com", PASSWORD).await.ok();
    let second = app.verify(second.access_token(), &totp).await.ok();
    let path = format!("/factors/{}", tablet.id);
    app.call("DELETE", &path, second.access_token(), json!({}))
        .await
        .ok();
    assert_eq!(app.value(LEVELS).await, "aal1 aal2");
}

#[tokio::test]
async fn the_service_key_sees_and_removes_factors() {
    let app = App::new().await;
    let (raised, totp) = app.with_totp("ana@example.com").await;
    let id = raised.text("/user/id").to_owned();
    let path = format!("/{id}/factors");
    let listed = app.admin("GET", &path, json!({})).await.ok();
    assert_eq!(listed.text("/0/id"), totp.id);
    let path = format!("{path}/{}", totp.id);
    let removed = app.admin("DELETE", &path, json!({})).await.ok();
    assert_eq!(removed.text("/id"), totp.id);
    app.admin("DELETE", &path, json!({}))
        .await
        .refused(404, "mfa_factor_not_found");
    assert_eq!(app.value(LEVELS).await, "aal1");
    assert!(app.audit().await.ends_with(" factor_deleted"));
    let user = app.get_user(raised.access_token()).await.ok();
    assert_eq!(user.body.get("factors"), None);
    app.call(
        "GET",
        &format!("/admin/users/{id}/factors"),
        raised.access_token(),
        json!({}),
    )
    .await
    .refused(403, "not_admin");
}

#[tokio::test]
async fn deleted_users_leave_no_factors() {
    let app = App::new().await;
    for soft in [false, true] {
        let (raised, _) = app.with_totp("ana@example.com").await;
        let path = format!("/{}", raised.text("/user/id"));
        let body = json!({"should_soft_delete": soft});
        app.admin("DELETE", &path, body).await.ok();
        assert_eq!(
            app.value("select count(*) from auth.mfa_factors").await,
            "0"
        );
    }
    let kept = "select count(*) from auth.users where factors is null";
    assert_eq!(app.value(kept).await, "1");
}

/// The column that a trigger keeps, when two transactions change factors of one user at once. Fails without the lock in
/// `sb.mfa_factors_changed`: the second one then does not see what the first has done.
#[tokio::test]
async fn what_a_user_shows_is_what_there_is() {
    let app = App::new().await;
    let session = app.sign_up("ana@example.com").await.ok();
    let id = session.text("/user/id");
    let insert = |name: &str| {
        format!(
            "insert into auth.mfa_factors (user_id, friendly_name, factor_type) values ('{id}', '{name}', 'totp')"
        )
    };
    let first = app.db.owner().await.unwrap();
    let second = app.db.owner().await.unwrap();
    first
        .batch_execute(&format!("begin; {}", insert("one")))
        .await
        .unwrap();
    let two = insert("two");
    let waiting = second.batch_execute(&two);
    let released = async {
        app.wait_for_blocked(1).await;
        first.batch_execute("commit").await.unwrap();
    };
    let (inserted, ()) = tokio::join!(waiting, released);
    inserted.unwrap();
    let shown = "select jsonb_array_length(factors) from auth.users";
    assert_eq!(app.value(shown).await, "2");
    let user = app.get_user(session.access_token()).await.ok();
    assert_eq!(user.body["factors"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn policies_can_ask_for_the_level_and_a_fresh_proof() {
    let app = App::new().await;
    let ask = async |claims: serde_json::Value, what: &str| {
        let sql = format!("select {what} from set_config('request.jwt.claims', '{claims}', false)");
        app.value(&sql).await
    };
    for (aal, wanted, expected) in [
        (json!("aal2"), "aal2", "true"),
        (json!("aal1"), "aal2", "false"),
        (json!("aal1"), "aal1", "true"),
        (json!(null), "aal2", "false"),
        (json!("aal2"), "nonsense", "false"),
    ] {
        let what = format!("auth.require_aal('{wanted}')");
        assert_eq!(
            ask(json!({"aal": aal}), &what).await,
            expected,
            "{aal} {wanted}"
        );
    }
    assert_eq!(ask(json!({}), "auth.require_aal('aal2')").await, "false");
    let now: i64 = app
        .value("select floor(extract(epoch from now()))")
        .await
        .parse()
        .unwrap();
    for (ago, expected) in [(0, "true"), (290, "true"), (310, "false")] {
        let amr = json!({"amr": [{"method": "totp", "timestamp": now - ago}, {"method": "password", "timestamp": 1}]});
        assert_eq!(
            ask(amr, "auth.require_fresh('5 minutes')").await,
            expected,
            "{ago}"
        );
    }
    for claims in [json!({}), json!({"amr": []}), json!({"amr": ["totp"]})] {
        assert_eq!(
            ask(claims, "auth.require_fresh('5 minutes')").await,
            "false"
        );
    }
}
