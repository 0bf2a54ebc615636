//! Putting a question to a factor.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{PATIENCE, Subject, factor_not_found, webauthn};
use crate::auth::audit::{self, Action};
use crate::auth::limits::{self, Limited, Origin};
use crate::auth::model::Client;
use crate::auth::queries::mfa::{FactorRow, NewChallenge};
use crate::auth::user::Bearer;
use crate::auth::webauthn::rp_id;
use crate::auth::{Auth, AuthError, queries};
use crate::db::Tx;
use crate::error::ErrorCode;

/// A question that waits for an answer.
#[derive(Serialize)]
pub(super) struct Challenge {
    id: Uuid,
    #[serde(rename = "type")]
    factor_type: String,
    /// Unix seconds.
    expires_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    webauthn: Option<Value>,
}

/// Challenges a factor of the bearer. A client may say for which relying party it asks; one that is not ours could only
/// fail later.
///
/// # Errors
/// Those of [`Subject::lock`]; `mfa_factor_not_found`, `mfa_…_verify_not_enabled`; `insufficient_aal` for a factor that
/// was begun, when another protects the account; [`AuthError::TooManyRequests`], [`AuthError::FeatureDisabled`],
/// [`AuthError::Invalid`].
pub(super) async fn challenge(
    auth: &Auth,
    bearer: Bearer<'_>,
    (factor_id, asked_for): (Uuid, Option<&str>),
    client: &Client,
    origin: Origin,
) -> Result<Challenge, AuthError> {
    if asked_for.is_some_and(|id| rp_id(auth).is_some_and(|ours| ours != id)) {
        let message = "webauthn.rpId is not the domain of auth.webauthn_rp_id";
        return Err(AuthError::Invalid(message));
    }
    limits::count(auth, Limited::Mfa, origin).await?;
    let tx = auth.db().auth().begin().await?;
    let challenged = challenge_in(auth, &tx, bearer, factor_id, client).await;
    tx.finish(challenged).await
}

async fn challenge_in(
    auth: &Auth,
    tx: &Tx,
    bearer: Bearer<'_>,
    factor_id: Uuid,
    client: &Client,
) -> Result<Challenge, AuthError> {
    let subject = Subject::lock(auth, tx, bearer).await?;
    let factor = find(auth, tx, &subject, factor_id).await?;
    let (question, state) = match factor.kind.as_str() {
        "webauthn" => {
            let known = queries::mfa::list_credential_ids(tx, subject.user.id).await?;
            let known = known
                .iter()
                .filter_map(|id| URL_SAFE_NO_PAD.decode(id).ok());
            let (question, state) = webauthn::ask(auth, &subject.user, &factor, known.collect())?;
            (Some(question), Some(state))
        }
        _ => (None, None),
    };
    let new = NewChallenge {
        id: Uuid::new_v4(),
        factor_id,
        session_id: subject.session_id,
        state: state.as_ref(),
        at: subject.now,
        stale_before: subject.now - PATIENCE,
    };
    queries::mfa::insert_challenge(tx, &new, client).await?;
    let traits = json!({ "factor_id": factor_id, "factor_status": status(&factor) });
    let actor = (subject.user.id, audit::name(&subject.user));
    let payload = audit::payload(Action::ChallengeCreated, actor, &traits);
    queries::log(tx, &payload, (client, subject.now)).await?;
    Ok(Challenge {
        id: new.id,
        factor_type: factor.kind,
        expires_at: (subject.now + PATIENCE).timestamp(),
        webauthn: question,
    })
}

/// A factor of the subject that it may use now.
///
/// # Errors
/// `mfa_factor_not_found`, `mfa_…_verify_not_enabled`, `insufficient_aal`.
pub(super) async fn find(
    auth: &Auth,
    tx: &Tx,
    subject: &Subject,
    factor_id: Uuid,
) -> Result<FactorRow, AuthError> {
    let factor = queries::mfa::find_factor(tx, subject.user.id, factor_id)
        .await?
        .filter(|factor| factor.kind != "recovery_code")
        .ok_or_else(factor_not_found)?;
    check_enabled(auth, &factor.kind)?;
    if !factor.is_verified {
        // Whoever has the password only must not finish a factor of its own beside the owner's.
        subject.require_aal()?;
    }
    Ok(factor)
}

fn check_enabled(auth: &Auth, kind: &str) -> Result<(), AuthError> {
    let settings = &auth.config().auth;
    let (is_enabled, code, message) = match kind {
        "totp" => (
            settings.mfa_totp_verify_enabled,
            ErrorCode::MfaTotpVerifyNotEnabled,
            "MFA verification is disabled for TOTP",
        ),
        "webauthn" => (
            settings.mfa_webauthn_verify_enabled,
            ErrorCode::MfaWebauthnVerifyNotEnabled,
            "MFA verification is disabled for WebAuthn",
        ),
        _ => (
            false,
            ErrorCode::MfaPhoneVerifyNotEnabled,
            "MFA verification is disabled for Phone",
        ),
    };
    if is_enabled {
        Ok(())
    } else {
        Err(AuthError::Refused(code, message))
    }
}

fn status(factor: &FactorRow) -> &'static str {
    if factor.is_verified {
        "verified"
    } else {
        "unverified"
    }
}
