//! Points at which a program that embeds `sb` takes part.
//!
//! The hooks that decide run within the request, outside of transactions and while none of our connections is held: they
//! may use the database freely, and [`crate::config::AuthHooks`] can name targets for them too. The hooks after the fact are jobs, enqueued in the transaction of what they follow; a
//! worker runs them, at least once.

use std::future::Future;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::claims;
use super::model::{Client, User};
use super::sync_hooks::{
    Decision, EmailMessage, MfaAttempt, MfaDecision, PasswordAttempt, SmsMessage, Targets,
};
use crate::db::{DbError, Tx};
use crate::hooks::{self, Event};
use crate::jobs::{Handlers, JobContext, JobError, Kind};

/// What a hook learns besides the user.
#[derive(Debug, Clone)]
pub struct HookContext {
    /// Where the request came from.
    pub client: Client,
}

/// A refusal, with the text the client gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookRejection(pub String);

/// A hook: refuses with a text, or lets the request pass.
pub type Hook = Arc<
    dyn Fn(HookContext, Arc<User>) -> BoxFuture<'static, Result<(), HookRejection>> + Send + Sync,
>;

/// A hook that is told something and answers.
pub(super) type Asked<T, A> =
    Arc<dyn Fn(HookContext, T) -> BoxFuture<'static, Result<A, HookRejection>> + Send + Sync>;

/// What happened to an account, as every receiver of the event is told.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct UserEvent {
    /// `user.signup`, `user.login` or `user.deleted`.
    pub event: String,
    /// The account right after the event, before it when it was deleted.
    pub user: User,
    /// When it happened.
    pub timestamp: DateTime<Utc>,
}

/// A hook after the fact. An error is tried again, as for any job.
pub type AfterHook =
    Arc<dyn Fn(JobContext, UserEvent) -> BoxFuture<'static, Result<(), JobError>> + Send + Sync>;

/// The hooks and claims providers of a program.
#[derive(Clone, Default)]
pub struct Extensions {
    pub(super) before_user_created: Vec<Hook>,
    pub(super) password_attempts: Vec<Asked<PasswordAttempt, Decision>>,
    pub(super) mfa_attempts: Vec<Asked<MfaAttempt, MfaDecision>>,
    pub(super) sms_senders: Vec<Asked<SmsMessage, ()>>,
    pub(super) email_senders: Vec<Asked<EmailMessage, ()>>,
    /// Those of the settings.
    pub(super) targets: Option<Targets>,
    after_signup: Vec<AfterHook>,
    after_login: Vec<AfterHook>,
    after_user_deleted: Vec<AfterHook>,
    pub(super) claims: Vec<claims::ClaimsProvider>,
}

impl std::fmt::Debug for Extensions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Extensions")
            .field("before_user_created", &self.before_user_created.len())
            .field("password_attempts", &self.password_attempts.len())
            .field("mfa_attempts", &self.mfa_attempts.len())
            .field("sms_senders", &self.sms_senders.len())
            .field("email_senders", &self.email_senders.len())
            .field("after_signup", &self.after_signup.len())
            .field("after_login", &self.after_login.len())
            .field("after_user_deleted", &self.after_user_deleted.len())
            .field("claims", &self.claims.len())
            .finish_non_exhaustive()
    }
}

impl Extensions {
    /// Runs before a sign-up is stored; a rejection answers 422 `hook_rejected` and nothing is stored.
    pub fn before_user_created<F, R>(mut self, hook: F) -> Self
    where
        F: Fn(HookContext, Arc<User>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), HookRejection>> + Send + 'static,
    {
        self.before_user_created.push(boxed(hook));
        self
    }

