//! What accounts bring along and what they may be called: imported hashes, exact filters, user names, guests.

use serde_json::json;

use super::support::{App, PASSWORD, Reply, claims};

const BCRYPT: &str = "select encrypted_password like '$2%' from auth.users";

async fn stored_hash(app: &App) -> String {
    app.value("select encrypted_password from auth.users").await
}

fn emails(reply: &Reply) -> Vec<&str> {
    let users = reply.body["users"].as_array().unwrap();
    let emails = users.iter().map(|user| user["email"].as_str().unwrap());
    emails.collect()
}

/// The hash that everybody uses as an example of Firebase's scrypt, and one of bcrypt.
fn imported() -> [String; 2] {
    let firebase = "$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,sk=jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==$42xEC+ixf3L2lw==$lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ==";
    [
        firebase.to_owned(),
        bcrypt::hash("user1password", 4).unwrap(),
    ]
}

#[tokio::test]
async fn imported_passwords_work_and_are_hashed_anew_at_the_first_sign_in() {
    for hash in imported() {
        let app = App::new().await;
        let body = json!({"email": "ana@example.com", "password_hash": hash});
        app.admin("POST", "", body).await.ok();
        app.sign_in("ana@example.com", "another1password")
            .await
            .refused(400, "invalid_credentials");
        assert_eq!(stored_hash(&app).await, hash);
        app.sign_in("ana@example.com", "user1password").await.ok();
        let renewed = stored_hash(&app).await;
        assert!(
            renewed.starts_with("$argon2id$v=19$m=64,t=1,p=1$"),
            "{renewed}"
        );
        app.sign_in("ana@example.com", "user1password").await.ok();
        app.sign_in("ana@example.com", "another1password")
            .await
            .refused(400, "invalid_credentials");
        assert_eq!(stored_hash(&app).await, renewed);
    }
}

/// Attack 44. Take the bounds out of `StoredHash::parse`, and the sign-ins take hours or gigabytes.
#[tokio::test]
async fn hostile_hashes_cost_nothing() {
    let [firebase, bcrypt] = imported();
    let app = App::new().await;
    let ana = app.sign_up("ana@example.com").await.ok();
    let path = format!("/{}", ana.text("/user/id"));
    for hostile in [
        bcrypt.replace("$04$", "$31$"),
        firebase.replace("n=14", "n=40"),
        firebase.replace("r=8", "r=1000000"),
        firebase.replace("p=1", "p=1000000"),
        "$argon2id$v=19$m=4000000,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$c29tZWhhc2hzb21laGFzaHNvbWVoYXNo"
            .to_owned(),
        "$argon2id$v=19$m=64,t=4000000,p=1$c29tZXNhbHRzb21lc2FsdA$c29tZWhhc2hzb21laGFzaHNvbWVoYXNo"
            .to_owned(),
        "$pbkdf2-sha256$i=1000000000$c29tZXNhbHQ$c29tZWhhc2g".to_owned(),
    ] {
        app.admin("PUT", &path, json!({"password_hash": hostile}))
            .await
            .refused(400, "validation_failed");
        // The same, written by SQL.
        let sql = format!("update auth.users set encrypted_password = '{hostile}'");
        app.owner.batch_execute(&sql).await.unwrap();
        app.sign_in("ana@example.com", "user1password")
            .await
            .refused(400, "invalid_credentials");
        app.owner
            .batch_execute("truncate auth.sign_in_failures")
            .await
            .unwrap();
    }
    assert_eq!(app.value(BCRYPT).await, "false");
}

