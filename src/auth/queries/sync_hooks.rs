//! Functions of the project that the service asks. They run as `supabase_auth_admin`.

use serde_json::Value;

use crate::db::{DbError, SystemConnection, quote_identifier};

/// Runs a function, which the settings name, on a connection of [`crate::db::Db::hooks`]. Its parameter and result may be
/// `json` or `jsonb`; a result that is neither, `void` say, counts as null.
pub(in crate::auth) async fn run_hook(
    db: &SystemConnection,
    (schema, name): (&str, &str),
    event: &Value,
) -> Result<Value, DbError> {
    let sql = format!(
        "select {}.{}($1) as answer",
        quote_identifier(schema),
        quote_identifier(name)
    );
    let row = db.query_opt(&sql, &[event]).await?;
    let answer = row.and_then(|row| row.try_get("answer").ok().flatten());
    Ok(answer.unwrap_or_default())
}
