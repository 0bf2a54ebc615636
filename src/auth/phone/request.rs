//! Asking for a code: `POST /otp` and `POST /resend` with a number, `GET /reauthenticate` without an address.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{can_be_told, code, is_enabled, sign_up};
use crate::auth::address::Phone;
use crate::auth::audit::{self, Action};
use crate::auth::limits::{self, Limited, Origin};
use crate::auth::metadata::MetadataPatch;
use crate::auth::model::{Client, User};
use crate::auth::one_time_token::Purpose;
use crate::auth::queries::{self, PhoneAccount};
use crate::auth::{Auth, AuthError, unconfirmed};
use crate::db::Tx;
use crate::error::ErrorCode;

/// What somebody asks for who wants to sign in by text message.
#[derive(Default)]
pub(in crate::auth) struct OtpRequest {
    /// Number as typed.
    pub(in crate::auth) phone: String,
    /// First metadata of an account that is made.
    pub(in crate::auth) data: Option<Value>,
    /// Make an account if there is none.
    pub(in crate::auth) create_user: bool,
    /// `sms`, or another one that the hook makes of it.
    pub(in crate::auth) channel: Option<String>,
}

/// Sends a code with which a number signs in.
///
/// # Errors
/// [`AuthError::PhoneDisabled`], [`AuthError::SignupDisabled`], [`AuthError::Invalid`], [`AuthError::TooManyRequests`],
/// [`AuthError::TooManySms`]; `otp_disabled` for an unknown number without `create_user`, unless accounts are hidden;
/// those of the hooks.
pub(in crate::auth) async fn otp(
    auth: &Auth,
    input: OtpRequest,
    client: &Client,
    origin: Origin,
) -> Result<(), AuthError> {
    let (config, phone) = (auth.config(), parse(auth, &input.phone)?);
    check_channel(input.channel.as_deref())?;
    let data = MetadataPatch::parse(input.data)?.over(Map::new());
    limits::count(auth, Limited::Otp, origin).await?;
    let found = find(auth, &phone).await?;
    let makes_none = !input.create_user || config.auth.disable_signup;
    if found.is_none() && makes_none && !config.auth.hide_accounts {
        let message = "Signups not allowed for otp";
        return Err(if input.create_user {
            AuthError::SignupDisabled
        } else {
            AuthError::Refused(ErrorCode::OtpDisabled, message)
        });
    }
    code::count(auth, &phone).await?;
    if found.is_none() && makes_none {
        return Ok(());
    }
    let account = match found {
        Some(found) => found,
        None => sign_up::without_password(auth, &phone, &data, client).await?,
    };
    tell(auth, &account, &phone, client).await
}

/// Issues a code for an account and sends it. What nobody has vouched for is removed.
async fn tell(
    auth: &Auth,
    account: &PhoneAccount,
    phone: &Phone,
    client: &Client,
) -> Result<(), AuthError> {
    let id = account.user_id;
    let tx = auth.db().auth().begin().await?;
    let issued = async {
        if !account.is_confirmed {
            unconfirmed::forget(auth, &tx, id).await?;
        }
        issue(auth, &tx, (id, Purpose::Sms), phone, client).await
    };
    let issued = issued.await;
    let (user, code) = tx.finish(issued).await?;
    code::send(auth, user, phone, code, client).await
}

/// Sends a user a code that confirms a change of password.
///
/// # Errors
/// [`AuthError::PhoneDisabled`], [`AuthError::TooManySms`]; those of the hook.
pub(in crate::auth) async fn reauthenticate(
    auth: &Auth,
    user: &User,
    client: &Client,
) -> Result<(), AuthError> {
    let phone = parse(auth, &user.phone)?;
    code::count(auth, &phone).await?;
    let tx = auth.db().auth().begin().await?;
    let wanted = (user.id, Purpose::Reauthentication);
    let issued = issue(auth, &tx, wanted, &phone, client).await;
    let (user, code) = tx.finish(issued).await?;
    code::send(auth, user, &phone, code, client).await
}

/// A code, the user it is for, and the entry in the log.
pub(super) async fn issue(
    auth: &Auth,
    tx: &Tx,
    (user_id, purpose): (Uuid, Purpose),
    phone: &Phone,
    client: &Client,
) -> Result<(User, code::Code), AuthError> {
    let code = code::issue(auth, tx, (user_id, purpose), phone).await?;
    let user = queries::read_user(tx, user_id).await?;
    let user = user.ok_or(AuthError::UserNotFound)?;
    let traits = json!({ "provider": "phone", "channel": "sms" });
    let actor = (user.id, audit::name(&user));
    let payload = audit::payload(Action::CodeSent, actor, &traits);
    queries::log(tx, &payload, (client, auth.clock().now())).await?;
    Ok((user, code))
}

/// Sends the code of a sign-up, or of a change of number, once more. A number that waits for none gets none, and the
/// answer does not tell.
///
/// # Errors
/// As [`otp`].
pub(in crate::auth) async fn resend(
    auth: &Auth,
    kind: &str,
    phone: &str,
    client: &Client,
    origin: Origin,
) -> Result<(), AuthError> {
    let phone = parse(auth, phone)?;
    limits::count(auth, Limited::Confirm, origin).await?;
    let is_change = kind == "phone_change";
    let waiting = {
        let connection = auth.db().auth().connection().await?;
        if is_change {
            queries::find_phone_change(&connection, phone.as_str()).await?
        } else {
            let found = queries::find_phone_account(&connection, phone.as_str()).await?;
            let waiting = found.filter(|account| !account.is_confirmed);
            waiting.map(|account| account.user_id)
        }
    };
    code::count(auth, &phone).await?;
    let Some(user_id) = waiting else {
        return Ok(());
    };
    let purpose = if is_change {
        Purpose::PhoneChange
    } else {
        Purpose::Sms
    };
    let tx = auth.db().auth().begin().await?;
    let issued = issue(auth, &tx, (user_id, purpose), &phone, client).await;
    let (user, code) = tx.finish(issued).await?;
    code::send(auth, user, &phone, code, client).await
}

/// A number that can be told a code.
pub(super) fn parse(auth: &Auth, text: &str) -> Result<Phone, AuthError> {
    if !is_enabled(auth) {
        return Err(AuthError::PhoneDisabled);
    }
    let phone = Phone::parse(text)?;
    if can_be_told(auth, &phone) {
        Ok(phone)
    } else {
        Err(AuthError::PhoneDisabled)
    }
}

pub(in crate::auth) fn check_channel(channel: Option<&str>) -> Result<(), AuthError> {
    match channel {
        None | Some("" | "sms" | "whatsapp") => Ok(()),
        Some(_) => Err(AuthError::Invalid("channel must be sms or whatsapp")),
    }
}

pub(super) async fn find(auth: &Auth, phone: &Phone) -> Result<Option<PhoneAccount>, AuthError> {
    let connection = auth.db().auth().connection().await?;
    Ok(queries::find_phone_account(&connection, phone.as_str()).await?)
}