    /// Runs once a sign-up is stored, as job `hook.after_signup` (the second one `hook.after_signup.2`, and so on).
    pub fn after_signup<F, R>(mut self, hook: F) -> Self
    where
        F: Fn(JobContext, UserEvent) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), JobError>> + Send + 'static,
    {
        self.after_signup.push(after(hook));
        self
    }

    /// Runs after a password sign-in, as job `hook.after_login`.
    pub fn after_login<F, R>(mut self, hook: F) -> Self
    where
        F: Fn(JobContext, UserEvent) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), JobError>> + Send + 'static,
    {
        self.after_login.push(after(hook));
        self
    }

    /// Runs once an account is deleted, as job `hook.after_user_deleted`.
    pub fn after_user_deleted<F, R>(mut self, hook: F) -> Self
    where
        F: Fn(JobContext, UserEvent) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), JobError>> + Send + 'static,
    {
        self.after_user_deleted.push(after(hook));
        self
    }

    /// Adds members to access tokens. An error, or a change of a reserved claim, aborts the issuance.
    pub fn claims<F, R>(mut self, provider: F) -> Self
    where
        F: Fn(claims::ClaimsContext) -> R + Send + Sync + 'static,
        R: Future<Output = Result<serde_json::Map<String, serde_json::Value>, String>>
            + Send
            + 'static,
    {
        self.claims
            .push(Arc::new(move |context| Box::pin(provider(context))));
        self
    }

    /// Sees every password that is tried for an account, and can refuse the sign-in.
    pub fn password_verification_attempt<F, R>(mut self, hook: F) -> Self
    where
        F: Fn(HookContext, PasswordAttempt) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Decision, HookRejection>> + Send + 'static,
    {
        self.password_attempts.push(asked(hook));
        self
    }

    /// Sees every second factor that is tried, and can refuse it.
    pub fn mfa_verification_attempt<F, R>(mut self, hook: F) -> Self
    where
        F: Fn(HookContext, MfaAttempt) -> R + Send + Sync + 'static,
        R: Future<Output = Result<MfaDecision, HookRejection>> + Send + 'static,
    {
        self.mfa_attempts.push(asked(hook));
        self
    }

    /// Sends text messages, which makes accounts with phone numbers possible.
    pub fn send_sms<F, R>(mut self, hook: F) -> Self
    where
        F: Fn(HookContext, SmsMessage) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), HookRejection>> + Send + 'static,
    {
        self.sms_senders.push(asked(hook));
        self
    }

    /// Sends the mails of the service, instead of the service.
    pub fn send_email<F, R>(mut self, hook: F) -> Self
    where
        F: Fn(HookContext, EmailMessage) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), HookRejection>> + Send + 'static,
    {
        self.email_senders.push(asked(hook));
        self
    }

    /// Adds the kinds of jobs that run the later hooks.
    pub fn add_to(&self, mut handlers: Handlers) -> Handlers {
        for (name, hook) in self.kinds() {
            let hook = Arc::clone(hook);
            handlers = handlers.add(Kind::new(name), move |context, payload| {
                let hook = Arc::clone(&hook);
                async move {
                    let event: UserEvent =
                        serde_json::from_str(payload.get()).map_err(|error| {
                            JobError::Discard(format!("the payload does not fit: {error}"))
                        })?;
                    hook(context, event).await.map(|()| Value::Null)
                }
            });
        }
        handlers
    }

    /// Enqueues what listens to an event, in the transaction in which it happens.
    pub(super) async fn emit(
        &self,
        tx: &Tx,
        event: Event,
        (user, at): (&User, DateTime<Utc>),
    ) -> Result<(), DbError> {
        let kinds: Vec<String> = (1..=self.listeners(event).len())
            .map(|number| kind_name(event, number))
            .collect();
        let payload = json!({ "event": event.as_str(), "user": user, "timestamp": at });
        hooks::emit(tx, event, &payload, &kinds).await?;
        Ok(())
    }

    /// Whether the program itself listens.
    pub(super) fn listens(&self, event: Event) -> bool {
        !self.listeners(event).is_empty()
    }

    fn listeners(&self, event: Event) -> &[AfterHook] {
        match event {
            Event::UserSignup => &self.after_signup,
            Event::UserLogin => &self.after_login,
            Event::UserDeleted => &self.after_user_deleted,
        }
    }

    fn kinds(&self) -> impl Iterator<Item = (String, &AfterHook)> {
        [Event::UserSignup, Event::UserLogin, Event::UserDeleted]
            .into_iter()
            .flat_map(|event| {
                let listeners = self.listeners(event).iter().zip(1..);
                listeners.map(move |(hook, number)| (kind_name(event, number), hook))
            })
    }
}

/// The kind of job that runs the hook that was added as the `number`th.
fn kind_name(event: Event, number: usize) -> String {
    let name = match event {
        Event::UserSignup => "hook.after_signup",
        Event::UserLogin => "hook.after_login",
        Event::UserDeleted => "hook.after_user_deleted",
    };
    match number {
        1 => name.to_owned(),
        _ => format!("{name}.{number}"),
    }
}

fn after<F, R>(hook: F) -> AfterHook
where
    F: Fn(JobContext, UserEvent) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), JobError>> + Send + 'static,
{
    Arc::new(move |context, event| Box::pin(hook(context, event)))
}

fn boxed<F, R>(hook: F) -> Hook
where
    F: Fn(HookContext, Arc<User>) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), HookRejection>> + Send + 'static,
{
    Arc::new(move |context, user| Box::pin(hook(context, user)))
}

fn asked<T, A, F, R>(hook: F) -> Asked<T, A>
where
    F: Fn(HookContext, T) -> R + Send + Sync + 'static,
    R: Future<Output = Result<A, HookRejection>> + Send + 'static,
{
    Arc::new(move |context, told| Box::pin(hook(context, told)))
}
