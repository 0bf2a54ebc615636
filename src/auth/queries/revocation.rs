//! Where `PostgREST` reads whether to look at sessions.

use crate::db::{Connection, DbError};

/// Stores the mode and the project's own function, and tells `PostgREST` if that changed anything.
pub(in crate::auth) async fn publish_revocation(
    db: &Connection,
    mode: &str,
    next_function: Option<&str>,
) -> Result<(), DbError> {
    let sql = "select sb.publish_revocation($1, $2)";
    db.execute(sql, &[&mode, &next_function]).await.map(drop)
}
