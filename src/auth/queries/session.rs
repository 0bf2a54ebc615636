//! Sessions: opened, noted, ended.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::ip_text;
use super::limits::AttemptKey;
use super::rows::users;
use crate::auth::model::{Client, Session, User};
use crate::db::{DbError, SystemConnection, ToSql, Tx};

/// A sign-in that was found to be right.
pub(in crate::auth) struct SignIn<'a> {
    pub(in crate::auth) session: &'a Session,
    pub(in crate::auth) client: &'a Client,
    pub(in crate::auth) audit: &'a Value,
    /// Whose failures are forgotten now.
    pub(in crate::auth) attempt: Option<&'a AttemptKey>,
    /// The user's other sessions end.
    pub(in crate::auth) is_only_session: bool,
    pub(in crate::auth) at: DateTime<Utc>,
}

/// Where a session is opened.
pub(in crate::auth) enum Within<'a> {
    /// By itself, unless a hook waits for sign-ins: its job needs a transaction.
    Statement(&'a SystemConnection),
    /// In a transaction that tells hooks.
    Transaction(&'a Tx),
}

/// Opens a session, unless the password has changed since it was checked, or [`Within`] does not fit: then nothing
/// happens.
pub(in crate::auth) async fn sign_in(
    within: Within<'_>,
    user_id: Uuid,
    checked_hash: &str,
    new: &SignIn<'_>,
) -> Result<Option<User>, DbError> {
    let sql = concat!(
        "
    with u as (
      update auth.users u
         set last_sign_in_at = $3
           , updated_at = $3
       where u.id = $1
         and u.encrypted_password = $2
         and ($13 or not hooks.is_wanted('user.login'))
      returning ",
        user_columns!(),
        "
    ), session as (
      insert into auth.sessions
        (id, user_id, created_at, updated_at, aal, amr, ip, user_agent)
      select $4, u.id, $3, $3, $5, $6, $7, $8
        from u
    ), displaced as (
      delete from auth.sessions s
       using u
       where $14
         and s.user_id = u.id
         and s.oauth_client_id is null
    ), logged as (
      insert into auth.audit_log_entries
        (payload, created_at, ip_address)
      select $9, $3, $10
        from u
    ), forgotten as (
      delete from auth.sign_in_failures f
       using u
       where f.account = $11
         and f.device = $12
    )
    select ",
        user_columns!(),
        "
         , ",
        identity_columns!(),
        "
      from u
      left join auth.identities i
        on i.user_id = u.id"
    );
    let (session, client) = (new.session, new.client);
    let params: [&(dyn ToSql + Sync); 14] = [
        &user_id,
        &checked_hash,
        &new.at,
        &session.id,
        &session.aal,
        &session.amr,
        &client.ip,
        &client.user_agent,
        &new.audit,
        &ip_text(client),
        &new.attempt.map(|attempt| &attempt.account),
        &new.attempt.map(|attempt| &attempt.device),
        &matches!(within, Within::Transaction(_)),
        &new.is_only_session,
    ];
    let rows = match within {
        Within::Statement(connection) => connection.query(sql, &params).await,
        Within::Transaction(tx) => tx.query(sql, &params).await,
    }?;
    Ok(users(&rows).pop())
}

/// Notes that the tokens issued with `counter` have come back.
pub(in crate::auth) async fn mark_seen(
    db: &SystemConnection,
    session_id: Uuid,
    counter: i64,
) -> Result<u64, DbError> {
    let sql = "
    update auth.sessions s
       set refresh_token_seen = true
     where s.id = $1
       and s.refresh_token_counter = $2
       and not s.refresh_token_seen";
    db.execute(sql, &[&session_id, &counter]).await
}

/// Which sessions a sign-out ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::auth) enum Scope {
    /// All of them.
    #[default]
    Global,
    /// The one at hand.
    Local,
    /// All but the one at hand.
    Others,
}

