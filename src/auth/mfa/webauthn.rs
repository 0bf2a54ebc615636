//! Security keys and platform authenticators as second factors.
//!
//! They must verify their user (PIN or biometric), as passkeys must: one that was found in a bag is no factor.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;
use webauthn_rs::prelude::{
    Passkey, PasskeyAuthentication, PasskeyRegistration, PublicKeyCredential, WebauthnError,
};

use super::verification_failed;
use crate::auth::model::User;
use crate::auth::queries::mfa::FactorRow;
use crate::auth::webauthn::{excluded, names, parse, relying_party, stored, to_value};
use crate::auth::{Auth, AuthError};

/// What is said to a wrong answer.
pub(super) const REFUSAL: &str = "The authenticator's answer does not verify";

/// What an answer is checked against. It never leaves the server.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// The authenticator makes a key.
    Create(PasskeyRegistration),
    /// It uses the one it has.
    Request(PasskeyAuthentication),
}

/// The question for a factor's authenticator, as clients pass it on, and what is to be stored with it. `known` are
/// credentials of the user that are not to be registered again.
///
/// # Errors
/// [`AuthError::FeatureDisabled`], [`AuthError::Internal`].
pub(super) fn ask(
    auth: &Auth,
    user: &User,
    factor: &FactorRow,
    known: Vec<Vec<u8>>,
) -> Result<(Value, Value), AuthError> {
    let party = relying_party(auth)?;
    if !factor.is_verified {
        let (name, display_name) = names(user);
        let (options, state) = party
            .start_passkey_registration(user.id, name, display_name, excluded(known))
            .map_err(|error| internal(&error))?;
        let question = json!({ "type": "create", "credential_options": to_value(&options)? });
        return Ok((question, to_value(&State::Create(state))?));
    }
    let credential: Passkey = stored(factor.credential.clone().unwrap_or_default())?;
    let (options, state) = party
        .start_passkey_authentication(&[credential])
        .map_err(|error| internal(&error))?;
    let question = json!({ "type": "request", "credential_options": to_value(&options)? });
    Ok((question, to_value(&State::Request(state))?))
}

/// What a right answer says of the authenticator.
pub(super) struct Credential {
    /// Its public key and state.
    pub(super) value: Value,
    /// How often it has signed; 0 when it does not count.
    pub(super) sign_count: i64,
}

/// Checks an answer.
///
/// # Errors
/// `mfa_verification_failed`, [`AuthError::Invalid`].
pub(super) fn check(
    auth: &Auth,
    user_id: Uuid,
    factor: &FactorRow,
    state: Value,
    answer: Value,
) -> Result<Credential, AuthError> {
    let party = relying_party(auth)?;
    match stored(state)? {
        // A question from before the factor was verified must not give it another credential.
        State::Create(_) if factor.is_verified => Err(refused(&WebauthnError::ChallengeNotFound)),
        State::Create(state) => {
            let answer = parse(answer)?;
            let made = party.finish_passkey_registration(&answer, &state);
            let value = to_value(&made.map_err(|error| refused(&error))?)?;
            let sign_count = value.pointer("/cred/counter").and_then(Value::as_i64);
            Ok(Credential {
                value,
                sign_count: sign_count.unwrap_or(0),
            })
        }
        State::Request(state) => {
            let answer: PublicKeyCredential = parse(answer)?;
            let handle = answer.get_user_unique_id();
            if handle.is_some_and(|handle| handle != user_id.as_bytes()) {
                return Err(refused(&WebauthnError::InvalidUserUniqueId));
            }
            let used = party
                .finish_passkey_authentication(&answer, &state)
                .map_err(|error| refused(&error))?;
            let mut credential: Passkey = stored(factor.credential.clone().unwrap_or_default())?;
            credential.update_credential(&used);
            Ok(Credential {
                value: to_value(&credential)?,
                sign_count: used.counter().into(),
            })
        }
    }
}

/// The reason is for the log: it would tell an attacker which part of a forgery to improve.
fn refused(error: &WebauthnError) -> AuthError {
    tracing::info!(error = %error, "an authenticator's answer was refused");
    verification_failed(REFUSAL)
}

fn internal(error: &WebauthnError) -> AuthError {
    AuthError::Internal(format!("WebAuthn: {error}"))
}
