//! Sign-up with an address and a password.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::address::Email;
use super::audit::{self, Action};
use super::email::{self, sign_up::Confirmation};
use super::limits::{self, Limited, Origin};
use super::metadata::MetadataPatch;
use super::model::{Client, Identity, Session, TokenResponse, User};
use super::queries::{self, Credentials, NewUser};
use super::username::{self, Username};
use super::{
    Auth, AuthError, anonymous, evenly, mail_limits, password_rules, phone, saving, token,
};
use crate::config::Config;
use crate::db::Tx;
use crate::hooks::Event;

/// What a sign-up presents.
#[derive(Clone, Default)]
pub(super) struct SignUp {
    /// Address as typed.
    pub(super) email: Option<String>,
    /// Phone number as typed.
    pub(super) phone: Option<String>,
    /// User name as typed.
    pub(super) username: Option<String>,
    /// How a number is told its code.
    pub(super) channel: Option<String>,
    /// Password.
    pub(super) password: Option<String>,
    /// First user metadata.
    pub(super) data: Option<Value>,
    /// Where the link of its confirmation leads in the end.
    pub(super) redirect_to: Option<String>,
    /// PKCE, for that link.
    pub(super) code_challenge: Option<String>,
    /// PKCE, for that link.
    pub(super) code_challenge_method: Option<String>,
}

/// What a sign-up answers.
#[derive(Clone, serde::Serialize)]
#[serde(untagged)]
pub(super) enum SignedUp {
    /// Signed in at once.
    Session(Box<TokenResponse>),
    /// The address must be confirmed first.
    Unconfirmed(Box<User>),
}

/// Makes an account and, unless the project asks for confirmation, a session.
///
/// # Errors
/// [`AuthError::SignupDisabled`], [`AuthError::Invalid`], [`AuthError::WeakPassword`],
/// [`AuthError::TooManyRequests`], [`AuthError::UserAlreadyExists`], [`AuthError::UsernameExists`],
/// [`AuthError::HookRejected`],
/// [`AuthError::SavingUser`]. Where confirmation is
/// required, an address that is taken looks like one that is not.
pub(super) async fn sign_up(
    auth: &Auth,
    input: SignUp,
    client: &Client,
    origin: Origin,
) -> Result<SignedUp, AuthError> {
    if is_anonymous(&input) {
        let tokens = anonymous::sign_in(auth, input.data, client, origin).await?;
        return Ok(SignedUp::Session(Box::new(tokens)));
    }
    let password = input.password.as_deref().unwrap_or_default();
    if let Some(number) = input.phone.as_deref().filter(|_| is_by_phone(&input)) {
        let channel = input.channel.as_deref();
        phone::request::check_channel(channel)?;
        let who = (number, password);
        return phone::sign_up::sign_up(auth, who, input.data, client, origin).await;
    }
    let config = auth.config();
    if config.auth.disable_signup {
        return Err(AuthError::SignupDisabled);
    }
    let username = username::wanted(auth, input.username.as_deref())?;
    // Who has a name needs no address.
    let address = match input.email.as_deref().filter(|email| !email.is_empty()) {
        None if username.is_some() => None,
        email => Some(Email::parse(email.unwrap_or_default())?),
    };
    if password.is_empty() {
        return Err(AuthError::Invalid("Signup requires a valid password"));
    }
    let data = MetadataPatch::parse(input.data)?.over(Map::new());
    let pkce = (
        input.code_challenge.as_deref(),
        input.code_challenge_method.as_deref(),
    );
    let confirmation = Confirmation::parse(auth, input.redirect_to.as_deref(), pkce)?;
    limits::count(auth, Limited::SignUp, origin).await?;
    let known = [
        address.as_ref().map_or("", Email::as_str),
        username.as_ref().map_or("", Username::as_str),
        data.as_object().map_or("", password_rules::name_in),
    ];
    password_rules::check(auth, password, &known).await?;
    // Without an address there is nothing to confirm.
    let confirmed = !config.auth.require_email_confirmation || address.is_none();
    let provider = if address.is_some() {
        "email"
    } else {
        "username"
    };
    let app_metadata = json!({ "provider": provider, "providers": [provider] });
    let mut new = NewUser {
        email: address.as_ref().map(Email::as_str),
        username: username.as_ref().map(Username::as_str),
        email_confirmed: confirmed && address.is_some(),
        signs_in: confirmed,
        ..bare_user(&config, (&app_metadata, &data), auth.clock().now())
    };
    let Some(address) = address.as_ref().filter(|_| !confirmed) else {
        let hash = auth.passwords().hash(password).await?;
        new.password_hash = Some(&hash);
        return register(auth, &new, None, client).await;
    };
    let to_confirm = confirm_first(
        auth,
        new,
        (address, username.as_ref(), password),
        &confirmation,
        client,
    );
    if config.auth.hide_accounts {
        evenly::answers(to_confirm).await
    } else {
        to_confirm.await
    }
}

