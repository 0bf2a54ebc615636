//! Answering a challenge, and what it does to the session.
//!
//! First the answer is used up, in a transaction of its own, so that it is good for one request whatever follows; then
//! the session is raised. In between no connection is held: whoever has to be asked can be asked there.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::challenge::find;
use super::{
    PATIENCE, Subject, factor_not_found, failures, notice, totp, verification_failed, webauthn,
};
use crate::auth::audit::{self, Action};
use crate::auth::limits::{self, Limited, Origin};
use crate::auth::model::{Client, Session, TokenResponse, User};
use crate::auth::queries::mfa::Raised;
use crate::auth::sync_hooks::MfaAttempt;
use crate::auth::sync_hooks::points::check_mfa_attempt;
use crate::auth::user::Bearer;
use crate::auth::{Auth, AuthError, claims, queries, token};
use crate::db::Tx;
use crate::error::ErrorCode;

/// What somebody answers.
pub(super) enum Answer {
    /// The digits an app shows.
    Code(String),
    /// What an authenticator signed.
    Credential(Value),
}

/// An answer that was looked at and used up, and counted if it was wrong.
pub(super) struct Attempt {
    pub(super) factor_id: Uuid,
    pub(super) is_right: bool,
    /// What claim `amr` calls the factor.
    pub(super) method: &'static str,
    /// What is said when the answer was wrong.
    pub(super) refusal: &'static str,
}

impl Attempt {
    fn factor_type(&self) -> &'static str {
        self.method.strip_prefix("mfa/").unwrap_or(self.method)
    }
}

/// Checks an answer and gives the session new tokens, at `aal2`. A factor that was begun protects the account from now
/// on; the user's sessions at `aal1` end.
///
/// # Errors
/// Those of [`Subject::lock`] and [`find`]; `mfa_challenge_expired`, `mfa_verification_failed`;
/// [`AuthError::TooManyRequests`], [`AuthError::Invalid`].
pub(super) async fn verify(
    auth: &Auth,
    bearer: Bearer<'_>,
    ids: (Uuid, Uuid),
    answer: Answer,
    (client, origin): (&Client, Origin),
) -> Result<TokenResponse, AuthError> {
    limits::count(auth, Limited::Mfa, origin).await?;
    let attempt = match answer {
        Answer::Code(code) => try_code(auth, bearer, ids, &code, client).await?,
        Answer::Credential(answer) => try_credential(auth, bearer, ids, answer, client).await?,
    };
    conclude(auth, bearer, &attempt, client).await
}

/// Raises the session, or says that the answer was wrong. The hook of the project hears of both first, and may refuse.
///
/// # Errors
/// `mfa_verification_failed`; those of [`check_mfa_attempt`] and [`raise`].
pub(super) async fn conclude(
    auth: &Auth,
    bearer: Bearer<'_>,
    attempt: &Attempt,
    client: &Client,
) -> Result<TokenResponse, AuthError> {
    let heard = MfaAttempt {
        user_id: bearer.user_id,
        factor_id: attempt.factor_id,
        factor_type: attempt.factor_type().to_owned(),
        valid: attempt.is_right,
    };
    check_mfa_attempt(auth, client, &heard).await?;
    if attempt.is_right {
        raise(auth, bearer, attempt, client).await
    } else {
        Err(verification_failed(attempt.refusal))
    }
}

async fn try_code(
    auth: &Auth,
    bearer: Bearer<'_>,
    ids: (Uuid, Uuid),
    code: &str,
    client: &Client,
) -> Result<Attempt, AuthError> {
    let tx = auth.db().auth().begin().await?;
    let checked = check_code(auth, &tx, bearer, ids, code, client).await;
    // A wrong code is committed too: it counts.
    let (is_right, is_phone) = tx.finish(checked).await?;
    Ok(Attempt {
        factor_id: ids.0,
        is_right,
        method: if is_phone { "mfa/phone" } else { "totp" },
        refusal: if is_phone {
            "Invalid MFA Phone code entered"
        } else {
            "Invalid TOTP code entered"
        },
    })
}

/// Whether the code is right, and whether it was sent to a phone.
async fn check_code(
    auth: &Auth,
    tx: &Tx,
    bearer: Bearer<'_>,
    (factor_id, challenge_id): (Uuid, Uuid),
    code: &str,
    client: &Client,
) -> Result<(bool, bool), AuthError> {
    let subject = Subject::lock(auth, tx, bearer).await?;
    let factor = find(auth, tx, &subject, factor_id).await?;
    if factor.kind == "webauthn" {
        return Err(AuthError::Invalid("webauthn is required for this factor"));
    }
    failures::check_delay(&factor, subject.now)?;
    let challenge = (challenge_id, factor_id, subject.session_id);
    let found = queries::mfa::find_challenge(tx, challenge).await?;
    check_age(found.as_ref().map(|(made_at, _)| *made_at), subject.now)?;
    let sent = found.and_then(|(_, sent)| sent);
    let used = (factor_id, challenge_id);
    let is_right = match (&factor.secret, &sent) {
        (Some(secret), _) => {
            let secret = auth.mfa_secrets().open(factor_id, secret)?;
            let now = subject.now.timestamp();
            match totp::check(&secret, code, now, factor.last_step) {
                Some(step) => queries::mfa::accept_step(tx, used, step, subject.now).await? > 0,
                None => false,
            }
        }
        (None, Some(sent))
            if auth
                .mfa_secrets()
                .is_sent_code(challenge_id, code.trim(), sent) =>
        {
            queries::mfa::accept_code(tx, used, subject.now).await? > 0
        }
        _ => false,
    };
    if !is_right {
        failures::count(tx, &subject, &factor).await?;
    }
    log(tx, &subject, (factor_id, is_right), client).await?;
    Ok((is_right, factor.phone.is_some()))
}

