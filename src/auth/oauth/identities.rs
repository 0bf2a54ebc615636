//! Identities of a signed-in user: linked and unlinked by hand.

use chrono::{DateTime, Utc};
use serde_json::json;
use uuid::Uuid;

use crate::auth::audit::{self, Action};
use crate::auth::model::{Client, Identity, User};
use crate::auth::queries::{self as shared, oauth as queries};
use crate::auth::user::{self, Bearer};
use crate::auth::{Auth, AuthError, saving};
use crate::config::Linking;
use crate::db::Tx;
use crate::error::ErrorCode;

/// The user who wants to link an identity, if that is possible. Where accounts are not joined without asking, asking must
/// be possible.
///
/// # Errors
/// [`ErrorCode::ManualLinkingDisabled`], [`ErrorCode::InsufficientAal`], and those of a bearer whose session has ended.
pub(super) async fn linking_user(auth: &Auth, bearer: Bearer<'_>) -> Result<Uuid, AuthError> {
    let settings = &auth.config().auth;
    if !settings.manual_linking && settings.linking != Linking::Ask {
        return Err(DISABLED);
    }
    Ok(user::trusted_user(auth, bearer).await?.id)
}

const DISABLED: AuthError = AuthError::Refused(
    ErrorCode::ManualLinkingDisabled,
    "Manual linking is disabled",
);

/// Removes an identity of the bearer. Its address is replaced by that of another identity; without its own way to sign
/// in by mail an account has no password.
///
/// # Errors
/// [`ErrorCode::ManualLinkingDisabled`], [`ErrorCode::InsufficientAal`], [`ErrorCode::IdentityNotFound`],
/// [`ErrorCode::SingleIdentityNotDeletable`], [`ErrorCode::EmailConflictIdentityNotDeletable`].
pub(super) async fn unlink(
    auth: &Auth,
    bearer: Bearer<'_>,
    identity_id: Uuid,
    client: &Client,
) -> Result<(), AuthError> {
    if !auth.config().auth.manual_linking {
        return Err(DISABLED);
    }
    let user_id = user::trusted_user(auth, bearer).await?.id;
    let tx = auth.db().auth().begin().await?;
    let unlinked = unlink_in(auth, &tx, (user_id, identity_id), client).await;
    tx.finish(unlinked).await
}

async fn unlink_in(
    auth: &Auth,
    tx: &Tx,
    (user_id, identity_id): (Uuid, Uuid),
    client: &Client,
) -> Result<(), AuthError> {
    let now = auth.clock().now();
    // Two requests at once must not remove the last two.
    queries::lock_user(tx, user_id).await?;
    let user = shared::read_user(tx, user_id).await?;
    let user = user.ok_or(AuthError::UserNotFound)?;
    let (gone, kept): (Vec<&Identity>, Vec<&Identity>) = user
        .identities
        .iter()
        .partition(|identity| identity.id == identity_id);
    let gone = *gone.first().ok_or(AuthError::Refused(
        ErrorCode::IdentityNotFound,
        "Identity doesn't exist",
    ))?;
    if kept.is_empty() {
        return Err(AuthError::Refused(
            ErrorCode::SingleIdentityNotDeletable,
            "User must have at least 1 identity after unlinking",
        ));
    }
    queries::delete_identity(tx, user_id, identity_id).await?;
    replace_address(tx, &user, (gone, &kept), now).await?;
    if gone.provider == "email" {
        queries::remove_password(tx, user_id).await?;
    }
    shared::write_providers(tx, user_id, now).await?;
    let traits = json!({
        "provider": gone.provider,
        "provider_id": gone.provider_id,
        "identity_id": gone.id,
        "reason": "the signed-in user asked for it",
    });
    let payload = audit::payload(
        Action::IdentityUnlinked,
        (user_id, audit::name(&user)),
        &traits,
    );
    shared::log(tx, &payload, (client, now)).await?;
    Ok(())
}

/// If the account's address came with the identity only, the account gets one that a provider has vouched for, or none: an
/// account in use must not stand in the way of somebody else's address.
async fn replace_address(
    tx: &Tx,
    user: &User,
    (gone, kept): (&Identity, &[&Identity]),
    now: DateTime<Utc>,
) -> Result<(), AuthError> {
    let is_its = |identity: &Identity| identity.email.as_deref() == Some(user.email.as_str());
    if user.email.is_empty() || !is_its(gone) || kept.iter().any(|identity| is_its(identity)) {
        return Ok(());
    }
    let is_proven = |it: &&&Identity| it.identity_data.get("email_verified") == Some(&json!(true));
    let mut proven = kept.iter().filter(is_proven);
    let email = proven.find_map(|identity| identity.email.as_deref());
    let replaced = queries::replace_email(tx, user.id, email, now).await;
    match replaced.map_err(saving) {
        Ok(_) => Ok(()),
        Err(AuthError::EmailExists) => Err(AuthError::Refused(
            ErrorCode::EmailConflictIdentityNotDeletable,
            "Unable to unlink identity: another user has the email address that the account would get",
        )),
        Err(error) => Err(error),
    }
}
