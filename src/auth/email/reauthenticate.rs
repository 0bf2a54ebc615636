//! Proving that it is still the user who is signed in, before the password changes.

use chrono::TimeDelta;
use url::Url;
use uuid::Uuid;

use super::letter::{self, Letter};
use crate::auth::address::Email;
use crate::auth::limits::{self, Limited, Origin};
use crate::auth::model::{Client, User};
use crate::auth::one_time_token::{self, Purpose};
use crate::auth::phone::request;
use crate::auth::user::{self, Bearer};
use crate::auth::{Auth, AuthError, mail_limits, queries};
use crate::error::ErrorCode;

/// A younger session is proof enough.
const FRESH: TimeDelta = TimeDelta::hours(24);

/// Sends the bearer a code: by mail, or in a text message to an account that has no address.
///
/// # Errors
/// Those of [`user::current_user`]; [`AuthError::Invalid`] without address and number; [`AuthError::TooManyRequests`],
/// [`AuthError::TooManyMails`]; those of [`request::reauthenticate`].
pub(in crate::auth) async fn reauthenticate(
    auth: &Auth,
    bearer: Bearer<'_>,
    client: &Client,
    origin: Origin,
) -> Result<(), AuthError> {
    let user = user::current_user(auth, bearer).await?;
    if user.email.is_empty() && !user.phone.is_empty() {
        limits::count(auth, Limited::Confirm, origin).await?;
        return request::reauthenticate(auth, &user, client).await;
    }
    let message = "Reauthentication requires the user to have an email or a phone number";
    let email = Email::parse(&user.email).map_err(|_| AuthError::Invalid(message))?;
    limits::count(auth, Limited::Confirm, origin).await?;
    mail_limits::count_mail(auth, &email).await?;
    let site = Url::parse(&auth.config().server.site_url)
        .map_err(|_| AuthError::Internal("server.site_url is not an address".to_owned()))?;
    let tx = auth.db().auth().begin().await?;
    let letter = Letter {
        user: &user,
        to: email.as_str(),
        purpose: Purpose::Reauthentication,
        redirect_to: &site,
        flow_id: None,
    };
    let sent = letter::send(auth, &tx, &letter, client).await;
    tx.finish(sent).await
}

/// How the bearer's session began, as far as a change of password depends on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::auth) struct SessionStart {
    /// Within the last day.
    pub(in crate::auth) is_fresh: bool,
    /// By recovering the account: the password is not known any more.
    pub(in crate::auth) is_recovery: bool,
}

/// Looks it up; without a session nothing is known.
///
/// # Errors
/// [`AuthError::Db`].
pub(in crate::auth) async fn session_start(
    auth: &Auth,
    session_id: Option<Uuid>,
) -> Result<SessionStart, AuthError> {
    let Some(session_id) = session_id else {
        return Ok(SessionStart::default());
    };
    let connection = auth.db().auth().connection().await?;
    let found = queries::find_session_start(&connection, session_id).await?;
    let Some((created_at, amr)) = found else {
        return Ok(SessionStart::default());
    };
    let mut methods = amr.as_array().into_iter().flatten();
    Ok(SessionStart {
        is_fresh: created_at + FRESH > auth.clock().now(),
        is_recovery: methods.any(|entry| entry["method"] == "recovery"),
    })
}

/// Uses up the code of [`reauthenticate`].
///
/// # Errors
/// [`ErrorCode::ReauthenticationNeeded`] without one, [`ErrorCode::ReauthenticationNotValid`] for a wrong one.
pub(in crate::auth) async fn check_nonce(
    auth: &Auth,
    user: &User,
    nonce: Option<&str>,
) -> Result<(), AuthError> {
    let Some(nonce) = nonce.filter(|text| !text.is_empty()) else {
        let message = "Password update requires reauthentication";
        return Err(AuthError::Refused(
            ErrorCode::ReauthenticationNeeded,
            message,
        ));
    };
    let email = Email::parse(&user.email).ok();
    let address = email.as_ref().map_or(user.phone.as_str(), Email::as_str);
    let tx = auth.db().auth().begin().await?;
    let typed = (address, nonce);
    let purposes = [Purpose::Reauthentication];
    let checked = one_time_token::use_code(auth, &tx, &purposes, typed).await;
    let checked = tx.finish(checked).await?;
    match checked.filter(|used| used.user_id == user.id) {
        Some(_) => Ok(()),
        None => Err(AuthError::Refused(
            ErrorCode::ReauthenticationNotValid,
            "The code is wrong or has expired",
        )),
    }
}
