//! SQL of templates and of the queue's side of mail.

use serde_json::Value;
use uuid::Uuid;

use super::template::{Rendered, Stored};
use super::{Letter, MailError};
use crate::db::{DbError, SystemConnection, Tx};
use crate::jobs::JobId;
use crate::jobs::control::Runs;

/// The job and its queue.
pub(super) async fn enqueue(
    tx: &Tx,
    envelope: &Value,
    user_id: Option<Uuid>,
    at_a_time: i32,
) -> Result<(JobId, String), MailError> {
    let sql = "
    select e.id
         , e.queue
      from mail.enqueue($1, $2, $3) as e";
    let row = tx.query_one(sql, &[envelope, &user_id, &at_a_time]).await?;
    Ok((row.get("id"), row.get("queue")))
}

/// What the database has of a template, in these languages.
pub(super) async fn templates(
    on: &impl Runs,
    name: &str,
    languages: &[String],
) -> Result<Vec<Stored>, DbError> {
    let sql = "
    select t.language
         , t.subject
         , t.html
         , t.text
      from mail.templates t
     where t.name = $1
       and t.language = any ($2)";
    let rows = on.rows(sql, &[&name, &languages]).await?;
    let stored = rows.iter().map(|row| Stored {
        language: row.get("language"),
        subject: row.get("subject"),
        html: row.get("html"),
        text: row.get("text"),
    });
    Ok(stored.collect())
}

/// Puts a mail into the development inbox, unless it is there.
pub(super) async fn keep(
    connection: &SystemConnection,
    letter: &Letter,
    sender: &str,
    rendered: &Rendered,
) -> Result<(), DbError> {
    let sql = "
    insert into mail.messages (id, template, sender, recipient, subject, text, html)
    values ($1, $2, $3, $4, $5, $6, $7)
        on conflict (id) do nothing";
    let html = rendered.html.as_deref().unwrap_or_default();
    connection
        .query(
            sql,
            &[
                &letter.id,
                &letter.template,
                &sender,
                &letter.to,
                &rendered.subject,
                &rendered.text,
                &html,
            ],
        )
        .await
        .map(drop)
}

/// Removes all but the newest, and what is older than a week.
pub(super) async fn trim(connection: &SystemConnection, most: i64) -> Result<(), DbError> {
    let sql = "
    delete from mail.messages m
     where m.created_at < now() - interval '7 days'
        or m.number <= (
             select n.number
               from mail.messages n
              order by n.number desc
             offset $1
              limit 1
           )";
    connection.query(sql, &[&most.max(1)]).await.map(drop)
}
