//! Instant revocation: `PostgREST` asks, before each request, whether the session of its token still lives.
//!
//! The check itself is SQL (`auth.pre_request`); here the settings are brought to where it and `PostgREST` read them.

use super::queries;
use crate::config::Config;
use crate::db::{Connection, DbError};

/// Writes what the settings say into the database, as its owner. Safe to call at every start: it does nothing when all is
/// in place. `PostgREST` follows at once. A `db-pre-request` of the project's own runs after ours.
///
/// # Errors
/// The database's, also when the project's own setting is no name of a function.
pub async fn publish_revocation(owner: &Connection, config: &Config) -> Result<(), DbError> {
    let mode = config.auth.instant_revocation.as_str();
    let own = config.postgrest.get("db-pre-request").map(String::as_str);
    queries::publish_revocation(owner, mode, own).await
}
