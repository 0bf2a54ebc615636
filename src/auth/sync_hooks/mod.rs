//! Synchronous hooks: the service asks the project, and goes on as it is told.
//!
//! Each hook has one target by setting (`[auth.hook.NAME]`), a Postgres function or a signed call to an address, and any
//! number of closures of an embedding program. Payloads are those of Supabase's auth hooks. All are asked outside of
//! transactions and while no connection of the request is held.
//!
//! - A function runs as `supabase_auth_admin`, for two seconds at most, on a login that reaches nothing else.
//! - An address is called through the client that stays off private networks, signed, for five seconds in all.
//! - What goes wrong is told to the log; clients learn a code, and the text that a hook meant for them.

mod address;
pub(super) mod email;
pub(super) mod points;
mod types;

use chrono::SecondsFormat;
use serde_json::{Map, Value, json};
use uuid::Uuid;

pub use types::{
    Decision, EmailData, EmailMessage, MfaAttempt, MfaDecision, PasswordAttempt, SmsMessage,
};

use super::model::Client;
use super::{AuthError, queries};
use crate::clock::Clock;
use crate::config::{self, HookTarget};
use crate::db::{Db, DbError, SqlState};
use crate::error::ErrorCode;
use crate::http::Outbound;

/// A hook of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HookName {
    CustomAccessToken,
    BeforeUserCreated,
    PasswordVerificationAttempt,
    MfaVerificationAttempt,
    SendEmail,
    SendSms,
}

impl HookName {
    /// As the payload says it.
    const fn as_str(self) -> &'static str {
        match self {
            Self::CustomAccessToken => "customize-access-token",
            Self::BeforeUserCreated => "before-user-created",
            Self::PasswordVerificationAttempt => "password-verification",
            Self::MfaVerificationAttempt => "mfa-verification",
            Self::SendEmail => "send-email",
            Self::SendSms => "send-sms",
        }
    }

    fn target(self, hooks: &config::AuthHooks) -> Option<HookTarget> {
        match self {
            Self::CustomAccessToken => hooks.custom_access_token.target(),
            Self::BeforeUserCreated => hooks.before_user_created.target(),
            Self::PasswordVerificationAttempt => hooks.password_verification_attempt.target(),
            Self::MfaVerificationAttempt => hooks.mfa_verification_attempt.target(),
            Self::SendEmail => hooks.send_email.target(),
            Self::SendSms => hooks.send_sms.target(),
        }
    }

    fn is_set(self, hooks: &config::AuthHooks) -> bool {
        match self {
            Self::CustomAccessToken => hooks.custom_access_token.is_set(),
            Self::BeforeUserCreated => hooks.before_user_created.is_set(),
            Self::PasswordVerificationAttempt => hooks.password_verification_attempt.is_set(),
            Self::MfaVerificationAttempt => hooks.mfa_verification_attempt.is_set(),
            Self::SendEmail => hooks.send_email.is_set(),
            Self::SendSms => hooks.send_sms.is_set(),
        }
    }
}

/// Asks the targets that the settings name. Clones share its connections.
#[derive(Debug, Clone)]
pub(super) struct Targets {
    db: Db,
    outbound: Outbound,
    clock: Clock,
    config: config::Handle,
}

impl Targets {
    pub(super) fn new(db: Db, outbound: Outbound, clock: Clock, config: config::Handle) -> Self {
        Self {
            db,
            outbound,
            clock,
            config,
        }
    }

    /// Whether a hook has a target.
    pub(super) fn has(&self, hook: HookName) -> bool {
        hook.is_set(&self.config.current().auth_hooks)
    }

    /// Asks the target of `hook`, which is told `input` and where the request came from. `None`: it has no target.
    ///
    /// # Errors
    /// [`AuthError::HookRefused`] with what the target has to say, [`AuthError::HookFailed`] when it cannot be asked.
    pub(super) async fn ask(
        &self,
        hook: HookName,
        client: &Client,
        input: impl FnOnce() -> Value,
    ) -> Result<Option<Map<String, Value>>, AuthError> {
        let Some(target) = hook.target(&self.config.current().auth_hooks) else {
            return Ok(None);
        };
        let id = Uuid::new_v4();
        let mut event = json!({ "metadata": self.metadata(hook, id, client) });
        if let (Some(event), Value::Object(members)) = (event.as_object_mut(), input()) {
            event.extend(members);
        }
        let answer = match &target {
            HookTarget::Function { schema, name } => self.run(hook, (schema, name), &event).await?,
            HookTarget::Address { url, keys } => {
                let keys = keys.iter().map(config::SigningKey::as_bytes);
                let timestamp = self.clock.now().timestamp();
                let call = address::Call::new(url, keys, (id, timestamp), &event);
                address::call(&self.outbound, hook, &call).await?
            }
        };
        read(hook, answer).map(Some)
    }

