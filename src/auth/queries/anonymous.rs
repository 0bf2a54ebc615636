//! Accounts without an address, and what changes when they get one.

use uuid::Uuid;

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

/// Names the providers of a user's identities, oldest first, in its app metadata; the first one stays the first.
pub(in crate::auth) async fn write_providers(tx: &Tx, user_id: Uuid) -> Result<u64, DbError> {
    let sql = "
    with p as (
      select jsonb_agg(i.provider order by i.since, i.provider) as providers
        from (
          select i.provider
               , min(i.created_at) as since
            from auth.identities i
           where i.user_id = $1
           group by i.provider
        ) i
    )
    update auth.users u
       set raw_app_meta_data = jsonb_build_object('provider', p.providers -> 0)
             || coalesce(case jsonb_typeof(u.raw_app_meta_data) when 'object' then u.raw_app_meta_data end, '{}')
             || jsonb_build_object('providers', p.providers)
      from p
     where u.id = $1
       and p.providers is not null";
    tx.execute(sql, &[&user_id]).await
}
