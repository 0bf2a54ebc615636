//! Against a real server: what arrives, and what becomes of mails while the server is down, slow or unwilling.

use sb::mail::{MailError, NewMail};
use serde_json::{Value, json};

use super::server::{SmtpServer, free_port};
use super::{CODE, LINK, Post, recovery};

fn header<'a>(mail: &'a Value, name: &str) -> Vec<&'a str> {
    let headers = mail["headers"].as_array().unwrap().iter();
    let named = headers.filter(|header| header[0].as_str().unwrap().eq_ignore_ascii_case(name));
    named.map(|header| header[1].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_arrives_as_html_and_text_from_and_to_whom_it_should() {
    let server = SmtpServer::start(&[]);
    let post = Post::to_server(server.port, &[]).await;
    post.worker().await;
    let id = post.enqueue(&recovery("ana@example.com")).await;
    let mail = server.until("mail", 1).await.remove(0);
    assert_eq!(mail["sender"], "app@example.org");
    assert_eq!(mail["recipients"], json!(["ana@example.com"]));
    assert_eq!(mail["kind"], "multipart/alternative");
    assert_eq!(
        mail["parts"],
        json!(["multipart/alternative", "text/plain", "text/html"])
    );
    assert_eq!(mail["subject"], "Reset your password");
    assert!(
        ["From", "To", "Subject", "Date", "Message-ID"]
            .iter()
            .all(|name| header(&mail, name).len() == 1)
    );
    assert_eq!(header(&mail, "From"), ["The App <app@example.org>"]);
    assert_eq!(header(&mail, "Auto-Submitted"), ["auto-generated"]);
    let (text, html) = (
        mail["text"].as_str().unwrap(),
        mail["html"].as_str().unwrap(),
    );
    assert!(
        text.contains(LINK) && text.trim_end().ends_with(CODE),
        "{text}"
    );
    assert!(
        text.contains("http://localhost:3000"),
        "the site's address: {text}"
    );
    assert!(
        html.contains("token=4bcb2f9c7e1d4a0d&amp;type=recovery") && html.contains(CODE),
        "{html}"
    );
    let row = post.until(id, "succeeded").await;
    let message_id = row.result.as_ref().unwrap()["message_id"].as_str().unwrap();
    assert_eq!(
        header(&mail, "Message-ID"),
        [format!("<{message_id}@example.org>")]
    );
    assert_eq!(row.result.unwrap()["response"], "250 OK queued as 4f2a");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_script_arrives_as_it_was_written() {
    let server = SmtpServer::start(&[]);
    let post = Post::to_server(server.port, &[]).await;
    let subject = "Grüße, {{ Data.name }}: パスワードの再設定 🔑, and so on until the line is far too long for one";
    let html = "<p>Grüße {{ Data.name }} — パスワード</p>";
    post.template(
        "recovery",
        (
            subject,
            html,
            "Grüße {{ Data.name }}\n.\nパスワード\n.hidden",
        ),
    )
    .await;
    post.worker().await;
    post.enqueue(&recovery("ana@example.com").value("Data", json!({ "name": "Zoë" })))
        .await;
    let mail = server.until("mail", 1).await.remove(0);
    assert_eq!(mail["subject"], subject.replace("{{ Data.name }}", "Zoë"));
    assert_eq!(
        mail["html"].as_str().unwrap().trim_end(),
        "<p>Grüße Zoë — パスワード</p>"
    );
    let text = mail["text"].as_str().unwrap().replace("\r\n", "\n");
    assert_eq!(text.trim_end(), "Grüße Zoë\n.\nパスワード\n.hidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_is_rolled_back_sends_nothing() {
    let server = SmtpServer::start(&[]);
    let post = Post::to_server(server.port, &[]).await;
    post.worker().await;
    let tx = post.app.running.db().auth().begin().await.unwrap();
    post.mailer()
        .enqueue(&tx, &recovery("ben@example.com"))
        .await
        .unwrap();
    tx.rollback().await.unwrap();
    post.enqueue(&recovery("ana@example.com")).await;
    server.until("mail", 1).await;
    let to: Vec<Value> = server
        .events("recipient")
        .iter()
        .map(|event| event["address"].clone())
        .collect();
    assert_eq!(to, ["ana@example.com"]);
}

/// A dead server loses nothing and keeps nobody else waiting. Fails on the first count without the breaker: each mail would
/// use up attempts.
#[tokio::test(flavor = "multi_thread")]
async fn while_the_server_is_down_mails_wait_and_other_jobs_do_not() {
    let free = free_port();
    let post = Post::to_server(free, &[]).await;
    post.sql(
        "create function public.other(payload jsonb) returns jsonb language sql return '{}'::jsonb",
    )
    .await;
    post.worker().await;
    let first = post.enqueue(&recovery("u0@example.com")).await;
    let row = post.until(first, "scheduled").await;
    assert!(
        row.error.contains(&format!(
            "the SMTP server 127.0.0.1:{free} cannot be reached"
        )),
        "{}",
        row.error
    );
    let mut ids = vec![first];
    for number in 1..6 {
        ids.push(
            post.enqueue(&recovery(&format!("u{number}@example.com")))
                .await,
        );
    }
    for id in &ids[1..] {
        let row = post.until(*id, "scheduled").await;
        assert_eq!(
            (row.attempts, row.error.as_str()),
            (0, ""),
            "nobody asked for it"
        );
    }
    let other = "select (e.job).id from jobs.enqueue('sql:public.other') as e";
    let other: i64 = post.owner.query_one(other, &[]).await.unwrap().get(0);
    post.until(other, "succeeded").await;

    let server = SmtpServer::start(&["--port", &free.to_string()]);
    post.later().await;
    for id in &ids {
        // Those that come while the first one tries wait once more.
        crate::scratch::eventually("the mail is sent", async || {
            post.later().await;
            post.row(*id).await.status == "succeeded"
        })
        .await;
    }
    let mut to: Vec<String> = server
        .events("mail")
        .iter()
        .map(|mail| mail["recipients"][0].as_str().unwrap().to_owned())
        .collect();
    to.sort_unstable();
    assert_eq!(
        to,
        (0..6)
            .map(|number| format!("u{number}@example.com"))
            .collect::<Vec<_>>(),
        "each once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_that_is_refused_is_told_and_not_asked_again() {
    let server = SmtpServer::start(&[]);
    let post = Post::to_server(server.port, &[]).await;
    post.worker().await;
    let id = post.enqueue(&recovery("reject-me@example.com")).await;
    let row = post.until(id, "failed").await;
    assert_eq!(row.attempts, 1);
    assert_eq!(
        row.error,
        "the SMTP server refuses the recipient: 550 5.1.1 <reject-me@example.com>: Recipient address rejected: User unknown"
    );
    // Others are not held up.
    let id = post.enqueue(&recovery("ana@example.com")).await;
    assert_eq!(post.until(id, "succeeded").await.attempts, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_to_be_tried_later_is_tried_later() {
    let server = SmtpServer::start(&[]);
    let post = Post::to_server(server.port, &[]).await;
    post.worker().await;
    let id = post.enqueue(&recovery("later-me@example.com")).await;
    let row = post.until(id, "scheduled").await;
    assert_eq!(
        (row.attempts, row.error.as_str()),
        (
            1,
            "the SMTP server refuses the recipient: 451 4.7.1 Greylisted, try again later"
        )
    );
    let id = post.enqueue(&recovery("ana@example.com")).await;
    assert_eq!(post.until(id, "succeeded").await.attempts, 1);
}

/// Fails when the whole of sending has no deadline: lettre's own covers the connection only.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_is_given_up_after_the_time_that_is_set() {
    let server = SmtpServer::start(&[]);
    let post = Post::to_server(server.port, &[("mail.smtp_timeout_s", "1")]).await;
    post.worker().await;
    let id = post.enqueue(&recovery("slow-me@example.com")).await;
    let row = post.until(id, "scheduled").await;
    assert_eq!(
        row.error,
        format!(
            "the SMTP server 127.0.0.1:{} took longer than 1 s",
            server.port
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_used_again_and_one_that_the_server_has_closed_costs_no_attempt() {
    let server = SmtpServer::start(&[]);
    let post = Post::to_server(server.port, &[]).await;
    post.worker().await;
    let first = post.enqueue(&recovery("a@example.com")).await;
    post.until(first, "succeeded").await;
    let second = post.enqueue(&recovery("bye-b@example.com")).await;
    post.until(second, "succeeded").await;
    let mails = server.until("mail", 2).await;
    assert_eq!(mails[0]["session"], mails[1]["session"]);
    server.until("closed", 1).await;
    let third = post.enqueue(&recovery("c@example.com")).await;
    assert_eq!(post.until(third, "succeeded").await.attempts, 1);
    assert_ne!(
        server.until("mail", 3).await[2]["session"],
        mails[0]["session"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_encryption_is_told_nothing_unless_that_is_set() {
    let server = SmtpServer::start(&[]);
    let post = Post::to_server(server.port, &[("mail.smtp_starttls", "true")]).await;
    post.worker().await;
    let id = post.enqueue(&recovery("ana@example.com")).await;
    let row = post.until(id, "scheduled").await;
    assert!(
        row.error
            .contains("offers no STARTTLS; for port 465 set SMTP_TLS=true"),
        "{}",
        row.error
    );
    assert_eq!(server.events("recipient"), [] as [Value; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_named_without_being_shown_and_the_mail_waits() {
    let server = SmtpServer::start(&["--user", "app", "--password", "right password"]);
    let settings = [
        ("mail.smtp_username", "app"),
        ("mail.smtp_password", "wrong-password-9"),
    ];
    let post = Post::to_server(server.port, &settings).await;
    post.worker().await;
    let id = post.enqueue(&recovery("ana@example.com")).await;
    let row = post.until(id, "scheduled").await;
    assert!(
        row.error
            .contains("refuses SMTP_USERNAME and SMTP_PASSWORD: 535"),
        "{}",
        row.error
    );
    assert!(!row.error.contains("wrong-password-9"));

    let settings = [
        ("mail.smtp_username", "app"),
        ("mail.smtp_password", "right password"),
    ];
    let post = Post::to_server(server.port, &settings).await;
    post.worker().await;
    post.enqueue(&recovery("ana@example.com")).await;
    assert_eq!(server.until("mail", 1).await[0]["user"], "app");
}

/// Attack 42. Fails when `to` is not parsed before it is used, and when subjects are not made one line.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_user_writes_adds_a_header_or_a_recipient() {
    let server = SmtpServer::start(&[]);
    let post = Post::to_server(server.port, &[]).await;
    post.template(
        "recovery",
        (
            "For {{ Data.name }}",
            "<p>{{ Data.name }}</p>",
            "Dear {{ Data.name }}",
        ),
    )
    .await;
    post.worker().await;
    for to in [
        "ana@example.com\r\nBcc: eve@example.com",
        "ana@example.com\nRCPT TO:<eve@example.com>",
        "ana@example.com, eve@example.com",
        "ana@example.com>\r\nRCPT TO:<eve@example.com",
        "Ana <ana@example.com>",
        "ana@example.com ",
        "ana@example.com\0",
        "@example.com",
        "",
    ] {
        let tx = post.app.running.db().auth().begin().await.unwrap();
        let refused = post.mailer().enqueue(&tx, &recovery(to)).await;
        assert!(matches!(refused, Err(MailError::Recipient)), "{to:?}");
        tx.rollback().await.unwrap();
    }
    let hostile = "Ana\r\nBcc: eve@example.com\r\n\r\n<script>alert(1)</script>\r\n.\r\nRCPT TO:<eve@example.com>";
    post.enqueue(&recovery("ana@example.com").value("Data", json!({ "name": hostile })))
        .await;
    let mail = server.until("mail", 1).await.remove(0);
    assert_eq!(mail["recipients"], json!(["ana@example.com"]));
    assert_eq!(header(&mail, "Bcc"), [] as [&str; 0]);
    assert_eq!(header(&mail, "Subject").len(), 1);
    assert!(!mail["html"].as_str().unwrap().contains("<script>"));
    assert_eq!(
        server.events("recipient").len(),
        1,
        "nobody else was named to the server"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_no_template_s_is_refused() {
    let post = Post::new(&[]).await;
    let tx = post.app.running.db().auth().begin().await.unwrap();
    for name in ["../recovery", "Recovery", "a b", "", &"x".repeat(65)] {
        let refused = post
            .mailer()
            .enqueue(&tx, &NewMail::new(name, "ana@example.com"))
            .await;
        assert!(matches!(refused, Err(MailError::Template(_))), "{name:?}");
    }
    tx.rollback().await.unwrap();
}
