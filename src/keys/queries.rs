//! All SQL on `auth.signing_keys`, `auth.api_keys` and `auth.secrets`.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::secrets::{SecretInfo, SecretRow};
use super::{ApiKey, KeyStatus, SigningKey};
use crate::db::{Connection, DbError, Row, SystemConnection, quote_identifier, quote_literal};

/// A row a node needs to verify and, when active, to sign.
pub(super) struct KeyRow {
    pub kid: String,
    pub alg: String,
    pub status: String,
    pub public_jwk: Value,
    pub private_key: Option<Vec<u8>>,
}

/// A key to write.
pub(super) struct NewKey {
    pub kid: String,
    pub alg: &'static str,
    pub public_jwk: Value,
    pub private_key: Vec<u8>,
    pub status: KeyStatus,
    pub now: DateTime<Utc>,
}

const USABLE_KEYS: &str = "
    select kid
         , alg
         , status
         , public_jwk
         , case when status = 'active' then private_key end as private_key
      from auth.signing_keys
     where status <> 'revoked'
     order by created_at, kid";

pub(super) async fn usable_keys(connection: &SystemConnection) -> Result<Vec<KeyRow>, DbError> {
    let rows = connection.query(USABLE_KEYS, &[]).await?;
    Ok(rows.iter().map(key_row).collect())
}

pub(super) async fn active_key(connection: &Connection) -> Result<Option<KeyRow>, DbError> {
    let sql = "
        select kid
             , alg
             , status
             , public_jwk
             , private_key
          from auth.signing_keys
         where status = 'active'";
    Ok(connection.query_opt(sql, &[]).await?.as_ref().map(key_row))
}

fn key_row(row: &Row) -> KeyRow {
    KeyRow {
        kid: row.get("kid"),
        alg: row.get("alg"),
        status: row.get("status"),
        public_jwk: row.get("public_jwk"),
        private_key: row.get("private_key"),
    }
}

/// Hash and role of every API key in force.
pub(super) async fn live_api_keys(
    connection: &SystemConnection,
) -> Result<Vec<(Vec<u8>, String)>, DbError> {
    let sql = "
        select hash
             , role
          from auth.api_keys
         where revoked_at is null";
    let rows = connection.query(sql, &[]).await?;
    Ok(rows
        .iter()
        .map(|row| (row.get("hash"), row.get("role")))
        .collect())
}

/// Held to the end of the transaction: two nodes that start at once make one key, not two.
pub(super) async fn lock(connection: &Connection) -> Result<(), DbError> {
    let sql = "select pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('sb.keys', 0))";
    connection.batch_execute(sql).await
}

pub(super) async fn publish(connection: &Connection) -> Result<(), DbError> {
    connection.batch_execute("select sb.publish_jwks()").await
}

pub(super) async fn list_keys(connection: &Connection) -> Result<Vec<SigningKey>, DbError> {
    let sql = "
        select kid
             , alg
             , status
             , created_at
             , activated_at
             , retired_at
             , pinned
             , public_jwk
          from auth.signing_keys
         order by created_at, kid";
    let rows = connection.query(sql, &[]).await?;
    Ok(rows
        .iter()
        .map(|row| SigningKey {
            kid: row.get("kid"),
            algorithm: row.get("alg"),
            status: KeyStatus::parse(row.get("status")),
            created_at: row.get("created_at"),
            activated_at: row.get("activated_at"),
            retired_at: row.get("retired_at"),
            pinned: row.get("pinned"),
            public_jwk: row.get("public_jwk"),
        })
        .collect())
}

pub(super) async fn insert_key(connection: &Connection, key: &NewKey) -> Result<(), DbError> {
    let sql = "
        insert into auth.signing_keys
             ( kid, alg, status, public_jwk, private_key, created_at, activated_at )
        values ( $1, $2, $3, $4, $5, $6, $7 )";
    let activated_at = (key.status == KeyStatus::Active).then_some(key.now);
    connection
        .execute(
            sql,
            &[
                &key.kid,
                &key.alg,
                &key.status.as_str(),
                &key.public_jwk,
                &key.private_key,
                &key.now,
                &activated_at,
            ],
        )
        .await
        .map(drop)
}