/// Signs up who has to confirm the address. One that is taken looks new where accounts are hidden.
async fn confirm_first(
    auth: &Auth,
    mut new: NewUser<'_>,
    (address, username, password): (&Email, Option<&Username>, &str),
    confirmation: &Confirmation,
    client: &Client,
) -> Result<SignedUp, AuthError> {
    mail_limits::count_mail(auth, address).await?;
    let existing = {
        let connection = auth.db().auth().connection().await?;
        queries::find_credentials_by_email(&connection, address.as_str(), None).await?
    };
    if let Some(name) = username {
        refuse_taken(auth, name, existing.as_ref()).await?;
    }
    if let Some(existing) = existing {
        // As much work as hashing a new one.
        let known = existing.password_hash.as_deref();
        let is_right = auth.passwords().verify(password, known).await?;
        email::sign_up::again(auth, &existing, is_right, confirmation, client).await?;
        if !existing.is_confirmed {
            new.id = existing.user_id;
        }
        let looks_new = !existing.is_confirmed || auth.config().auth.hide_accounts;
        return repeated(auth, &new, looks_new, client).await;
    }
    let hash = auth.passwords().hash(password).await?;
    let new = NewUser {
        password_hash: Some(&hash),
        ..new
    };
    register(auth, &new, Some(confirmation), client).await
}

/// A name that is taken is refused before anything depends on whether the address beside it is taken, too. Who signs up
/// again, not confirmed yet, has the name already.
async fn refuse_taken(
    auth: &Auth,
    name: &Username,
    existing: Option<&Credentials>,
) -> Result<(), AuthError> {
    let own = existing.filter(|account| !account.is_confirmed);
    let connection = auth.db().auth().connection().await?;
    let found = queries::find_credentials_by_username(&connection, name.as_str(), None).await?;
    match found {
        Some(found) if own.is_none_or(|own| own.user_id != found.user_id) => {
            Err(AuthError::UsernameExists)
        }
        _ => Ok(()),
    }
}

/// A user who has no address, no password and no session yet.
pub(super) fn bare_user<'a>(
    config: &'a Config,
    (app_metadata, user_metadata): (&'a Value, &'a Value),
    at: DateTime<Utc>,
) -> NewUser<'a> {
    NewUser {
        id: Uuid::new_v4(),
        aud: &config.jwt.aud,
        role: &config.auth.default_role,
        email: None,
        phone: None,
        username: None,
        password_hash: None,
        email_confirmed: false,
        phone_confirmed: false,
        app_metadata,
        user_metadata,
        banned_until: None,
        signs_in: false,
        at,
    }
}

/// Makes a user that does not sign in.
pub(super) async fn make(
    auth: &Auth,
    new: &NewUser<'_>,
    client: &Client,
) -> Result<User, AuthError> {
    store(auth, new, (None, None), client).await
}

/// Makes the user and issues its first tokens, or mails what it has to confirm.
async fn register(
    auth: &Auth,
    new: &NewUser<'_>,
    confirmation: Option<&Confirmation>,
    client: &Client,
) -> Result<SignedUp, AuthError> {
    let session = new.signs_in.then(|| token::new_session("password", new.at));
    let user = match store(auth, new, (session.as_ref(), confirmation), client).await {
        Err(AuthError::EmailExists) if new.signs_in => return Err(AuthError::UserAlreadyExists),
        Err(AuthError::EmailExists) => {
            let looks_new = auth.config().auth.hide_accounts;
            return repeated(auth, new, looks_new, client).await;
        }
        result => result?,
    };
    match session {
        Some(session) => {
            let tokens = token::issue(auth, user, &session, "password", client).await?;
            Ok(SignedUp::Session(Box::new(tokens)))
        }
        None => Ok(SignedUp::Unconfirmed(Box::new(user))),
    }
}

fn is_anonymous(input: &SignUp) -> bool {
    let is_missing = |text: &Option<String>| text.as_deref().is_none_or(str::is_empty);
    is_missing(&input.email) && is_missing(&input.phone) && is_missing(&input.username)
}

fn is_by_phone(input: &SignUp) -> bool {
    let is_missing = |text: &Option<String>| text.as_deref().is_none_or(str::is_empty);
    is_missing(&input.email) && !is_missing(&input.phone)
}

/// Asks the hooks. Then one transaction: the user, in which the project's own triggers run, its identity, its session,
/// the log entry, and the jobs of whoever wants to know.
async fn store(
    auth: &Auth,
    new: &NewUser<'_>,
    first: (Option<&Session>, Option<&Confirmation>),
    client: &Client,
) -> Result<User, AuthError> {
    auth.extensions()
        .run_before_user_created(client, || unsaved(new))
        .await?;
    let tx = auth.db().auth().begin().await?;
    let stored = store_in(auth, &tx, new, first, client).await;
    tx.finish(stored).await
}

