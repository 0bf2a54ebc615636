//! One-time tokens: issued, tried, used up.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::db::{DbError, Row, Tx};

/// A token to store; it replaces the user's older one of its type.
pub(in crate::auth) struct TokenRow<'a> {
    pub(in crate::auth) id: Uuid,
    pub(in crate::auth) user_id: Uuid,
    pub(in crate::auth) token_type: &'a str,
    /// Further types it replaces.
    pub(in crate::auth) replaces: &'a [&'a str],
    pub(in crate::auth) relates_to: &'a str,
    pub(in crate::auth) token_hash: Option<Vec<u8>>,
    pub(in crate::auth) code_hash: Vec<u8>,
    pub(in crate::auth) flow_id: Option<Uuid>,
    pub(in crate::auth) at: DateTime<Utc>,
    pub(in crate::auth) code_expires_at: DateTime<Utc>,
    pub(in crate::auth) expires_at: DateTime<Utc>,
}

/// A token that was used or tried.
pub(in crate::auth) struct FoundToken {
    pub(in crate::auth) id: Uuid,
    pub(in crate::auth) user_id: Uuid,
    pub(in crate::auth) token_type: String,
    pub(in crate::auth) code_hash: Option<Vec<u8>>,
    pub(in crate::auth) flow_id: Option<Uuid>,
}

/// Stores a token, and removes two that are over. Of several users who want one address only the last has a token, so that
/// a guess is never a guess at many codes.
pub(in crate::auth) async fn write_token(tx: &Tx, new: &TokenRow<'_>) -> Result<u64, DbError> {
    let sql = "
    with pruned as (
      delete from auth.one_time_tokens t
       where t.id in (
         select expired.id
           from auth.one_time_tokens expired
          where expired.expires_at <= $9
            and expired.user_id <> $2
            and expired.relates_to <> $5
          order by expired.expires_at
          limit 2
            for update of expired skip locked
       )
    ), replaced as (
      delete from auth.one_time_tokens t
       where t.user_id = $2
         and t.token_type = any ($4)
         and t.token_type <> $3
    ), outrun as (
      delete from auth.one_time_tokens t
       where t.relates_to = $5
         and t.token_type = $3
         and t.user_id <> $2
    )
    insert into auth.one_time_tokens
      ( id, user_id, token_type, relates_to, token_hash, code_hash, flow_id, created_at, updated_at
      , code_expires_at, expires_at )
    values
      ( $1, $2, $3, $5, $6, $7, $8, $9, $9
      , $10, $11 )
    on conflict (user_id, token_type) do update
       set id = excluded.id
         , relates_to = excluded.relates_to
         , token_hash = excluded.token_hash
         , code_hash = excluded.code_hash
         , failed_attempts = 0
         , flow_id = excluded.flow_id
         , created_at = excluded.created_at
         , updated_at = excluded.updated_at
         , code_expires_at = excluded.code_expires_at
         , expires_at = excluded.expires_at";
    tx.execute(
        sql,
        &[
            &new.id,
            &new.user_id,
            &new.token_type,
            &new.replaces,
            &new.relates_to,
            &new.token_hash,
            &new.code_hash,
            &new.flow_id,
            &new.at,
            &new.code_expires_at,
            &new.expires_at,
        ],
    )
    .await
}

/// A token counts for as long as its user has the address, or wants to have it.
macro_rules! is_of_user {
    () => {
        "u.id = t.user_id
       and u.deleted_at is null
       and t.relates_to = case t.token_type
             when 'email_change_new' then lower(u.email_change)
             when 'sms' then u.phone
             when 'phone_change' then u.phone_change
             when 'reauthentication' then coalesce(nullif(lower(u.email), ''), u.phone)
             else lower(u.email)
           end"
    };
}

macro_rules! token_columns {
    () => {
        "t.id
        , t.user_id
        , t.token_type
        , t.code_hash
        , t.flow_id"
    };
}

/// Uses up the token of a link: one statement, so that of many callers one gets it.
pub(in crate::auth) async fn take_token_by_hash(
    tx: &Tx,
    token_hash: &[u8],
    types: &[&str],
    now: DateTime<Utc>,
) -> Result<Option<FoundToken>, DbError> {
    let sql = concat!(
        "
    delete from auth.one_time_tokens t
     using auth.users u
     where t.token_hash = $1
       and t.token_type = any ($2)
       and t.expires_at > $3
       and ",
        is_of_user!(),
        "
    returning ",
        token_columns!()
    );
    let row = tx.query_opt(sql, &[&token_hash, &types, &now]).await?;
    Ok(row.as_ref().map(found))
}

/// Counts a try at the codes of an address, and gives those that may still be tried. Their rows stay locked until the
/// transaction ends, so that tries at once are tries one by one; and the count stands whatever becomes of the try.
pub(in crate::auth) async fn try_codes(
    tx: &Tx,
    relates_to: &str,
    types: &[&str],
    max_attempts: i16,
    now: DateTime<Utc>,
) -> Result<Vec<FoundToken>, DbError> {
    let sql = concat!(
        "
    update auth.one_time_tokens t
       set failed_attempts = t.failed_attempts + 1
         , updated_at = $4
      from auth.users u
     where t.relates_to = $1
       and t.token_type = any ($2)
       and t.code_hash is not null
       and t.failed_attempts < $3
       and t.code_expires_at > $4
       and ",
        is_of_user!(),
        "
    returning ",
        token_columns!()
    );
    let rows = tx
        .query(sql, &[&relates_to, &types, &max_attempts, &now])
        .await?;
    Ok(rows.iter().map(found).collect())
}

fn found(row: &Row) -> FoundToken {
    FoundToken {
        id: row.get("id"),
        user_id: row.get("user_id"),
        token_type: row.get("token_type"),
        code_hash: row.get("code_hash"),
        flow_id: row.get("flow_id"),
    }
}

/// Uses up a token whose row is locked.
pub(in crate::auth) async fn take_token_by_id(tx: &Tx, id: Uuid) -> Result<u64, DbError> {
    let sql = "
    delete from auth.one_time_tokens t
     where t.id = $1";
    tx.execute(sql, &[&id]).await
}

/// Makes tokens of a user worthless; all of them without `types`.
pub(in crate::auth) async fn burn_tokens(
    tx: &Tx,
    user_id: Uuid,
    types: Option<&[&str]>,
) -> Result<u64, DbError> {
    let sql = "
    delete from auth.one_time_tokens t
     where t.user_id = $1
       and ($2::text[] is null or t.token_type = any ($2))";
    tx.execute(sql, &[&user_id, &types]).await
}
