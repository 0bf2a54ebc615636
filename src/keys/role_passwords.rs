//! Passwords of the roles `sb` logs in as: derived from the master key and from how often they were changed.
//!
//! The count stands in the database, where every node reads it on the connection of the owner: at its start, and when a
//! password that it knew is refused. So a change needs no restart, and no secret travels.

use super::{KeysError, MasterKey, manage, queries};
use crate::config::Secret;
use crate::db::{AskPassword, Connection, DbError, Target};

/// The roles whose passwords are derived.
pub const ROLES: [&str; 3] = ["authenticator", "sb_auth", "sb_jobs"];

/// The password of a role that is in force.
pub async fn current(
    connection: &Connection,
    master: &MasterKey,
    role: &str,
) -> Result<Secret, DbError> {
    let version = queries::role_password_version(connection, role).await?;
    Ok(master.changed_role_password(role, version))
}

/// Asks the database of `owner` for the password of a role.
pub fn ask(owner: Target, master: MasterKey, role: &'static str) -> AskPassword {
    std::sync::Arc::new(move || {
        let (owner, master) = (owner.clone(), master.clone());
        Box::pin(async move {
            let found = async {
                let connection = Connection::open(&owner).await?;
                current(&connection, &master, role).await
            };
            match found.await {
                Ok(password) => Some(password.expose().to_owned()),
                Err(error) => {
                    tracing::warn!(role, error = %error, "the password of a role could not be read again");
                    None
                }
            }
        })
    })
}

/// Gives a role its next password; every node follows at its next connection. Open connections stay.
///
/// # Errors
/// [`KeysError::Sealed`] for another master key than that of the database; the database's when the owner may not.
pub async fn rotate(
    connection: &Connection,
    master: &MasterKey,
    role: &str,
) -> Result<(), KeysError> {
    manage::in_transaction(connection, async {
        manage::check_master(connection, master).await?;
        let version = queries::next_role_password(connection, role).await?;
        let password = master.changed_role_password(role, version);
        Ok(set(connection, role, &password).await?)
    })
    .await
}

/// Sets the password of a role. The server is given a verifier, never the password: statements can end up in its log.
pub async fn set(connection: &Connection, role: &str, password: &Secret) -> Result<(), DbError> {
    let verifier = postgres_protocol::password::scram_sha_256(password.expose().as_bytes());
    queries::set_role_password(connection, role, &verifier).await
}
