//! What OAuth clients ask for and are given: authorizations, consents, and the sessions that come of them.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::auth::model::{Client, Session};
use crate::db::{DbError, Row, SystemConnection, Tx};

/// A request of a client that is about to be stored.
#[derive(Debug)]
pub(in crate::auth) struct NewAuthorization<'a> {
    pub(in crate::auth) authorization_id: &'a str,
    pub(in crate::auth) client_id: Uuid,
    pub(in crate::auth) redirect_uri: &'a str,
    pub(in crate::auth) scope: &'a str,
    pub(in crate::auth) state: Option<&'a str>,
    pub(in crate::auth) nonce: Option<&'a str>,
    pub(in crate::auth) resource: Option<&'a str>,
    pub(in crate::auth) code_challenge: &'a str,
    pub(in crate::auth) needs_consent: bool,
    pub(in crate::auth) created_at: DateTime<Utc>,
    pub(in crate::auth) expires_at: DateTime<Utc>,
}

/// Stores a request; rows that say nothing any more go, a few at a time, so the table stays small without a job.
pub(in crate::auth) async fn insert_authorization(
    db: &SystemConnection,
    new: &NewAuthorization<'_>,
    expired_before: DateTime<Utc>,
) -> Result<u64, DbError> {
    let sql = "
    with pruned as (
      delete from auth.oauth_authorizations a
       where a.id in (
         select old.id
           from auth.oauth_authorizations old
          where old.expires_at < $12
          order by old.expires_at
          limit 5
            for update of old skip locked
       )
    )
    insert into auth.oauth_authorizations
      (authorization_id, client_id, redirect_uri, scope, state, nonce, resource, code_challenge, needs_consent,
       created_at, expires_at)
    values
      ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    db.execute(
        sql,
        &[
            &new.authorization_id,
            &new.client_id,
            &new.redirect_uri,
            &new.scope,
            &new.state,
            &new.nonce,
            &new.resource,
            &new.code_challenge,
            &new.needs_consent,
            &new.created_at,
            &new.expires_at,
            &expired_before,
        ],
    )
    .await
}

/// A stored request with what people are shown of its client.
#[expect(clippy::struct_field_names, reason = "the wire has the name")]
#[derive(Debug, Clone)]
pub(in crate::auth) struct Authorization {
    pub(in crate::auth) id: Uuid,
    pub(in crate::auth) authorization_id: String,
    pub(in crate::auth) client_id: Uuid,
    pub(in crate::auth) user_id: Option<Uuid>,
    pub(in crate::auth) redirect_uri: String,
    pub(in crate::auth) scope: String,
    pub(in crate::auth) state: Option<String>,
    pub(in crate::auth) nonce: Option<String>,
    pub(in crate::auth) resource: Option<String>,
    pub(in crate::auth) code_challenge: String,
    pub(in crate::auth) needs_consent: bool,
    /// `pending`, `approved`, `denied` or `exchanged`.
    pub(in crate::auth) status: String,
    pub(in crate::auth) auth_time: Option<DateTime<Utc>>,
    pub(in crate::auth) session_id: Option<Uuid>,
    pub(in crate::auth) expires_at: DateTime<Utc>,
    pub(in crate::auth) client_name: Option<String>,
    pub(in crate::auth) client_uri: Option<String>,
    pub(in crate::auth) logo_uri: Option<String>,
    pub(in crate::auth) client_type: String,
    pub(in crate::auth) registration_type: String,
}

macro_rules! select_authorization {
    ($which:literal) => {
        concat!(
            "
    select a.id
         , a.authorization_id
         , a.client_id
         , a.user_id
         , a.redirect_uri
         , a.scope
         , a.state
         , a.nonce
         , a.resource
         , a.code_challenge
         , a.needs_consent
         , a.status
         , a.auth_time
         , a.session_id
         , a.expires_at
         , c.client_name
         , c.client_uri
         , c.logo_uri
         , c.client_type
         , c.registration_type
      from auth.oauth_authorizations a
      join auth.oauth_clients c
        on c.id = a.client_id
     where ",
            $which
        )
    };
}

fn authorization(row: &Row) -> Authorization {
    Authorization {
        id: row.get("id"),
        authorization_id: row.get("authorization_id"),
        client_id: row.get("client_id"),
        user_id: row.get("user_id"),
        redirect_uri: row.get("redirect_uri"),
        scope: row.get("scope"),
        state: row.get("state"),
        nonce: row.get("nonce"),
        resource: row.get("resource"),
        code_challenge: row.get("code_challenge"),
        needs_consent: row.get("needs_consent"),
        status: row.get("status"),
        auth_time: row.get("auth_time"),
        session_id: row.get("session_id"),
        expires_at: row.get("expires_at"),
        client_name: row.get("client_name"),
        client_uri: row.get("client_uri"),
        logo_uri: row.get("logo_uri"),
        client_type: row.get("client_type"),
        registration_type: row.get("registration_type"),
    }
}