async fn store_in(
    auth: &Auth,
    tx: &Tx,
    new: &NewUser<'_>,
    (session, confirmation): (Option<&Session>, Option<&Confirmation>),
    client: &Client,
) -> Result<User, AuthError> {
    insert_with_identities(tx, new).await?;
    if let Some(session) = session {
        queries::insert_session(tx, new.id, session, (client, new.at)).await?;
    }
    // Read back: triggers may have changed the row.
    let user = queries::read_user(tx, new.id).await?;
    let mut user = user.ok_or_else(|| suppressed("a trigger deleted the new user"))?;
    let payload = audit::by_user(Action::SignedUp, &user);
    queries::log(tx, &payload, (client, new.at)).await?;
    if let Some(confirmation) = confirmation {
        confirmation.send(auth, tx, &user, client).await?;
        user.confirmation_sent_at = Some(new.at);
    }
    let what = (&user, new.at);
    auth.extensions().emit(tx, Event::UserSignup, what).await?;
    Ok(user)
}

/// Inserts the user and an identity for each way in which it can sign in. The identity of a sign-up that is let in at once
/// says that nobody has proven the address yet, which matters when its owner comes by another way.
pub(super) async fn insert_with_identities(tx: &Tx, new: &NewUser<'_>) -> Result<(), AuthError> {
    if queries::insert_user(tx, new).await.map_err(saving)? == 0 {
        return Err(suppressed("a trigger suppressed the new user"));
    }
    let is_proven = new.email_confirmed && !new.signs_in;
    for (provider, address, verified) in [
        ("email", new.email, is_proven),
        ("phone", new.phone, new.phone_confirmed),
    ] {
        if let Some(address) = address {
            let data = identity_data(new.id, (provider, address), verified);
            queries::write_identity(tx, (new.id, provider), &data, new.at).await?;
        }
    }
    Ok(())
}

/// What an identity of the service's own says.
pub(super) fn identity_data(id: Uuid, (provider, address): (&str, &str), verified: bool) -> Value {
    json!({
        "sub": id,
        provider: address,
        "email_verified": provider == "email" && verified,
        "phone_verified": provider == "phone" && verified,
    })
}

pub(super) fn suppressed(cause: &str) -> AuthError {
    AuthError::Internal(cause.to_owned())
}

/// The answer to a sign-up with a taken address: a user that looks new and is none. Clients tell it by its having no
/// identity, unless it is to look new in that, too.
async fn repeated(
    auth: &Auth,
    new: &NewUser<'_>,
    looks_new: bool,
    client: &Client,
) -> Result<SignedUp, AuthError> {
    let actor = (Uuid::nil(), new.email.unwrap_or_default());
    let payload = audit::payload(
        Action::RepeatedSignup,
        actor,
        &json!({ "provider": "email" }),
    );
    let tx = auth.db().auth().begin().await?;
    let logged = queries::log(&tx, &payload, (client, new.at)).await;
    tx.finish(logged).await?;
    let mut user = unsaved(new);
    user.confirmation_sent_at = Some(new.at);
    if looks_new {
        let email = new.email.unwrap_or_default();
        user.identities
            .push(unsaved_identity(new, ("email", email)));
    }
    Ok(SignedUp::Unconfirmed(Box::new(user)))
}

/// The identity as it would be stored.
pub(super) fn unsaved_identity(new: &NewUser<'_>, way: (&str, &str)) -> Identity {
    let (provider, address) = way;
    Identity {
        id: Uuid::new_v4(),
        provider_id: new.id.to_string(),
        user_id: new.id,
        identity_data: identity_data(new.id, way, false),
        provider: provider.to_owned(),
        last_sign_in_at: Some(new.at),
        created_at: Some(new.at),
        updated_at: Some(new.at),
        email: (provider == "email").then(|| address.to_owned()),
    }
}

/// The user as it would be stored.
pub(super) fn unsaved(new: &NewUser<'_>) -> User {
    let members = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let at = |condition: bool| -> Option<DateTime<Utc>> { condition.then_some(new.at) };
    User {
        id: new.id,
        aud: new.aud.to_owned(),
        role: new.role.to_owned(),
        email: new.email.unwrap_or_default().to_owned(),
        email_confirmed_at: at(new.email_confirmed),
        invited_at: None,
        phone: new.phone.unwrap_or_default().to_owned(),
        phone_confirmed_at: at(new.phone_confirmed),
        confirmation_sent_at: None,
        confirmed_at: at(new.email_confirmed || new.phone_confirmed),
        recovery_sent_at: None,
        new_email: String::new(),
        email_change_sent_at: None,
        new_phone: String::new(),
        phone_change_sent_at: None,
        reauthentication_sent_at: None,
        last_sign_in_at: at(new.signs_in),
        app_metadata: members(new.app_metadata),
        user_metadata: members(new.user_metadata),
        identities: Vec::new(),
        factors: Vec::new(),
        created_at: new.at,
        updated_at: new.at,
        banned_until: None,
        deleted_at: None,
        username: new.username.map(str::to_owned),
        is_anonymous: false,
    }
}
