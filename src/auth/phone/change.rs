//! Changing the number of an account: `PUT /user` with `phone`.

use uuid::Uuid;

use super::{code, request};
use crate::auth::address::Phone;
use crate::auth::model::{Client, User};
use crate::auth::one_time_token::Purpose;
use crate::auth::queries;
use crate::auth::{Auth, AuthError};

/// The number to change to, if it is another one.
///
/// # Errors
/// [`AuthError::PhoneDisabled`], [`AuthError::Invalid`].
pub(in crate::auth) fn wanted(
    auth: &Auth,
    user: &User,
    text: Option<&str>,
) -> Result<Option<Phone>, AuthError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    if text.strip_prefix('+').unwrap_or(text) == user.phone {
        return Ok(None);
    }
    if auth.config().auth.sms_autoconfirm {
        return Phone::parse(text).map(Some);
    }
    request::parse(auth, text).map(Some)
}

/// Sends a code to the new number, which takes the place of the old one once the code is used. Returns the user.
///
/// # Errors
/// [`AuthError::PhoneExists`], [`AuthError::TooManySms`]; those of the hook.
pub(in crate::auth) async fn begin(
    auth: &Auth,
    user_id: Uuid,
    phone: &Phone,
    client: &Client,
) -> Result<User, AuthError> {
    if request::find(auth, phone).await?.is_some() {
        return Err(AuthError::PhoneExists);
    }
    code::count(auth, phone).await?;
    let now = auth.clock().now();
    let tx = auth.db().auth().begin().await?;
    let issued = async {
        queries::begin_phone_change(&tx, user_id, phone.as_str(), now).await?;
        request::issue(auth, &tx, (user_id, Purpose::PhoneChange), phone, client).await
    };
    let issued = issued.await;
    let (user, code) = tx.finish(issued).await?;
    code::send(auth, user.clone(), phone, code, client).await?;
    Ok(user)
}
