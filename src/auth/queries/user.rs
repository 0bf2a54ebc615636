//! Users and their identities.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use uuid::Uuid;

use super::rows::users;
use crate::auth::admin::SortField;
use crate::auth::duration::Ban;
use crate::auth::import::Times;
use crate::auth::model::User;
use crate::db::{DbError, Row, SystemConnection, Tx};

const FIND_USER: &str = concat!(
    "
    select ",
    user_columns!(),
    "
         , ",
    identity_columns!(),
    "
         , s.refresh_token_counter
         , s.refresh_token_seen
         , s.aal
      from auth.users u
      left join auth.sessions s
        on s.id = $2
       and s.user_id = u.id
      left join auth.identities i
        on i.user_id = u.id
     where u.id = $1"
);

/// The state of the session a token names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::auth) struct LiveSession {
    /// Counter of the current refresh token.
    pub(in crate::auth) counter: i64,
    /// Whether the current tokens have come back.
    pub(in crate::auth) seen: bool,
    /// Whether a second factor was verified in it.
    pub(in crate::auth) is_aal2: bool,
}

/// A user, and the session `session_id` if it is one of the user's and lives.
pub(in crate::auth) async fn find_user(
    db: &SystemConnection,
    user_id: Uuid,
    session_id: Option<Uuid>,
) -> Result<Option<(User, Option<LiveSession>)>, DbError> {
    let rows = db.query(FIND_USER, &[&user_id, &session_id]).await?;
    Ok(with_session(&rows))
}

/// The same within a transaction.
pub(in crate::auth) async fn find_user_in(
    tx: &Tx,
    user_id: Uuid,
    session_id: Option<Uuid>,
) -> Result<Option<(User, Option<LiveSession>)>, DbError> {
    let rows = tx.query(FIND_USER, &[&user_id, &session_id]).await?;
    Ok(with_session(&rows))
}

fn with_session(rows: &[Row]) -> Option<(User, Option<LiveSession>)> {
    let row = rows.first()?;
    let session = row
        .get::<_, Option<i64>>("refresh_token_counter")
        .map(|counter| LiveSession {
            counter,
            seen: row.get("refresh_token_seen"),
            is_aal2: row.get::<_, &str>("aal") == "aal2",
        });
    users(rows).pop().map(|user| (user, session))
}

/// The same within a transaction, without a session.
pub(in crate::auth) async fn read_user(tx: &Tx, user_id: Uuid) -> Result<Option<User>, DbError> {
    let rows = tx.query(FIND_USER, &[&user_id, &None::<Uuid>]).await?;
    Ok(users(&rows).pop())
}

/// A user to insert.
pub(in crate::auth) struct NewUser<'a> {
    pub(in crate::auth) id: Uuid,
    pub(in crate::auth) aud: &'a str,
    pub(in crate::auth) role: &'a str,
    pub(in crate::auth) email: Option<&'a str>,
    pub(in crate::auth) phone: Option<&'a str>,
    pub(in crate::auth) username: Option<&'a str>,
    pub(in crate::auth) password_hash: Option<&'a str>,
    pub(in crate::auth) email_confirmed: bool,
    pub(in crate::auth) phone_confirmed: bool,
    pub(in crate::auth) app_metadata: &'a Value,
    pub(in crate::auth) user_metadata: &'a Value,
    pub(in crate::auth) banned_until: Option<DateTime<Utc>>,
    pub(in crate::auth) signs_in: bool,
    pub(in crate::auth) at: DateTime<Utc>,
}

