//! Recovery codes: for who has lost the other factors. Each is good once; only keyed hashes are stored.

use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::verify::{Attempt, conclude, log};
use super::{Subject, factor_not_found, failures, friendly_name, unenroll};
use crate::auth::audit::{self, Action};
use crate::auth::limits::{self, Limited, Origin};
use crate::auth::model::{Client, Factor, TokenResponse};
use crate::auth::user::Bearer;
use crate::auth::{Auth, AuthError, queries, user};
use crate::clock::random_bytes;
use crate::db::Tx;
use crate::error::ErrorCode;

const KIND: &str = "recovery_code";

/// How many codes make a set.
const CODES: usize = 10;

/// Without letters that look like digits. 32 of them: five bits each.
const ALPHABET: &[u8; 32] = b"ABCDEFGHJKMNPQRSTVWXYZ0123456789";

/// Characters of a code: 80 bits, which nobody guesses, so that one round of hashing is enough.
const LENGTH: usize = 16;

/// How many codes there are.
#[derive(Serialize)]
pub(super) struct Status {
    id: Uuid,
    #[serde(rename = "type")]
    kind: &'static str,
    total: i64,
    remaining: i64,
}

/// A new set of codes, shown once.
#[derive(Serialize)]
pub(super) struct Generated {
    id: Uuid,
    #[serde(rename = "type")]
    kind: &'static str,
    friendly_name: String,
    total: usize,
    codes: Vec<String>,
}

/// How many codes the bearer has, and how many are left.
///
/// # Errors
/// Those of [`user::find_live`]; `mfa_factor_not_found`.
pub(super) async fn status(auth: &Auth, bearer: Bearer<'_>) -> Result<Status, AuthError> {
    let connection = auth.db().auth().connection().await?;
    let (user, _) = user::find_live(auth, &connection, bearer).await?;
    let counted = queries::mfa::count_recovery_codes(&connection, user.id).await?;
    let (id, total, remaining) = counted.ok_or_else(factor_not_found)?;
    Ok(Status {
        id,
        kind: KIND,
        total,
        remaining,
    })
}

/// Makes the bearer's first set of codes.
///
/// # Errors
/// Those of [`Subject::lock`]; `insufficient_aal`; `mfa_recovery_codes_sole_factor`, `mfa_verified_factor_exists`,
/// `mfa_factor_name_conflict`, `mfa_recovery_codes_enroll_not_enabled`; [`AuthError::Invalid`].
pub(super) async fn generate(
    auth: &Auth,
    bearer: Bearer<'_>,
    name: Option<&str>,
    client: &Client,
) -> Result<Generated, AuthError> {
    check_enroll_enabled(auth)?;
    let name = match friendly_name(name)? {
        "" => "Recovery codes",
        name => name,
    };
    let tx = auth.db().auth().begin().await?;
    let generated = async {
        let subject = Subject::lock(auth, &tx, bearer).await?;
        subject.require_aal2()?;
        let factor = new_factor(&subject, name)?;
        queries::mfa::insert_factor(&tx, subject.user.id, &factor, None).await?;
        fill(auth, &tx, &subject, (factor.id, name), client).await
    };
    let generated = generated.await;
    tx.finish(generated).await
}

/// Replaces the bearer's codes, the unused ones too.
///
/// # Errors
/// Those of [`Subject::lock`]; `insufficient_aal`; `mfa_factor_not_found`, `mfa_recovery_codes_enroll_not_enabled`.
pub(super) async fn regenerate(
    auth: &Auth,
    bearer: Bearer<'_>,
    client: &Client,
) -> Result<Generated, AuthError> {
    check_enroll_enabled(auth)?;
    let tx = auth.db().auth().begin().await?;
    let generated = async {
        let subject = Subject::lock(auth, &tx, bearer).await?;
        subject.require_aal2()?;
        let found = queries::mfa::find_recovery_factor(&tx, subject.user.id).await?;
        let factor = found.ok_or_else(factor_not_found)?;
        let which = (factor.id, factor.friendly_name.as_str());
        fill(auth, &tx, &subject, which, client).await
    };
    let generated = generated.await;
    tx.finish(generated).await
}

/// Removes the bearer's codes, and tells their id.
///
/// # Errors
/// Those of [`unenroll::unenroll`].
pub(super) async fn remove(
    auth: &Auth,
    bearer: Bearer<'_>,
    client: &Client,
) -> Result<Uuid, AuthError> {
    let id = status(auth, bearer).await?.id;
    unenroll::unenroll(auth, bearer, id, client).await?;
    Ok(id)
}

/// Uses up a code and raises the session.
///
/// # Errors
/// Those of [`Subject::lock`]; `mfa_factor_not_found`, `mfa_verification_failed`, `mfa_recovery_codes_locked`,
/// `mfa_recovery_codes_verify_not_enabled`; [`AuthError::TooManyRequests`].
pub(super) async fn verify(
    auth: &Auth,
    bearer: Bearer<'_>,
    code: &str,
    (client, origin): (&Client, Origin),
) -> Result<TokenResponse, AuthError> {
    if !auth.config().auth.mfa_recovery_codes_verify_enabled {
        let message = "MFA verification is disabled for recovery codes";
        let code = ErrorCode::MfaRecoveryCodesVerifyNotEnabled;
        return Err(AuthError::Refused(code, message));
    }
    limits::count(auth, Limited::Mfa, origin).await?;
    let tx = auth.db().auth().begin().await?;
    let used = use_up(auth, &tx, bearer, code, client).await;
    // A wrong code is committed too: it counts.
    let (factor_id, is_right) = tx.finish(used).await?;
    let attempt = Attempt {
        factor_id,
        is_right,
        method: "mfa/recovery_code",
        refusal: "Invalid recovery code entered",
    };
    conclude(auth, bearer, &attempt, client).await
}

