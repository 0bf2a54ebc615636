//! Points at which a program that embeds `sb` takes part.
//!
//! Hooks run outside of transactions and hold none of our connections: a hook may use the database freely.

use std::future::Future;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::model::{Client, User};
use super::{AuthError, claims};

/// What a hook learns besides the user.
#[derive(Debug, Clone)]
pub struct HookContext {
    /// Where the request came from.
    pub client: Client,
    /// The user signs up by itself; `false` for later sign-ins.
    pub is_signup: bool,
}

/// A refusal, with the text the client gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookRejection(pub String);

/// A hook: refuses with a text, or lets the request pass.
pub type Hook = Arc<
    dyn Fn(HookContext, Arc<User>) -> BoxFuture<'static, Result<(), HookRejection>> + Send + Sync,
>;

/// The hooks and claims providers of a program.
#[derive(Clone, Default)]
pub struct Extensions {
    before_user_created: Vec<Hook>,
    after_signup: Vec<Hook>,
    after_login: Vec<Hook>,
    pub(super) claims: Vec<claims::ClaimsProvider>,
}

impl std::fmt::Debug for Extensions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Extensions")
            .field("before_user_created", &self.before_user_created.len())
            .field("after_signup", &self.after_signup.len())
            .field("after_login", &self.after_login.len())
            .field("claims", &self.claims.len())
            .finish()
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

    /// Runs after a sign-up was stored. The account exists by then: a rejection is logged, not answered.
    pub fn after_signup<F, R>(mut self, hook: F) -> Self
    where
        F: Fn(HookContext, Arc<User>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), HookRejection>> + Send + 'static,
    {
        self.after_signup.push(boxed(hook));
        self
    }

    /// Runs after a password sign-in. A rejection is logged, not answered.
    pub fn after_login<F, R>(mut self, hook: F) -> Self
    where
        F: Fn(HookContext, Arc<User>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), HookRejection>> + Send + 'static,
    {
        self.after_login.push(boxed(hook));
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

    pub(super) async fn run_before_user_created(
        &self,
        context: &HookContext,
        user: impl FnOnce() -> User,
    ) -> Result<(), AuthError> {
        if self.before_user_created.is_empty() {
            return Ok(());
        }
        let user = Arc::new(user());
        for hook in &self.before_user_created {
            hook(context.clone(), Arc::clone(&user))
                .await
                .map_err(|HookRejection(text)| AuthError::HookRejected(text))?;
        }
        Ok(())
    }

    pub(super) async fn run_after_signup(&self, context: &HookContext, user: &User) {
        run_after("after_signup", &self.after_signup, context, user).await;
    }

    pub(super) async fn run_after_login(&self, context: &HookContext, user: &User) {
        run_after("after_login", &self.after_login, context, user).await;
    }
}

fn boxed<F, R>(hook: F) -> Hook
where
    F: Fn(HookContext, Arc<User>) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), HookRejection>> + Send + 'static,
{
    Arc::new(move |context, user| Box::pin(hook(context, user)))
}

async fn run_after(name: &str, hooks: &[Hook], context: &HookContext, user: &User) {
    if hooks.is_empty() {
        return;
    }
    let user = Arc::new(user.clone());
    for hook in hooks {
        if let Err(HookRejection(text)) = hook(context.clone(), Arc::clone(&user)).await {
            tracing::warn!(hook = name, user.id = %user.id, reason = text, "a hook failed after the fact");
        }
    }
}
