//! From a user at a provider to a user here: found, joined, made or refused, and signed in, in one transaction.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::policy::{self, Decision};
use super::profile::Profile;
use crate::auth::address::Email;
use crate::auth::audit::{self, Action};
use crate::auth::email::sign_up::Confirmation;
use crate::auth::flow::{self, ProviderTokens};
use crate::auth::model::{Client, User};
use crate::auth::queries::oauth as queries;
use crate::auth::queries::{self as shared, NewUser, UserChange};
use crate::auth::sign_in::{self, Method, Opened};
use crate::auth::{Auth, AuthError, saving, signup};
use crate::db::{DbError, Tx};
use crate::error::ErrorCode;
use crate::hooks::Event;

/// A user that a provider has signed in.
pub(super) struct Arrival<'a> {
    /// Name of the provider.
    pub(super) provider: &'a str,
    /// Whether its users need no address.
    pub(super) email_optional: bool,
    /// Where the sign-in leads to, if it is more than a call.
    pub(super) redirect_to: Option<&'a str>,
    pub(super) profile: &'a Profile,
    pub(super) client: &'a Client,
}

/// How a sign-in ends.
pub(super) enum End<'a> {
    /// With a session at once.
    Session,
    /// With a code for one.
    Code {
        flow_id: Uuid,
        tokens: &'a ProviderTokens,
    },
}

/// How it has ended.
pub(super) enum Ended {
    Session(Box<Opened>),
    Code(String),
}

/// Why a transaction is given up.
enum Stop {
    /// Another request made the account or identity just now.
    Again,
    Error(AuthError),
}

impl From<DbError> for Stop {
    fn from(error: DbError) -> Self {
        Self::Error(error.into())
    }
}

impl From<AuthError> for Stop {
    fn from(error: AuthError) -> Self {
        Self::Error(error)
    }
}

/// What a transaction has come to.
enum Step {
    Done(Ended),
    /// The hooks must be asked for the new account first, and not while a connection is held.
    AskHooks(Box<User>),
    /// Not signed in, but what was written stays: an entry in the log, say.
    Refused(AuthError),
}

/// Most requests that make one account at the same time and are waited for.
const MAX_TRIES: usize = 4;

/// Signs in whoever arrives, with an account that is found or made.
///
/// # Errors
/// Those of [`policy::Refusal::error`]; [`AuthError::SignupDisabled`], [`AuthError::HookRejected`],
/// [`AuthError::UserBanned`]; [`ErrorCode::EmailAddressNotProvided`],
/// [`ErrorCode::ProviderEmailNeedsVerification`].
pub(super) async fn sign_in(
    auth: &Auth,
    arrival: &Arrival<'_>,
    end: &End<'_>,
) -> Result<Ended, AuthError> {
    let mut hooks_were_asked = false;
    for _ in 0..MAX_TRIES {
        let tx = auth.db().auth().begin().await?;
        let step = step(auth, &tx, arrival, end, hooks_were_asked).await;
        match tx.finish(step).await {
            Ok(Step::Done(ended)) => return Ok(ended),
            Ok(Step::Refused(error)) | Err(Stop::Error(error)) => return Err(error),
            Ok(Step::AskHooks(user)) => {
                let hooks = auth.extensions();
                hooks
                    .run_before_user_created(arrival.client, || *user)
                    .await?;
                hooks_were_asked = true;
            }
            Err(Stop::Again) => {}
        }
    }
    let message = "Another request is making this account; try again";
    Err(AuthError::Refused(ErrorCode::Conflict, message))
}

async fn step(
    auth: &Auth,
    tx: &Tx,
    arrival: &Arrival<'_>,
    end: &End<'_>,
    hooks_were_asked: bool,
) -> Result<Step, Stop> {
    let now = auth.clock().now();
    if let Some((identity_id, user_id)) = queries::find_identity(tx, arrival.key()).await? {
        queries::use_identity(tx, identity_id, &arrival.news(), now).await?;
        return known(auth, tx, arrival, end, user_id).await;
    }
    let namesake = match &arrival.profile.email {
        Some(email) => queries::find_namesake(tx, email.as_str()).await?,
        None => None,
    };
    let linking = auth.config().auth.linking;
    let decision = policy::decide(linking, arrival.profile.is_vouched, namesake.as_ref());
    let user_id = match (decision, namesake) {
        (Decision::Refuse(refusal), namesake) => {
            let owner = namesake.map_or(Uuid::nil(), |namesake| namesake.id);
            arrival.log_refusal(tx, owner, decision, now).await?;
            return Ok(Step::Refused(refusal.error()));
        }
        (Decision::Link, Some(namesake)) => namesake.id,
        (Decision::TakeOver, Some(namesake)) => {
            queries::take_over(tx, namesake.id, now).await?;
            namesake.id
        }
        (Decision::Create, _) | (_, None) => {
            return create(auth, tx, arrival, end, hooks_were_asked).await;
        }
    };
    arrival.attach(tx, user_id, now).await?;
    arrival
        .log_link(tx, user_id, decision.reason(), now)
        .await?;
    finish(auth, tx, arrival, end, user_id).await
}

