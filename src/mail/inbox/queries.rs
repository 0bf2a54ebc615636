//! SQL of the inbox.

use uuid::Uuid;

use super::{Mail, Search, Summary};
use crate::db::{DbError, Row};
use crate::jobs::control::Runs;

/// The newest first, and how many there are in all.
pub(crate) async fn list(
    on: &impl Runs,
    search: &Search,
    (start, limit): (i64, i64),
) -> Result<(Vec<Summary>, i64), DbError> {
    let sql = "
    with found as (
      select m.id
           , m.number
        from mail.messages m
       where m.created_at > now() - interval '7 days'
         and ($1::bigint is null or m.number > $1)
         and not exists (
               select
                 from unnest($2::text[]) as w (word)
                where strpos(lower(m.recipient), lower(w.word)) = 0
             )
         and not exists (
               select
                 from unnest($3::text[]) as w (word)
                where strpos(lower(m.sender), lower(w.word)) = 0
             )
         and not exists (
               select
                 from unnest($4::text[]) as w (word)
                where strpos(lower(m.subject), lower(w.word)) = 0
             )
         and not exists (
               select
                 from unnest($5::text[]) as w (word)
                where strpos(lower(concat_ws(' ', m.recipient, m.sender, m.subject, m.text)), lower(w.word)) = 0
             )
    ), page as (
      select f.id
        from found f
       order by f.number desc
       limit $6
      offset $7
    )
    select m.id
         , m.number
         , m.created_at
         , m.template
         , m.sender
         , m.recipient
         , m.subject
         , left(regexp_replace(left(m.text, 1000), '\\s+', ' ', 'g'), 200) as snippet
         , (octet_length(m.text) + octet_length(m.html))::bigint as size
         , (select count(*) from found) as total
      from page p
      join mail.messages m
        on m.id = p.id
     order by m.number desc";
    let rows = on
        .rows(
            sql,
            &[
                &search.after,
                &search.to,
                &search.from,
                &search.subject,
                &search.text,
                &limit,
                &start,
            ],
        )
        .await?;
    let total = rows.first().map_or(0, |row| row.get("total"));
    Ok((rows.iter().map(summary).collect(), total))
}

pub(crate) async fn find(on: &impl Runs, id: Uuid) -> Result<Option<Mail>, DbError> {
    let sql = "
    select m.id
         , m.number
         , m.created_at
         , m.template
         , m.sender
         , m.recipient
         , m.subject
         , '' as snippet
         , (octet_length(m.text) + octet_length(m.html))::bigint as size
         , m.text
         , m.html
      from mail.messages m
     where m.id = $1
       and m.created_at > now() - interval '7 days'";
    let rows = on.rows(sql, &[&id]).await?;
    Ok(rows.first().map(|row| Mail {
        summary: summary(row),
        text: row.get("text"),
        html: row.get("html"),
    }))
}

/// Removes these mails, or all of them.
pub(super) async fn remove(on: &impl Runs, ids: Option<&[Uuid]>) -> Result<(), DbError> {
    let sql = "
    delete from mail.messages m
     where $1::uuid[] is null
        or m.id = any ($1)";
    on.rows(sql, &[&ids]).await.map(drop)
}

fn summary(row: &Row) -> Summary {
    Summary {
        id: row.get("id"),
        number: row.get("number"),
        created_at: row.get("created_at"),
        template: row.get("template"),
        from: row.get("sender"),
        to: row.get("recipient"),
        subject: row.get("subject"),
        snippet: row.get("snippet"),
        size: row.get("size"),
    }
}
