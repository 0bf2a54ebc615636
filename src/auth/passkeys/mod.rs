//! Passkeys: signing in with what an authenticator keeps, without a password or a name.
//!
//! An authenticator keeps a key per site and account, offers it by itself, and signs only after it has verified its
//! user (PIN or biometric). A sign-in is at `aal1` all the same, as at Supabase, unless a setting counts it as two factors.
//! A challenge is good for one purpose, once; what answers are checked against never leaves the server.

mod authentication;
mod manage;
mod registration;
mod routes;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;
use webauthn_rs::prelude::WebauthnError;

pub(super) use routes::routes;

use super::{Auth, AuthError};
use crate::error::ErrorCode;

/// How long a challenge waits.
const PATIENCE: TimeDelta = TimeDelta::minutes(5);

/// A passkey, without anything that would prove it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Passkey {
    /// Its id here; the authenticator knows it under another.
    pub(super) id: Uuid,
    /// What the user calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) friendly_name: Option<String>,
    /// When it was registered.
    pub(super) created_at: DateTime<Utc>,
    /// When it was last used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_used_at: Option<DateTime<Utc>>,
}

/// A question that waits for an authenticator's answer.
#[derive(Serialize)]
pub(super) struct Challenge {
    #[serde(rename = "challenge_id")]
    id: Uuid,
    /// For `navigator.credentials`.
    options: Value,
    /// Unix seconds.
    expires_at: i64,
}

fn check_enabled(auth: &Auth) -> Result<(), AuthError> {
    if auth.config().auth.passkeys_enabled {
        return Ok(());
    }
    let message = "Passkeys are disabled";
    Err(AuthError::Refused(ErrorCode::PasskeyDisabled, message))
}

/// The state of a challenge that was taken, if it was found and is not too old.
fn state(taken: Option<(Value, DateTime<Utc>)>, now: DateTime<Utc>) -> Result<Value, AuthError> {
    let message = "The challenge is unknown or was answered";
    let unknown = AuthError::Refused(ErrorCode::WebauthnChallengeNotFound, message);
    let (state, expires_at) = taken.ok_or(unknown)?;
    if expires_at <= now {
        let message = "The challenge is too old, ask for a new one";
        let code = ErrorCode::WebauthnChallengeExpired;
        return Err(AuthError::Refused(code, message));
    }
    Ok(state)
}

/// The reason is for the log: it would tell an attacker which part of a forgery to improve.
fn refused(error: &WebauthnError) -> AuthError {
    tracing::info!(error = %error, "an authenticator's answer was refused");
    verification_failed()
}

fn verification_failed() -> AuthError {
    let message = "The authenticator's answer does not verify";
    AuthError::Refused(ErrorCode::WebauthnVerificationFailed, message)
}

fn internal(error: &WebauthnError) -> AuthError {
    AuthError::Internal(format!("WebAuthn: {error}"))
}
