//! Second factors, recovery codes and passkeys.

use serde_json::{Value, json};

use super::build::{Operation, delete, get, patch, post};
use super::schemas::{any_object, integer, list, object, one_of, reference, takes, text, uuid};
use crate::error::ErrorCode;

pub(super) fn operations() -> Vec<Operation> {
    let mut all = factors();
    all.extend(recovery_codes());
    all.extend(passkeys());
    all.extend(administration());
    all
}

/// What an account with a second factor refuses to a session without one.
const STEP_UP: &[ErrorCode] = &[ErrorCode::InsufficientAal, ErrorCode::MfaFactorNotFound];

/// What a wrong answer is refused with.
const VERIFYING: &[ErrorCode] = &[
    ErrorCode::MfaFactorNotFound,
    ErrorCode::MfaChallengeExpired,
    ErrorCode::MfaVerificationFailed,
    ErrorCode::MfaVerificationRejected,
    ErrorCode::MfaIpAddressMismatch,
    ErrorCode::MfaTotpVerifyNotEnabled,
    ErrorCode::MfaPhoneVerifyNotEnabled,
    ErrorCode::MfaWebauthnVerifyNotEnabled,
    ErrorCode::OverRequestRateLimit,
    ErrorCode::FeatureDisabled,
    ErrorCode::InsufficientAal,
    ErrorCode::HookRejected,
];

fn factors() -> Vec<Operation> {
    let new = takes(
        [("factor_type", one_of(&["totp", "webauthn", "phone"]))],
        [
            ("friendly_name", text()),
            ("issuer", text()),
            ("phone", text()),
        ],
    );
    let party = object([], [("rpId", text())]);
    let credential = object([], [("credential_response", any_object())]);
    let answer = takes(
        [("challenge_id", uuid())],
        [("code", text()), ("webauthn", open(credential))],
    );
    vec![
        post("/factors", "Begin a second factor")
            .user()
            .body(new)
            .json(200, enrolled())
            .refuses(&[
                ErrorCode::InsufficientAal,
                ErrorCode::MfaTotpEnrollNotEnabled,
                ErrorCode::MfaPhoneEnrollNotEnabled,
                ErrorCode::MfaWebauthnEnrollNotEnabled,
                ErrorCode::TooManyEnrolledMfaFactors,
                ErrorCode::MfaFactorNameConflict,
                ErrorCode::MfaVerifiedFactorExists,
                ErrorCode::FeatureDisabled,
            ]),
        delete("/factors/{id}", "Remove a second factor")
            .user()
            .json(200, object([("id", uuid())], []))
            .refuses(STEP_UP),
        post("/factors/{id}/challenge", "Begin to use a second factor")
            .user()
            .optional_body(takes([], [("webauthn", open(party)), ("channel", text())]))
            .json(200, challenge())
            .refuses(VERIFYING),
        post(
            "/factors/{id}/verify",
            "Answer a challenge: the session rises to aal2",
        )
        .user()
        .body(answer)
        .json(200, reference("Session"))
        .refuses(VERIFYING),
    ]
}

/// Members that are not named are ignored.
fn open(mut schema: Value) -> Value {
    schema["additionalProperties"] = true.into();
    schema
}

fn enrolled() -> Value {
    let setup = object(
        [("qr_code", text()), ("secret", text()), ("uri", text())],
        [],
    );
    object(
        [("id", uuid()), ("type", text())],
        [
            ("friendly_name", text()),
            ("totp", setup),
            ("phone", text()),
        ],
    )
}

fn challenge() -> Value {
    object(
        [("id", uuid()), ("type", text()), ("expires_at", integer())],
        [("webauthn", any_object())],
    )
}

fn recovery_codes() -> Vec<Operation> {
    let kind = one_of(&["recovery_code"]);
    let shown = object(
        [
            ("id", uuid()),
            ("type", kind.clone()),
            ("total", integer()),
            ("remaining", integer()),
        ],
        [],
    );
    let made = object(
        [
            ("id", uuid()),
            ("type", kind),
            ("friendly_name", text()),
            ("total", integer()),
            ("codes", list(text())),
        ],
        [],
    );
    let making = &[
        ErrorCode::MfaRecoveryCodesEnrollNotEnabled,
        ErrorCode::MfaRecoveryCodesSoleFactor,
        ErrorCode::MfaVerifiedFactorExists,
        ErrorCode::MfaFactorNameConflict,
        ErrorCode::TooManyEnrolledMfaFactors,
    ];
    vec![
        get(
            "/factors/recovery-codes",
            "How many recovery codes are left",
        )
        .user()
        .json(200, shown)
        .refuses(STEP_UP),
        post("/factors/recovery-codes", "Make recovery codes")
            .user()
            .optional_body(takes([], [("friendly_name", text())]))
            .json(200, made.clone())
            .refuses(making)
            .refuses(STEP_UP),
        delete("/factors/recovery-codes", "Remove the recovery codes")
            .user()
            .json(200, object([("id", uuid())], []))
            .refuses(STEP_UP),
        post(
            "/factors/recovery-codes/regenerate",
            "Replace the recovery codes",
        )
        .user()
        .json(200, made)
        .refuses(making)
        .refuses(STEP_UP),
        post("/factors/recovery-codes/verify", "Use a recovery code")
            .user()
            .body(takes([("code", text())], []))
            .json(200, reference("Session"))
            .refuses(&[
                ErrorCode::MfaRecoveryCodesVerifyNotEnabled,
                ErrorCode::MfaRecoveryCodesLocked,
            ])
            .refuses(VERIFYING),
    ]
}

