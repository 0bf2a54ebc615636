//! The passkeys of an account: listing, renaming, removing.

use serde_json::json;
use uuid::Uuid;

use super::Passkey;
use crate::auth::audit::{self, Action};
use crate::auth::mfa::{Subject, friendly_name};
use crate::auth::model::Client;
use crate::auth::user::Bearer;
use crate::auth::{Auth, AuthError, admin, queries};
use crate::error::ErrorCode;

/// The bearer's passkeys, oldest first.
///
/// # Errors
/// Those of [`Subject::new`]; `insufficient_aal`.
pub(super) async fn list(auth: &Auth, bearer: Bearer<'_>) -> Result<Vec<Passkey>, AuthError> {
    let connection = auth.db().auth().connection().await?;
    let found = queries::find_user(&connection, bearer.user_id, bearer.session_id).await?;
    let subject = Subject::new(auth, bearer, found)?;
    subject.require_aal()?;
    Ok(queries::passkeys::list(&connection, subject.user.id).await?)
}

/// Renames one of the bearer's passkeys.
///
/// # Errors
/// Those of [`list`]; `webauthn_credential_not_found`; [`AuthError::Invalid`].
pub(super) async fn rename(
    auth: &Auth,
    bearer: Bearer<'_>,
    (id, name): (Uuid, Option<&str>),
    client: &Client,
) -> Result<Passkey, AuthError> {
    let name = Some(friendly_name(name)?).filter(|name| !name.is_empty());
    let tx = auth.db().auth().begin().await?;
    let renamed = async {
        let subject = Subject::lock(auth, &tx, bearer).await?;
        subject.require_aal()?;
        let which = (subject.user.id, id);
        let renamed = queries::passkeys::rename(&tx, which, name, subject.now).await?;
        let passkey = renamed.ok_or_else(not_found)?;
        let actor = (subject.user.id, audit::name(&subject.user));
        let payload = audit::payload(Action::PasskeyUpdated, actor, &json!({ "passkey_id": id }));
        queries::log(&tx, &payload, (client, subject.now)).await?;
        Ok(passkey)
    };
    let renamed = renamed.await;
    tx.finish(renamed).await
}

/// Removes one of the bearer's passkeys. Sessions that it opened go back to `aal1`.
///
/// # Errors
/// Those of [`list`]; `webauthn_credential_not_found`.
pub(super) async fn remove(
    auth: &Auth,
    bearer: Bearer<'_>,
    id: Uuid,
    client: &Client,
) -> Result<(), AuthError> {
    let tx = auth.db().auth().begin().await?;
    let removed = async {
        let subject = Subject::lock(auth, &tx, bearer).await?;
        subject.require_aal()?;
        let which = (subject.user.id, id);
        queries::mfa::lower_sessions(&tx, which, subject.now).await?;
        if queries::passkeys::delete(&tx, which).await? == 0 {
            return Err(not_found());
        }
        let actor = (subject.user.id, audit::name(&subject.user));
        let payload = audit::payload(Action::PasskeyDeleted, actor, &json!({ "passkey_id": id }));
        queries::log(&tx, &payload, (client, subject.now)).await?;
        Ok(())
    };
    let removed = removed.await;
    tx.finish(removed).await
}

/// The passkeys of a user, for the holder of the service key.
///
/// # Errors
/// [`AuthError::UserNotFound`].
pub(super) async fn list_by_service(auth: &Auth, user_id: Uuid) -> Result<Vec<Passkey>, AuthError> {
    admin::find(auth, user_id).await?;
    let connection = auth.db().auth().connection().await?;
    Ok(queries::passkeys::list(&connection, user_id).await?)
}

/// Removes a passkey for the holder of the service key: its owner has lost it.
///
/// # Errors
/// [`AuthError::UserNotFound`]; `webauthn_credential_not_found`.
pub(super) async fn remove_by_service(
    auth: &Auth,
    which: (Uuid, Uuid),
    client: &Client,
) -> Result<(), AuthError> {
    let now = auth.clock().now();
    let tx = auth.db().auth().begin().await?;
    let removed = async {
        let user = queries::read_user(&tx, which.0).await?;
        let user = user.ok_or(AuthError::UserNotFound)?;
        queries::mfa::lower_sessions(&tx, which, now).await?;
        if queries::passkeys::delete(&tx, which).await? == 0 {
            return Err(not_found());
        }
        let mut payload = audit::by_service(Action::PasskeyDeleted, &user);
        payload["traits"]["passkey_id"] = json!(which.1);
        queries::log(&tx, &payload, (client, now)).await?;
        Ok(())
    };
    let removed = removed.await;
    tx.finish(removed).await
}

fn not_found() -> AuthError {
    let code = ErrorCode::WebauthnCredentialNotFound;
    AuthError::Refused(code, "Passkey not found")
}
