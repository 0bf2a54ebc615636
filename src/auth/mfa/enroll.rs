//! Beginning a factor.

use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::totp::{self, Setup};
use super::{PATIENCE, Subject, friendly_name};
use crate::auth::audit::{self, Action};
use crate::auth::model::{Client, Factor, User};
use crate::auth::user::Bearer;
use crate::auth::webauthn::relying_party;
use crate::auth::{Auth, AuthError, queries};
use crate::db::Tx;
use crate::error::ErrorCode;

/// The factor somebody wants.
pub(super) struct NewFactor {
    /// `totp`, `webauthn` or `phone`.
    pub(super) factor_type: String,
    /// What to call it.
    pub(super) friendly_name: Option<String>,
    /// What an authenticator app calls this site; its host by default.
    pub(super) issuer: Option<String>,
}

/// A factor that was begun, with what sets it up.
#[derive(Serialize)]
pub(super) struct Enrolled {
    id: Uuid,
    #[serde(rename = "type")]
    factor_type: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    friendly_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    totp: Option<Setup>,
}

/// Begins a factor. It protects nothing before it is verified.
///
/// # Errors
/// Those of [`Subject::lock`]; `insufficient_aal` when the account has a factor and the session has not verified one;
/// `mfa_…_enroll_not_enabled`, `too_many_enrolled_mfa_factors`, `mfa_factor_name_conflict`; [`AuthError::Invalid`].
pub(super) async fn enroll(
    auth: &Auth,
    bearer: Bearer<'_>,
    input: NewFactor,
    client: &Client,
) -> Result<Enrolled, AuthError> {
    check_enabled(auth, &input.factor_type)?;
    let name = friendly_name(input.friendly_name.as_deref())?;
    let issuer = input.issuer.as_deref().filter(|text| !text.is_empty());
    let now = auth.clock().now();
    let factor = Factor {
        id: Uuid::new_v4(),
        friendly_name: name.to_owned(),
        factor_type: input.factor_type.clone(),
        status: "unverified".to_owned(),
        phone: None,
        created_at: now,
        updated_at: now,
        last_challenged_at: None,
    };
    let secret = (factor.factor_type == "totp").then(totp::new_secret);
    let sealed = secret.map(|secret| auth.mfa_secrets().seal(factor.id, &secret));
    let tx = auth.db().auth().begin().await?;
    let stored = store(auth, &tx, bearer, (&factor, sealed.as_deref()), client).await;
    let user = tx.finish(stored).await?;
    let setup = match &secret {
        Some(secret) => Some(totp::setup(
            secret,
            issuer.unwrap_or(&host(auth)),
            account(&user),
        )?),
        None => None,
    };
    Ok(Enrolled {
        id: factor.id,
        factor_type: factor.factor_type,
        friendly_name: factor.friendly_name,
        totp: setup,
    })
}

fn check_enabled(auth: &Auth, factor_type: &str) -> Result<(), AuthError> {
    let settings = &auth.config().auth;
    let (is_enabled, code, message) = match factor_type {
        "totp" => (
            settings.mfa_totp_enroll_enabled,
            ErrorCode::MfaTotpEnrollNotEnabled,
            "MFA enroll is disabled for TOTP",
        ),
        "webauthn" => (
            settings.mfa_webauthn_enroll_enabled,
            ErrorCode::MfaWebauthnEnrollNotEnabled,
            "MFA enroll is disabled for WebAuthn",
        ),
        "phone" => (
            false,
            ErrorCode::MfaPhoneEnrollNotEnabled,
            "MFA enroll is disabled for Phone",
        ),
        _ => {
            let message = "factor_type needs to be totp, phone, or webauthn";
            return Err(AuthError::Invalid(message));
        }
    };
    if !is_enabled {
        return Err(AuthError::Refused(code, message));
    }
    if factor_type == "webauthn" {
        relying_party(auth)?;
    }
    Ok(())
}

async fn store(
    auth: &Auth,
    tx: &Tx,
    bearer: Bearer<'_>,
    (factor, secret): (&Factor, Option<&str>),
    client: &Client,
) -> Result<User, AuthError> {
    queries::mfa::lock_user(tx, bearer.user_id).await?;
    let stale = factor.created_at - PATIENCE;
    queries::mfa::delete_stale_factors(tx, bearer.user_id, stale).await?;
    let subject = Subject::lock(auth, tx, bearer).await?;
    subject.require_aal()?;
    let others = || subject.user.factors.iter();
    let enrolled = others().filter(|other| other.factor_type != "recovery_code");
    if enrolled.count() >= auth.config().auth.mfa_max_factors {
        let message = "Maximum number of verified factors reached, unenroll to continue";
        let code = ErrorCode::TooManyEnrolledMfaFactors;
        return Err(AuthError::Refused(code, message));
    }
    let name = &factor.friendly_name;
    if !name.is_empty() && others().any(|other| other.friendly_name == *name) {
        let message = "A factor with this friendly name already exists for this user";
        let code = ErrorCode::MfaFactorNameConflict;
        return Err(AuthError::Refused(code, message));
    }
    queries::mfa::insert_factor(tx, subject.user.id, factor, secret).await?;
    let traits = json!({ "factor_id": factor.id, "factor_type": factor.factor_type });
    let actor = (subject.user.id, audit::name(&subject.user));
    let payload = audit::payload(Action::FactorInProgress, actor, &traits);
    queries::log(tx, &payload, (client, subject.now)).await?;
    Ok(subject.user)
}

fn host(auth: &Auth) -> String {
    let config = auth.config();
    let url = url::Url::parse(&config.server.site_url).ok();
    let host = url.as_ref().and_then(url::Url::host_str);
    host.unwrap_or("sb").to_owned()
}

fn account(user: &User) -> &str {
    match audit::name(user) {
        "" => "user",
        name => name,
    }
}
