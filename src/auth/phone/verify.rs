//! Using a code that was sent to a number: `POST /verify` with `sms` or `phone_change`.

use serde_json::json;

use super::is_enabled;
use crate::auth::address::Phone;
use crate::auth::audit::{self, Action};
use crate::auth::audit_log::Kind;
use crate::auth::limits::{self, Limited, Origin};
use crate::auth::model::{Client, TokenResponse};
use crate::auth::one_time_token::{self, Purpose, Used};
use crate::auth::queries;
use crate::auth::sign_in::{self, Method, Opened};
use crate::auth::signup::identity_data;
use crate::auth::{Auth, AuthError, audit_log, evenly, saving};
use crate::db::Tx;
use crate::error::ErrorCode;

/// One text for what is unknown, wrong, used, replaced or too old.
const EXPIRED: AuthError =
    AuthError::Refused(ErrorCode::OtpExpired, "Token has expired or is invalid");

/// Signs in with a code, and confirms the number it was sent to.
///
/// # Errors
/// `otp_expired`; [`AuthError::PhoneDisabled`], [`AuthError::Invalid`], [`AuthError::TooManyRequests`],
/// [`AuthError::UserBanned`]; [`AuthError::PhoneExists`] when somebody else has confirmed the number meanwhile.
pub(in crate::auth) async fn verify(
    auth: &Auth,
    kind: &str,
    (phone, code): (&str, &str),
    client: &Client,
    origin: Origin,
) -> Result<TokenResponse, AuthError> {
    if !is_enabled(auth) {
        return Err(AuthError::PhoneDisabled);
    }
    let purpose = match kind {
        "sms" => Purpose::Sms,
        "phone_change" => Purpose::PhoneChange,
        _ => return Err(AuthError::Invalid("Verification type is not supported")),
    };
    if code.is_empty() {
        return Err(AuthError::Invalid("Verify requires a token"));
    }
    let phone = Phone::parse(phone)?;
    limits::count(auth, Limited::Otp, origin).await?;
    let opened = evenly::refusals(use_up(auth, purpose, (&phone, code), client)).await?;
    sign_in::answer(auth, opened).await
}

async fn use_up(
    auth: &Auth,
    purpose: Purpose,
    (phone, code): (&Phone, &str),
    client: &Client,
) -> Result<Opened, AuthError> {
    let tx = auth.db().auth().begin().await?;
    let opened = async {
        let typed = (phone.as_str(), code);
        let used = one_time_token::use_code(auth, &tx, &[purpose], typed).await?;
        if let Some(used) = used {
            return open(auth, &tx, used, phone, client).await.map(Some);
        }
        // Committed: the wrong code is counted.
        Ok(None)
    };
    let opened = opened.await;
    let opened = tx.finish(opened).await?.ok_or(EXPIRED);
    audit_log::noted(auth, opened, (Kind::Code, "phone"), client).await
}

async fn open(
    auth: &Auth,
    tx: &Tx,
    used: Used,
    phone: &Phone,
    client: &Client,
) -> Result<Opened, AuthError> {
    let (id, now) = (used.user_id, auth.clock().now());
    let changed = if used.purpose == Purpose::PhoneChange {
        queries::finish_phone_change(tx, id, now).await
    } else {
        queries::confirm_phone(tx, id, now).await
    };
    if changed.map_err(saving)? > 0 {
        let data = identity_data(id, ("phone", phone.as_str()), true);
        queries::write_identity(tx, (id, "phone"), &data, now).await?;
        queries::write_providers(tx, id, now).await?;
        let traits = json!({ "provider": "phone" });
        let payload = audit::payload(Action::Confirmed, (id, phone.as_str()), &traits);
        queries::log(tx, &payload, (client, now)).await?;
    }
    sign_in::open(auth, tx, id, Method::Otp, client).await
}
