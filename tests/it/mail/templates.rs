//! Templates of a project, from its folder and its database, on their way into mails.

use std::fs;

use sb::mail::NewMail;
use serde_json::{Value, json};

use super::server::SmtpServer;
use super::{LINK, Post, recovery};

#[tokio::test(flavor = "multi_thread")]
async fn a_project_s_templates_replace_the_built_in_ones_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let server = SmtpServer::start(&[]);
    let settings = [("mail.templates_dir", folder.path().to_str().unwrap())];
    let post = Post::to_server(server.port, &settings).await;
    post.worker().await;
    let mut count = 0;
    let mut next = async |mail: NewMail| -> Value {
        count += 1;
        post.enqueue(&mail).await;
        server.until("mail", count).await.remove(count - 1)
    };
    let mail = next(recovery("ana@example.com")).await;
    assert_eq!(mail["subject"], "Reset your password");

    fs::write(
        folder.path().join("recovery.subject.txt"),
        "Folder: {{ .Email }}\n",
    )
    .unwrap();
    fs::write(
        folder.path().join("recovery.html"),
        "<a href=\"{{ .ConfirmationURL }}\">go</a>",
    )
    .unwrap();
    let mail = next(recovery("ana@example.com")).await;
    assert_eq!(mail["subject"], "Folder: ana@example.com");
    assert!(
        mail["html"]
            .as_str()
            .unwrap()
            .starts_with("<a href=\"http:&#x2f;&#x2f;sb.test")
    );
    assert!(
        mail["text"].as_str().unwrap().contains(LINK),
        "the text is still the built-in one"
    );

    post.sql(
        "insert into mail.templates (name, subject) values ('recovery', 'Database');
         insert into mail.templates (name, language, subject) values ('recovery', 'de', 'Datenbank')",
    )
    .await;
    assert_eq!(
        next(recovery("ana@example.com")).await["subject"],
        "Database"
    );
    let german = recovery("ana@example.com").value("Data", json!({ "language": "de" }));
    assert_eq!(next(german).await["subject"], "Datenbank");

    // Broken: people get their mail all the same.
    post.sql("update mail.templates set subject = '{{ Nothing }}'")
        .await;
    let mail = next(recovery("ana@example.com")).await;
    assert_eq!(mail["subject"], "Reset your password");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_nobody_has_is_an_error_that_says_what_to_do() {
    let server = SmtpServer::start(&[]);
    let post = Post::to_server(server.port, &[]).await;
    post.worker().await;
    let id = post
        .enqueue(&NewMail::new("welcome", "ana@example.com"))
        .await;
    let row = post.until(id, "scheduled").await;
    assert_eq!(
        row.error,
        "welcome.subject.txt: there is no such template; add it to the folder of templates, or to mail.templates"
    );
    post.template("welcome", ("Hi", "<p>Hi</p>", "Hi {{ Email }}"))
        .await;
    post.later().await;
    post.until(id, "succeeded").await;
    assert_eq!(
        server.until("mail", 1).await[0]["text"]
            .as_str()
            .unwrap()
            .trim_end(),
        "Hi ana@example.com"
    );
}