/// Inserts a user. Zero rows: a trigger of the project suppressed it.
pub(in crate::auth) async fn insert_user(tx: &Tx, new: &NewUser<'_>) -> Result<u64, DbError> {
    let sql = "
    insert into auth.users
      ( instance_id, id, aud, role, email, phone, encrypted_password, email_confirmed_at, phone_confirmed_at
      , raw_app_meta_data, raw_user_meta_data, banned_until, last_sign_in_at, created_at, updated_at, username )
    values
      ( '00000000-0000-0000-0000-000000000000', $1, $2, $3, $4, $5, $6, $7, $8
      , $9, $10, $11, $12, $13, $13, $14 )";
    let at = |condition: bool| condition.then_some(new.at);
    tx.execute(
        sql,
        &[
            &new.id,
            &new.aud,
            &new.role,
            &new.email,
            &new.phone,
            &new.password_hash,
            &at(new.email_confirmed),
            &at(new.phone_confirmed),
            &new.app_metadata,
            &new.user_metadata,
            &new.banned_until,
            &at(new.signs_in),
            &new.at,
            &new.username,
        ],
    )
    .await
}

/// Inserts a user of elsewhere, with its times. Zero rows: it is there already, or its address, number or name is.
pub(in crate::auth) async fn import_user(
    tx: &Tx,
    new: &NewUser<'_>,
    times: &Times,
) -> Result<u64, DbError> {
    let sql = "
    insert into auth.users
      ( instance_id, id, aud, role, email, phone, username, encrypted_password, email_confirmed_at, phone_confirmed_at
      , raw_app_meta_data, raw_user_meta_data, banned_until, last_sign_in_at, created_at, updated_at )
    values
      ( '00000000-0000-0000-0000-000000000000', $1, $2, $3, $4, $5, $6, $7, $8, $9
      , $10, $11, $12, $13, $14, $15 )
    on conflict do nothing";
    tx.execute(
        sql,
        &[
            &new.id,
            &new.aud,
            &new.role,
            &new.email,
            &new.phone,
            &new.username,
            &new.password_hash,
            &times.email_confirmed_at,
            &times.phone_confirmed_at,
            &new.app_metadata,
            &new.user_metadata,
            &new.banned_until,
            &times.last_sign_in_at,
            &times.created_at,
            &new.at,
        ],
    )
    .await
}

/// Writes the identity a user has under its own id (providers `email` and `phone`).
pub(in crate::auth) async fn write_identity(
    tx: &Tx,
    (user_id, provider): (Uuid, &str),
    data: &Value,
    at: DateTime<Utc>,
) -> Result<u64, DbError> {
    let sql = "
    insert into auth.identities as i
      (provider_id, user_id, identity_data, provider, last_sign_in_at, created_at, updated_at)
    values
      ($1::uuid::text, $1, $2, $3, $4, $4, $4)
    on conflict (provider_id, provider) do update
       set identity_data = i.identity_data || excluded.identity_data
         , updated_at = excluded.updated_at";
    tx.execute(sql, &[&user_id, &data, &provider, &at]).await
}

/// Writes the names of a user's providers into its `app_metadata`. The first one stays the first while it is there.
pub(in crate::auth) async fn write_providers(
    tx: &Tx,
    user_id: Uuid,
    at: DateTime<Utc>,
) -> Result<u64, DbError> {
    let sql = "
    update auth.users u
       set raw_app_meta_data = coalesce(case jsonb_typeof(u.raw_app_meta_data) when 'object' then u.raw_app_meta_data end, '{}')
             || jsonb_build_object(
               'provider', case
                 when p.names ? coalesce(u.raw_app_meta_data ->> 'provider', '') then u.raw_app_meta_data -> 'provider'
                 else p.names -> 0
               end,
               'providers', p.names
             )
         , updated_at = $2
      from (
        select coalesce(jsonb_agg(n.provider order by n.first_at, n.provider), '[]') as names
          from (
            select i.provider
                 , min(i.created_at) as first_at
              from auth.identities i
             where i.user_id = $1
             group by i.provider
          ) n
      ) p
     where u.id = $1";
    tx.execute(sql, &[&user_id, &at]).await
}

