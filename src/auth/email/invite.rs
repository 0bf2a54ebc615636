//! Invitations, by the holder of the service key.

use serde_json::{Map, Value};

use super::letter::{self, Letter};
use super::{deliver, sign_up};
use crate::auth::address::Email;
use crate::auth::metadata::MetadataPatch;
use crate::auth::model::{Client, User};
use crate::auth::one_time_token::Purpose;
use crate::auth::{Auth, AuthError, mail_limits, queries, redirect};

/// Makes an account and mails its owner a link, or mails another one to an account that was not confirmed yet.
///
/// # Errors
/// [`AuthError::Invalid`]; [`AuthError::EmailExists`] for a confirmed account; [`AuthError::TooManyMails`];
/// [`AuthError::HookRejected`].
pub(in crate::auth) async fn invite(
    auth: &Auth,
    (email, data): (Option<&str>, Option<Value>),
    redirect_to: Option<&str>,
    client: &Client,
) -> Result<User, AuthError> {
    let email = Email::parse(email.unwrap_or_default())?;
    let redirect_to = redirect::target(&auth.config(), redirect_to)?;
    let data = MetadataPatch::parse(data)?.over(Map::new());
    let user = ensure(auth, &email, &data, client).await?;
    mail_limits::count_mail(auth, &email).await?;
    let tx = auth.db().auth().begin().await?;
    let invited = async {
        let letter = Letter {
            user: &user,
            to: &user.email,
            purpose: Purpose::Invite,
            redirect_to: &redirect_to,
            flow_id: None,
        };
        letter::send(auth, &tx, &letter, client).await?;
        let user = queries::read_user(&tx, user.id).await?;
        user.ok_or(AuthError::UserNotFound)
    };
    let invited = invited.await;
    tx.finish(invited).await
}

/// The account to invite to.
///
/// # Errors
/// [`AuthError::EmailExists`] when its owner has accepted already.
pub(super) async fn ensure(
    auth: &Auth,
    email: &Email,
    data: &Value,
    client: &Client,
) -> Result<User, AuthError> {
    match deliver::find(auth, email).await? {
        Some(user) if user.email_confirmed_at.is_some() => Err(AuthError::EmailExists),
        Some(user) => Ok(user),
        None => sign_up::without_password(auth, email, data, client).await,
    }
}
