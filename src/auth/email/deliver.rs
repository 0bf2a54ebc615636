//! The job `auth.mail`: writes the mail that somebody has asked for, if there is whom to write to.

use serde_json::Value;
use url::Url;

use super::letter::{self, Letter};
use super::request::{Passed, Wanted};
use super::{change, sign_up};
use crate::auth::address::Email;
use crate::auth::model::{Client, User};
use crate::auth::one_time_token::Purpose;
use crate::auth::{Auth, AuthError, queries, unconfirmed};
use crate::jobs::{Handlers, JobError, JobResult, Kind};

/// Name of the job.
const NAME: &str = "auth.mail";

/// Adds the handler of the job.
pub(in crate::auth) fn add_to(auth: &Auth, handlers: Handlers) -> Handlers {
    let auth = auth.clone();
    handlers.add(Kind::new(NAME), move |_, payload| {
        let auth = auth.clone();
        async move {
            let payload = serde_json::from_str(payload.get())?;
            run(&auth, &payload).await
        }
    })
}

/// Does what the payload asks for. A second run sends a second mail, which makes the first worthless: none is lost.
///
/// # Errors
/// [`JobError::Discard`] for a payload that this service has not sealed; [`JobError::Failed`] for a passing failure.
pub(in crate::auth) async fn run(auth: &Auth, payload: &Value) -> JobResult {
    let Some(passed) = Passed::open(auth, payload) else {
        let text = "the request was sealed with another master key, or was changed";
        return Err(JobError::Discard(text.to_owned()));
    };
    // The result says nothing of what was found: those who may read jobs need not know.
    match deliver(auth, &passed).await {
        Ok(()) | Err(AuthError::HookRejected(_)) => Ok(Value::Null),
        Err(error) => Err(error.into()),
    }
}

async fn deliver(auth: &Auth, passed: &Passed) -> Result<(), AuthError> {
    let client = Client {
        ip: passed.ip,
        user_agent: passed.user_agent.clone(),
    };
    let email = Email::parse(&passed.email)?;
    let redirect_to = Url::parse(&passed.redirect_to)
        .map_err(|_| AuthError::Internal("a stored redirect is no address".to_owned()))?;
    let Some(user) = find_or_make(auth, passed, &email, &client).await? else {
        return Ok(());
    };
    if passed.wanted == Wanted::EmailChange {
        return change::send_again(auth, &user, &redirect_to, passed.flow_id, &client).await;
    }
    let is_confirmed = user.email_confirmed_at.is_some();
    let purpose = match passed.wanted {
        Wanted::Recovery => Purpose::Recovery,
        Wanted::Confirmation if is_confirmed => return Ok(()),
        Wanted::Confirmation => Purpose::Signup,
        _ if !is_confirmed && auth.config().auth.require_email_confirmation => Purpose::Signup,
        _ => Purpose::MagicLink,
    };
    let tx = auth.db().auth().begin().await?;
    let sent = async {
        if !is_confirmed && passed.wanted != Wanted::Confirmation {
            unconfirmed::forget(auth, &tx, user.id).await?;
        }
        let letter = Letter {
            user: &user,
            to: &user.email,
            purpose,
            redirect_to: &redirect_to,
            flow_id: passed.flow_id,
        };
        letter::send(auth, &tx, &letter, &client).await
    };
    let sent = sent.await;
    tx.finish(sent).await
}

async fn find_or_make(
    auth: &Auth,
    passed: &Passed,
    email: &Email,
    client: &Client,
) -> Result<Option<User>, AuthError> {
    if let Some(user) = find(auth, email).await? {
        return Ok(Some(user));
    }
    if passed.wanted != Wanted::SignInOrUp || auth.config().auth.disable_signup {
        return Ok(None);
    }
    match sign_up::without_password(auth, email, &passed.data, client).await {
        Err(AuthError::EmailExists) => find(auth, email).await,
        made => made.map(Some),
    }
}

/// The account of an address.
pub(super) async fn find(auth: &Auth, email: &Email) -> Result<Option<User>, AuthError> {
    let connection = auth.db().auth().connection().await?;
    let found = queries::find_credentials_by_email(&connection, email.as_str(), None).await?;
    let Some(found) = found else {
        return Ok(None);
    };
    let user = queries::find_user(&connection, found.user_id, None).await?;
    Ok(user
        .map(|(user, _)| user)
        .filter(|user| user.deleted_at.is_none()))
}
