//! The audit log: listed, appended to, sealed and checked.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::ip_text;
use super::limits::{Bucket, take_token};
use crate::auth::audit_chain::{Anchor, Link, RawEntry, Seal};
use crate::auth::audit_log::{Entry, Search};
use crate::auth::model::Client;
use crate::db::{Connection, DbError, Row, SystemConnection, Tx};

/// `$1` part of the author's name, `$2` the action, `$3` the type.
macro_rules! is_searched {
    () => {
        "($1::text is null or strpos(lower(e.payload ->> 'actor_username'), lower($1)) > 0)
       and ($2::text is null or e.payload ->> 'action' = $2)
       and ($3::text is null or e.payload ->> 'log_type' = $3)"
    };
}

/// As the index has it.
macro_rules! is_subject {
    () => {
        "case e.payload ->> 'actor_id'
             when '00000000-0000-0000-0000-000000000000' then e.payload -> 'traits' ->> 'user_id'
             else e.payload ->> 'actor_id'
           end = $1"
    };
}

type Params<'a> = (Option<&'a str>, Option<&'a str>, Option<&'a str>);

fn params(search: Search<'_>) -> Params<'_> {
    match search {
        Search::Everything => (None, None, None),
        Search::Author(text) => (Some(text), None, None),
        Search::Action(text) => (None, Some(text), None),
        Search::Type(text) => (None, None, Some(text)),
    }
}

/// Entries, newest first.
pub(in crate::auth) async fn list_entries(
    db: &SystemConnection,
    search: Search<'_>,
    (limit, offset): (i64, i64),
) -> Result<Vec<Entry>, DbError> {
    let sql = concat!(
        "
    select e.id
         , e.payload
         , e.ip_address
         , e.created_at
      from auth.audit_log_entries e
     where ",
        is_searched!(),
        "
     order by e.created_at desc
         , e.id desc
     limit $4
    offset $5"
    );
    let (author, action, log_type) = params(search);
    let rows = db
        .query(sql, &[&author, &action, &log_type, &limit, &offset])
        .await?;
    Ok(rows.iter().map(entry).collect())
}

/// How many entries [`list_entries`] has on all pages.
pub(in crate::auth) async fn count_entries(
    db: &SystemConnection,
    search: Search<'_>,
) -> Result<i64, DbError> {
    let sql = concat!(
        "
    select count(*) as total
      from auth.audit_log_entries e
     where ",
        is_searched!()
    );
    let (author, action, log_type) = params(search);
    let row = db.query_one(sql, &[&author, &action, &log_type]).await?;
    Ok(row.get("total"))
}

/// Entries about one user, newest first.
pub(in crate::auth) async fn list_own_entries(
    db: &SystemConnection,
    user_id: &str,
    (limit, offset): (i64, i64),
) -> Result<Vec<Entry>, DbError> {
    let sql = concat!(
        "
    select e.id
         , e.payload
         , e.ip_address
         , e.created_at
      from auth.audit_log_entries e
     where ",
        is_subject!(),
        "
     order by e.created_at desc
         , e.id desc
     limit $2
    offset $3"
    );
    let rows = db.query(sql, &[&user_id, &limit, &offset]).await?;
    Ok(rows.iter().map(entry).collect())
}

/// How many entries [`list_own_entries`] has on all pages.
pub(in crate::auth) async fn count_own_entries(
    db: &SystemConnection,
    user_id: &str,
) -> Result<i64, DbError> {
    let sql = concat!(
        "
    select count(*) as total
      from auth.audit_log_entries e
     where ",
        is_subject!()
    );
    Ok(db.query_one(sql, &[&user_id]).await?.get("total"))
}

fn entry(row: &Row) -> Entry {
    Entry {
        id: row.get("id"),
        payload: row.get::<_, Option<Value>>("payload").unwrap_or_default(),
        ip_address: row.get("ip_address"),
        created_at: row.get("created_at"),
    }
}

/// Appends an entry, if the bucket has a token for it, or tells when there will be one.
pub(in crate::auth) async fn log_sampled(
    db: &SystemConnection,
    bucket: &Bucket,
    payload: &Value,
    (client, at): (&Client, DateTime<Utc>),
) -> Result<Result<(), DateTime<Utc>>, DbError> {
    if let Err(until) = take_token(db, bucket, at).await? {
        return Ok(Err(until));
    }
    let sql = "
    insert into auth.audit_log_entries
      (payload, created_at, ip_address)
    values
      ($1, $2, $3)";
    db.execute(sql, &[&payload, &at, &ip_text(client)]).await?;
    Ok(Ok(()))
}

/// The last seal, and nobody else's turn until the end of the transaction.
pub(in crate::auth) async fn lock_head(tx: &Tx) -> Result<Option<Link>, DbError> {
    let sql = "
    select h.number
         , h.mac
      from auth.audit_head() h";
    let row = tx.query_opt(sql, &[]).await?;
    Ok(row.as_ref().map(link))
}

fn link(row: &Row) -> Link {
    Link {
        number: row.get("number"),
        mac: row.get("mac"),
    }
}

/// Entries that no seal covers, in the order in which one covers them.
pub(in crate::auth) async fn unsealed(tx: &Tx, most: i32) -> Result<Vec<RawEntry>, DbError> {
    let sql = "
    select e.id
         , e.created_at
         , e.ip_address
         , e.payload
      from auth.unsealed_audit_entries($1) e";
    let rows = tx.query(sql, &[&most]).await?;
    Ok(rows.iter().map(raw_entry).collect())
}

fn raw_entry(row: &Row) -> RawEntry {
    RawEntry {
        id: row.get("id"),
        created_at: row.get("created_at"),
        ip_address: row.get("ip_address"),
        payload: row.get("payload"),
    }
}

/// Stores a seal over entries.
pub(in crate::auth) async fn add_seal(
    tx: &Tx,
    seal: &Seal,
    covered: &[Uuid],
) -> Result<(), DbError> {
    let sql = "select auth.add_audit_seal($1, $2, $3, $4, $5, $6)";
    tx.execute(
        sql,
        &[
            &seal.number,
            &seal.sealed_at,
            &seal.newest_at,
            &seal.digest,
            &seal.mac,
            &covered,
        ],
    )
    .await
    .map(drop)
}

/// The last of at most `most` oldest seals whose entries are all older than `before`.
pub(in crate::auth) async fn last_old_seal(
    tx: &Tx,
    before: DateTime<Utc>,
    most: i32,
) -> Result<Option<(Link, DateTime<Utc>)>, DbError> {
    let sql = "
    select s.number
         , s.mac
         , s.newest_at
      from auth.old_audit_seals($1, $2) s
     order by s.number desc
     limit 1";
    let row = tx.query_opt(sql, &[&before, &most]).await?;
    Ok(row.map(|row| (link(&row), row.get("newest_at"))))
}

/// Removes entries and seals up to where the chain begins from now on. Tells how many entries.
pub(in crate::auth) async fn prune(tx: &Tx, anchor: &Anchor) -> Result<i64, DbError> {
    let sql = "
    select auth.prune_audit($1, $2, $3, $4, $5) as removed";
    let row = tx
        .query_one(
            sql,
            &[
                &anchor.number,
                &anchor.newest_at,
                &anchor.seal_mac,
                &anchor.pruned_at,
                &anchor.mac,
            ],
        )
        .await?;
    Ok(row.get("removed"))
}

/// Where the chain begins, if its older part was removed.
pub(in crate::auth) async fn anchor(db: &Connection) -> Result<Option<Anchor>, DbError> {
    let sql = "
    select a.number
         , a.newest_at
         , a.seal_mac
         , a.pruned_at
         , a.mac
      from auth.audit_anchor a";
    let row = db.query_opt(sql, &[]).await?;
    Ok(row.map(|row| Anchor {
        number: row.get("number"),
        newest_at: row.get("newest_at"),
        seal_mac: row.get("seal_mac"),
        pruned_at: row.get("pruned_at"),
        mac: row.get("mac"),
    }))
}

/// The seals after a number, oldest first.
pub(in crate::auth) async fn seals_after(
    db: &Connection,
    number: i64,
    most: i64,
) -> Result<Vec<Seal>, DbError> {
    let sql = "
    select s.number
         , s.sealed_at
         , s.entries
         , s.newest_at
         , s.digest
         , s.mac
      from auth.audit_seals s
     where s.number > $1
     order by s.number
     limit $2";
    let rows = db.query(sql, &[&number, &most]).await?;
    Ok(rows
        .iter()
        .map(|row| Seal {
            number: row.get("number"),
            sealed_at: row.get("sealed_at"),
            entries: row.get("entries"),
            newest_at: row.get("newest_at"),
            digest: row.get("digest"),
            mac: row.get("mac"),
        })
        .collect())
}

/// The entries that a seal covers, in its order.
pub(in crate::auth) async fn covered_by(
    db: &Connection,
    number: i64,
) -> Result<Vec<RawEntry>, DbError> {
    let sql = "
    select e.id
         , e.created_at
         , e.ip_address::text as ip_address
         , e.payload::text as payload
      from auth.audit_log_entries e
     where e.seal = $1
     order by coalesce(e.created_at, '-infinity')
         , e.id";
    let rows = db.query(sql, &[&number]).await?;
    Ok(rows.iter().map(raw_entry).collect())
}

/// How many entries name a seal that is not there, and how many none.
pub(in crate::auth) async fn count_uncovered(db: &Connection) -> Result<(i64, i64), DbError> {
    let sql = "
    select count(*) filter (where e.seal is not null) as strays
         , count(*) filter (where e.seal is null) as unsealed
      from auth.audit_log_entries e
      left join auth.audit_seals s
        on s.number = e.seal
     where s.number is null";
    let row = db.query_one(sql, &[]).await?;
    Ok((row.get("strays"), row.get("unsealed")))
}