/// Attack 45: SQL in the order. Fails when `parse_sort` takes other words than the fields it knows.
#[tokio::test]
async fn users_are_found_by_their_exact_address_and_sorted() {
    let app = App::new().await;
    for (email, phone) in [
        ("b@example.com", "4912345671"),
        ("ab@example.com", "4912345672"),
        ("a@example.com", "4912345673"),
    ] {
        app.advance(1);
        app.admin("POST", "", json!({"email": email, "phone": phone}))
            .await
            .ok();
    }
    let list = async |query: &str| app.admin("GET", query, json!({})).await;
    let exact = list("?email=B@Example.com").await.ok();
    assert_eq!(emails(&exact), ["b@example.com"]);
    assert_eq!(exact.header("x-total-count"), "1");
    assert_eq!(
        emails(&list("?phone=%2B4912345673").await.ok()),
        ["a@example.com"]
    );
    for nobody in [
        "?email=nonsense",
        "?email=example.com",
        "?phone=1",
        "?email=a'--@x",
    ] {
        assert!(emails(&list(nobody).await.ok()).is_empty(), "{nobody}");
    }
    for (sort, order) in [
        (
            "created_at",
            ["b@example.com", "ab@example.com", "a@example.com"],
        ),
        (
            "created_at%20desc",
            ["a@example.com", "ab@example.com", "b@example.com"],
        ),
        (
            "email%20asc",
            ["a@example.com", "ab@example.com", "b@example.com"],
        ),
        (
            "email+desc",
            ["b@example.com", "ab@example.com", "a@example.com"],
        ),
    ] {
        assert_eq!(
            emails(&list(&format!("?sort={sort}")).await.ok()),
            order,
            "{sort}"
        );
    }
    let page = list("?page=1&per_page=1&sort=email%20asc&filter=b@")
        .await
        .ok();
    assert_eq!(emails(&page), ["ab@example.com"]);
    assert_eq!(
        page.header("link"),
        "</auth/v1/admin/users?page=2&per_page=1&filter=b%40&sort=email+asc>; rel=\"next\", </auth/v1/admin/users?page=2&per_page=1&filter=b%40&sort=email+asc>; rel=\"last\""
    );
    // Attack 45: nothing but the names of fields gets in.
    for bad in [
        "encrypted_password",
        "created_at%20sideways",
        "created_at%20desc%20nulls",
        "email;drop%20table%20auth.users",
        "(select%201)",
    ] {
        list(&format!("?sort={bad}"))
            .await
            .refused(400, "validation_failed");
    }
}

#[tokio::test]
async fn accounts_may_have_names_where_the_project_says_so() {
    let app = App::with_settings(&[
        ("auth.usernames_enabled", "true"),
        ("auth.require_email_confirmation", "true"),
    ])
    .await;
    let body = json!({"username": "Ana.B", "password": PASSWORD});
    let ana = app.post("/signup", body.clone()).await.ok();
    assert_eq!(ana.text("/user/username"), "ana.b");
    assert_eq!(ana.text("/user/email"), "");
    assert_eq!(ana.body["user"]["app_metadata"]["provider"], "username");
    app.post("/signup", body)
        .await
        .refused(422, "user_already_exists");
    let sign_in = async |name: &str, password: &str| {
        let body = json!({"username": name, "password": password});
        app.post("/token?grant_type=password", body).await
    };
    let session = sign_in("ANA.b", PASSWORD).await.ok();
    assert_eq!(session.body["user"]["id"], ana.body["user"]["id"]);
    for (name, password) in [
        ("ana.b", "wrong"),
        ("nobody", PASSWORD),
        ("аna.b", PASSWORD),
        ("not a name", PASSWORD),
    ] {
        sign_in(name, password)
            .await
            .refused(400, "invalid_credentials");
    }
    for bad in ["a", "ana b", "a@example.com", "12345678", "-ana"] {
        app.post("/signup", json!({"username": bad, "password": PASSWORD}))
            .await
            .refused(400, "validation_failed");
    }
    // With an address too; this one needs its confirmation.
    let both = json!({"username": "bo_1", "email": "bo@example.com", "password": PASSWORD});
    let bo = app.post("/signup", both).await.ok();
    assert_eq!(bo.text("/username"), "bo_1");
    sign_in("bo_1", PASSWORD)
        .await
        .refused(400, "email_not_confirmed");
    let path = format!("/{}", bo.text("/id"));
    app.admin("PUT", &path, json!({"username": "ana.b"}))
        .await
        .refused(422, "user_already_exists");
    let renamed = app.admin("PUT", &path, json!({"username": "Bo.2"})).await;
    assert_eq!(renamed.ok().text("/username"), "bo.2");
}

/// A name that is known to be taken must not tell whether the address beside it is. Fails without `refuse_taken`.
#[tokio::test]
async fn a_taken_name_says_nothing_of_the_address_beside_it() {
    let app = App::with_settings(&[
        ("auth.usernames_enabled", "true"),
        ("auth.require_email_confirmation", "true"),
        ("auth.hide_accounts", "true"),
    ])
    .await;
    for (email, name) in [("ana@example.com", "ana"), ("bo@example.com", "bo_1")] {
        let body =
            json!({"email": email, "username": name, "password": PASSWORD, "email_confirm": true});
        app.admin("POST", "", body).await.ok();
    }
    let sign_up = async |email: &str, name: &str| {
        let body = json!({"email": email, "username": name, "password": PASSWORD});
        app.post("/signup", body).await
    };
    for email in ["ana@example.com", "bo@example.com", "nobody@example.com"] {
        sign_up(email, "ana")
            .await
            .refused(422, "user_already_exists");
    }
    app.advance(60);
    // Until it is confirmed, a sign-up can be made again.
    for _ in 0..2 {
        sign_up("cy@example.com", "cy_1").await.ok();
        app.advance(60);
    }
}