/// An account that this identity belongs to. One whose address is not confirmed yet is let in once it is.
async fn known(
    auth: &Auth,
    tx: &Tx,
    arrival: &Arrival<'_>,
    end: &End<'_>,
    user_id: Uuid,
) -> Result<Step, Stop> {
    let user = shared::read_user(tx, user_id).await?;
    let user = user.ok_or(AuthError::UserNotFound)?;
    if user.confirmed_at.is_none() && !user.email.is_empty() {
        let email = arrival.profile.email.as_ref();
        let is_same = email.is_some_and(|email| email.as_str() == user.email);
        if arrival.profile.is_vouched && is_same {
            let change = UserChange {
                email_confirmed: true,
                ..UserChange::default()
            };
            shared::update_user(tx, user_id, &change, auth.clock().now()).await?;
        } else if auth.config().auth.require_email_confirmation {
            return Ok(Step::Refused(needs_verification()));
        }
    }
    finish(auth, tx, arrival, end, user_id).await
}

fn needs_verification() -> AuthError {
    AuthError::Refused(
        ErrorCode::ProviderEmailNeedsVerification,
        "The provider does not confirm this email address; confirm it with the mail that was sent",
    )
}

async fn create(
    auth: &Auth,
    tx: &Tx,
    arrival: &Arrival<'_>,
    end: &End<'_>,
    hooks_were_asked: bool,
) -> Result<Step, Stop> {
    let (config, profile) = (auth.config(), arrival.profile);
    if config.auth.disable_signup {
        return Err(AuthError::SignupDisabled.into());
    }
    if profile.email.is_none() && !arrival.email_optional {
        let message = "The provider tells no email address of the user";
        return Err(AuthError::Refused(ErrorCode::EmailAddressNotProvided, message).into());
    }
    let must_confirm = config.auth.require_email_confirmation && !profile.is_vouched;
    let now = auth.clock().now();
    let name = arrival.provider;
    let (app_metadata, user_metadata) = (
        json!({ "provider": name, "providers": [name] }),
        arrival.data(),
    );
    let new = NewUser {
        email: profile.email.as_ref().map(Email::as_str),
        email_confirmed: profile.email.is_some() && !must_confirm,
        ..signup::bare_user(&config, (&app_metadata, &user_metadata), now)
    };
    if !hooks_were_asked {
        return Ok(Step::AskHooks(Box::new(signup::unsaved(&new))));
    }
    let user = insert(tx, arrival, &new).await?;
    let traits = json!({ "provider": name, "reason": Decision::Create.reason() });
    let payload = audit::payload(Action::SignedUp, (user.id, audit::name(&user)), &traits);
    shared::log(tx, &payload, (arrival.client, now)).await?;
    let hooks = auth.extensions();
    hooks.emit(tx, Event::UserSignup, (&user, now)).await?;
    if profile.email.is_some() && must_confirm {
        let confirmation = Confirmation::parse(auth, arrival.redirect_to, (None, None))?;
        confirmation.send(auth, tx, &user, arrival.client).await?;
        return Ok(Step::Refused(needs_verification()));
    }
    finish(auth, tx, arrival, end, user.id).await
}

async fn insert(tx: &Tx, arrival: &Arrival<'_>, new: &NewUser<'_>) -> Result<User, Stop> {
    let suppressed = || AuthError::Internal("a trigger suppressed the new user".to_owned());
    let inserted = shared::insert_user(tx, new).await.map_err(saving);
    match inserted {
        Err(AuthError::EmailExists) => return Err(Stop::Again),
        Err(error) => return Err(error.into()),
        Ok(0) => return Err(suppressed().into()),
        Ok(_) => {}
    }
    let (id, data) = (new.id, arrival.data());
    if !queries::insert_identity(tx, id, arrival.key(), &data, new.at).await? {
        return Err(Stop::Again);
    }
    // Read back: triggers may have changed the row.
    let user = shared::read_user(tx, id).await?;
    Ok(user.ok_or_else(suppressed)?)
}

