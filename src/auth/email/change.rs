//! A change of address: asked for by the signed-in user, confirmed from the new address and from the present one.

use url::Url;
use uuid::Uuid;

use super::letter::{self, Letter};
use super::sign_up::Confirmation;
use crate::auth::address::Email;
use crate::auth::audit::{self, Action};
use crate::auth::model::{Client, User};
use crate::auth::one_time_token::Purpose;
use crate::auth::queries::{self, CURRENT_CONFIRMED, NEW_CONFIRMED};
use crate::auth::sign_in::Method;
use crate::auth::signup::identity_data;
use crate::auth::{Auth, AuthError, mail_limits, saving};
use crate::db::Tx;

/// The types of the tokens that confirm one.
pub(in crate::auth) const HALVES: [&str; 2] = [
    Purpose::EmailChangeCurrent.as_str(),
    Purpose::EmailChangeNew.as_str(),
];

/// A wanted address, and whether it has an account; where answers must not tell, nothing is mailed to it then.
pub(in crate::auth) struct Wanted {
    email: Email,
    is_taken: bool,
    confirmation: Confirmation,
}

/// Looks at a wanted address and counts the mails it needs, before the change is stored.
///
/// # Errors
/// [`AuthError::EmailExists`] unless `auth.hide_accounts` is set; [`AuthError::TooManyMails`].
pub(in crate::auth) async fn prepare(
    auth: &Auth,
    user: &User,
    email: Email,
    confirmation: Confirmation,
) -> Result<Wanted, AuthError> {
    let found = {
        let connection = auth.db().auth().connection().await?;
        queries::find_credentials_by_email(&connection, email.as_str(), None).await?
    };
    let is_taken = found.is_some();
    if is_taken && !auth.config().auth.hide_accounts {
        return Err(AuthError::EmailExists);
    }
    if let Ok(current) = Email::parse(&user.email) {
        mail_limits::count_mail(auth, &current).await?;
    }
    mail_limits::count_mail(auth, &email).await?;
    Ok(Wanted {
        email,
        is_taken,
        confirmation,
    })
}

/// Stores the wish and mails what confirms it, in the transaction of the other changes.
///
/// # Errors
/// [`AuthError::Db`].
pub(in crate::auth) async fn begin(
    auth: &Auth,
    tx: &Tx,
    user_id: Uuid,
    wanted: &Wanted,
    client: &Client,
) -> Result<(), AuthError> {
    let user = queries::read_user(tx, user_id).await?;
    let mut user = user.ok_or(AuthError::BearerNotFound)?;
    let confirmed = if asks_current(auth, &user) {
        0
    } else {
        CURRENT_CONFIRMED
    };
    let now = auth.clock().now();
    let email = wanted.email.as_str();
    queries::begin_email_change(tx, user_id, email, confirmed, now).await?;
    email.clone_into(&mut user.new_email);
    let confirmation = &wanted.confirmation;
    let flow_id = letter::begin_flow(
        auth,
        tx,
        confirmation.challenge(),
        Method::EmailChange,
        confirmation.redirect_to(),
    );
    let ends = (confirmation.redirect_to(), flow_id.await?);
    if confirmed == 0 {
        send_half(auth, tx, &user, Purpose::EmailChangeCurrent, ends, client).await?;
    }
    if !wanted.is_taken {
        send_half(auth, tx, &user, Purpose::EmailChangeNew, ends, client).await?;
    }
    Ok(())
}

/// An address that nobody has confirmed has no say.
fn asks_current(auth: &Auth, user: &User) -> bool {
    auth.config().auth.double_confirm_email_changes
        && !user.email.is_empty()
        && user.email_confirmed_at.is_some()
}

async fn send_half(
    auth: &Auth,
    tx: &Tx,
    user: &User,
    purpose: Purpose,
    (redirect_to, flow_id): (&Url, Option<Uuid>),
    client: &Client,
) -> Result<(), AuthError> {
    let letter = Letter {
        user,
        to: match purpose {
            Purpose::EmailChangeCurrent => &user.email,
            _ => &user.new_email,
        },
        purpose,
        redirect_to,
        flow_id,
    };
    letter::send(auth, tx, &letter, client).await
}

/// Mails the missing halves of a pending change once more.
///
/// # Errors
/// [`AuthError::Db`].
pub(super) async fn send_again(
    auth: &Auth,
    user: &User,
    redirect_to: &Url,
    flow_id: Option<Uuid>,
    client: &Client,
) -> Result<(), AuthError> {
    let Ok(new) = Email::parse(&user.new_email) else {
        return Ok(());
    };
    let may_write_new = mail_limits::count_mail(auth, &new).await.is_ok();
    let is_taken = super::deliver::find(auth, &new).await?.is_some();
    let tx = auth.db().auth().begin().await?;
    let sent = async {
        let confirmed = queries::read_email_change(&tx, user.id).await?;
        let ends = (redirect_to, flow_id);
        if confirmed != CURRENT_CONFIRMED {
            let half = Purpose::EmailChangeCurrent;
            send_half(auth, &tx, user, half, ends, client).await?;
        }
        if confirmed != NEW_CONFIRMED && may_write_new && !is_taken {
            let half = Purpose::EmailChangeNew;
            send_half(auth, &tx, user, half, ends, client).await?;
        }
        Ok(())
    };
    let sent = sent.await;
    tx.finish(sent).await
}

/// One half is proven. Returns whether the change is complete, and made.
///
/// # Errors
/// [`AuthError::EmailExists`] when somebody else has taken the address in between.
pub(super) async fn confirm(
    auth: &Auth,
    tx: &Tx,
    user: &User,
    purpose: Purpose,
    client: &Client,
) -> Result<bool, AuthError> {
    let half = match purpose {
        Purpose::EmailChangeCurrent => CURRENT_CONFIRMED,
        _ => NEW_CONFIRMED,
    };
    let now = auth.clock().now();
    if queries::confirm_half(tx, user.id, half, now).await? > 0 {
        return Ok(false);
    }
    // What was mailed to the old address, or about it, is over.
    queries::burn_tokens(tx, user.id, None).await?;
    let finished = queries::finish_email_change(tx, user.id, now).await;
    if finished.map_err(saving)? == 0 {
        return Ok(false);
    }
    let data = identity_data(user.id, ("email", &user.new_email), true);
    queries::write_identity(tx, (user.id, "email"), &data, now).await?;
    queries::write_providers(tx, user.id, now).await?;
    let payload = audit::by_user(Action::Modified, user);
    queries::log(tx, &payload, (client, now)).await?;
    if !user.email.is_empty() {
        let values = [
            ("OldEmail", user.email.as_str()),
            ("NewEmail", user.new_email.as_str()),
        ];
        let to = ("email_changed_notice", user.email.as_str());
        letter::notify(auth, tx, to, user, &values).await?;
    }
    Ok(true)
}
