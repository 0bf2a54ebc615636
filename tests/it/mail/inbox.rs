//! The development inbox: its pages, its API, and who is shown neither.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use sb::clock::Clock;
use serde_json::{Value, json};

use super::{CODE, LINK, Post, recovery};
use crate::support;

const PUBLIC: [(&str, &str); 2] = [("mail.backend", "inbox"), ("mail.inbox_public", "true")];

impl Post {
    async fn inbox(more: &[(&str, &str)]) -> Self {
        let settings: Vec<_> = PUBLIC.iter().chain(more).copied().collect();
        let post = Self::new(&settings).await;
        post.worker().await;
        post
    }

    async fn deliver(&self, to: &str) {
        let id = self.enqueue(&recovery(to)).await;
        self.until(id, "succeeded").await;
    }

    async fn json(&self, path: &str) -> Value {
        let reply = self.app.get(path, None).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
        reply.json()
    }
}

fn search(query: &str) -> String {
    let query: String = url::form_urlencoded::byte_serialize(query.as_bytes()).collect();
    format!("/inbox/api/v1/search?query={query}")
}

fn recipients(list: &Value) -> Vec<&str> {
    let messages = list["messages"].as_array().unwrap().iter();
    messages
        .map(|message| message["To"][0]["Address"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn tests_find_a_mail_as_with_mailpit() {
    let post = Post::inbox(&[("mail.from", "The App <app@example.org>")]).await;
    for to in ["ana@example.com", "ben@example.com", "ana@example.com"] {
        post.deliver(to).await;
    }
    let all = post.json("/inbox/api/v1/messages").await;
    assert_eq!((&all["total"], &all["count"]), (&json!(3), &json!(3)));
    assert_eq!(
        recipients(&all),
        ["ana@example.com", "ben@example.com", "ana@example.com"]
    );

    let found = post.json(&search("to:\"ana@example.com\"")).await;
    assert_eq!(recipients(&found), ["ana@example.com"; 2]);
    let newest = &found["messages"][0];
    assert!(
        newest["Created"].as_str().unwrap() > found["messages"][1]["Created"].as_str().unwrap()
    );
    assert_eq!(
        newest["From"],
        json!({ "Name": "The App", "Address": "app@example.org" })
    );
    assert_eq!(newest["Subject"], "Reset your password");

    let id = newest["ID"].as_str().unwrap();
    let mail = post.json(&format!("/inbox/api/v1/message/{id}")).await;
    assert_eq!(
        (&mail["ID"], &mail["To"][0]["Address"]),
        (&newest["ID"], &json!("ana@example.com"))
    );
    assert!(
        mail["Text"].as_str().unwrap().contains(LINK)
            && mail["HTML"].as_str().unwrap().contains(CODE)
    );
    assert!(mail["Date"].is_string() && mail["From"]["Address"] == "app@example.org");
    assert_eq!(
        post.json("/inbox/api/v1/message/latest").await["ID"],
        newest["ID"]
    );

    assert_eq!(
        recipients(
            &post
                .json(&search("subject:\"reset your\" from:APP ben@"))
                .await
        ),
        ["ben@example.com"]
    );
    assert_eq!(
        recipients(&post.json(&search("to:nobody@example.com")).await),
        [] as [&str; 0]
    );
    assert_eq!(
        recipients(&post.json("/inbox/api/v1/messages?start=1&limit=1").await),
        ["ben@example.com"]
    );
    for path in [
        "message/none",
        "message/00000000-0000-0000-0000-000000000000",
    ] {
        assert_eq!(
            post.app
                .get(&format!("/inbox/api/v1/{path}"), None)
                .await
                .status,
            StatusCode::NOT_FOUND
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mails_are_removed_one_by_one_or_all_at_once() {
    let post = Post::inbox(&[]).await;
    for to in ["a@example.com", "b@example.com", "c@example.com"] {
        post.deliver(to).await;
    }
    let path = "/inbox/api/v1/messages";
    let newest = post.json(path).await["messages"][0]["ID"].clone();
    let remove = async |body| {
        post.app
            .call(axum::http::Method::DELETE, path, None, body)
            .await
    };
    let reply = remove(Some(json!({ "IDs": [newest] }))).await;
    assert_eq!(
        (reply.status, reply.text().as_str()),
        (StatusCode::OK, "ok")
    );
    assert_eq!(
        recipients(&post.json(path).await),
        ["b@example.com", "a@example.com"]
    );
    assert_eq!(remove(None).await.status, StatusCode::OK);
    assert_eq!(post.json(path).await["total"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_are_kept_and_none_for_longer_than_a_week() {
    let post = Post::inbox(&[("mail.inbox_max_messages", "3")]).await;
    for number in 0..5 {
        post.deliver(&format!("u{number}@example.com")).await;
    }
    let path = "/inbox/api/v1/messages";
    assert_eq!(
        recipients(&post.json(path).await),
        ["u4@example.com", "u3@example.com", "u2@example.com"]
    );
    post.sql("update mail.messages set created_at = now() - interval '8 days' where recipient = 'u3@example.com'").await;
    assert_eq!(
        recipients(&post.json(path).await),
        ["u4@example.com", "u2@example.com"]
    );
    post.deliver("u5@example.com").await;
    let old = "select count(*) from mail.messages where created_at < now() - interval '7 days'";
    let old: i64 = post.owner.query_one(old, &[]).await.unwrap().get(0);
    assert_eq!(old, 0);
}

/// Fails when the pages do not escape, or when an HTML mail is served without its policy.
#[tokio::test(flavor = "multi_thread")]
async fn pages_show_mails_and_run_nothing() {
    let post = Post::inbox(&[]).await;
    let hostile = "<script>alert(1)</script>\" onload=\"x";
    post.template(
        "recovery",
        (
            hostile,
            "<html><head></head><script>alert(2)</script><a href=x>",
            "t <script> https://a.example/?x=\"y",
        ),
    )
    .await;
    post.deliver("ana@example.com").await;
    let list = post.app.get("/inbox", None).await;
    assert_eq!(list.status, StatusCode::OK);
    assert!(
        list.text().contains("&lt;script&gt;alert(1)") && !list.text().contains("<script"),
        "{}",
        list.text()
    );
    let policy = |reply: &support::Reply| {
        reply.headers["content-security-policy"]
            .to_str()
            .unwrap()
            .to_owned()
    };
    assert!(
        policy(&list).starts_with("default-src 'none'; style-src 'self'")
            && policy(&list).contains("frame-ancestors 'none'")
    );
    assert_eq!(list.headers["cache-control"], "no-store");

    let id = post.json("/inbox/api/v1/message/latest").await["ID"]
        .as_str()
        .unwrap()
        .to_owned();
    let page = post.app.get(&format!("/inbox/mail/{id}"), None).await;
    let text = page.text();
    assert!(
        !text.contains("<script") && text.contains("t &lt;script&gt;"),
        "{text}"
    );
    assert!(
        text.contains("sandbox=\"allow-popups allow-popups-to-escape-sandbox\""),
        "no script, no origin: {text}"
    );

    let html = post.app.get(&format!("/inbox/mail/{id}/html"), None).await;
    assert!(
        policy(&html)
            .starts_with("sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'")
    );
    assert!(
        !policy(&html).contains("allow-scripts") && !policy(&html).contains("allow-same-origin")
    );
    assert_eq!(html.headers["x-frame-options"], "SAMEORIGIN");
    assert!(html.text().contains("<head><base target=\"_blank\">"));
    let css = post.app.get("/inbox/style.css", None).await;
    assert_eq!(
        (css.status, css.headers["content-type"].to_str().unwrap()),
        (StatusCode::OK, "text/css; charset=utf-8")
    );

    let clear = Request::post("/inbox/clear").body(Body::empty()).unwrap();
    assert_eq!(post.app.send(clear).await.status, StatusCode::SEE_OTHER);
    assert!(
        post.app
            .get("/inbox", None)
            .await
            .text()
            .contains("No mail yet")
    );
}

/// Fails when the router is mounted whatever the settings are.
#[tokio::test(flavor = "multi_thread")]
async fn it_is_served_in_development_or_when_it_is_said_to_be_public() {
    for settings in [
        &[][..],
        &[("mail.backend", "inbox")],
        &[("mail.backend", "console"), ("mail.inbox_public", "true")],
        &[("mail.inbox_public", "true")],
    ] {
        let post = Post::new(settings).await;
        for path in ["/inbox", "/inbox/api/v1/messages"] {
            assert_eq!(
                post.app.get(path, None).await.status,
                StatusCode::NOT_FOUND,
                "{settings:?} {path}"
            );
        }
    }
}

/// Fails without the guard of the routes; its parts have tests of their own beside it.
#[tokio::test(flavor = "multi_thread")]
async fn in_development_it_is_for_this_machine_and_for_no_other_web_page() {
    let target = support::fresh_database().await;
    let url = support::cluster().url(target.database());
    let mut config = support::config(&url, &[("mail.backend", "inbox")]);
    config.development = true;
    let running = sb::App::new()
        .clock(Clock::system())
        .build(config)
        .await
        .unwrap();
    let status = async |method: &str, path: &str, headers: &[(&str, &str)]| {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        tower::ServiceExt::oneshot(running.router(), request)
            .await
            .unwrap()
            .status()
    };
    let here = ("host", "127.0.0.1:8000");
    for (method, path) in [
        ("GET", "/inbox"),
        ("GET", "/inbox/api/v1/messages"),
        ("DELETE", "/inbox/api/v1/messages"),
        ("POST", "/inbox/clear"),
    ] {
        let accepted = status(method, path, &[here]).await;
        assert!(
            accepted.is_success() || accepted.is_redirection(),
            "{method} {path}: {accepted}"
        );
        for headers in [
            &[here, ("origin", "https://evil.example")][..],
            &[here, ("origin", "null")],
            &[("host", "evil.example")],
            &[here, ("x-forwarded-for", "192.0.2.1")],
        ] {
            let refused = status(method, path, headers).await;
            assert_eq!(
                refused,
                StatusCode::FORBIDDEN,
                "{method} {path} {headers:?}"
            );
        }
    }
}