async fn try_credential(
    auth: &Auth,
    bearer: Bearer<'_>,
    (factor_id, challenge_id): (Uuid, Uuid),
    answer: Value,
    client: &Client,
) -> Result<Attempt, AuthError> {
    let tx = auth.db().auth().begin().await?;
    let taken = async {
        let subject = Subject::lock(auth, &tx, bearer).await?;
        let factor = find(auth, &tx, &subject, factor_id).await?;
        if factor.kind != "webauthn" {
            return Err(AuthError::Invalid("code is required for this factor"));
        }
        let challenge = (challenge_id, factor_id, subject.session_id);
        let taken = queries::mfa::take_challenge(&tx, challenge).await?;
        Ok((factor, taken, subject.now))
    };
    let taken = taken.await;
    let (factor, taken, now) = tx.finish(taken).await?;
    check_age(taken.as_ref().map(|(made_at, _)| *made_at), now)?;
    let state = taken.and_then(|(_, state)| state).unwrap_or_default();
    let checked = match webauthn::check(auth, bearer.user_id, &factor, state, answer) {
        Ok(credential) => Some(credential),
        Err(AuthError::Refused(..)) => None,
        Err(error) => return Err(error),
    };
    let tx = auth.db().auth().begin().await?;
    let accepted = async {
        let subject = Subject::lock(auth, &tx, bearer).await?;
        let is_right = match &checked {
            Some(credential) => {
                let which = (factor_id, factor.is_verified);
                let (value, sign_count) = (&credential.value, credential.sign_count);
                queries::mfa::accept_credential(&tx, which, value, sign_count).await? > 0
            }
            None => false,
        };
        log(&tx, &subject, (factor_id, is_right), client).await?;
        Ok::<_, AuthError>(is_right)
    };
    let accepted = accepted.await;
    Ok(Attempt {
        factor_id,
        is_right: tx.finish(accepted).await?,
        method: "mfa/webauthn",
        refusal: webauthn::REFUSAL,
    })
}

fn check_age(made_at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Result<(), AuthError> {
    let message = "MFA factor with the provided challenge ID not found";
    let made_at = made_at.ok_or(AuthError::Refused(ErrorCode::MfaFactorNotFound, message))?;
    if made_at <= now - PATIENCE {
        let message =
            "MFA challenge has expired, verify against another challenge or create a new challenge";
        return Err(AuthError::Refused(ErrorCode::MfaChallengeExpired, message));
    }
    Ok(())
}

/// Notes an answer in the audit log.
pub(super) async fn log(
    tx: &Tx,
    subject: &Subject,
    (factor_id, is_right): (Uuid, bool),
    client: &Client,
) -> Result<(), AuthError> {
    let traits = json!({ "factor_id": factor_id, "valid": is_right });
    let actor = (subject.user.id, audit::name(&subject.user));
    let payload = audit::payload(Action::VerificationAttempted, actor, &traits);
    queries::log(tx, &payload, (client, subject.now)).await?;
    Ok(())
}

/// Raises the session in which a factor was proven, and gives it new tokens.
///
/// # Errors
/// Those of [`Subject::lock`]; `mfa_factor_not_found` when the factor has gone meanwhile; [`AuthError::Issuance`].
async fn raise(
    auth: &Auth,
    bearer: Bearer<'_>,
    attempt: &Attempt,
    client: &Client,
) -> Result<TokenResponse, AuthError> {
    let tx = auth.db().auth().begin().await?;
    let raised = raise_in(auth, &tx, bearer, attempt, client).await;
    let (user, session) = tx.finish(raised).await?;
    token::issue(auth, user, &session, attempt.method, client).await
}

async fn raise_in(
    auth: &Auth,
    tx: &Tx,
    bearer: Bearer<'_>,
    attempt: &Attempt,
    client: &Client,
) -> Result<(User, Session), AuthError> {
    let subject = Subject::lock(auth, tx, bearer).await?;
    let (user_id, factor_id) = (subject.user.id, attempt.factor_id);
    let factor = queries::mfa::find_factor(tx, user_id, factor_id).await?;
    let factor = factor.ok_or_else(factor_not_found)?;
    if !factor.is_verified {
        // Another one may protect the account since the answer was checked.
        subject.require_aal()?;
        queries::mfa::mark_verified(tx, (user_id, factor_id), subject.now).await?;
        notice::enrolled(auth, tx, &subject.user, &factor.kind).await?;
    }
    let raised = Raised {
        session_id: subject.session_id,
        factor_id,
        method: attempt.method,
        known_counter: bearer.jti.and_then(claims::counter).unwrap_or(0),
        at: subject.now,
    };
    let session = queries::mfa::raise_session(tx, user_id, &raised, client).await?;
    let session = session.ok_or(AuthError::SessionNotFound)?;
    let user = queries::read_user(tx, user_id).await?;
    Ok((user.ok_or(AuthError::BearerNotFound)?, session))
}
