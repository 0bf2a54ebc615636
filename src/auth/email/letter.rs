//! Writing a mail: its one-time token, its values and its entry in the queue, in one transaction.

use serde_json::Value;
use url::Url;
use url::form_urlencoded::Serializer;
use uuid::Uuid;

use crate::auth::audit::{self, Action};
use crate::auth::flow::{self, Challenge, NewFlow};
use crate::auth::model::{Client, User};
use crate::auth::one_time_token::{self, Issued, NewToken, Purpose};
use crate::auth::sign_in::Method;
use crate::auth::{Auth, AuthError, queries};
use crate::config::Config;
use crate::db::Tx;
use crate::mail::NewMail;

/// Larger metadata stays out of mails.
const MAX_DATA_BYTES: usize = 32 * 1024;

/// A mail with a one-time token.
pub(in crate::auth) struct Letter<'a> {
    /// Whom it concerns.
    pub(in crate::auth) user: &'a User,
    /// The one recipient.
    pub(in crate::auth) to: &'a str,
    /// What its token is good for.
    pub(in crate::auth) purpose: Purpose,
    /// Where its link leads in the end.
    pub(in crate::auth) redirect_to: &'a Url,
    /// The flow that its link goes on with.
    pub(in crate::auth) flow_id: Option<Uuid>,
}

impl Letter<'_> {
    fn template(&self) -> &'static str {
        match self.purpose {
            Purpose::Signup => "confirmation",
            Purpose::Invite => "invite",
            Purpose::MagicLink => "magic_link",
            Purpose::Recovery => "recovery",
            Purpose::EmailChangeCurrent | Purpose::EmailChangeNew => "email_change",
            Purpose::Reauthentication => "reauthentication",
        }
    }

    fn action(&self) -> Action {
        match self.purpose {
            Purpose::Signup | Purpose::MagicLink => Action::ConfirmationRequested,
            Purpose::Invite => Action::Invited,
            Purpose::Recovery => Action::RecoveryRequested,
            Purpose::EmailChangeCurrent | Purpose::EmailChangeNew => Action::EmailChangeRequested,
            Purpose::Reauthentication => Action::ReauthenticateRequested,
        }
    }
}

/// Issues the token and enqueues the mail.
///
/// # Errors
/// [`AuthError::Db`].
pub(in crate::auth) async fn send(
    auth: &Auth,
    tx: &Tx,
    letter: &Letter<'_>,
    client: &Client,
) -> Result<(), AuthError> {
    let issued = issue(auth, tx, letter, client).await?;
    let config = auth.config();
    // A guest has none yet.
    let address = match letter.user.email.as_str() {
        "" => letter.to,
        address => address,
    };
    let mut mail = NewMail::new(letter.template(), letter.to)
        .user_id(letter.user.id)
        .value("SiteURL", config.server.site_url.as_str())
        .value("RedirectTo", letter.redirect_to.as_str())
        .value("Email", address)
        .value("Token", issued.code.as_str());
    if letter.purpose != Purpose::Reauthentication {
        let link = link(&config, &issued.token, letter.purpose, letter.redirect_to);
        mail = mail
            .value("ConfirmationURL", link)
            .value("TokenHash", issued.token.as_str());
    }
    if !letter.user.new_email.is_empty() {
        mail = mail.value("NewEmail", letter.user.new_email.as_str());
    }
    let data = Value::Object(letter.user.user_metadata.clone());
    if data.to_string().len() <= MAX_DATA_BYTES {
        mail = mail.value("Data", data);
    }
    auth.mailer().enqueue(tx, &mail).await?;
    Ok(())
}

/// Issues the token without sending it, for who delivers it otherwise.
///
/// # Errors
/// [`AuthError::Db`].
pub(in crate::auth) async fn issue(
    auth: &Auth,
    tx: &Tx,
    letter: &Letter<'_>,
    client: &Client,
) -> Result<Issued, AuthError> {
    let new = NewToken {
        user_id: letter.user.id,
        purpose: letter.purpose,
        address: letter.to,
        flow_id: letter.flow_id,
    };
    let issued = one_time_token::issue(auth, tx, new).await?;
    let now = auth.clock().now();
    queries::stamp_sent(tx, letter.user.id, letter.purpose.as_str(), now).await?;
    let payload = audit::by_user(letter.action(), letter.user);
    queries::log(tx, &payload, (client, now)).await?;
    Ok(issued)
}

/// The address in a mail.
pub(in crate::auth) fn link(
    config: &Config,
    token: &str,
    purpose: Purpose,
    redirect_to: &Url,
) -> String {
    let query = Serializer::new(String::new())
        .append_pair("token", token)
        .append_pair("type", purpose.link_type())
        .append_pair("redirect_to", redirect_to.as_str())
        .finish();
    format!("{}/auth/v1/verify?{query}", config.api_url())
}

/// Begins the flow of a client that sent a challenge: its link must end with a code.
///
/// # Errors
/// [`AuthError::Db`].
pub(in crate::auth) async fn begin_flow(
    auth: &Auth,
    tx: &Tx,
    challenge: Option<&Challenge>,
    method: Method,
    redirect_to: &Url,
) -> Result<Option<Uuid>, AuthError> {
    let Some(challenge) = challenge else {
        return Ok(None);
    };
    // The token is issued a little later, and lives as long from then on.
    let slack = chrono::TimeDelta::minutes(10);
    let new = NewFlow {
        challenge: Some(challenge),
        redirect_to,
        provider: "email",
        method,
        link_user_id: None,
        state: None,
        browser: None,
        secrets: None,
        lifetime: one_time_token::longest_lifetime(&auth.config().auth) + slack,
    };
    Ok(Some(flow::begin(auth, tx, &new).await?))
}

/// Enqueues a notice that has no token.
///
/// # Errors
/// [`AuthError::Db`].
pub(in crate::auth) async fn notify(
    auth: &Auth,
    tx: &Tx,
    (template, to): (&str, &str),
    user: &User,
    values: &[(&str, &str)],
) -> Result<(), AuthError> {
    let mut mail = NewMail::new(template, to).user_id(user.id);
    for (name, value) in values {
        mail = mail.value(name, *value);
    }
    auth.mailer().enqueue(tx, &mail).await?;
    Ok(())
}