/// Guesses at a name are counted like those at an address.
#[tokio::test]
async fn guesses_at_a_name_are_followed_by_delays() {
    let app = App::with_settings(&[("auth.usernames_enabled", "true")]).await;
    let body = json!({"username": "ana", "password": PASSWORD});
    app.post("/signup", body.clone()).await.ok();
    let wrong = json!({"username": "ana", "password": "wrong"});
    for _ in 0..5 {
        app.post("/token?grant_type=password", wrong.clone())
            .await
            .refused(400, "invalid_credentials");
    }
    app.post("/token?grant_type=password", body)
        .await
        .refused(429, "over_request_rate_limit");
}

#[tokio::test]
async fn without_the_setting_nobody_has_a_name() {
    let app = App::new().await;
    let body = json!({"username": "ana", "password": PASSWORD});
    app.post("/signup", body.clone())
        .await
        .refused(404, "feature_disabled");
    app.admin("POST", "", body.clone())
        .await
        .refused(404, "feature_disabled");
    app.post("/token?grant_type=password", body)
        .await
        .refused(400, "validation_failed");
}

#[tokio::test]
async fn profiles_are_shown_where_the_project_says_so_and_say_little() {
    let settings = [
        ("auth.usernames_enabled", "true"),
        ("auth.profile_lookup", "true"),
    ];
    let app = App::with_settings(&settings).await;
    let body = json!({"username": "ana", "email": "ana@example.com", "password": PASSWORD, "data": {"secret": 1}});
    let ana = app.post("/signup", body).await.ok();
    let lookup = async |app: &App, name: &str| {
        let call = app.request("GET", &format!("/users/{name}"));
        call.send().await
    };
    let profile = lookup(&app, "ANA").await.ok();
    assert_eq!(
        profile.body,
        json!({"id": ana.text("/user/id"), "username": "ana", "created_at": "2026-01-01T12:00:00Z"})
    );
    for nobody in ["bo", "ana@example.com", "a", "%00", ana.text("/user/id")] {
        lookup(&app, nobody).await.refused(404, "user_not_found");
    }
    let path = format!("/{}", ana.text("/user/id"));
    app.admin("DELETE", &path, json!({"should_soft_delete": true}))
        .await
        .ok();
    lookup(&app, "ana").await.refused(404, "user_not_found");
    let closed = App::with_settings(&settings[..1]).await;
    let body = json!({"username": "ana", "password": PASSWORD});
    closed.post("/signup", body).await.ok();
    lookup(&closed, "ana").await.refused(404, "user_not_found");
}

#[tokio::test]
async fn new_accounts_are_guests_until_an_admin_trusts_them() {
    let app = App::with_settings(&[("auth.default_role", "guest")]).await;
    let ana = app.sign_up("ana@example.com").await.ok();
    assert_eq!(claims(ana.access_token())["role"], "guest");
    assert_eq!(ana.text("/user/role"), "guest");
    app.put_user(
        ana.access_token(),
        json!({"role": "authenticated", "data": {"role": "authenticated"}}),
    )
    .await
    .ok();
    let still = app.refresh(ana.refresh_token()).await.ok();
    assert_eq!(claims(still.access_token())["role"], "guest");
    let path = format!("/{}", ana.text("/user/id"));
    app.admin("PUT", &path, json!({"role": "authenticated"}))
        .await
        .ok();
    let trusted = app.refresh(still.refresh_token()).await.ok();
    assert_eq!(claims(trusted.access_token())["role"], "authenticated");
    // The role may name things, and sees nothing.
    let made = "create table public.notes (id int); grant select on public.notes to authenticated";
    app.owner.batch_execute(made).await.unwrap();
    let as_guest = async |sql: &str| {
        let sql = format!("begin; set local role guest; {sql}");
        let result = app.owner.batch_execute(&sql).await;
        app.owner.batch_execute("rollback").await.unwrap();
        result.map_err(|error| error.code().map(|code| code.code().to_owned()))
    };
    as_guest("select auth.uid()").await.unwrap();
    for sql in ["select from public.notes", "select from auth.users"] {
        assert_eq!(as_guest(sql).await, Err(Some("42501".to_owned())), "{sql}");
    }
}