pub(super) async fn retire_active(
    connection: &Connection,
    now: DateTime<Utc>,
) -> Result<(), DbError> {
    let sql = "
        update auth.signing_keys
           set status = 'previous'
             , retired_at = $1
         where status = 'active'";
    connection.execute(sql, &[&now]).await.map(drop)
}

/// Whether there was such a key that can sign.
pub(super) async fn activate(
    connection: &Connection,
    kid: &str,
    now: DateTime<Utc>,
) -> Result<bool, DbError> {
    let sql = "
        update auth.signing_keys
           set status = 'active'
             , activated_at = $2
             , retired_at = null
         where kid = $1
           and status in ('standby', 'previous')
           and private_key is not null";
    Ok(connection.execute(sql, &[&kid, &now]).await? == 1)
}

pub(super) async fn newest_standby(connection: &Connection) -> Result<Option<String>, DbError> {
    let sql = "
        select kid
          from auth.signing_keys
         where status = 'standby'
         order by created_at desc, kid desc
         limit 1";
    let row = connection.query_opt(sql, &[]).await?;
    Ok(row.map(|row| row.get("kid")))
}

pub(super) async fn revoke_retired_before(
    connection: &Connection,
    before: DateTime<Utc>,
) -> Result<Vec<String>, DbError> {
    let sql = "
        update auth.signing_keys
           set status = 'revoked'
             , private_key = null
         where status = 'previous'
           and not pinned
           and retired_at <= $1
        returning kid";
    let rows = connection.query(sql, &[&before]).await?;
    Ok(rows.iter().map(|row| row.get("kid")).collect())
}

/// Whether there was such a key, not active.
pub(super) async fn revoke_key(connection: &Connection, kid: &str) -> Result<bool, DbError> {
    let sql = "
        update auth.signing_keys
           set status = 'revoked'
             , private_key = null
         where kid = $1
           and status <> 'active'";
    Ok(connection.execute(sql, &[&kid]).await? == 1)
}

pub(super) async fn pin(connection: &Connection, kid: &str) -> Result<(), DbError> {
    let sql = "
        update auth.signing_keys
           set pinned = true
         where kid = $1
           and not pinned";
    connection.execute(sql, &[&kid]).await.map(drop)
}

pub(super) async fn insert_api_key(
    connection: &Connection,
    (name, kind, role): (&str, &str, &str),
    (hash, prefix): (&[u8], &str),
    now: DateTime<Utc>,
) -> Result<(), DbError> {
    let sql = "
        insert into auth.api_keys
             ( name, type, role, hash, prefix, created_at )
        values ( $1, $2, $3, $4, $5, $6 )";
    connection
        .execute(sql, &[&name, &kind, &role, &hash, &prefix, &now])
        .await
        .map(drop)
}

pub(super) async fn delete_api_key(connection: &Connection, name: &str) -> Result<(), DbError> {
    let sql = "
        delete from auth.api_keys
         where name = $1";
    connection.execute(sql, &[&name]).await.map(drop)
}

pub(super) async fn revoke_api_key(
    connection: &Connection,
    name: &str,
    now: DateTime<Utc>,
) -> Result<bool, DbError> {
    let sql = "
        update auth.api_keys
           set revoked_at = $2
         where name = $1
           and revoked_at is null";
    Ok(connection.execute(sql, &[&name, &now]).await? == 1)
}

pub(super) async fn is_live_api_key(connection: &Connection, hash: &[u8]) -> Result<bool, DbError> {
    let sql = "
        select 1
          from auth.api_keys
         where hash = $1
           and revoked_at is null";
    Ok(connection.query_opt(sql, &[&hash]).await?.is_some())
}

pub(super) async fn list_api_keys(connection: &Connection) -> Result<Vec<ApiKey>, DbError> {
    let sql = "
        select id
             , name
             , type
             , role
             , prefix
             , created_at
             , revoked_at
          from auth.api_keys
         order by created_at, name";
    let rows = connection.query(sql, &[]).await?;
    Ok(rows
        .iter()
        .map(|row| ApiKey {
            id: row.get("id"),
            name: row.get("name"),
            kind: row.get("type"),
            role: row.get("role"),
            prefix: row.get("prefix"),
            created_at: row.get("created_at"),
            revoked_at: row.get("revoked_at"),
        })
        .collect())
}

