//! Sign-up with a number.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{can_be_told, code, is_enabled, request};
use crate::auth::address::Phone;
use crate::auth::audit::{self, Action};
use crate::auth::limits::{self, Limited, Origin};
use crate::auth::metadata::MetadataPatch;
use crate::auth::model::{Client, User};
use crate::auth::one_time_token::Purpose;
use crate::auth::queries::{self, NewUser, PhoneAccount};
use crate::auth::sign_in::{self, Method};
use crate::auth::signup::{
    SignedUp, bare_user, insert_with_identities, suppressed, unsaved, unsaved_identity,
};
use crate::auth::{Auth, AuthError, password_rules, unconfirmed};
use crate::db::Tx;
use crate::hooks::Event;

/// Makes an account with a number and a password, and a session or, unless numbers count as confirmed, a code.
///
/// # Errors
/// [`AuthError::SignupDisabled`], [`AuthError::PhoneDisabled`], [`AuthError::Invalid`], [`AuthError::WeakPassword`],
/// [`AuthError::TooManyRequests`], [`AuthError::TooManySms`]; [`AuthError::UserAlreadyExists`] where numbers count as
/// confirmed; those of the hooks. Elsewhere a number that is taken looks like one that is not.
pub(in crate::auth) async fn sign_up(
    auth: &Auth,
    (phone, password): (&str, &str),
    data: Option<Value>,
    client: &Client,
    origin: Origin,
) -> Result<SignedUp, AuthError> {
    let config = auth.config();
    if config.auth.disable_signup {
        return Err(AuthError::SignupDisabled);
    }
    if !is_enabled(auth) {
        return Err(AuthError::PhoneDisabled);
    }
    let phone = Phone::parse(phone)?;
    let confirmed = config.auth.sms_autoconfirm;
    if !confirmed && !can_be_told(auth, &phone) {
        return Err(AuthError::PhoneDisabled);
    }
    if password.is_empty() {
        return Err(AuthError::Invalid("Signup requires a valid password"));
    }
    let data = MetadataPatch::parse(data)?.over(Map::new());
    limits::count(auth, Limited::SignUp, origin).await?;
    let name = data.as_object().map_or("", password_rules::name_in);
    password_rules::check(auth, password, &[phone.as_str(), name]).await?;
    if !confirmed {
        code::count(auth, &phone).await?;
    }
    let mut new = new_user(&config, &phone, &data, auth);
    new.phone_confirmed = confirmed;
    new.signs_in = confirmed;
    if let Some(account) = request::find(auth, &phone).await? {
        if confirmed {
            return Err(AuthError::UserAlreadyExists);
        }
        return again(auth, &account, (&phone, password), new, client).await;
    }
    let hash = auth.passwords().hash(password).await?;
    new.password_hash = Some(&hash);
    make(auth, &new, client).await?;
    if confirmed {
        let tx = auth.db().auth().begin().await?;
        let opened = sign_in::open(auth, &tx, new.id, Method::Password, client).await;
        let opened = tx.finish(opened).await?;
        let tokens = sign_in::answer(auth, opened).await?;
        return Ok(SignedUp::Session(Box::new(tokens)));
    }
    let user = tell(auth, new.id, &phone, client).await?;
    Ok(SignedUp::Unconfirmed(Box::new(user)))
}

/// An account that nobody has a password for.
pub(super) async fn without_password(
    auth: &Auth,
    phone: &Phone,
    data: &Value,
    client: &Client,
) -> Result<PhoneAccount, AuthError> {
    let config = auth.config();
    let mut new = new_user(&config, phone, data, auth);
    new.phone_confirmed = config.auth.sms_autoconfirm;
    make(auth, &new, client).await?;
    Ok(PhoneAccount {
        user_id: new.id,
        is_confirmed: new.phone_confirmed,
        password_hash: None,
    })
}

/// Somebody signs up with a number that has an account. One that is not confirmed gets another code, and keeps what leads
/// into it only if this password is the same.
async fn again(
    auth: &Auth,
    account: &PhoneAccount,
    (phone, password): (&Phone, &str),
    mut new: NewUser<'_>,
    client: &Client,
) -> Result<SignedUp, AuthError> {
    // As much work as hashing a new one.
    let known = account.password_hash.as_deref();
    let is_right = auth.passwords().verify(password, known).await?;
    if !account.is_confirmed {
        if !is_right {
            let tx = auth.db().auth().begin().await?;
            let forgotten = unconfirmed::forget(auth, &tx, account.user_id).await;
            tx.finish(forgotten).await?;
        }
        tell(auth, account.user_id, phone, client).await?;
        new.id = account.user_id;
    }
    let actor = (Uuid::nil(), phone.as_str());
    let traits = json!({ "provider": "phone" });
    let payload = audit::payload(Action::RepeatedSignup, actor, &traits);
    let tx = auth.db().auth().begin().await?;
    let logged = queries::log(&tx, &payload, (client, new.at)).await;
    tx.finish(logged).await?;
    let mut user = unsaved(&new);
    user.confirmation_sent_at = Some(new.at);
    if !account.is_confirmed || auth.config().auth.hide_accounts {
        user.identities
            .push(unsaved_identity(&new, ("phone", phone.as_str())));
    }
    Ok(SignedUp::Unconfirmed(Box::new(user)))
}

/// Issues the code of a sign-up and sends it.
async fn tell(
    auth: &Auth,
    user_id: Uuid,
    phone: &Phone,
    client: &Client,
) -> Result<User, AuthError> {
    let tx = auth.db().auth().begin().await?;
    let issued = request::issue(auth, &tx, (user_id, Purpose::Sms), phone, client).await;
    let (user, code) = tx.finish(issued).await?;
    code::send(auth, user.clone(), phone, code, client).await?;
    Ok(user)
}

fn new_user<'a>(
    config: &'a crate::config::Config,
    phone: &'a Phone,
    data: &'a Value,
    auth: &Auth,
) -> NewUser<'a> {
    static APP_METADATA: std::sync::LazyLock<Value> =
        std::sync::LazyLock::new(|| json!({ "provider": "phone", "providers": ["phone"] }));
    NewUser {
        phone: Some(phone.as_str()),
        ..bare_user(config, (&APP_METADATA, data), auth.clock().now())
    }
}

/// Asks the hooks, and stores the user.
async fn make(auth: &Auth, new: &NewUser<'_>, client: &Client) -> Result<(), AuthError> {
    auth.extensions()
        .run_before_user_created(client, || unsaved(new))
        .await?;
    let tx = auth.db().auth().begin().await?;
    let stored = store(auth, &tx, new, client).await;
    tx.finish(stored).await
}

async fn store(auth: &Auth, tx: &Tx, new: &NewUser<'_>, client: &Client) -> Result<(), AuthError> {
    insert_with_identities(tx, new).await?;
    let user = queries::read_user(tx, new.id).await?;
    let user = user.ok_or_else(|| suppressed("a trigger deleted the new user"))?;
    let traits = json!({ "provider": "phone", "channel": "sms" });
    let payload = audit::payload(Action::SignedUp, (user.id, &user.phone), &traits);
    queries::log(tx, &payload, (client, new.at)).await?;
    let what = (&user, new.at);
    auth.extensions().emit(tx, Event::UserSignup, what).await?;
    Ok(())
}
