//! Taking factors away.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Subject, factor_not_found};
use crate::auth::audit::{self, Action};
use crate::auth::model::{Client, Factor};
use crate::auth::user::Bearer;
use crate::auth::{Auth, AuthError, queries};
use crate::db::Tx;

/// Removes a factor of the bearer. Sessions that it raised go back to `aal1`.
///
/// # Errors
/// Those of [`Subject::lock`]; `mfa_factor_not_found`; `insufficient_aal` for a verified one, unless the session has
/// verified a factor.
pub(super) async fn unenroll(
    auth: &Auth,
    bearer: Bearer<'_>,
    factor_id: Uuid,
    client: &Client,
) -> Result<(), AuthError> {
    let tx = auth.db().auth().begin().await?;
    let removed = async {
        let subject = Subject::lock(auth, &tx, bearer).await?;
        let factors = &subject.user.factors;
        let factor = factors.iter().find(|factor| factor.id == factor_id);
        let factor = factor.ok_or_else(factor_not_found)?;
        if factor.is_verified() {
            subject.require_aal2()?;
        }
        remove(&tx, subject.user.id, factor, subject.now).await?;
        let actor = (subject.user.id, audit::name(&subject.user));
        let payload = audit::payload(Action::FactorUnenrolled, actor, &traits(factor));
        queries::log(&tx, &payload, (client, subject.now)).await?;
        Ok(())
    };
    let removed = removed.await;
    tx.finish(removed).await
}

/// Removes a factor for the holder of the service key: its owner has lost it. The factor as it was.
///
/// # Errors
/// [`AuthError::UserNotFound`], `mfa_factor_not_found`.
pub(super) async fn remove_by_service(
    auth: &Auth,
    (user_id, factor_id): (Uuid, Uuid),
    client: &Client,
) -> Result<Factor, AuthError> {
    let now = auth.clock().now();
    let tx = auth.db().auth().begin().await?;
    let removed = async {
        queries::mfa::lock_user(&tx, user_id).await?;
        let user = queries::read_user(&tx, user_id).await?;
        let user = user.ok_or(AuthError::UserNotFound)?;
        let factor = user.factors.iter().find(|factor| factor.id == factor_id);
        let factor = factor.cloned().ok_or_else(factor_not_found)?;
        remove(&tx, user_id, &factor, now).await?;
        let mut payload = audit::by_service(Action::FactorDeleted, &user);
        payload["traits"]["factor_id"] = json!(factor_id);
        queries::log(&tx, &payload, (client, now)).await?;
        Ok(factor)
    };
    let removed = removed.await;
    tx.finish(removed).await
}

async fn remove(
    tx: &Tx,
    user_id: Uuid,
    factor: &Factor,
    now: DateTime<Utc>,
) -> Result<(), AuthError> {
    queries::mfa::lower_sessions(tx, (user_id, factor.id), now).await?;
    queries::mfa::delete_factor(tx, user_id, factor.id).await?;
    queries::mfa::delete_sole_recovery_codes(tx, user_id).await?;
    Ok(())
}

fn traits(factor: &Factor) -> Value {
    json!({
        "factor_id": factor.id,
        "factor_type": factor.factor_type,
        "factor_status": factor.status,
    })
}