/// The request with an id.
pub(in crate::auth) async fn find_authorization(
    db: &SystemConnection,
    authorization_id: &str,
) -> Result<Option<Authorization>, DbError> {
    let sql = select_authorization!("a.authorization_id = $1");
    let row = db.query_opt(sql, &[&authorization_id]).await?;
    Ok(row.as_ref().map(authorization))
}

/// The same; whoever else wants to decide it waits.
pub(in crate::auth) async fn lock_authorization(
    tx: &Tx,
    authorization_id: &str,
) -> Result<Option<Authorization>, DbError> {
    let sql = select_authorization!(
        "a.authorization_id = $1
       for update of a"
    );
    let row = tx.query_opt(sql, &[&authorization_id]).await?;
    Ok(row.as_ref().map(authorization))
}

/// The request whose code has this hash; whoever else exchanges it waits.
pub(in crate::auth) async fn lock_code(
    tx: &Tx,
    code_hash: &str,
) -> Result<Option<Authorization>, DbError> {
    let sql = select_authorization!(
        "a.authorization_code = $1
       for update of a"
    );
    let row = tx.query_opt(sql, &[&code_hash]).await?;
    Ok(row.as_ref().map(authorization))
}

/// From now on only this user may decide the request.
pub(in crate::auth) async fn bind(tx: &Tx, id: Uuid, user_id: Uuid) -> Result<u64, DbError> {
    let sql = "
    update auth.oauth_authorizations a
       set user_id = $2
     where a.id = $1
       and a.user_id is null";
    tx.execute(sql, &[&id, &user_id]).await
}

/// An approval.
#[derive(Debug)]
pub(in crate::auth) struct Approval<'a> {
    pub(in crate::auth) code_hash: &'a str,
    pub(in crate::auth) auth_time: DateTime<Utc>,
    pub(in crate::auth) approved_at: DateTime<Utc>,
    pub(in crate::auth) expires_at: DateTime<Utc>,
}

/// Approves a pending request.
pub(in crate::auth) async fn approve(
    tx: &Tx,
    id: Uuid,
    approval: &Approval<'_>,
) -> Result<u64, DbError> {
    let sql = "
    update auth.oauth_authorizations a
       set status = 'approved'
         , authorization_code = $2
         , auth_time = $3
         , approved_at = $4
         , expires_at = $5
     where a.id = $1
       and a.status = 'pending'";
    tx.execute(
        sql,
        &[
            &id,
            &approval.code_hash,
            &approval.auth_time,
            &approval.approved_at,
            &approval.expires_at,
        ],
    )
    .await
}

/// Denies a pending request.
pub(in crate::auth) async fn deny(tx: &Tx, id: Uuid) -> Result<u64, DbError> {
    let sql = "
    update auth.oauth_authorizations a
       set status = 'denied'
     where a.id = $1
       and a.status = 'pending'";
    tx.execute(sql, &[&id]).await
}

/// Notes what a code was exchanged for; none is exchanged twice.
pub(in crate::auth) async fn mark_exchanged(
    tx: &Tx,
    id: Uuid,
    session_id: Uuid,
) -> Result<u64, DbError> {
    let sql = "
    update auth.oauth_authorizations a
       set status = 'exchanged'
         , session_id = $2
     where a.id = $1
       and a.status = 'approved'";
    tx.execute(sql, &[&id, &session_id]).await
}

/// The scopes a user has granted to a client.
pub(in crate::auth) async fn granted_scopes(
    tx: &Tx,
    (user_id, client_id): (Uuid, Uuid),
) -> Result<Option<String>, DbError> {
    let sql = "
    select k.scopes
      from auth.oauth_consents k
     where k.user_id = $1
       and k.client_id = $2
       and k.revoked_at is null";
    let row = tx.query_opt(sql, &[&user_id, &client_id]).await?;
    Ok(row.map(|row| row.get("scopes")))
}

/// Writes a consent, whatever there was before.
pub(in crate::auth) async fn write_consent(
    tx: &Tx,
    (user_id, client_id): (Uuid, Uuid),
    scopes: &str,
    at: DateTime<Utc>,
) -> Result<u64, DbError> {
    let sql = "
    insert into auth.oauth_consents
      (user_id, client_id, scopes, granted_at)
    values
      ($1, $2, $3, $4)
    on conflict on constraint oauth_consents_user_client_unique do update
       set scopes = excluded.scopes
         , granted_at = excluded.granted_at
         , revoked_at = null";
    tx.execute(sql, &[&user_id, &client_id, &scopes, &at]).await
}

/// A consent in force and its client.
#[derive(Debug)]
pub(in crate::auth) struct Consent {
    pub(in crate::auth) client_id: Uuid,
    pub(in crate::auth) client_name: Option<String>,
    pub(in crate::auth) client_uri: Option<String>,
    pub(in crate::auth) logo_uri: Option<String>,
    pub(in crate::auth) scopes: String,
    pub(in crate::auth) granted_at: DateTime<Utc>,
}

