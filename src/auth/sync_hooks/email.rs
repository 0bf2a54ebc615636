//! The project sends the mails: hook `send_email` in place of the backend.
//!
//! A mail is asked for in a transaction and is a job from then on, so a hook that fails is tried again like a server that
//! does not answer. It may be told of one mail more than once.

use std::sync::{Arc, Weak};

use serde_json::Value;

use super::EmailData;
use crate::auth::model::Client;
use crate::auth::{Auth, AuthError, queries};
use crate::jobs::JobError;
use crate::mail::{Deliver, Delivery, Letter};

/// Gives mails to the hook, if there is one.
pub(in crate::auth) fn deliver(auth: &Auth) -> Deliver {
    // The service holds the mailer, and the mailer this.
    let auth = Arc::downgrade(&auth.0);
    Arc::new(move |letter| {
        let auth = Weak::clone(&auth);
        Box::pin(async move {
            match auth.upgrade() {
                Some(inner) => hand_over(&Auth(inner), letter).await,
                None => Ok(Delivery::Declined),
            }
        })
    })
}

async fn hand_over(auth: &Auth, letter: Letter) -> Result<Delivery, JobError> {
    let hooks = auth.extensions();
    let Some(user_id) = letter.user_id.filter(|_| hooks.sends_email()) else {
        return Ok(Delivery::Declined);
    };
    let user = {
        let connection = auth.db().auth().connection().await.map_err(failed)?;
        let found = queries::find_user(&connection, user_id, None).await;
        found.map_err(failed)?
    };
    let Some((user, _)) = user else {
        return Err(JobError::Discard("the user is gone".to_owned()));
    };
    let client = Client {
        ip: None,
        user_agent: None,
    };
    match hooks
        .run_send_email(&client, user.into(), email_data(letter))
        .await
    {
        Ok(()) => Ok(Delivery::Taken),
        // The cause is for operators, who read jobs; it holds nothing of the mail.
        Err(AuthError::HookFailed { cause, .. }) => Err(JobError::Failed(cause)),
        Err(error) => Err(JobError::Failed(error.to_string())),
    }
}

fn failed(error: impl std::fmt::Display) -> JobError {
    JobError::Failed(error.to_string())
}

fn email_data(letter: Letter) -> EmailData {
    let text = |name: &str| {
        let value = letter.values.get(name).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    let is_change = letter.template == "email_change";
    EmailData {
        token: text("Token"),
        token_hash: text("TokenHash"),
        redirect_to: text("RedirectTo"),
        site_url: text("SiteURL"),
        old_email: if is_change {
            text("Email")
        } else {
            text("OldEmail")
        },
        old_phone: text("OldPhone"),
        provider: text("Provider"),
        factor_type: text("FactorType"),
        email_action_type: action(&letter.template),
        to: letter.to,
        ..EmailData::default()
    }
}

/// As Supabase calls what the templates are for.
fn action(template: &str) -> String {
    match template {
        "confirmation" => "signup".to_owned(),
        "magic_link" => "magiclink".to_owned(),
        other => match other.strip_suffix("_notice") {
            Some(what) => format!("{what}_notification"),
            None => other.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_have_the_names_of_supabase() {
        for (template, expected) in [
            ("confirmation", "signup"),
            ("magic_link", "magiclink"),
            ("recovery", "recovery"),
            ("password_changed_notice", "password_changed_notification"),
        ] {
            assert_eq!(action(template), expected);
        }
    }
}
