//! Flows: sign-ins that leave the application and come back.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::db::{DbError, Row, SystemConnection, Tx};

/// A flow to insert.
pub(in crate::auth) struct FlowRow<'a> {
    pub(in crate::auth) id: Uuid,
    pub(in crate::auth) user_id: Option<Uuid>,
    pub(in crate::auth) linking_target_id: Option<Uuid>,
    pub(in crate::auth) provider: &'a str,
    pub(in crate::auth) method: &'a str,
    pub(in crate::auth) challenge: Option<&'a str>,
    pub(in crate::auth) challenge_method: Option<&'a str>,
    pub(in crate::auth) redirect_to: &'a str,
    pub(in crate::auth) state_hash: Option<Vec<u8>>,
    pub(in crate::auth) browser_hash: Option<Vec<u8>>,
    pub(in crate::auth) secrets: Option<Vec<u8>>,
    pub(in crate::auth) at: DateTime<Utc>,
    pub(in crate::auth) expires_at: DateTime<Utc>,
}

/// Inserts a flow, and removes two that are over.
pub(in crate::auth) async fn insert_flow(tx: &Tx, new: &FlowRow<'_>) -> Result<u64, DbError> {
    let sql = "
    with pruned as (
      delete from auth.flow_state f
       where f.id in (
         select expired.id
           from auth.flow_state expired
          where expired.expires_at <= $12
          order by expired.expires_at
          limit 2
            for update of expired skip locked
       )
    )
    insert into auth.flow_state
      ( id, user_id, linking_target_id, provider_type, authentication_method, code_challenge, code_challenge_method
      , redirect_to, state_hash, browser_hash, secrets, created_at, expires_at )
    values
      ( $1, $2, $3, $4, $5, $6, $7
      , $8, $9, $10, $11, $12, $13 )";
    tx.execute(
        sql,
        &[
            &new.id,
            &new.user_id,
            &new.linking_target_id,
            &new.provider,
            &new.method,
            &new.challenge,
            &new.challenge_method,
            &new.redirect_to,
            &new.state_hash,
            &new.browser_hash,
            &new.secrets,
            &new.at,
            &new.expires_at,
        ],
    )
    .await
}

/// A flow that a provider comes back to, or a link goes on with.
pub(in crate::auth) struct FoundFlow {
    pub(in crate::auth) id: Uuid,
    pub(in crate::auth) linking_target_id: Option<Uuid>,
    pub(in crate::auth) provider: String,
    pub(in crate::auth) has_challenge: bool,
    pub(in crate::auth) redirect_to: String,
    pub(in crate::auth) browser_hash: Option<Vec<u8>>,
    pub(in crate::auth) secrets: Option<Vec<u8>>,
    pub(in crate::auth) expires_at: DateTime<Utc>,
}

/// Takes the flow of a `state`, which nobody can take again: its hash is removed, and whoever was later waits for the
/// row and then finds none.
pub(in crate::auth) async fn take_flow(
    tx: &Tx,
    state_hash: &[u8],
) -> Result<Option<FoundFlow>, DbError> {
    let sql = "
    update auth.flow_state f
       set state_hash = null
     where f.state_hash = $1
    returning f.id
        , f.linking_target_id
        , f.provider_type
        , f.code_challenge is not null as has_challenge
        , f.redirect_to
        , f.browser_hash
        , f.secrets
        , f.expires_at";
    let row = tx.query_opt(sql, &[&state_hash]).await?;
    Ok(row.as_ref().map(|row| FoundFlow {
        id: row.get("id"),
        linking_target_id: row.get("linking_target_id"),
        provider: row.get("provider_type"),
        has_challenge: row.get("has_challenge"),
        redirect_to: row.get("redirect_to"),
        browser_hash: row.get("browser_hash"),
        secrets: row.get("secrets"),
        expires_at: row.get("expires_at"),
    }))
}

/// Binds a code to a flow that began with a challenge and has given none yet. Zero rows: there is no such flow.
pub(in crate::auth) async fn set_code(
    tx: &Tx,
    (flow_id, user_id): (Uuid, Uuid),
    (code_hash, method): (&[u8], &str),
    secrets: Option<&[u8]>,
    (at, expires_at): (DateTime<Utc>, DateTime<Utc>),
) -> Result<u64, DbError> {
    let sql = "
    update auth.flow_state f
       set user_id = $2
         , auth_code_hash = $3
         , authentication_method = $4
         , secrets = $5
         , state_hash = null
         , auth_code_issued_at = $6
         , expires_at = $7
     where f.id = $1
       and f.code_challenge is not null
       and f.auth_code_hash is null
       and f.expires_at > $6";
    let secrets = secrets.map(<[u8]>::to_vec);
    tx.execute(
        sql,
        &[
            &flow_id,
            &user_id,
            &code_hash,
            &method,
            &secrets,
            &at,
            &expires_at,
        ],
    )
    .await
}

/// A flow whose code was exchanged.
pub(in crate::auth) struct Exchanged {
    pub(in crate::auth) id: Uuid,
    pub(in crate::auth) user_id: Uuid,
    pub(in crate::auth) method: String,
    pub(in crate::auth) secrets: Option<Vec<u8>>,
}

/// Uses up a code: one statement, so that of many callers one gets it. A wrong verifier uses nothing up.
pub(in crate::auth) async fn exchange_code(
    tx: &Tx,
    code_hash: &[u8],
    (s256, plain): (&str, &str),
    now: DateTime<Utc>,
) -> Result<Option<Exchanged>, DbError> {
    let sql = "
    delete from auth.flow_state f
     where f.auth_code_hash = $1
       and f.code_challenge = case f.code_challenge_method when 's256' then $2 when 'plain' then $3 end
       and f.expires_at > $4
    returning f.id
        , f.user_id
        , f.authentication_method
        , f.secrets";
    let row = tx
        .query_opt(sql, &[&code_hash, &s256, &plain, &now])
        .await?;
    Ok(row.as_ref().map(exchanged))
}

fn exchanged(row: &Row) -> Exchanged {
    Exchanged {
        id: row.get("id"),
        user_id: row.get("user_id"),
        method: row.get("authentication_method"),
        secrets: row.get("secrets"),
    }
}

/// Until when a code can be exchanged.
pub(in crate::auth) async fn find_code(
    db: &SystemConnection,
    code_hash: &[u8],
) -> Result<Option<DateTime<Utc>>, DbError> {
    let sql = "
    select f.expires_at
      from auth.flow_state f
     where f.auth_code_hash = $1";
    let row = db.query_opt(sql, &[&code_hash]).await?;
    Ok(row.map(|row| row.get("expires_at")))
}