/// Changes of a user; what is `None`, empty or false stays as it is.
#[derive(Default)]
pub(in crate::auth) struct UserChange<'a> {
    pub(in crate::auth) email: Option<&'a str>,
    pub(in crate::auth) phone: Option<&'a str>,
    pub(in crate::auth) username: Option<&'a str>,
    pub(in crate::auth) password_hash: Option<&'a str>,
    pub(in crate::auth) email_confirmed: bool,
    pub(in crate::auth) phone_confirmed: bool,
    pub(in crate::auth) user_metadata: (Value, Vec<String>),
    pub(in crate::auth) app_metadata: (Value, Vec<String>),
    pub(in crate::auth) role: Option<&'a str>,
    pub(in crate::auth) aud: Option<&'a str>,
    pub(in crate::auth) ban: Option<Ban>,
    /// The change is made only while this is the password.
    pub(in crate::auth) checked_hash: Option<&'a str>,
}

/// Changes a user. Zero rows: there is none, or its password is another by now.
pub(in crate::auth) async fn update_user(
    tx: &Tx,
    user_id: Uuid,
    change: &UserChange<'_>,
    at: DateTime<Utc>,
) -> Result<u64, DbError> {
    let sql = "
    update auth.users u
       set email = coalesce($2, u.email)
         , phone = coalesce($3, u.phone)
         , encrypted_password = coalesce($4, u.encrypted_password)
         , email_confirmed_at = case
             when not $5 then u.email_confirmed_at
             when $2 is null then coalesce(u.email_confirmed_at, $6)
             else $6
           end
         , phone_confirmed_at = case
             when not $7 then u.phone_confirmed_at
             when $3 is null then coalesce(u.phone_confirmed_at, $6)
             else $6
           end
         , raw_user_meta_data = (
             coalesce(case jsonb_typeof(u.raw_user_meta_data) when 'object' then u.raw_user_meta_data end, '{}') || $8
           ) - $9::text[]
         , raw_app_meta_data = (
             coalesce(case jsonb_typeof(u.raw_app_meta_data) when 'object' then u.raw_app_meta_data end, '{}') || $10
           ) - $11::text[]
         , role = coalesce($12, u.role)
         , aud = coalesce($13, u.aud)
         , banned_until = case when $14 then $15 else u.banned_until end
         , username = coalesce($17, u.username)
         , updated_at = $6
     where u.id = $1
       and ($16::text is null or u.encrypted_password = $16)";
    let (user_set, user_removed) = object(&change.user_metadata);
    let (app_set, app_removed) = object(&change.app_metadata);
    tx.execute(
        sql,
        &[
            &user_id,
            &change.email,
            &change.phone,
            &change.password_hash,
            &change.email_confirmed,
            &at,
            &change.phone_confirmed,
            &user_set,
            &user_removed,
            &app_set,
            &app_removed,
            &change.role,
            &change.aud,
            &change.ban.is_some(),
            &change.ban.and_then(|ban| ban.until(at)),
            &change.checked_hash,
            &change.username,
        ],
    )
    .await
}

/// Stores another hash of the same password.
pub(in crate::auth) async fn replace_hash(
    db: &SystemConnection,
    user_id: Uuid,
    (old, new): (&str, &str),
) -> Result<u64, DbError> {
    let sql = "
    update auth.users u
       set encrypted_password = $3
     where u.id = $1
       and u.encrypted_password = $2";
    db.execute(sql, &[&user_id, &old, &new]).await
}

fn object((set, removed): &(Value, Vec<String>)) -> (Value, &[String]) {
    let set = if set.is_object() {
        set.clone()
    } else {
        Value::Object(Map::new())
    };
    (set, removed)
}

/// Deletes a user with everything that cascades.
pub(in crate::auth) async fn delete_user(tx: &Tx, user_id: Uuid) -> Result<u64, DbError> {
    let sql = "
    delete from auth.users u
     where u.id = $1";
    tx.execute(sql, &[&user_id]).await
}