/// The factor, and whether the code was right.
async fn use_up(
    auth: &Auth,
    tx: &Tx,
    bearer: Bearer<'_>,
    code: &str,
    client: &Client,
) -> Result<(Uuid, bool), AuthError> {
    let subject = Subject::lock(auth, tx, bearer).await?;
    let found = queries::mfa::find_recovery_factor(tx, subject.user.id).await?;
    let factor = found.ok_or_else(factor_not_found)?;
    failures::check_delay(&factor, subject.now)?;
    let hash = auth.mfa_secrets().hash_code(factor.id, &canonical(code));
    let used = queries::mfa::accept_recovery_code(tx, factor.id, &hash, subject.now).await?;
    if used == 0 {
        failures::count(tx, &subject, &factor).await?;
    }
    log(tx, &subject, (factor.id, used > 0), client).await?;
    Ok((factor.id, used > 0))
}

fn check_enroll_enabled(auth: &Auth) -> Result<(), AuthError> {
    if auth.config().auth.mfa_recovery_codes_enroll_enabled {
        return Ok(());
    }
    let code = ErrorCode::MfaRecoveryCodesEnrollNotEnabled;
    Err(AuthError::Refused(code, "Recovery codes are disabled"))
}

fn new_factor(subject: &Subject, name: &str) -> Result<Factor, AuthError> {
    let factors = &subject.user.factors;
    if factors.iter().any(|factor| factor.factor_type == KIND) {
        let message = "Recovery codes already exist, regenerate them to get new ones";
        let code = ErrorCode::MfaVerifiedFactorExists;
        return Err(AuthError::Refused(code, message));
    }
    if !factors.iter().any(Factor::is_verified) {
        let message = "Recovery codes need another verified factor";
        let code = ErrorCode::MfaRecoveryCodesSoleFactor;
        return Err(AuthError::Refused(code, message));
    }
    if factors.iter().any(|factor| factor.friendly_name == name) {
        let message = "A factor with this friendly name already exists for this user";
        let code = ErrorCode::MfaFactorNameConflict;
        return Err(AuthError::Refused(code, message));
    }
    Ok(Factor {
        id: Uuid::new_v4(),
        friendly_name: name.to_owned(),
        factor_type: KIND.to_owned(),
        status: "verified".to_owned(),
        phone: None,
        created_at: subject.now,
        updated_at: subject.now,
        last_challenged_at: None,
    })
}

async fn fill(
    auth: &Auth,
    tx: &Tx,
    subject: &Subject,
    (factor_id, name): (Uuid, &str),
    client: &Client,
) -> Result<Generated, AuthError> {
    let codes: Vec<String> = (0..CODES).map(|_| new_code()).collect();
    let hash = |code: &String| auth.mfa_secrets().hash_code(factor_id, &canonical(code));
    let hashes: Vec<Vec<u8>> = codes.iter().map(hash).collect();
    queries::mfa::replace_recovery_codes(tx, factor_id, &hashes, subject.now).await?;
    let actor = (subject.user.id, audit::name(&subject.user));
    let traits = json!({ "factor_id": factor_id });
    let payload = audit::payload(Action::RecoveryCodesGenerated, actor, &traits);
    queries::log(tx, &payload, (client, subject.now)).await?;
    Ok(Generated {
        id: factor_id,
        kind: KIND,
        friendly_name: name.to_owned(),
        total: codes.len(),
        codes,
    })
}

/// `K4M9-X7QP-2AB8-HT3Z`.
fn new_code() -> String {
    let letter = |byte: &u8| char::from(ALPHABET[usize::from(byte % 32)]);
    let bytes: [u8; LENGTH] = random_bytes();
    let groups = bytes
        .chunks(4)
        .map(|group| group.iter().map(letter).collect());
    groups.collect::<Vec<String>>().join("-")
}

/// A code as it was made, whatever the case and the separators it is typed with.
fn canonical(code: &str) -> String {
    let typed = code.chars().filter(char::is_ascii_alphanumeric);
    typed
        .take(2 * LENGTH)
        .map(|letter| letter.to_ascii_uppercase())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_long_different_and_forgiving() {
        let (one, other) = (new_code(), new_code());
        assert_ne!(one, other);
        assert_eq!((one.len(), one.matches('-').count()), (19, 3));
        assert_eq!(canonical(&one).len(), LENGTH);
        let typed = format!(" {} ", one.to_lowercase().replace('-', " "));
        assert_eq!(canonical(&typed), canonical(&one));
        assert_eq!(canonical(&"a".repeat(1000)).len(), 2 * LENGTH);
        let mut letters = ALPHABET.to_vec();
        letters.sort_unstable();
        letters.dedup();
        assert_eq!(letters.len(), 32, "every letter is as likely as any other");
    }
}
