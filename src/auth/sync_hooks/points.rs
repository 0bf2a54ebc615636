//! Each hook: what it is told, and what its answer means.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    Decision, EmailData, EmailMessage, HookName, MfaAttempt, MfaDecision, PasswordAttempt,
    SmsMessage, failed,
};
use crate::auth::hooks::{Extensions, HookContext, HookRejection};
use crate::auth::model::{Client, User};
use crate::auth::{Auth, AuthError, queries};
use crate::error::ErrorCode;

/// What a client is told when a hook rejects and says nothing.
const PASSWORD_REJECTED: &str = "Further password verification attempts will be rejected.";
const MFA_REJECTED: &str = "Further MFA verification attempts will be rejected.";

impl Extensions {
    /// Asks before an account is made; `user` is as it would be.
    ///
    /// # Errors
    /// [`AuthError::HookRejected`], [`AuthError::HookRefused`], [`AuthError::HookFailed`].
    pub(in crate::auth) async fn run_before_user_created(
        &self,
        client: &Client,
        user: impl FnOnce() -> User,
    ) -> Result<(), AuthError> {
        let has_target = self.has(HookName::BeforeUserCreated);
        if self.before_user_created.is_empty() && !has_target {
            return Ok(());
        }
        let user = Arc::new(user());
        for hook in &self.before_user_created {
            hook(context(client), Arc::clone(&user))
                .await
                .map_err(rejected)?;
        }
        let input = || json!({ "user": *user });
        self.ask(HookName::BeforeUserCreated, client, input)
            .await
            .map(drop)
    }

    /// Whether anybody is asked for claims by setting.
    pub(in crate::auth) fn asks_for_claims(&self) -> bool {
        self.has(HookName::CustomAccessToken)
    }

