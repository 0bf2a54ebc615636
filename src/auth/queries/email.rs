//! What mails change of users.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use crate::db::{DbError, SystemConnection, ToSql, Tx};

/// Enqueues job `auth.mail`.
pub(in crate::auth) async fn request_mail(tx: &Tx, payload: &Value) -> Result<u64, DbError> {
    let sql = "select auth.request_mail($1)";
    tx.execute(sql, &[&payload]).await
}

/// Notes that a token of this type was sent.
pub(in crate::auth) async fn stamp_sent(
    tx: &Tx,
    user_id: Uuid,
    token_type: &str,
    at: DateTime<Utc>,
) -> Result<u64, DbError> {
    let sql = "
    update auth.users u
       set confirmation_sent_at = case when $2 in ('signup', 'invite') then $3 else u.confirmation_sent_at end
         , invited_at = case when $2 = 'invite' then $3 else u.invited_at end
         , recovery_sent_at = case when $2 in ('recovery', 'magiclink') then $3 else u.recovery_sent_at end
         , email_change_sent_at = case when $2 like 'email_change_%' then $3 else u.email_change_sent_at end
         , reauthentication_sent_at = case when $2 = 'reauthentication' then $3 else u.reauthentication_sent_at end
         , updated_at = $3
     where u.id = $1";
    tx.execute(sql, &[&user_id, &token_type, &at]).await
}

/// An account that nobody has confirmed, and that cannot be signed in to before somebody does: `$2`, `$3` say whether an
/// unconfirmed address or number is enough for that.
macro_rules! is_out_of_use {
    () => {
        "u.id = $1
       and u.email_confirmed_at is null
       and u.phone_confirmed_at is null
       and not ($2::bool and coalesce(u.email, '') <> '')
       and not ($3::bool and coalesce(u.phone, '') <> '')"
    };
}

/// Removes every way into an account that is not in use yet. One row if it was not.
pub(in crate::auth) async fn forget_unconfirmed(
    tx: &Tx,
    user_id: Uuid,
    (address_is_enough, number_is_enough): (bool, bool),
) -> Result<u64, DbError> {
    // First: whoever uses a token takes its row before the user's.
    let sql = concat!(
        "
    delete from auth.one_time_tokens t
     using auth.users u
     where t.user_id = u.id
       and ",
        is_out_of_use!()
    );
    let params: [&(dyn ToSql + Sync); 3] = [&user_id, &address_is_enough, &number_is_enough];
    tx.execute(sql, &params).await?;
    // Locked before it is looked at: a confirmation at the same moment wins.
    let sql = concat!(
        "
    select auth.forget_credentials(u.id)
      from (
        select u.id
          from auth.users u
         where ",
        is_out_of_use!(),
        "
           for update of u
      ) u"
    );
    tx.execute(sql, &params).await
}

/// Confirms the address of a user.
pub(in crate::auth) async fn confirm_email(
    tx: &Tx,
    user_id: Uuid,
    at: DateTime<Utc>,
) -> Result<u64, DbError> {
    let sql = "
    update auth.users u
       set email_confirmed_at = coalesce(u.email_confirmed_at, $2)
         , is_anonymous = false
         , updated_at = $2
     where u.id = $1";
    tx.execute(sql, &[&user_id, &at]).await
}

/// Halves of a change of address, as column `email_change_confirm_status` counts them.
pub(in crate::auth) const CURRENT_CONFIRMED: i16 = 1;

/// The other half.
pub(in crate::auth) const NEW_CONFIRMED: i16 = 2;

/// Begins a change of address; `confirmed` is a half that needs no mail.
pub(in crate::auth) async fn begin_email_change(
    tx: &Tx,
    user_id: Uuid,
    new_email: &str,
    confirmed: i16,
    at: DateTime<Utc>,
) -> Result<u64, DbError> {
    let sql = "
    update auth.users u
       set email_change = $2
         , email_change_confirm_status = $3
         , updated_at = $4
     where u.id = $1";
    tx.execute(sql, &[&user_id, &new_email, &confirmed, &at])
        .await
}

/// Notes that one half is confirmed. Zero rows: the other one was, so that the change is complete.
pub(in crate::auth) async fn confirm_half(
    tx: &Tx,
    user_id: Uuid,
    half: i16,
    at: DateTime<Utc>,
) -> Result<u64, DbError> {
    let sql = "
    update auth.users u
       set email_change_confirm_status = $2::smallint
         , updated_at = $3
     where u.id = $1
       and coalesce(u.email_change_confirm_status, 0) in (0, $2::smallint)";
    tx.execute(sql, &[&user_id, &half, &at]).await
}

/// Makes the new address the address. Zero rows: there is no change under way.
pub(in crate::auth) async fn finish_email_change(
    tx: &Tx,
    user_id: Uuid,
    at: DateTime<Utc>,
) -> Result<u64, DbError> {
    let sql = "
    update auth.users u
       set email = u.email_change
         , email_change = ''
         , email_change_confirm_status = 0
         , email_confirmed_at = $2
         , is_anonymous = false
         , updated_at = $2
     where u.id = $1
       and u.email_change <> ''";
    tx.execute(sql, &[&user_id, &at]).await
}

/// Which halves of a change of address are confirmed.
pub(in crate::auth) async fn read_email_change(tx: &Tx, user_id: Uuid) -> Result<i16, DbError> {
    let sql = "
    select coalesce(u.email_change_confirm_status, 0::smallint) as confirmed
      from auth.users u
     where u.id = $1";
    let row = tx.query_opt(sql, &[&user_id]).await?;
    Ok(row.map_or(0, |row| row.get("confirmed")))
}

/// When a session began, and how.
pub(in crate::auth) async fn find_session_start(
    db: &SystemConnection,
    session_id: Uuid,
) -> Result<Option<(DateTime<Utc>, Value)>, DbError> {
    let sql = "
    select s.created_at
         , s.amr
      from auth.sessions s
     where s.id = $1";
    let row = db.query_opt(sql, &[&session_id]).await?;
    Ok(row.map(|row| (row.get("created_at"), row.get("amr"))))
}
