//! Who may do what with the tables and functions of mail.

use sb::Caller;
use sb::db::SqlState;
use sb::mail::MailError;

use super::{Post, recovery};

async fn refused(post: &Post, role: &str, sql: &str) {
    let claims = serde_json::json!({ "role": role });
    let caller = Caller::from_claims(claims.as_object().unwrap().clone());
    let tx = post.app.running.db().begin(&caller).await.unwrap();
    let error = tx
        .batch_execute(sql)
        .await
        .expect_err(&format!("{role}: {sql}"));
    assert_eq!(
        error.code(),
        Some(&SqlState::INSUFFICIENT_PRIVILEGE),
        "{role}: {sql}: {error}"
    );
    let _ = tx.rollback().await;
}

/// Fails when the migration grants what it says that it does not. supython weak point 26: the service role had no right
/// on templates. Fails when grants of the schema `mail` are missing, or too many.
#[tokio::test(flavor = "multi_thread")]
async fn users_reach_nothing_and_trusted_code_the_templates_only() {
    let post = Post::new(&[]).await;
    for role in ["anon", "authenticated"] {
        for sql in [
            "select id from mail.messages",
            "select name from mail.templates",
            "update mail.templates set text = 'x'",
            "select mail.enqueue('{}', null, 1)",
        ] {
            refused(&post, role, sql).await;
        }
    }
    refused(&post, "service_role", "select id from mail.messages").await;
    refused(&post, "service_role", "delete from mail.messages").await;
    let claims = serde_json::json!({ "role": "service_role" });
    let service = Caller::from_claims(claims.as_object().unwrap().clone());
    let tx = post.app.running.db().begin(&service).await.unwrap();
    tx.batch_execute(
        "insert into mail.templates (name, subject) values ('recovery', 'x');
         update mail.templates set subject = 'y';
         delete from mail.templates",
    )
    .await
    .unwrap();
    // A program's own code mails in a transaction of its own.
    post.mailer()
        .enqueue(&tx, &recovery("ana@example.com"))
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_s_transaction_sends_no_mail() {
    let post = Post::new(&[]).await;
    let claims = serde_json::json!({ "role": "authenticated" });
    let user = Caller::from_claims(claims.as_object().unwrap().clone());
    let tx = post.app.running.db().begin(&user).await.unwrap();
    let refused = post
        .mailer()
        .enqueue(&tx, &recovery("ana@example.com"))
        .await;
    assert!(matches!(refused, Err(MailError::Db(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn templates_have_names_and_content() {
    let post = Post::new(&[]).await;
    for values in [
        "('../x', '', 's', null, null)",
        "('Recovery', '', 's', null, null)",
        "('recovery', 'german-language-of-austria', 's', null, null)",
        "('recovery', '', E'a\\nb', null, null)",
        "('recovery', '', null, null, null)",
        "('recovery', '', null, '', null)",
    ] {
        let sql = format!(
            "insert into mail.templates (name, language, subject, html, text) values {values}"
        );
        assert!(post.owner.batch_execute(&sql).await.is_err(), "{values}");
    }
}
