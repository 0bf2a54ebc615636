//! Links for who delivers mails otherwise, by the holder of the service key.

use serde_json::{Map, Value};
use url::Url;

use super::letter::{self, Letter};
use super::{deliver, invite, sign_up};
use crate::auth::address::Email;
use crate::auth::metadata::MetadataPatch;
use crate::auth::model::{Client, User};
use crate::auth::one_time_token::Purpose;
use crate::auth::queries::{self, CURRENT_CONFIRMED};
use crate::auth::{Auth, AuthError, password_rules, redirect};

/// What is asked for.
#[derive(Clone, Default, serde::Deserialize)]
#[serde(default)]
pub(in crate::auth) struct LinkRequest {
    /// `signup`, `invite`, `magiclink`, `recovery`, `email_change_current`, `email_change_new`.
    #[serde(rename = "type")]
    kind: Option<String>,
    email: Option<String>,
    new_email: Option<String>,
    password: Option<String>,
    data: Option<Value>,
    redirect_to: Option<String>,
}

/// A link that was not mailed. Serialises to the answer of `POST /admin/generate_link`.
#[derive(serde::Serialize)]
pub(in crate::auth) struct GeneratedLink {
    #[serde(flatten)]
    user: User,
    action_link: String,
    email_otp: String,
    hashed_token: String,
    redirect_to: String,
    verification_type: &'static str,
}

/// Makes a link, and the account that it needs. `query_redirect` is used when the body names none.
///
/// # Errors
/// [`AuthError::Invalid`], [`AuthError::UserNotFound`], [`AuthError::EmailExists`], [`AuthError::WeakPassword`].
pub(in crate::auth) async fn generate(
    auth: &Auth,
    input: LinkRequest,
    query_redirect: Option<&str>,
    client: &Client,
) -> Result<GeneratedLink, AuthError> {
    let config = auth.config();
    let email = Email::parse(input.email.as_deref().unwrap_or_default())?;
    let wanted = input.redirect_to.as_deref().filter(|text| !text.is_empty());
    let redirect_to = redirect::target(&config, wanted.or(query_redirect))?;
    let data = MetadataPatch::parse(input.data.clone())?.over(Map::new());
    let (mut user, purpose) = subject(auth, &input, &email, &data, client).await?;
    let new_email = match purpose {
        Purpose::EmailChangeCurrent | Purpose::EmailChangeNew => {
            let text = input.new_email.as_deref().unwrap_or_default();
            Some(new_address(auth, text).await?)
        }
        _ => None,
    };
    let tx = auth.db().auth().begin().await?;
    let issued = async {
        if let Some(new) = &new_email {
            begin_change(auth, &tx, &user, new).await?;
        }
        let letter = Letter {
            user: &user,
            to: match (purpose, &new_email) {
                (Purpose::EmailChangeNew, Some(new)) => new.as_str(),
                _ => &user.email,
            },
            purpose,
            redirect_to: &redirect_to,
            flow_id: None,
        };
        let issued = letter::issue(auth, &tx, &letter, client).await?;
        let read = queries::read_user(&tx, user.id).await?;
        Ok((issued, read.ok_or(AuthError::UserNotFound)?))
    };
    let issued: Result<_, AuthError> = issued.await;
    let (issued, read) = tx.finish(issued).await?;
    user = read;
    Ok(GeneratedLink {
        user,
        action_link: letter::link(&config, &issued.token, purpose, &redirect_to),
        email_otp: issued.code,
        hashed_token: issued.token,
        redirect_to: Url::into(redirect_to),
        verification_type: purpose.as_str(),
    })
}

/// Whose link, and what for. A link to sign in makes an account where there is none, and confirms it.
async fn subject(
    auth: &Auth,
    input: &LinkRequest,
    email: &Email,
    data: &Value,
    client: &Client,
) -> Result<(User, Purpose), AuthError> {
    let found = deliver::find(auth, email).await?;
    let existing = |found: Option<User>| found.ok_or(AuthError::UserNotFound);
    Ok(match input.kind.as_deref().unwrap_or_default() {
        "signup" => match found {
            Some(user) if user.email_confirmed_at.is_some() => {
                return Err(AuthError::EmailExists);
            }
            Some(user) => (user, Purpose::Signup),
            None => {
                let user = with_password(auth, input, email, data, client).await?;
                (user, Purpose::Signup)
            }
        },
        "invite" => (
            invite::ensure(auth, email, data, client).await?,
            Purpose::Invite,
        ),
        "magiclink" => match found {
            Some(user) => (user, Purpose::MagicLink),
            None => (
                sign_up::without_password(auth, email, data, client).await?,
                Purpose::Signup,
            ),
        },
        "recovery" => (existing(found)?, Purpose::Recovery),
        "email_change_current" => (existing(found)?, Purpose::EmailChangeCurrent),
        "email_change_new" => (existing(found)?, Purpose::EmailChangeNew),
        _ => {
            let message = "type must be one of signup, invite, magiclink, recovery, email_change_current, email_change_new";
            return Err(AuthError::Invalid(message));
        }
    })
}

async fn with_password(
    auth: &Auth,
    input: &LinkRequest,
    email: &Email,
    data: &Value,
    client: &Client,
) -> Result<User, AuthError> {
    let password = input.password.as_deref().unwrap_or_default();
    if password.is_empty() {
        return Err(AuthError::Invalid("Signup requires a valid password"));
    }
    let name = data.as_object().map_or("", password_rules::name_in);
    password_rules::check(auth, password, &[email.as_str(), name]).await?;
    let hash = auth.passwords().hash(password).await?;
    sign_up::unconfirmed_user(auth, email, (data, Some(&hash)), client).await
}

async fn new_address(auth: &Auth, text: &str) -> Result<Email, AuthError> {
    let email = Email::parse(text)?;
    match deliver::find(auth, &email).await? {
        Some(_) => Err(AuthError::EmailExists),
        None => Ok(email),
    }
}

/// Begins the change, unless it is under way: what was confirmed of it stays so.
async fn begin_change(
    auth: &Auth,
    tx: &crate::db::Tx,
    user: &User,
    new: &Email,
) -> Result<(), AuthError> {
    if user.new_email == new.as_str() {
        return Ok(());
    }
    let asks_current = auth.config().auth.double_confirm_email_changes;
    let confirmed = if asks_current { 0 } else { CURRENT_CONFIRMED };
    let now = auth.clock().now();
    let halves = [
        Purpose::EmailChangeCurrent.as_str(),
        Purpose::EmailChangeNew.as_str(),
    ];
    queries::burn_tokens(tx, user.id, Some(&halves)).await?;
    queries::begin_email_change(tx, user.id, new.as_str(), confirmed, now).await?;
    Ok(())
}