    fn metadata(&self, hook: HookName, id: Uuid, client: &Client) -> Value {
        let time = self.clock.now();
        json!({
            "uuid": id,
            "time": time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
            "name": hook.as_str(),
            "ip_address": client.ip.map(|ip| ip.to_string()).unwrap_or_default(),
        })
    }

    async fn run(
        &self,
        hook: HookName,
        function: (&str, &str),
        event: &Value,
    ) -> Result<Value, AuthError> {
        let connection = self.db.hooks().connection().await?;
        let answer = queries::run_hook(&connection, function, event).await;
        answer.map_err(|error| unanswered(hook, error))
    }
}

/// What a function's error means. Obstacles on our side that pass are told as such.
fn unanswered(hook: HookName, error: DbError) -> AuthError {
    if error.code() == Some(&SqlState::QUERY_CANCELED) {
        let message = "Failed to reach hook within maximum time of 2 seconds";
        return failed(hook, ErrorCode::HookTimeout, message, error);
    }
    if matches!(error, DbError::PoolTimeout | DbError::Unreachable(_)) {
        return AuthError::Db(error);
    }
    let message = format!("Error running hook {}", hook.as_str());
    failed(hook, ErrorCode::UnexpectedFailure, message, error)
}

fn failed(
    hook: HookName,
    code: ErrorCode,
    message: impl Into<String>,
    cause: impl std::fmt::Display,
) -> AuthError {
    AuthError::HookFailed {
        code,
        message: message.into(),
        cause: format!("hook {}: {cause}", hook.as_str()),
    }
}

/// Longer texts of a hook are cut.
const MAX_MESSAGE_CHARS: usize = 1000;

/// Takes an answer apart: members, or an error `{ "error": { "http_code", "message" } }`. Nothing, and an error without a
/// message, mean that all is well.
fn read(hook: HookName, answer: Value) -> Result<Map<String, Value>, AuthError> {
    let members = match answer {
        Value::Null => return Ok(Map::new()),
        Value::Object(members) => members,
        _ => {
            let message = format!("Error running hook {}", hook.as_str());
            let cause = "it answered something else than an object";
            return Err(failed(hook, ErrorCode::UnexpectedFailure, message, cause));
        }
    };
    let error = members.get("error");
    let message = error.and_then(|error| error.get("message")?.as_str());
    let Some(message) = message.filter(|message| !message.is_empty()) else {
        return Ok(members);
    };
    let status = error.and_then(|error| error.get("http_code")?.as_u64());
    Err(AuthError::HookRefused {
        status: status
            .and_then(|status| u16::try_from(status).ok())
            .filter(|status| (400..600).contains(status))
            .unwrap_or(500),
        message: message.chars().take(MAX_MESSAGE_CHARS).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_members_or_an_error_with_a_message() {
        let read = |answer: Value| read(HookName::SendSms, answer);
        assert_eq!(read(Value::Null).unwrap(), Map::new());
        assert_eq!(read(json!({"a": 1})).unwrap()["a"], 1);
        assert!(read(json!({"error": {"http_code": 403, "message": ""}})).is_ok());
        assert!(read(json!({"error": null})).is_ok());
        for answer in [json!([]), json!("x"), json!(1), json!(true)] {
            assert!(matches!(read(answer), Err(AuthError::HookFailed { .. })));
        }
        for (code, expected) in [
            (json!(403), 403),
            (json!(599), 599),
            (json!(200), 500),
            (json!(70_000), 500),
            (json!("403"), 500),
            (json!(null), 500),
        ] {
            let error = read(json!({"error": {"http_code": code, "message": "no"}})).unwrap_err();
            let AuthError::HookRefused { status, message } = error else {
                panic!("{error}");
            };
            assert_eq!((status, message.as_str()), (expected, "no"), "{code}");
        }
    }
}
