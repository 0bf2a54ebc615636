//! A project that delivers mails itself.

use std::sync::{Arc, Mutex};

use sb::JobError;
use sb::mail::{Delivery, Letter};
use serde_json::{Value, json};
use uuid::Uuid;

use super::server::SmtpServer;
use super::{CODE, Post, recovery};

/// Takes mails to `taken-…`, fails once for `twice-…`, leaves all others.
fn deliver(post: &Post) -> Arc<Mutex<Vec<Letter>>> {
    let seen: Arc<Mutex<Vec<Letter>>> = Arc::default();
    let letters = Arc::clone(&seen);
    post.mailer().deliver_with(Arc::new(move |letter| {
        let mut letters = letters.lock().unwrap();
        let is_first = letters.iter().all(|other| other.id != letter.id);
        letters.push(letter.clone());
        let result = match letter.to.split('-').next() {
            Some("twice") if is_first => {
                Err(JobError::Failed(format!("not yet: {:?}", letter.values)))
            }
            Some("twice" | "taken") => Ok(Delivery::Taken),
            _ => Ok(Delivery::Declined),
        };
        Box::pin(async move { result })
    }));
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn it_sees_each_mail_opened_and_takes_those_it_wants() {
    let server = SmtpServer::start(&[]);
    let post = Post::to_server(server.port, &[]).await;
    let seen = deliver(&post);
    post.worker().await;
    let user = Uuid::new_v4();
    let taken = post
        .enqueue(&recovery("taken-me@example.com").user_id(user))
        .await;
    assert_eq!(
        post.until(taken, "succeeded").await.result,
        Some(json!({ "delivered": "hook" }))
    );
    {
        let seen = seen.lock().unwrap();
        assert_eq!(
            (seen[0].template.as_str(), seen[0].to.as_str()),
            ("recovery", "taken-me@example.com")
        );
        assert_eq!(
            (seen[0].user_id, &seen[0].values["Token"]),
            (Some(user), &Value::from(CODE))
        );
        assert!(!format!("{:?}", seen[0]).contains(CODE));
    }
    let left = post.enqueue(&recovery("ana@example.com")).await;
    post.until(left, "succeeded").await;
    let to: Vec<Value> = server
        .events("mail")
        .into_iter()
        .map(|mail| mail["recipients"][0].clone())
        .collect();
    assert_eq!(to, ["ana@example.com"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_failure_is_an_attempt_and_the_mail_has_the_same_id_in_the_next() {
    let server = SmtpServer::start(&[]);
    let post = Post::to_server(server.port, &[]).await;
    let seen = deliver(&post);
    post.worker().await;
    let id = post.enqueue(&recovery("twice-me@example.com")).await;
    let error = post.until(id, "scheduled").await.error;
    assert!(
        error.starts_with("not yet: {") && !error.contains(CODE) && !error.contains("verify?token"),
        "{error}"
    );
    post.later().await;
    post.until(id, "succeeded").await;
    let seen = seen.lock().unwrap();
    assert_eq!((seen.len(), seen[0].id), (2, seen[1].id));
    assert_eq!(server.events("recipient"), [] as [Value; 0]);
}
