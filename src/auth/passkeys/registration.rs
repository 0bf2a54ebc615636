//! Adding a passkey to an account.

use serde_json::{Value, json};
use uuid::Uuid;
use webauthn_rs::prelude::{
    Passkey as Credential, PasskeyRegistration, RegisterPublicKeyCredential,
};

use super::{Challenge, PATIENCE, Passkey, check_enabled, internal, refused, state};
use crate::auth::audit::{self, Action};
use crate::auth::limits::{self, Limited, Origin};
use crate::auth::mfa::{Subject, friendly_name};
use crate::auth::model::Client;
use crate::auth::queries::{self, passkeys::Purpose};
use crate::auth::user::Bearer;
use crate::auth::webauthn::{
    discoverable, excluded, names, parse, relying_party, stored, to_value,
};
use crate::auth::{Auth, AuthError};
use crate::db::Tx;
use crate::error::ErrorCode;

/// Asks the bearer's authenticator to make a passkey.
///
/// # Errors
/// Those of [`Subject::new`]; `passkey_disabled`, `too_many_passkeys`, `insufficient_aal`;
/// [`AuthError::FeatureDisabled`], [`AuthError::TooManyRequests`].
pub(super) async fn options(
    auth: &Auth,
    bearer: Bearer<'_>,
    origin: Origin,
) -> Result<Challenge, AuthError> {
    check_enabled(auth)?;
    let party = relying_party(auth)?;
    limits::count(auth, Limited::Mfa, origin).await?;
    let connection = auth.db().auth().connection().await?;
    let found = queries::find_user(&connection, bearer.user_id, bearer.session_id).await?;
    let subject = Subject::new(auth, bearer, found)?;
    subject.require_aal()?;
    let user = &subject.user;
    let known = queries::passkeys::list_credential_ids(&connection, user.id).await?;
    check_count(auth, known.len())?;
    let (name, display_name) = names(user);
    let (options, state) = party
        .start_passkey_registration(user.id, name, display_name, excluded(known))
        .map_err(|error| internal(&error))?;
    let purpose = Purpose::Registration {
        user_id: user.id,
        session_id: subject.session_id,
    };
    let expires_at = subject.now + PATIENCE;
    let (state, when) = (to_value(&state)?, (subject.now, expires_at));
    let id = queries::passkeys::insert_challenge(&connection, purpose, &state, when).await?;
    Ok(Challenge {
        id,
        options: discoverable(&options)?,
        expires_at: expires_at.timestamp(),
    })
}

/// Stores the passkey that an authenticator made.
///
/// # Errors
/// Those of [`options`]; `webauthn_challenge_not_found`, `webauthn_challenge_expired`, `webauthn_verification_failed`,
/// `webauthn_credential_exists`; [`AuthError::Invalid`].
pub(super) async fn verify(
    auth: &Auth,
    bearer: Bearer<'_>,
    (challenge_id, answer): (Uuid, Value),
    name: Option<&str>,
    client: &Client,
) -> Result<Passkey, AuthError> {
    check_enabled(auth)?;
    let party = relying_party(auth)?;
    let name = Some(friendly_name(name)?).filter(|name| !name.is_empty());
    let answer: RegisterPublicKeyCredential = parse(answer)?;
    let session_id = bearer.session_id.ok_or(AuthError::SessionNotFound)?;
    let purpose = Purpose::Registration {
        user_id: bearer.user_id,
        session_id,
    };
    let taken = {
        let connection = auth.db().auth().connection().await?;
        queries::passkeys::take_challenge(&connection, challenge_id, purpose).await?
    };
    let state: PasskeyRegistration = stored(state(taken, auth.clock().now())?)?;
    let made = party
        .finish_passkey_registration(&answer, &state)
        .map_err(|error| refused(&error))?;
    let tx = auth.db().auth().begin().await?;
    let added = store(auth, &tx, bearer, (&made, name), client).await;
    tx.finish(added).await
}

async fn store(
    auth: &Auth,
    tx: &Tx,
    bearer: Bearer<'_>,
    (made, name): (&Credential, Option<&str>),
    client: &Client,
) -> Result<Passkey, AuthError> {
    let subject = Subject::lock(auth, tx, bearer).await?;
    subject.require_aal()?;
    let user = &subject.user;
    let count = queries::passkeys::count(tx, user.id).await?;
    check_count(auth, usize::try_from(count).unwrap_or(usize::MAX))?;
    let value = to_value(made)?;
    let credential = (made.cred_id().as_slice(), &value);
    let added = queries::passkeys::insert(tx, user.id, credential, name, subject.now).await?;
    let message = "The passkey is registered already";
    let exists = AuthError::Refused(ErrorCode::WebauthnCredentialExists, message);
    let passkey = added.ok_or(exists)?;
    let actor = (user.id, audit::name(user));
    let traits = json!({ "passkey_id": passkey.id });
    let payload = audit::payload(Action::PasskeyCreated, actor, &traits);
    queries::log(tx, &payload, (client, subject.now)).await?;
    Ok(passkey)
}

fn check_count(auth: &Auth, count: usize) -> Result<(), AuthError> {
    if count < auth.config().auth.passkeys_max {
        return Ok(());
    }
    let message = "Maximum number of passkeys reached, delete one to continue";
    Err(AuthError::Refused(ErrorCode::TooManyPasskeys, message))
}
