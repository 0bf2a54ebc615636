//! Accounts by user name.

use crate::auth::username::Profile;
use crate::db::{DbError, SystemConnection};

/// What everybody may know of the account with a name.
pub(in crate::auth) async fn find_profile(
    db: &SystemConnection,
    username: &str,
) -> Result<Option<Profile>, DbError> {
    let sql = "
    select u.id
         , u.username
         , u.created_at
      from auth.users u
     where u.username = $1
       and u.deleted_at is null";
    let row = db.query_opt(sql, &[&username]).await?;
    Ok(row.map(|row| Profile {
        id: row.get("id"),
        username: row.get("username"),
        created_at: row.get("created_at"),
    }))
}
