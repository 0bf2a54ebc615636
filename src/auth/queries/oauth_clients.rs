//! OAuth clients: registered, read, changed, deleted.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::db::{DbError, Row, SystemConnection, Tx};

macro_rules! client_columns {
    () => {
        "c.id
       , c.client_secret_hash
       , c.registration_type
       , c.client_type
       , c.token_endpoint_auth_method
       , c.redirect_uris
       , c.grant_types
       , c.client_name
       , c.client_uri
       , c.logo_uri
       , c.created_at
       , c.updated_at"
    };
}

/// A row of `auth.oauth_clients`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::auth) struct OAuthClient {
    /// The `client_id`.
    pub(in crate::auth) id: Uuid,
    /// Base64url text of the secret's SHA-256; public clients have none.
    pub(in crate::auth) secret_hash: Option<String>,
    /// `manual` or `dynamic`.
    pub(in crate::auth) registration_type: String,
    /// `public` or `confidential`.
    pub(in crate::auth) client_type: String,
    /// `none`, `client_secret_basic` or `client_secret_post`.
    pub(in crate::auth) auth_method: String,
    /// Where answers may go.
    pub(in crate::auth) redirect_uris: Vec<String>,
    /// `authorization_code`, `refresh_token`.
    pub(in crate::auth) grant_types: Vec<String>,
    /// What people are shown.
    pub(in crate::auth) name: Option<String>,
    /// Its home page.
    pub(in crate::auth) uri: Option<String>,
    /// Its logo.
    pub(in crate::auth) logo_uri: Option<String>,
    /// When it was registered.
    pub(in crate::auth) created_at: DateTime<Utc>,
    /// When it was last changed.
    pub(in crate::auth) updated_at: DateTime<Utc>,
}

fn client(row: &Row) -> OAuthClient {
    OAuthClient {
        id: row.get("id"),
        secret_hash: row.get("client_secret_hash"),
        registration_type: row.get("registration_type"),
        client_type: row.get("client_type"),
        auth_method: row.get("token_endpoint_auth_method"),
        redirect_uris: row.get("redirect_uris"),
        grant_types: row.get("grant_types"),
        name: row.get("client_name"),
        uri: row.get("client_uri"),
        logo_uri: row.get("logo_uri"),
        created_at: row.get("created_at"),
        updated_at: row.get("updated_at"),
    }
}

/// The client with an id.
pub(in crate::auth) async fn find(
    db: &SystemConnection,
    id: Uuid,
) -> Result<Option<OAuthClient>, DbError> {
    let sql = concat!(
        "
    select ",
        client_columns!(),
        "
      from auth.oauth_clients c
     where c.id = $1"
    );
    Ok(db.query_opt(sql, &[&id]).await?.as_ref().map(client))
}

/// The same, locked for a change.
pub(in crate::auth) async fn lock(tx: &Tx, id: Uuid) -> Result<Option<OAuthClient>, DbError> {
    let sql = concat!(
        "
    select ",
        client_columns!(),
        "
      from auth.oauth_clients c
     where c.id = $1
       for update"
    );
    Ok(tx.query_opt(sql, &[&id]).await?.as_ref().map(client))
}

/// A page of clients, newest first, and how many there are.
pub(in crate::auth) async fn list(
    db: &SystemConnection,
    (limit, offset): (i64, i64),
) -> Result<(Vec<OAuthClient>, i64), DbError> {
    let sql = concat!(
        "
    select ",
        client_columns!(),
        "
      from auth.oauth_clients c
     order by c.created_at desc, c.id desc
     limit $1
    offset $2"
    );
    let rows = db.query(sql, &[&limit, &offset]).await?;
    let count = "
    select count(*) as total
      from auth.oauth_clients c";
    let total = db.query_one(count, &[]).await?.get("total");
    Ok((rows.iter().map(client).collect(), total))
}

/// Inserts a client.
pub(in crate::auth) async fn insert(tx: &Tx, client: &OAuthClient) -> Result<u64, DbError> {
    let sql = "
    insert into auth.oauth_clients
      (id, client_secret_hash, registration_type, client_type, token_endpoint_auth_method, redirect_uris,
       grant_types, client_name, client_uri, logo_uri, created_at, updated_at)
    values
      ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
    tx.execute(
        sql,
        &[
            &client.id,
            &client.secret_hash,
            &client.registration_type,
            &client.client_type,
            &client.auth_method,
            &client.redirect_uris,
            &client.grant_types,
            &client.name,
            &client.uri,
            &client.logo_uri,
            &client.created_at,
            &client.updated_at,
        ],
    )
    .await
}

/// Writes what of a client can change.
pub(in crate::auth) async fn update(tx: &Tx, client: &OAuthClient) -> Result<u64, DbError> {
    let sql = "
    update auth.oauth_clients c
       set client_secret_hash = $2
         , token_endpoint_auth_method = $3
         , redirect_uris = $4
         , grant_types = $5
         , client_name = $6
         , client_uri = $7
         , logo_uri = $8
         , updated_at = $9
     where c.id = $1";
    tx.execute(
        sql,
        &[
            &client.id,
            &client.secret_hash,
            &client.auth_method,
            &client.redirect_uris,
            &client.grant_types,
            &client.name,
            &client.uri,
            &client.logo_uri,
            &client.updated_at,
        ],
    )
    .await
}

/// Deletes a client with its authorizations, consents and sessions.
pub(in crate::auth) async fn delete(tx: &Tx, id: Uuid) -> Result<u64, DbError> {
    let sessions = "
    delete from auth.sessions s
     where s.oauth_client_id = $1";
    tx.execute(sessions, &[&id]).await?;
    let sql = "
    delete from auth.oauth_clients c
     where c.id = $1";
    tx.execute(sql, &[&id]).await
}