/// The consents of a user, newest first.
pub(in crate::auth) async fn list_consents(
    db: &SystemConnection,
    user_id: Uuid,
) -> Result<Vec<Consent>, DbError> {
    let sql = "
    select k.client_id
         , c.client_name
         , c.client_uri
         , c.logo_uri
         , k.scopes
         , k.granted_at
      from auth.oauth_consents k
      join auth.oauth_clients c
        on c.id = k.client_id
     where k.user_id = $1
       and k.revoked_at is null
     order by k.granted_at desc, k.id";
    let rows = db.query(sql, &[&user_id]).await?;
    let consent = |row: &Row| Consent {
        client_id: row.get("client_id"),
        client_name: row.get("client_name"),
        client_uri: row.get("client_uri"),
        logo_uri: row.get("logo_uri"),
        scopes: row.get("scopes"),
        granted_at: row.get("granted_at"),
    };
    Ok(rows.iter().map(consent).collect())
}

/// Ends a consent with the sessions and codes it gave. Zero when there is none.
pub(in crate::auth) async fn revoke_consent(
    tx: &Tx,
    (user_id, client_id): (Uuid, Uuid),
    at: DateTime<Utc>,
) -> Result<u64, DbError> {
    let sql = "
    update auth.oauth_consents k
       set revoked_at = $3
     where k.user_id = $1
       and k.client_id = $2
       and k.revoked_at is null";
    let revoked = tx.execute(sql, &[&user_id, &client_id, &at]).await?;
    let codes = "
    delete from auth.oauth_authorizations a
     where a.user_id = $1
       and a.client_id = $2
       and a.status in ('pending', 'approved')";
    tx.execute(codes, &[&user_id, &client_id]).await?;
    let sessions = "
    delete from auth.sessions s
     where s.user_id = $1
       and s.oauth_client_id = $2";
    tx.execute(sessions, &[&user_id, &client_id]).await?;
    Ok(revoked)
}

/// What a client's session may do.
#[derive(Debug, Clone)]
pub(in crate::auth) struct ClientSession {
    pub(in crate::auth) user_id: Uuid,
    pub(in crate::auth) client_id: Uuid,
    pub(in crate::auth) scopes: String,
    pub(in crate::auth) resource: Option<String>,
    /// Counter of its current refresh token.
    pub(in crate::auth) counter: i64,
    pub(in crate::auth) created_at: DateTime<Utc>,
    /// When it was opened or last refreshed.
    pub(in crate::auth) used_at: DateTime<Utc>,
    pub(in crate::auth) is_banned: bool,
}

/// Opens a session of a client. The address is the client's, not the user's, so it is not kept.
pub(in crate::auth) async fn insert_session(
    tx: &Tx,
    (user_id, client_id): (Uuid, Uuid),
    session: &Session,
    (scopes, resource): (&str, Option<&str>),
    (client, at): (&Client, DateTime<Utc>),
) -> Result<u64, DbError> {
    let sql = "
    insert into auth.sessions
      (id, user_id, created_at, updated_at, aal, amr, user_agent, oauth_client_id, scopes, oauth_resource)
    values
      ($1, $2, $3, $3, $4, $5, $6, $7, $8, $9)";
    tx.execute(
        sql,
        &[
            &session.id,
            &user_id,
            &at,
            &session.aal,
            &session.amr,
            &client.user_agent,
            &client_id,
            &scopes,
            &resource,
        ],
    )
    .await
}

/// The session with an id, if it is a client's and lives.
pub(in crate::auth) async fn find_session(
    db: &SystemConnection,
    session_id: Uuid,
    now: DateTime<Utc>,
) -> Result<Option<ClientSession>, DbError> {
    let sql = "
    select s.user_id
         , s.oauth_client_id
         , coalesce(s.scopes, '') as scopes
         , s.oauth_resource
         , s.refresh_token_counter
         , s.created_at
         , coalesce(s.refreshed_at, s.created_at) as used_at
         , coalesce(u.banned_until > $2, false) as is_banned
      from auth.sessions s
      join auth.users u
        on u.id = s.user_id
     where s.id = $1
       and s.oauth_client_id is not null
       and (s.not_after is null or s.not_after > $2)";
    let row = db.query_opt(sql, &[&session_id, &now]).await?;
    Ok(row.map(|row| ClientSession {
        user_id: row.get("user_id"),
        client_id: row.get("oauth_client_id"),
        scopes: row.get("scopes"),
        resource: row.get("oauth_resource"),
        counter: row.get("refresh_token_counter"),
        created_at: row.get("created_at"),
        used_at: row.get("used_at"),
        is_banned: row.get("is_banned"),
    }))
}

/// Ends a session of a client, and of no other. Gives its user.
pub(in crate::auth) async fn end_session(
    tx: &Tx,
    (session_id, client_id): (Uuid, Uuid),
) -> Result<Option<Uuid>, DbError> {
    let sql = "
    delete from auth.sessions s
     where s.id = $1
       and s.oauth_client_id = $2
    returning s.user_id";
    let row = tx.query_opt(sql, &[&session_id, &client_id]).await?;
    Ok(row.map(|row| row.get("user_id")))
}
