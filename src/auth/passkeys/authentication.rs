//! Signing in with a passkey. The authenticator says whose it is; no name is typed, so none can be tried.

use serde_json::Value;
use uuid::Uuid;
use webauthn_rs::prelude::{
    AuthenticationResult, DiscoverableAuthentication, Passkey as Credential, PublicKeyCredential,
    Webauthn,
};

use super::{Challenge, PATIENCE, check_enabled, internal, refused, state, verification_failed};
use crate::auth::audit_log::Kind;
use crate::auth::limits::{self, Limited, Origin};
use crate::auth::model::{Client, TokenResponse};
use crate::auth::queries::{self, passkeys::Purpose};
use crate::auth::sign_in::{self, Method, Opened};
use crate::auth::webauthn::{parse, relying_party, stored, to_value};
use crate::auth::{Auth, AuthError, audit_log};
use crate::db::Tx;

/// Asks any authenticator that has a passkey for this site to use it.
///
/// # Errors
/// `passkey_disabled`; [`AuthError::FeatureDisabled`], [`AuthError::TooManyRequests`].
pub(super) async fn options(auth: &Auth, origin: Origin) -> Result<Challenge, AuthError> {
    check_enabled(auth)?;
    let party = relying_party(auth)?;
    limits::count(auth, Limited::Mfa, origin).await?;
    let (options, state) = party
        .start_discoverable_authentication()
        .map_err(|error| internal(&error))?;
    let now = auth.clock().now();
    let expires_at = now + PATIENCE;
    let (state, when) = (to_value(&state)?, (now, expires_at));
    let connection = auth.db().auth().connection().await?;
    let purpose = Purpose::Authentication;
    let id = queries::passkeys::insert_challenge(&connection, purpose, &state, when).await?;
    Ok(Challenge {
        id,
        options: to_value(&options.public_key)?,
        expires_at: expires_at.timestamp(),
    })
}

/// Checks an authenticator's answer and opens a session.
///
/// # Errors
/// Those of [`options`]; `webauthn_challenge_not_found`, `webauthn_challenge_expired`,
/// `webauthn_verification_failed`; [`AuthError::UserBanned`], [`AuthError::EmailNotConfirmed`], [`AuthError::Invalid`].
pub(super) async fn verify(
    auth: &Auth,
    (challenge_id, answer): (Uuid, Value),
    client: &Client,
    origin: Origin,
) -> Result<TokenResponse, AuthError> {
    check_enabled(auth)?;
    let party = relying_party(auth)?;
    let answer: PublicKeyCredential = parse(answer)?;
    limits::count(auth, Limited::Mfa, origin).await?;
    let tokens = sign_in(auth, &party, (challenge_id, &answer), client).await;
    audit_log::noted(auth, tokens, (Kind::Passkey, "passkey"), client).await
}

async fn sign_in(
    auth: &Auth,
    party: &Webauthn,
    (challenge_id, answer): (Uuid, &PublicKeyCredential),
    client: &Client,
) -> Result<TokenResponse, AuthError> {
    let (user_id, credential_id) = party
        .identify_discoverable_authentication(answer)
        .map_err(|error| refused(&error))?;
    let (taken, found) = {
        let connection = auth.db().auth().connection().await?;
        let purpose = Purpose::Authentication;
        let taken = queries::passkeys::take_challenge(&connection, challenge_id, purpose).await?;
        let found = queries::passkeys::find_credential(&connection, user_id, credential_id);
        (taken, found.await?)
    };
    let state: DiscoverableAuthentication = stored(state(taken, auth.clock().now())?)?;
    let (id, credential) = found.ok_or_else(verification_failed)?;
    let mut credential: Credential = stored(credential)?;
    let used = party
        .finish_discoverable_authentication_v2(answer, state, &credential)
        .map_err(|error| refused(&error))?;
    credential.update_credential(&used);
    let tx = auth.db().auth().begin().await?;
    let opened = open(auth, &tx, user_id, (id, &credential, &used), client).await;
    let opened = tx.finish(opened).await?;
    sign_in::answer(auth, opened).await
}

async fn open(
    auth: &Auth,
    tx: &Tx,
    user_id: Uuid,
    (id, credential, used): (Uuid, &Credential, &AuthenticationResult),
    client: &Client,
) -> Result<Opened, AuthError> {
    let value = to_value(credential)?;
    let state = (&value, i64::from(used.counter()));
    if queries::passkeys::accept(tx, id, state, auth.clock().now()).await? == 0 {
        return Err(verification_failed());
    }
    let opened = sign_in::open(auth, tx, user_id, Method::Passkey, client).await?;
    let account = &opened.user;
    let is_to_confirm = !account.email.is_empty() && account.email_confirmed_at.is_none();
    if is_to_confirm && auth.config().auth.require_email_confirmation {
        return Err(AuthError::EmailNotConfirmed);
    }
    queries::mfa::tie_session(tx, opened.session.id, id).await?;
    Ok(opened)
}
