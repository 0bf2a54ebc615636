//! Passkeys and the challenges put to them.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use crate::auth::passkeys::Passkey;
use crate::db::{DbError, Row, SystemConnection, Tx};

macro_rules! passkey_columns {
    () => {
        "c.id
         , c.friendly_name
         , c.created_at
         , c.last_used_at"
    };
}

fn passkey(row: &Row) -> Passkey {
    Passkey {
        id: row.get("id"),
        friendly_name: row.get("friendly_name"),
        created_at: row.get("created_at"),
        last_used_at: row.get("last_used_at"),
    }
}

/// What a challenge is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::auth) enum Purpose {
    /// A user, in a session, adds a passkey.
    Registration { user_id: Uuid, session_id: Uuid },
    /// Somebody signs in.
    Authentication,
}

impl Purpose {
    fn columns(self) -> (&'static str, Option<Uuid>, Option<Uuid>) {
        match self {
            Self::Registration {
                user_id,
                session_id,
            } => ("registration", Some(user_id), Some(session_id)),
            Self::Authentication => ("authentication", None, None),
        }
    }
}

/// Stores a challenge; two that nobody answered in time go.
pub(in crate::auth) async fn insert_challenge(
    db: &SystemConnection,
    purpose: Purpose,
    state: &Value,
    (now, expires_at): (DateTime<Utc>, DateTime<Utc>),
) -> Result<Uuid, DbError> {
    let sql = "
    with stale as (
      delete from auth.webauthn_challenges c
       where c.id in (
         select expired.id
           from auth.webauthn_challenges expired
          where expired.expires_at <= $5
          order by expired.expires_at
          limit 2
            for update of expired skip locked
       )
    )
    insert into auth.webauthn_challenges
      (challenge_type, user_id, session_id, session_data, created_at, expires_at)
    values
      ($1, $2, $3, $4, $5, $6)
    returning id";
    let (kind, user_id, session_id) = purpose.columns();
    let row = db
        .query_one(
            sql,
            &[&kind, &user_id, &session_id, &state, &now, &expires_at],
        )
        .await?;
    Ok(row.get("id"))
}

/// Takes a challenge away: whatever the answer, it is the only one. Its state, and until when it is good.
pub(in crate::auth) async fn take_challenge(
    db: &SystemConnection,
    challenge_id: Uuid,
    purpose: Purpose,
) -> Result<Option<(Value, DateTime<Utc>)>, DbError> {
    let sql = "
    delete from auth.webauthn_challenges c
     where c.id = $1
       and c.challenge_type = $2
       and c.user_id is not distinct from $3
       and c.session_id is not distinct from $4
    returning c.session_data
            , c.expires_at";
    let (kind, user_id, session_id) = purpose.columns();
    let row = db
        .query_opt(sql, &[&challenge_id, &kind, &user_id, &session_id])
        .await?;
    Ok(row.map(|row| (row.get("session_data"), row.get("expires_at"))))
}

/// The passkeys of a user, oldest first.
pub(in crate::auth) async fn list(
    db: &SystemConnection,
    user_id: Uuid,
) -> Result<Vec<Passkey>, DbError> {
    let sql = concat!(
        "
    select ",
        passkey_columns!(),
        "
      from auth.webauthn_credentials c
     where c.user_id = $1
     order by c.created_at
            , c.id"
    );
    let rows = db.query(sql, &[&user_id]).await?;
    Ok(rows.iter().map(passkey).collect())
}

/// Under which ids a user's authenticators know its passkeys.
pub(in crate::auth) async fn list_credential_ids(
    db: &SystemConnection,
    user_id: Uuid,
) -> Result<Vec<Vec<u8>>, DbError> {
    let sql = "
    select c.credential_id
      from auth.webauthn_credentials c
     where c.user_id = $1";
    let rows = db.query(sql, &[&user_id]).await?;
    Ok(rows.iter().map(|row| row.get("credential_id")).collect())
}

/// How many passkeys a user has.
pub(in crate::auth) async fn count(tx: &Tx, user_id: Uuid) -> Result<i64, DbError> {
    let sql = "
    select count(*) as passkeys
      from auth.webauthn_credentials c
     where c.user_id = $1";
    Ok(tx.query_one(sql, &[&user_id]).await?.get("passkeys"))
}

/// Stores a passkey. `None`: somebody has registered it already.
pub(in crate::auth) async fn insert(
    tx: &Tx,
    user_id: Uuid,
    (credential_id, credential): (&[u8], &Value),
    friendly_name: Option<&str>,
    at: DateTime<Utc>,
) -> Result<Option<Passkey>, DbError> {
    let sql = concat!(
        "
    insert into auth.webauthn_credentials as c
      (user_id, credential_id, credential, friendly_name, created_at, updated_at)
    values
      ($1, $2, $3, $4, $5, $5)
    on conflict (credential_id) do nothing
    returning ",
        passkey_columns!()
    );
    let row = tx
        .query_opt(
            sql,
            &[&user_id, &credential_id, &credential, &friendly_name, &at],
        )
        .await?;
    Ok(row.as_ref().map(passkey))
}

/// The passkey that an authenticator calls `credential_id`, if it is one of the user's: its row and its credential.
pub(in crate::auth) async fn find_credential(
    db: &SystemConnection,
    user_id: Uuid,
    credential_id: &[u8],
) -> Result<Option<(Uuid, Value)>, DbError> {
    let sql = "
    select c.id
         , c.credential
      from auth.webauthn_credentials c
     where c.credential_id = $2
       and c.user_id = $1";
    let row = db.query_opt(sql, &[&user_id, &credential_id]).await?;
    Ok(row.map(|row| (row.get("id"), row.get("credential"))))
}

/// Stores what a sign-in says of a passkey. Zero rows: it is gone, or its counter has not grown, so there are two of it.
pub(in crate::auth) async fn accept(
    tx: &Tx,
    id: Uuid,
    (credential, sign_count): (&Value, i64),
    at: DateTime<Utc>,
) -> Result<u64, DbError> {
    let sql = "
    update auth.webauthn_credentials c
       set credential = $2
         , sign_count = $3
         , last_used_at = $4
     where c.id = $1
       and (c.sign_count < $3 or (c.sign_count = 0 and $3 = 0))";
    tx.execute(sql, &[&id, &credential, &sign_count, &at]).await
}

/// Renames a passkey of a user.
pub(in crate::auth) async fn rename(
    tx: &Tx,
    (user_id, id): (Uuid, Uuid),
    friendly_name: Option<&str>,
    at: DateTime<Utc>,
) -> Result<Option<Passkey>, DbError> {
    let sql = concat!(
        "
    update auth.webauthn_credentials c
       set friendly_name = $3
         , updated_at = $4
     where c.id = $2
       and c.user_id = $1
    returning ",
        passkey_columns!()
    );
    let row = tx
        .query_opt(sql, &[&user_id, &id, &friendly_name, &at])
        .await?;
    Ok(row.as_ref().map(passkey))
}

/// Removes a passkey of a user.
pub(in crate::auth) async fn delete(tx: &Tx, (user_id, id): (Uuid, Uuid)) -> Result<u64, DbError> {
    let sql = "
    delete from auth.webauthn_credentials c
     where c.id = $2
       and c.user_id = $1";
    tx.execute(sql, &[&user_id, &id]).await
}