    /// Asks what the claims of an access token are to be. `None`: nobody is asked. A refusal of the project is final; that
    /// it cannot be asked is no reason for a client to give up its session.
    ///
    /// # Errors
    /// [`AuthError::HookRefused`], [`AuthError::HookFailed`].
    pub(in crate::auth) async fn custom_access_token(
        &self,
        client: &Client,
        (user_id, method): (Uuid, &'static str),
        claims: &Map<String, Value>,
    ) -> Result<Option<Map<String, Value>>, AuthError> {
        const HOOK: HookName = HookName::CustomAccessToken;
        let input =
            || json!({ "user_id": user_id, "claims": claims, "authentication_method": method });
        let answer = self.ask(HOOK, client, input).await;
        let answer = answer.map_err(|error| match error {
            AuthError::HookFailed { message, cause, .. } if method == "token_refresh" => {
                AuthError::HookFailed {
                    code: ErrorCode::ServiceUnavailable,
                    message,
                    cause,
                }
            }
            error => error,
        })?;
        let Some(mut members) = answer else {
            return Ok(None);
        };
        if let Some(Value::Object(claims)) = members.remove("claims") {
            return Ok(Some(claims));
        }
        let message = "output claims field is missing";
        let code = ErrorCode::UnexpectedFailure;
        Err(failed(HOOK, code, message, message))
    }

    /// Whether anybody wants to know of passwords that are tried.
    pub(in crate::auth) fn watches_passwords(&self) -> bool {
        !self.password_attempts.is_empty() || self.has(HookName::PasswordVerificationAttempt)
    }

    async fn decide_password(
        &self,
        client: &Client,
        attempt: PasswordAttempt,
    ) -> Result<Decision, AuthError> {
        const HOOK: HookName = HookName::PasswordVerificationAttempt;
        for hook in &self.password_attempts {
            let decision = hook(context(client), attempt).await.map_err(rejected)?;
            if decision != Decision::Continue {
                return Ok(decision);
            }
        }
        let answer = self.ask(HOOK, client, || json!(attempt)).await?;
        Ok(match answer.filter(is_rejection) {
            None => Decision::Continue,
            Some(members) => Decision::Reject {
                message: message(&members),
                should_logout_user: members.get("should_logout_user") == Some(&Value::Bool(true)),
            },
        })
    }

    async fn decide_mfa(
        &self,
        client: &Client,
        attempt: &MfaAttempt,
    ) -> Result<MfaDecision, AuthError> {
        const HOOK: HookName = HookName::MfaVerificationAttempt;
        for hook in &self.mfa_attempts {
            let decision = hook(context(client), attempt.clone())
                .await
                .map_err(rejected)?;
            if decision != MfaDecision::Continue {
                return Ok(decision);
            }
        }
        let answer = self.ask(HOOK, client, || json!(attempt)).await?;
        Ok(answer
            .filter(is_rejection)
            .map_or(MfaDecision::Continue, |members| {
                MfaDecision::Reject(message(&members))
            }))
    }

    /// Whether text messages can be sent.
    pub(in crate::auth) fn sends_sms(&self) -> bool {
        !self.sms_senders.is_empty() || self.has(HookName::SendSms)
    }

    /// Sends a text message, through all who do.
    ///
    /// # Errors
    /// [`AuthError::HookRejected`], [`AuthError::HookRefused`], [`AuthError::HookFailed`].
    pub(in crate::auth) async fn run_send_sms(
        &self,
        client: &Client,
        sms: SmsMessage,
    ) -> Result<(), AuthError> {
        for hook in &self.sms_senders {
            hook(context(client), sms.clone()).await.map_err(rejected)?;
        }
        let input = || {
            let (otp, phone) = (&sms.otp, &sms.phone);
            json!({ "user": *sms.user, "sms": { "otp": otp, "phone": phone } })
        };
        self.ask(HookName::SendSms, client, input).await.map(drop)
    }

    /// Whether the project sends its mails itself.
    pub(in crate::auth) fn sends_email(&self) -> bool {
        !self.email_senders.is_empty() || self.has(HookName::SendEmail)
    }

    /// Sends a mail, through all who do.
    ///
    /// # Errors
    /// [`AuthError::HookRejected`], [`AuthError::HookRefused`], [`AuthError::HookFailed`].
    pub(in crate::auth) async fn run_send_email(
        &self,
        client: &Client,
        user: Arc<User>,
        email_data: EmailData,
    ) -> Result<(), AuthError> {
        let mail = EmailMessage { user, email_data };
        for hook in &self.email_senders {
            hook(context(client), mail.clone())
                .await
                .map_err(rejected)?;
        }
        let input = || json!({ "user": *mail.user, "email_data": mail.email_data });
        self.ask(HookName::SendEmail, client, input).await.map(drop)
    }

    fn has(&self, hook: HookName) -> bool {
        let targets = self.targets.as_ref();
        targets.is_some_and(|targets| targets.has(hook))
    }

    async fn ask(
        &self,
        hook: HookName,
        client: &Client,
        input: impl FnOnce() -> Value,
    ) -> Result<Option<Map<String, Value>>, AuthError> {
        match &self.targets {
            Some(targets) => targets.ask(hook, client, input).await,
            None => Ok(None),
        }
    }
}

/// Tells who wants to know that a password was tried, and refuses if they say so. The caller holds no connection.
///
/// # Errors
/// [`AuthError::Rejected`] with `invalid_credentials`; those of asking.
pub(in crate::auth) async fn check_password_attempt(
    auth: &Auth,
    client: &Client,
    attempt: PasswordAttempt,
) -> Result<(), AuthError> {
    let decision = auth.extensions().decide_password(client, attempt).await?;
    let Decision::Reject {
        message,
        should_logout_user,
    } = decision
    else {
        return Ok(());
    };
    if should_logout_user {
        end_sessions(auth, attempt.user_id).await?;
    }
    let message = or_default(message, PASSWORD_REJECTED);
    Err(AuthError::Rejected(ErrorCode::InvalidCredentials, message))
}

/// Tells who wants to know that a second factor was tried. If they say so, it is refused and the user's sessions end. The
/// caller holds no connection.
///
/// # Errors
/// [`AuthError::Rejected`] with `mfa_verification_rejected`; those of asking.
pub(in crate::auth) async fn check_mfa_attempt(
    auth: &Auth,
    client: &Client,
    attempt: &MfaAttempt,
) -> Result<(), AuthError> {
    let MfaDecision::Reject(message) = auth.extensions().decide_mfa(client, attempt).await? else {
        return Ok(());
    };
    end_sessions(auth, attempt.user_id).await?;
    let message = or_default(message, MFA_REJECTED);
    Err(AuthError::Rejected(
        ErrorCode::MfaVerificationRejected,
        message,
    ))
}

async fn end_sessions(auth: &Auth, user_id: Uuid) -> Result<(), AuthError> {
    let tx = auth.db().auth().begin().await?;
    let ended = queries::end_sessions(&tx, user_id, None).await;
    tx.finish(ended).await?;
    Ok(())
}

fn context(client: &Client) -> HookContext {
    HookContext {
        client: client.clone(),
    }
}

fn rejected(HookRejection(text): HookRejection) -> AuthError {
    AuthError::HookRejected(text)
}

fn is_rejection(members: &Map<String, Value>) -> bool {
    members.get("decision").and_then(Value::as_str) == Some("reject")
}

fn message(members: &Map<String, Value>) -> String {
    let text = members.get("message").and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

fn or_default(message: String, default: &str) -> String {
    if message.is_empty() {
        default.to_owned()
    } else {
        message
    }
}