/// Keeps the row, without anything personal and without a way to sign in.
pub(in crate::auth) async fn soft_delete_user(
    tx: &Tx,
    user_id: Uuid,
    at: DateTime<Utc>,
) -> Result<u64, DbError> {
    let sql = "
    with identities as (
      delete from auth.identities i
       where i.user_id = $1
    ), factors as (
      delete from auth.mfa_factors f
       where f.user_id = $1
    ), passkeys as (
      delete from auth.webauthn_credentials c
       where c.user_id = $1
    ), sessions as (
      delete from auth.sessions s
       where s.user_id = $1
    )
    update auth.users u
       set email = null
         , phone = null
         , username = null
         , email_change = null
         , phone_change = ''
         , encrypted_password = null
         , raw_user_meta_data = '{}'
         , raw_app_meta_data = '{}'
         , deleted_at = $2
         , updated_at = $2
     where u.id = $1";
    tx.execute(sql, &[&user_id, &at]).await
}

/// `$1` part of an address, number or name; `$2`, `$3` whole ones.
macro_rules! is_wanted {
    () => {
        "($1::text is null
            or strpos(lower(u.email), lower($1)) > 0
            or strpos(u.phone, $1) > 0
            or strpos(u.username, lower($1)) > 0)
           and ($2::text is null or lower(u.email) = $2)
           and ($3::text is null or u.phone = $3)"
    };
}

macro_rules! list_users {
    ($order:literal) => {
        concat!(
            "
    select ",
            user_columns!(),
            "
         , ",
            identity_columns!(),
            "
      from (
        select u.id
          from auth.users u
         where ",
            is_wanted!(),
            "
         order by ",
            $order,
            "
         limit $4
        offset $5
      ) page
      join auth.users u
        on u.id = page.id
      left join auth.identities i
        on i.user_id = u.id
     order by ",
            $order
        )
    };
}

/// Which users to list; what is `None` does not matter.
#[derive(Debug, Clone, Copy)]
pub(in crate::auth) struct Wanted<'a> {
    pub(in crate::auth) part: Option<&'a str>,
    pub(in crate::auth) email: Option<&'a str>,
    pub(in crate::auth) phone: Option<&'a str>,
}

/// A page of users.
pub(in crate::auth) async fn list_users(
    db: &SystemConnection,
    wanted: Wanted<'_>,
    (field, descending): (SortField, bool),
    (limit, offset): (i64, i64),
) -> Result<Vec<User>, DbError> {
    let sql = match (field, descending) {
        (SortField::CreatedAt, true) => list_users!("u.created_at desc, u.id desc"),
        (SortField::CreatedAt, false) => list_users!("u.created_at, u.id"),
        (SortField::UpdatedAt, true) => list_users!("u.updated_at desc, u.id desc"),
        (SortField::UpdatedAt, false) => list_users!("u.updated_at, u.id"),
        (SortField::LastSignInAt, true) => {
            list_users!("u.last_sign_in_at desc nulls last, u.id desc")
        }
        (SortField::LastSignInAt, false) => list_users!("u.last_sign_in_at nulls first, u.id"),
        (SortField::Email, true) => list_users!("lower(u.email) desc nulls last, u.id desc"),
        (SortField::Email, false) => list_users!("lower(u.email) nulls last, u.id"),
    };
    let Wanted { part, email, phone } = wanted;
    let rows = db
        .query(sql, &[&part, &email, &phone, &limit, &offset])
        .await?;
    Ok(users(&rows))
}

/// How many users [`list_users`] has on all pages.
pub(in crate::auth) async fn count_users(
    db: &SystemConnection,
    wanted: Wanted<'_>,
) -> Result<i64, DbError> {
    let sql = concat!(
        "
    select count(*) as total
      from auth.users u
     where ",
        is_wanted!()
    );
    let Wanted { part, email, phone } = wanted;
    let row = db.query_one(sql, &[&part, &email, &phone]).await?;
    Ok(row.get("total"))
}