/// Every secret that verifies, standby ones too.
pub(super) async fn usable_secrets(
    connection: &SystemConnection,
) -> Result<Vec<SecretRow>, DbError> {
    let sql = "
        select family
             , kid
             , status = 'active' as is_active
             , secret
          from auth.secrets
         where status <> 'revoked'";
    let rows = connection.query(sql, &[]).await?;
    Ok(rows
        .iter()
        .map(|row| SecretRow {
            family: row.get("family"),
            kid: row.get("kid"),
            is_active: row.get("is_active"),
            secret: row.get("secret"),
        })
        .collect())
}

pub(super) async fn list_secrets(connection: &Connection) -> Result<Vec<SecretInfo>, DbError> {
    let sql = "
        select family
             , kid
             , status
             , created_at
             , activated_at
             , retired_at
          from auth.secrets
         order by family, created_at, kid";
    let rows = connection.query(sql, &[]).await?;
    Ok(rows
        .iter()
        .map(|row| SecretInfo {
            family: row.get("family"),
            kid: row.get("kid"),
            status: KeyStatus::parse(row.get("status")),
            created_at: row.get("created_at"),
            activated_at: row.get("activated_at"),
            retired_at: row.get("retired_at"),
        })
        .collect())
}

pub(super) async fn insert_secret(
    connection: &Connection,
    (family, kid): (&str, &str),
    status: KeyStatus,
    (sealed, now): (&[u8], DateTime<Utc>),
) -> Result<(), DbError> {
    let sql = "
        insert into auth.secrets
             ( family, kid, status, secret, created_at, activated_at )
        values ( $1, $2, $3, $4, $5, $6 )";
    let activated_at = (status == KeyStatus::Active).then_some(now);
    connection
        .execute(
            sql,
            &[
                &family,
                &kid,
                &status.as_str(),
                &sealed,
                &now,
                &activated_at,
            ],
        )
        .await
        .map(drop)
}

/// Whether there was such a secret; the one that signed is retired then.
pub(super) async fn activate_secret(
    connection: &Connection,
    (family, kid): (&str, &str),
    now: DateTime<Utc>,
) -> Result<bool, DbError> {
    let retire = "
        update auth.secrets
           set status = 'previous'
             , retired_at = $3
         where family = $1
           and kid <> $2
           and status = 'active'";
    connection.execute(retire, &[&family, &kid, &now]).await?;
    let sql = "
        update auth.secrets
           set status = 'active'
             , activated_at = $3
             , retired_at = null
         where family = $1
           and kid = $2
           and status <> 'revoked'";
    Ok(connection.execute(sql, &[&family, &kid, &now]).await? == 1)
}

pub(super) async fn prune_secrets(
    connection: &Connection,
    family: Option<&str>,
    before: DateTime<Utc>,
) -> Result<Vec<(String, String)>, DbError> {
    let sql = "
        update auth.secrets
           set status = 'revoked'
             , secret = null
         where status = 'previous'
           and retired_at <= $2
           and ($1::text is null or family = $1)
        returning family
             , kid";
    let rows = connection.query(sql, &[&family, &before]).await?;
    Ok(rows
        .iter()
        .map(|row| (row.get("family"), row.get("kid")))
        .collect())
}

/// How often the password of a role was changed; 0 before the table is there.
pub(super) async fn role_password_version(
    connection: &Connection,
    role: &str,
) -> Result<i32, DbError> {
    if !connection.has_relation("sb.role_passwords").await? {
        return Ok(0);
    }
    let sql = "
        select version
          from sb.role_passwords
         where role = $1";
    let row = connection.query_opt(sql, &[&role]).await?;
    Ok(row.map_or(0, |row| row.get("version")))
}

/// Counts a change and returns which one it is.
pub(super) async fn next_role_password(
    connection: &Connection,
    role: &str,
) -> Result<i32, DbError> {
    let sql = "
        insert into sb.role_passwords as p
             ( role, version )
        values ( $1, 1 )
        on conflict (role) do update
           set version = p.version + 1
             , changed_at = now()
        returning version";
    Ok(connection.query_one(sql, &[&role]).await?.get("version"))
}

/// `verifier` is what Postgres keeps of a password.
pub(super) async fn set_role_password(
    connection: &Connection,
    role: &str,
    verifier: &str,
) -> Result<(), DbError> {
    let sql = format!(
        "alter role {} password {}; notify sb_keys",
        quote_identifier(role),
        quote_literal(verifier)
    );
    connection.batch_execute(&sql).await
}
