//! Sign-ups that a mail confirms, and those without a password.

use serde_json::{Value, json};
use url::Url;

use super::letter::{self, Letter};
use crate::auth::address::Email;
use crate::auth::flow::Challenge;
use crate::auth::model::{Client, User};
use crate::auth::one_time_token::Purpose;
use crate::auth::queries::{self, Credentials, NewUser};
use crate::auth::sign_in::Method;
use crate::auth::{Auth, AuthError, redirect, signup, unconfirmed};
use crate::db::Tx;

/// The confirmation that a sign-up waits for.
pub(in crate::auth) struct Confirmation {
    redirect_to: Url,
    challenge: Option<Challenge>,
}

impl Confirmation {
    /// Reads what a client wants of it.
    ///
    /// # Errors
    /// [`AuthError::Invalid`], [`AuthError::RedirectRefused`].
    pub(in crate::auth) fn parse(
        auth: &Auth,
        redirect_to: Option<&str>,
        (challenge, method): (Option<&str>, Option<&str>),
    ) -> Result<Self, AuthError> {
        let config = auth.config();
        Ok(Self {
            redirect_to: redirect::target(&config, redirect_to)?,
            challenge: Challenge::parse(&config.auth, challenge, method)?,
        })
    }

    /// What the client that asks sent for its flow.
    pub(super) fn challenge(&self) -> Option<&Challenge> {
        self.challenge.as_ref()
    }

    /// Where its link leads in the end.
    pub(super) fn redirect_to(&self) -> &Url {
        &self.redirect_to
    }

    /// Mails it, in the transaction of the sign-up.
    ///
    /// # Errors
    /// [`AuthError::Db`].
    pub(in crate::auth) async fn send(
        &self,
        auth: &Auth,
        tx: &Tx,
        user: &User,
        client: &Client,
    ) -> Result<(), AuthError> {
        let challenge = self.challenge.as_ref();
        let method = Method::EmailSignup;
        let flow_id = letter::begin_flow(auth, tx, challenge, method, &self.redirect_to).await?;
        let letter = Letter {
            user,
            to: &user.email,
            purpose: Purpose::Signup,
            redirect_to: &self.redirect_to,
            flow_id,
        };
        letter::send(auth, tx, &letter, client).await
    }
}

/// Somebody signs up with an address that has an account already. One that is not confirmed gets its mail once more, and
/// keeps what leads into it only if this password is the same; a confirmed one is told, where answers must not tell.
///
/// # Errors
/// [`AuthError::Db`].
pub(in crate::auth) async fn again(
    auth: &Auth,
    existing: &Credentials,
    is_password_right: bool,
    confirmation: &Confirmation,
    client: &Client,
) -> Result<(), AuthError> {
    let id = existing.user_id;
    let tx = auth.db().auth().begin().await?;
    let sent = async {
        let Some(user) = queries::read_user(&tx, id).await? else {
            return Ok(());
        };
        if user.email_confirmed_at.is_none() {
            if !is_password_right {
                unconfirmed::forget(auth, &tx, id).await?;
            }
            confirmation.send(auth, &tx, &user, client).await?;
        } else if auth.config().auth.hide_accounts {
            let to = ("account_exists_notice", user.email.as_str());
            letter::notify(auth, &tx, to, &user, &[]).await?;
        }
        Ok(())
    };
    let sent = sent.await;
    tx.finish(sent).await
}

/// Makes an account that nobody has a password for; it is confirmed by what is mailed to it.
///
/// # Errors
/// [`AuthError::EmailExists`], [`AuthError::HookRejected`], [`AuthError::SavingUser`].
pub(in crate::auth) async fn without_password(
    auth: &Auth,
    email: &Email,
    data: &Value,
    client: &Client,
) -> Result<User, AuthError> {
    unconfirmed_user(auth, email, (data, None), client).await
}

/// Makes an account that is confirmed by what is mailed to it.
///
/// # Errors
/// Those of [`without_password`].
pub(super) async fn unconfirmed_user(
    auth: &Auth,
    email: &Email,
    (data, password_hash): (&Value, Option<&str>),
    client: &Client,
) -> Result<User, AuthError> {
    let config = auth.config();
    let app_metadata = json!({ "provider": "email", "providers": ["email"] });
    let new = NewUser {
        email: Some(email.as_str()),
        password_hash,
        ..signup::bare_user(&config, (&app_metadata, data), auth.clock().now())
    };
    signup::make(auth, &new, client).await
}
