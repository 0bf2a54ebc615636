//! Sign-in with identity providers: flows that wait for their answer, and identities.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use crate::db::{DbError, SystemConnection, Tx};

/// Binds a flow to the browser that comes with its state first, and returns its id and sealed secrets.
pub(in crate::auth) async fn bind_flow(
    db: &SystemConnection,
    (state_hash, browser_hash): (&[u8], &[u8]),
    now: DateTime<Utc>,
) -> Result<Option<(Uuid, Vec<u8>)>, DbError> {
    let sql = "
    update auth.flow_state f
       set browser_hash = $2
     where f.state_hash = $1
       and f.browser_hash is null
       and f.secrets is not null
       and f.expires_at > $3
    returning f.id
            , f.secrets";
    let row = db
        .query_opt(sql, &[&state_hash, &browser_hash, &now])
        .await?;
    Ok(row.map(|row| (row.get("id"), row.get("secrets"))))
}

/// Removes a flow that ends without a code.
pub(in crate::auth) async fn delete_flow(
    db: &SystemConnection,
    flow_id: Uuid,
) -> Result<u64, DbError> {
    let sql = "
    delete from auth.flow_state f
     where f.id = $1";
    db.execute(sql, &[&flow_id]).await
}

/// Notes that an ID token is used. False: it was before.
pub(in crate::auth) async fn use_id_token(
    tx: &Tx,
    hash: &[u8],
    expires_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<bool, DbError> {
    let sql = "
    with removed as (
      delete from auth.used_id_tokens t
       where t.hash in (
         select u.hash
           from auth.used_id_tokens u
          where u.expires_at < $3
          limit 10
            for update skip locked
       )
         and t.hash <> $1
    )
    insert into auth.used_id_tokens
      (hash, expires_at)
    values
      ($1, $2)
    on conflict (hash) do nothing";
    let count = tx.execute(sql, &[&hash, &expires_at, &now]).await?;
    Ok(count == 1)
}

/// Whose identity a subject of a provider is: identity and user. The user is locked.
pub(in crate::auth) async fn find_identity(
    tx: &Tx,
    (provider, subject): (&str, &str),
) -> Result<Option<(Uuid, Uuid)>, DbError> {
    let sql = "
    select i.id
         , i.user_id
      from auth.identities i
      join auth.users u
        on u.id = i.user_id
     where i.provider = $1
       and i.provider_id = $2
       for update of u";
    let row = tx.query_opt(sql, &[&provider, &subject]).await?;
    Ok(row.map(|row| (row.get("id"), row.get("user_id"))))
}

/// An account that has the address a provider tells.
pub(in crate::auth) struct Namesake {
    pub(in crate::auth) id: Uuid,
    /// It counts as confirmed.
    pub(in crate::auth) is_confirmed: bool,
    /// Somebody has shown to own the address: it did not become confirmed just because nobody asks for a proof, which the
    /// identities tell.
    pub(in crate::auth) is_proven: bool,
}

/// The account with an address, locked.
pub(in crate::auth) async fn find_namesake(
    tx: &Tx,
    email: &str,
) -> Result<Option<Namesake>, DbError> {
    let sql = "
    select u.id
         , u.email_confirmed_at is not null as is_confirmed
         , u.email_confirmed_at is not null
           and coalesce(
             (
               select bool_or(i.identity_data -> 'email_verified' is distinct from 'false')
                 from auth.identities i
                where i.user_id = u.id
                  and i.email = $1
             ),
             true
           ) as is_proven
      from auth.users u
     where lower(u.email) = $1
       and not u.is_sso_user
       for update of u";
    let row = tx.query_opt(sql, &[&email]).await?;
    Ok(row.map(|row| Namesake {
        id: row.get("id"),
        is_confirmed: row.get("is_confirmed"),
        is_proven: row.get("is_proven"),
    }))
}

/// Locks a user, so that its identities stay as they are. False: there is none.
pub(in crate::auth) async fn lock_user(tx: &Tx, user_id: Uuid) -> Result<bool, DbError> {
    let sql = "
    select u.id
      from auth.users u
     where u.id = $1
       and u.deleted_at is null
       for update of u";
    Ok(tx.query_opt(sql, &[&user_id]).await?.is_some())
}

/// Inserts an identity. False: another request was faster.
pub(in crate::auth) async fn insert_identity(
    tx: &Tx,
    user_id: Uuid,
    (provider, subject): (&str, &str),
    data: &Value,
    at: DateTime<Utc>,
) -> Result<bool, DbError> {
    let sql = "
    insert into auth.identities
      (provider_id, user_id, identity_data, provider, last_sign_in_at, created_at, updated_at)
    values
      ($1, $2, $3, $4, $5, $5, $5)
    on conflict (provider_id, provider) do nothing";
    let count = tx
        .execute(sql, &[&subject, &user_id, &data, &provider, &at])
        .await?;
    Ok(count == 1)
}

/// Notes a sign-in with an identity, and what the provider says by now on top of what it said before.
pub(in crate::auth) async fn use_identity(
    tx: &Tx,
    identity_id: Uuid,
    data: &Value,
    at: DateTime<Utc>,
) -> Result<u64, DbError> {
    let sql = "
    update auth.identities i
       set identity_data = i.identity_data || $2
         , last_sign_in_at = $3
         , updated_at = $3
     where i.id = $1";
    tx.execute(sql, &[&identity_id, &data, &at]).await
}

/// Adds to a user's metadata what it does not have yet.
pub(in crate::auth) async fn add_user_metadata(
    tx: &Tx,
    user_id: Uuid,
    data: &Value,
) -> Result<u64, DbError> {
    let sql = "
    update auth.users u
       set raw_user_meta_data = $2
             || coalesce(case jsonb_typeof(u.raw_user_meta_data) when 'object' then u.raw_user_meta_data end, '{}')
     where u.id = $1";
    tx.execute(sql, &[&user_id, &data]).await
}

/// A user that has an identity is not anonymous. It takes over the address too, if it has none and no other account has
/// that one.
pub(in crate::auth) async fn settle_user(
    tx: &Tx,
    user_id: Uuid,
    email: Option<&str>,
    at: DateTime<Utc>,
) -> Result<u64, DbError> {
    let sql = "
    update auth.users u
       set is_anonymous = false
         , email = case when f.is_free then $2 else u.email end
         , email_confirmed_at = case when f.is_free then $3 else u.email_confirmed_at end
         , updated_at = $3
      from (
        select $2::text is not null
           and not exists (
             select
               from auth.users o
              where lower(o.email) = $2
                and not o.is_sso_user
           ) as is_vacant
      ) v
     cross join lateral (
        select v.is_vacant
           and coalesce((select t.email from auth.users t where t.id = $1), '') = '' as is_free
      ) f
     where u.id = $1";
    tx.execute(sql, &[&user_id, &email, &at]).await
}

/// Empties an account that somebody made with an address which is not theirs, and confirms the address for its owner.
pub(in crate::auth) async fn take_over(
    tx: &Tx,
    user_id: Uuid,
    at: DateTime<Utc>,
) -> Result<u64, DbError> {
    tx.execute("select auth.forget_credentials($1)", &[&user_id])
        .await?;
    let sql = "
    update auth.users u
       set email_confirmed_at = $2
         , phone = null
         , phone_confirmed_at = null
         , raw_user_meta_data = '{}'
         , is_anonymous = false
         , updated_at = $2
     where u.id = $1";
    tx.execute(sql, &[&user_id, &at]).await
}

/// Removes an identity of a user. What is left: how many identities, and an address of one of them.
pub(in crate::auth) async fn delete_identity(
    tx: &Tx,
    user_id: Uuid,
    identity_id: Uuid,
) -> Result<u64, DbError> {
    let sql = "
    delete from auth.identities i
     where i.id = $2
       and i.user_id = $1";
    tx.execute(sql, &[&user_id, &identity_id]).await
}

/// The address of a user becomes another one that it has proven, or none.
pub(in crate::auth) async fn replace_email(
    tx: &Tx,
    user_id: Uuid,
    email: Option<&str>,
    at: DateTime<Utc>,
) -> Result<u64, DbError> {
    let sql = "
    update auth.users u
       set email = $2::text
         , email_confirmed_at = case when $2 is not null then $3::timestamptz end
         , updated_at = $3
     where u.id = $1";
    tx.execute(sql, &[&user_id, &email, &at]).await
}

/// An account that has no address any more has no password either.
pub(in crate::auth) async fn remove_password(tx: &Tx, user_id: Uuid) -> Result<u64, DbError> {
    let sql = "
    update auth.users u
       set encrypted_password = null
     where u.id = $1";
    tx.execute(sql, &[&user_id]).await
}
