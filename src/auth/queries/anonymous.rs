//! Accounts without an address, and what changes when they get one.

use super::user::NewUser;
use crate::db::{DbError, Tx};

/// Inserts a user without an address. Zero rows: a trigger of the project suppressed it.
pub(in crate::auth) async fn insert_anonymous_user(
    tx: &Tx,
    new: &NewUser<'_>,
) -> Result<u64, DbError> {
    let sql = "
    insert into auth.users
      ( instance_id, id, aud, role, raw_app_meta_data, raw_user_meta_data, last_sign_in_at, is_anonymous
      , created_at, updated_at )
    values
      ('00000000-0000-0000-0000-000000000000', $1, $2, $3, $4, $5, $6, true, $6, $6)";
    tx.execute(
        sql,
        &[
            &new.id,
            &new.aud,
            &new.role,
            &new.app_metadata,
            &new.user_metadata,
            &new.at,
        ],
    )
    .await
}