async fn finish(
    auth: &Auth,
    tx: &Tx,
    arrival: &Arrival<'_>,
    end: &End<'_>,
    user_id: Uuid,
) -> Result<Step, Stop> {
    let client = arrival.client;
    Ok(Step::Done(match end {
        End::Session => {
            let opened = sign_in::open(auth, tx, user_id, Method::OAuth, client).await?;
            Ended::Session(Box::new(opened))
        }
        End::Code { flow_id, tokens } => {
            let flow = (*flow_id, user_id);
            Ended::Code(flow::issue_code(auth, tx, flow, Method::OAuth, Some(tokens)).await?)
        }
    }))
}

impl Arrival<'_> {
    /// What an identity is found by.
    fn key(&self) -> (&str, &str) {
        (self.provider, &self.profile.subject)
    }

    fn data(&self) -> Value {
        Value::Object(self.profile.data.clone())
    }

    /// What a known identity learns. A token that tells no address takes none away.
    fn news(&self) -> Value {
        let mut data = self.profile.data.clone();
        if self.profile.email.is_none() {
            data.remove("email_verified");
        }
        Value::Object(data)
    }

    /// Gives the identity to a user, with what the provider knows and the user does not have yet.
    async fn attach(&self, tx: &Tx, user_id: Uuid, now: DateTime<Utc>) -> Result<(), Stop> {
        let data = self.data();
        if !queries::insert_identity(tx, user_id, self.key(), &data, now).await? {
            return Err(Stop::Again);
        }
        queries::add_user_metadata(tx, user_id, &data).await?;
        shared::write_providers(tx, user_id, now).await?;
        Ok(())
    }

    async fn log_link(
        &self,
        tx: &Tx,
        user_id: Uuid,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<(), Stop> {
        self.log(tx, (Action::IdentityLinked, user_id), reason, now)
            .await
    }

    /// The account is the one that was not joined.
    async fn log_refusal(
        &self,
        tx: &Tx,
        account: Uuid,
        decision: Decision,
        now: DateTime<Utc>,
    ) -> Result<(), Stop> {
        self.log(
            tx,
            (Action::IdentityRefused, account),
            decision.reason(),
            now,
        )
        .await
    }

    async fn log(
        &self,
        tx: &Tx,
        (action, account): (Action, Uuid),
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<(), Stop> {
        let (provider, subject) = self.key();
        let email = self.profile.email.as_ref().map_or("", Email::as_str);
        let traits = json!({
            "provider": provider,
            "provider_id": subject,
            "email_vouched": self.profile.is_vouched,
            "reason": reason,
        });
        let payload = audit::payload(action, (account, email), &traits);
        shared::log(tx, &payload, (self.client, now)).await?;
        Ok(())
    }
}

/// Gives the identity to a signed-in user who asked for it.
///
/// # Errors
/// [`ErrorCode::IdentityAlreadyExists`], [`AuthError::UserNotFound`].
pub(super) async fn link(
    auth: &Auth,
    tx: &Tx,
    arrival: &Arrival<'_>,
    user_id: Uuid,
) -> Result<(), AuthError> {
    let now = auth.clock().now();
    if !queries::lock_user(tx, user_id).await? {
        return Err(AuthError::UserNotFound);
    }
    let exists = |message| AuthError::Refused(ErrorCode::IdentityAlreadyExists, message);
    let owner = queries::find_identity(tx, arrival.key()).await?;
    match owner {
        Some((_, owner)) if owner == user_id => {
            return Err(exists("Identity is already linked"));
        }
        Some(_) => return Err(exists("Identity is already linked to another user")),
        None => {}
    }
    let vouched = Some(arrival.profile).filter(|profile| profile.is_vouched);
    let linked = async {
        arrival.attach(tx, user_id, now).await?;
        let email = vouched.and_then(|profile| profile.email.as_ref());
        let email = email.map(Email::as_str);
        queries::settle_user(tx, user_id, email, now).await?;
        let reason = "the signed-in user asked for it";
        arrival.log_link(tx, user_id, reason, now).await
    };
    match linked.await {
        Ok(()) => Ok(()),
        Err(Stop::Error(error)) => Err(error),
        Err(Stop::Again) => Err(exists("Identity is already linked")),
    }
}

/// Links the identity and ends the flow.
///
/// # Errors
/// Those of [`link`], and [`AuthError::UserBanned`].
pub(super) async fn link_and_finish(
    auth: &Auth,
    arrival: &Arrival<'_>,
    user_id: Uuid,
) -> Result<Opened, AuthError> {
    let tx = auth.db().auth().begin().await?;
    let linked = async {
        link(auth, &tx, arrival, user_id).await?;
        sign_in::open(auth, &tx, user_id, Method::OAuth, arrival.client).await
    };
    let linked = linked.await;
    tx.finish(linked).await
}
