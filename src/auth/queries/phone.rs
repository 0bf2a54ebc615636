//! Accounts by number, and what codes change of them.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::db::{DbError, SystemConnection, Tx};

/// The account of a number.
pub(in crate::auth) struct PhoneAccount {
    pub(in crate::auth) user_id: Uuid,
    pub(in crate::auth) is_confirmed: bool,
    pub(in crate::auth) password_hash: Option<String>,
}

/// The account that has a number.
pub(in crate::auth) async fn find_phone_account(
    db: &SystemConnection,
    phone: &str,
) -> Result<Option<PhoneAccount>, DbError> {
    let sql = "
    select u.id
         , u.phone_confirmed_at is not null as is_confirmed
         , nullif(u.encrypted_password, '') as password_hash
      from auth.users u
     where u.phone = $1
       and u.deleted_at is null";
    let row = db.query_opt(sql, &[&phone]).await?;
    Ok(row.map(|row| PhoneAccount {
        user_id: row.get("id"),
        is_confirmed: row.get("is_confirmed"),
        password_hash: row.get("password_hash"),
    }))
}

/// The account that was last sent a code to change to a number.
pub(in crate::auth) async fn find_phone_change(
    db: &SystemConnection,
    phone: &str,
) -> Result<Option<Uuid>, DbError> {
    let sql = "
    select t.user_id
      from auth.one_time_tokens t
      join auth.users u
        on u.id = t.user_id
     where t.relates_to = $1
       and t.token_type = 'phone_change'
       and u.phone_change = $1
       and u.deleted_at is null
     order by t.created_at desc
     limit 1";
    let row = db.query_opt(sql, &[&phone]).await?;
    Ok(row.map(|row| row.get("user_id")))
}

/// Notes that a code of this type was issued.
pub(in crate::auth) async fn stamp_sms(
    tx: &Tx,
    user_id: Uuid,
    token_type: &str,
    at: DateTime<Utc>,
) -> Result<u64, DbError> {
    let sql = "
    update auth.users u
       set confirmation_sent_at = case when $2 = 'sms' then $3 else u.confirmation_sent_at end
         , phone_change_sent_at = case when $2 = 'phone_change' then $3 else u.phone_change_sent_at end
         , reauthentication_sent_at = case when $2 = 'reauthentication' then $3 else u.reauthentication_sent_at end
         , updated_at = $3
     where u.id = $1";
    tx.execute(sql, &[&user_id, &token_type, &at]).await
}

/// Confirms the number of a user. Zero rows: it was confirmed.
pub(in crate::auth) async fn confirm_phone(
    tx: &Tx,
    user_id: Uuid,
    at: DateTime<Utc>,
) -> Result<u64, DbError> {
    let sql = "
    update auth.users u
       set phone_confirmed_at = $2
         , updated_at = $2
     where u.id = $1
       and u.phone_confirmed_at is null";
    tx.execute(sql, &[&user_id, &at]).await
}

/// Begins a change of number.
pub(in crate::auth) async fn begin_phone_change(
    tx: &Tx,
    user_id: Uuid,
    phone: &str,
    at: DateTime<Utc>,
) -> Result<u64, DbError> {
    let sql = "
    update auth.users u
       set phone_change = $2
         , updated_at = $3
     where u.id = $1";
    tx.execute(sql, &[&user_id, &phone, &at]).await
}

/// Makes the new number the number.
pub(in crate::auth) async fn finish_phone_change(
    tx: &Tx,
    user_id: Uuid,
    at: DateTime<Utc>,
) -> Result<u64, DbError> {
    let sql = "
    update auth.users u
       set phone = u.phone_change
         , phone_change = ''
         , phone_confirmed_at = $2
         , updated_at = $2
     where u.id = $1
       and u.phone_change <> ''";
    tx.execute(sql, &[&user_id, &at]).await
}
