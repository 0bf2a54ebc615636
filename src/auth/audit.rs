//! What the audit log says of an event, in the payload shape that Supabase's tools read.

use serde_json::{Value, json};
use uuid::Uuid;

use super::model::User;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Login,
    SignedUp,
    RepeatedSignup,
    Modified,
    UpdatedPassword,
    Deleted,
    OAuthConsentGranted,
    OAuthConsentRevoked,
    OAuthClientAdded,
    OAuthClientChanged,
    OAuthClientDeleted,
    OAuthCodeReused,
    IdentityLinked,
    IdentityUnlinked,
    IdentityRefused,
    ConfirmationRequested,
    RecoveryRequested,
    ReauthenticateRequested,
    EmailChangeRequested,
    Invited,
    InviteAccepted,
    Confirmed,
    FactorInProgress,
    ChallengeCreated,
    VerificationAttempted,
    FactorUnenrolled,
    FactorDeleted,
    RecoveryCodesGenerated,
    PasskeyCreated,
    PasskeyUpdated,
    PasskeyDeleted,
    Logout,
    LoginFailed,
    Imported,
    CodeSent,
}

impl Action {
    const fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::Login => ("login", "account"),
            Self::SignedUp => ("user_signedup", "team"),
            Self::RepeatedSignup => ("user_repeated_signup", "user"),
            Self::Modified => ("user_modified", "user"),
            Self::UpdatedPassword => ("user_updated_password", "user"),
            Self::Deleted => ("user_deleted", "team"),
            Self::OAuthConsentGranted => ("oauth_consent_granted", "account"),
            Self::OAuthConsentRevoked => ("oauth_consent_revoked", "account"),
            Self::OAuthClientAdded => ("oauth_client_added", "team"),
            Self::OAuthClientChanged => ("oauth_client_changed", "team"),
            Self::OAuthClientDeleted => ("oauth_client_deleted", "team"),
            Self::OAuthCodeReused => ("oauth_code_reused", "token"),
            Self::IdentityLinked => ("identity_linked", "user"),
            Self::IdentityUnlinked => ("identity_unlinked", "user"),
            Self::IdentityRefused => ("identity_refused", "user"),
            Self::ConfirmationRequested => ("user_confirmation_requested", "user"),
            Self::RecoveryRequested | Self::CodeSent => ("user_recovery_requested", "user"),
            Self::ReauthenticateRequested => ("user_reauthenticate_requested", "user"),
            Self::EmailChangeRequested => ("user_email_change_requested", "user"),
            Self::Invited => ("user_invited", "team"),
            Self::InviteAccepted => ("invite_accepted", "account"),
            Self::Confirmed => ("user_confirmed", "account"),
            Self::FactorInProgress => ("factor_in_progress", "factor"),
            Self::ChallengeCreated => ("challenge_created", "factor"),
            Self::VerificationAttempted => ("verification_attempted", "factor"),
            Self::FactorUnenrolled => ("factor_unenrolled", "factor"),
            Self::FactorDeleted => ("factor_deleted", "factor"),
            Self::RecoveryCodesGenerated => ("recovery_codes_generated", "factor"),
            Self::PasskeyCreated => ("passkey_created", "user"),
            Self::PasskeyUpdated => ("passkey_updated", "user"),
            Self::PasskeyDeleted => ("passkey_deleted", "user"),
            Self::Logout => ("logout", "account"),
            // Upstream has no word for it.
            Self::LoginFailed => ("login_failed", "account"),
            Self::Imported => ("users_imported", "team"),
        }
    }
}

/// The payload of an event that `actor` caused.
pub(super) fn payload(action: Action, (id, name): (Uuid, &str), traits: &Value) -> Value {
    let (action, log_type) = action.texts();
    json!({
        "actor_id": id,
        "actor_username": name,
        "actor_via_sso": false,
        "action": action,
        "log_type": log_type,
        "traits": traits,
    })
}

/// The payload of what the holder of the service key did to `user`.
pub(super) fn by_service(action: Action, user: &User) -> Value {
    let traits = json!({ "user_id": user.id, "user_email": user.email, "user_phone": user.phone });
    payload(action, (Uuid::nil(), "service_role"), &traits)
}

/// The payload of what `user` did to itself.
pub(super) fn by_user(action: Action, user: &User) -> Value {
    let actor = (user.id, name(user));
    payload(action, actor, &json!({ "provider": "email" }))
}

/// What an entry calls a user.
pub(super) fn name(user: &User) -> &str {
    let ways = [user.email.as_str(), &user.phone];
    let named = ways.into_iter().find(|name| !name.is_empty());
    named.or(user.username.as_deref()).unwrap_or_default()
}