/// What the answer of an authenticator is refused with.
const AUTHENTICATOR: &[ErrorCode] = &[
    ErrorCode::PasskeyDisabled,
    ErrorCode::FeatureDisabled,
    ErrorCode::WebauthnChallengeNotFound,
    ErrorCode::WebauthnChallengeExpired,
    ErrorCode::WebauthnVerificationFailed,
    ErrorCode::WebauthnCredentialExists,
    ErrorCode::TooManyPasskeys,
    ErrorCode::OverRequestRateLimit,
];

fn passkeys() -> Vec<Operation> {
    let answer = takes(
        [("challenge_id", uuid()), ("credential", any_object())],
        [("friendly_name", text())],
    );
    let asked = object(
        [
            ("challenge_id", uuid()),
            ("options", any_object()),
            ("expires_at", integer()),
        ],
        [],
    );
    let named = takes([("friendly_name", text())], []);
    let gone = &[
        ErrorCode::WebauthnCredentialNotFound,
        ErrorCode::PasskeyDisabled,
    ];
    vec![
        get("/passkeys", "The user's passkeys")
            .user()
            .json(200, list(reference("Passkey")))
            .refuses(gone),
        patch("/passkeys/{id}", "Name a passkey")
            .user()
            .body(named)
            .json(200, reference("Passkey"))
            .refuses(gone)
            .refuses(STEP_UP),
        delete("/passkeys/{id}", "Remove a passkey")
            .user()
            .empty(204)
            .refuses(gone)
            .refuses(STEP_UP),
        post(
            "/passkeys/registration/options",
            "Begin to register a passkey",
        )
        .user()
        .json(200, asked.clone())
        .refuses(AUTHENTICATOR)
        .refuses(STEP_UP),
        post("/passkeys/registration/verify", "Register a passkey")
            .user()
            .body(answer.clone())
            .json(200, reference("Passkey"))
            .refuses(AUTHENTICATOR)
            .refuses(STEP_UP),
        post(
            "/passkeys/authentication/options",
            "Begin to sign in with a passkey",
        )
        .json(200, asked)
        .refuses(&[ErrorCode::CaptchaFailed, ErrorCode::RequestEntityTooLarge])
        .refuses(AUTHENTICATOR),
        post("/passkeys/authentication/verify", "Sign in with a passkey")
            .body(answer)
            .json(200, reference("Session"))
            .refuses(&[ErrorCode::UserBanned, ErrorCode::HookRejected])
            .refuses(AUTHENTICATOR),
    ]
}

fn administration() -> Vec<Operation> {
    let unknown = &[ErrorCode::UserNotFound];
    vec![
        get(
            "/admin/users/{id}/factors",
            "The second factors of an account",
        )
        .service()
        .json(200, list(reference("Factor")))
        .refuses(unknown),
        delete(
            "/admin/users/{id}/factors/{factor_id}",
            "Remove a second factor of an account",
        )
        .service()
        .json(200, reference("Factor"))
        .refuses(&[ErrorCode::MfaFactorNotFound])
        .refuses(unknown),
        get("/admin/users/{id}/passkeys", "The passkeys of an account")
            .service()
            .json(200, list(reference("Passkey")))
            .refuses(unknown),
        delete(
            "/admin/users/{id}/passkeys/{passkey_id}",
            "Remove a passkey of an account",
        )
        .service()
        .empty(204)
        .refuses(&[ErrorCode::WebauthnCredentialNotFound])
        .refuses(unknown),
    ]
}

/// A second factor, as its user sees it.
pub(super) fn factor() -> Value {
    let time = json!({ "type": "string", "format": "date-time" });
    object(
        [
            ("id", uuid()),
            ("factor_type", text()),
            ("status", one_of(&["unverified", "verified"])),
            ("created_at", time.clone()),
            ("updated_at", time.clone()),
        ],
        [
            ("friendly_name", text()),
            ("phone", text()),
            ("last_challenged_at", time),
        ],
    )
}

/// A passkey, as its user sees it.
pub(super) fn passkey() -> Value {
    let time = json!({ "type": "string", "format": "date-time" });
    object(
        [("id", uuid()), ("created_at", time.clone())],
        [("friendly_name", text()), ("last_used_at", time)],
    )
}