/// Ends sessions of a user. A session id that is given must live, else nothing happens. `None` when there is no such
/// user, else whether the session lived.
pub(in crate::auth) async fn sign_out(
    db: &SystemConnection,
    (user_id, session_id): (Uuid, Option<Uuid>),
    scope: Scope,
    (now, client): (DateTime<Utc>, &Client),
) -> Result<Option<bool>, DbError> {
    let sql = "
    with u as (
      select u.id
           , coalesce(u.email, u.phone, '') as name
           , u.is_sso_user
           , s.id as session_id
        from auth.users u
        left join auth.sessions s
          on s.id = $2
         and s.user_id = u.id
       where u.id = $1
    ), ended as (
      delete from auth.sessions s
       using u
       where s.user_id = u.id
         and u.session_id is not distinct from $2
         and case $3::text
               when 'local' then s.id = $2
               when 'others' then s.id is distinct from $2
               else true
             end
    ), logged as (
      insert into auth.audit_log_entries
        (payload, created_at, ip_address)
      select json_build_object(
               'actor_id', u.id,
               'actor_username', u.name,
               'actor_via_sso', u.is_sso_user,
               'action', 'logout',
               'log_type', 'account',
               'traits', json_build_object('scope', $3::text)
             )
           , $4
           , $5
        from u
       where u.session_id is not distinct from $2
    )
    select u.session_id is not distinct from $2 as alive
      from u";
    let scope = match scope {
        Scope::Global => "global",
        Scope::Local => "local",
        Scope::Others => "others",
    };
    let row = db
        .query_opt(
            sql,
            &[&user_id, &session_id, &scope, &now, &ip_text(client)],
        )
        .await?;
    Ok(row.map(|row| row.get("alive")))
}

/// Whose session it is.
pub(in crate::auth) async fn find_session_user(
    db: &SystemConnection,
    session_id: Uuid,
) -> Result<Option<Uuid>, DbError> {
    let sql = "
    select s.user_id
      from auth.sessions s
     where s.id = $1";
    let row = db.query_opt(sql, &[&session_id]).await?;
    Ok(row.map(|row| row.get("user_id")))
}

/// Inserts a session.
pub(in crate::auth) async fn insert_session(
    tx: &Tx,
    user_id: Uuid,
    session: &Session,
    (client, at): (&Client, DateTime<Utc>),
) -> Result<u64, DbError> {
    let sql = "
    insert into auth.sessions
      (id, user_id, created_at, updated_at, aal, amr, ip, user_agent)
    values
      ($1, $2, $3, $3, $4, $5, $6, $7)";
    tx.execute(
        sql,
        &[
            &session.id,
            &user_id,
            &at,
            &session.aal,
            &session.amr,
            &client.ip,
            &client.user_agent,
        ],
    )
    .await
}

/// Notes that a user signs in.
pub(in crate::auth) async fn stamp_sign_in(
    tx: &Tx,
    user_id: Uuid,
    at: DateTime<Utc>,
) -> Result<u64, DbError> {
    let sql = "
    update auth.users u
       set last_sign_in_at = $2
         , updated_at = $2
     where u.id = $1";
    tx.execute(sql, &[&user_id, &at]).await
}

/// Ends the sessions of a user, all but `kept`.
pub(in crate::auth) async fn end_sessions(
    tx: &Tx,
    user_id: Uuid,
    kept: Option<Uuid>,
) -> Result<u64, DbError> {
    let sql = "
    delete from auth.sessions s
     where s.user_id = $1
       and s.id is distinct from $2";
    tx.execute(sql, &[&user_id, &kept]).await
}

/// Ends the sessions that a user's new one takes the place of.
pub(in crate::auth) async fn displace_sessions(
    tx: &Tx,
    user_id: Uuid,
    newest: Uuid,
) -> Result<u64, DbError> {
    let sql = "
    delete from auth.sessions s
     where s.user_id = $1
       and s.id <> $2
       and s.oauth_client_id is null";
    tx.execute(sql, &[&user_id, &newest]).await
}
