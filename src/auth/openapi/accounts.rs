//! Signing up, in and out, and the signed-in user.

use serde_json::{Value, json};

use super::build::{Operation, get, post, put};
use super::schemas::{any_object, boolean, one_of, reference, takes, text};
use crate::error::ErrorCode;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        sign_up(),
        token(),
        refresh(),
        sign_out(),
        get("/user", "The signed-in user")
            .user()
            .json(200, reference("User")),
        update_user(),
    ]
}

fn session_or_user() -> Value {
    json!({ "anyOf": [reference("Session"), reference("User")] })
}

fn sign_up() -> Operation {
    post("/signup", "Make an account")
        .query("redirect_to", text())
        .body(takes(
            [],
            [
                ("email", text()),
                ("phone", text()),
                ("username", text()),
                ("password", text()),
                ("data", any_object()),
                ("channel", one_of(&["sms", "whatsapp"])),
                ("redirect_url", text()),
                ("code_challenge", text()),
                ("code_challenge_method", text()),
            ],
        ))
        .json(200, session_or_user())
        .refuses(&[
            ErrorCode::OverRequestRateLimit,
            ErrorCode::OverEmailSendRateLimit,
            ErrorCode::OverSmsSendRateLimit,
            ErrorCode::SmsSendFailed,
            ErrorCode::CaptchaFailed,
            ErrorCode::SignupDisabled,
            ErrorCode::AnonymousProviderDisabled,
            ErrorCode::PhoneProviderDisabled,
            ErrorCode::UserAlreadyExists,
            ErrorCode::WeakPassword,
            ErrorCode::HookRejected,
            // User names.
            ErrorCode::FeatureDisabled,
        ])
}

fn token() -> Operation {
    let grants = ["password", "refresh_token", "pkce", "id_token"];
    post(
        "/token",
        "Sign in with what the grant asks for, or go on with a session",
    )
    .query("grant_type", one_of(&grants))
    .body(takes(
        [],
        [
            ("email", text()),
            ("phone", text()),
            ("username", text()),
            ("password", text()),
            ("refresh_token", text()),
            ("auth_code", text()),
            ("code_verifier", text()),
            ("provider", text()),
            ("id_token", text()),
            ("access_token", text()),
            ("nonce", text()),
            ("client_id", text()),
            ("issuer", text()),
            ("link_identity", boolean()),
        ],
    ))
    .json(200, reference("Session"))
    .refuses(SIGN_IN)
    .refuses(CODE)
    .refuses(ID_TOKEN)
    .refuses(REFRESH)
    .refuses(&[ErrorCode::Web3ProviderDisabled])
}

/// What a sign-in is refused with.
const SIGN_IN: &[ErrorCode] = &[
    ErrorCode::InvalidCredentials,
    ErrorCode::EmailNotConfirmed,
    ErrorCode::PhoneNotConfirmed,
    ErrorCode::UserBanned,
    ErrorCode::PhoneProviderDisabled,
    ErrorCode::OverRequestRateLimit,
    ErrorCode::CaptchaFailed,
    ErrorCode::HookRejected,
];

/// What the code of a sign-in is refused with.
const CODE: &[ErrorCode] = &[
    ErrorCode::FlowStateNotFound,
    ErrorCode::FlowStateExpired,
    ErrorCode::BadCodeVerifier,
];

/// What a provider's ID token is refused with.
const ID_TOKEN: &[ErrorCode] = &[
    ErrorCode::ProviderDisabled,
    ErrorCode::OauthProviderNotSupported,
    ErrorCode::BadOauthCallback,
    ErrorCode::NoAuthorization,
    ErrorCode::EmailAddressNotProvided,
    ErrorCode::ProviderEmailNeedsVerification,
    ErrorCode::EmailExists,
    ErrorCode::IdentityAlreadyExists,
    ErrorCode::ManualLinkingDisabled,
    ErrorCode::SignupDisabled,
    ErrorCode::Conflict,
];

/// What a refresh is refused with.
const REFRESH: &[ErrorCode] = &[
    ErrorCode::RefreshTokenNotFound,
    ErrorCode::RefreshTokenAlreadyUsed,
    ErrorCode::SessionExpired,
    ErrorCode::UserBanned,
];

fn refresh() -> Operation {
    post("/refresh", "Go on with a session")
        .body(takes([("refresh_token", text())], []))
        .json(200, reference("Session"))
        .refuses(REFRESH)
}

fn sign_out() -> Operation {
    let scope = one_of(&["global", "local", "others"]);
    post("/logout", "End this session, all of them, or the others")
        .user()
        .query("scope", scope.clone())
        .optional_body(takes([], [("scope", scope), ("refresh_token", text())]))
        .empty(204)
        .refuses(&[ErrorCode::RefreshTokenNotFound])
}

fn update_user() -> Operation {
    put("/user", "Change the signed-in user")
        .user()
        .query("redirect_to", text())
        .body(takes(
            [],
            [
                ("email", text()),
                ("phone", text()),
                ("password", text()),
                ("current_password", text()),
                ("data", any_object()),
                ("nonce", text()),
                ("channel", one_of(&["sms", "whatsapp"])),
                ("code_challenge", text()),
                ("code_challenge_method", text()),
            ],
        ))
        .json(200, reference("User"))
        .refuses(&[
            ErrorCode::NotAdmin,
            ErrorCode::EmailExists,
            ErrorCode::PhoneExists,
            ErrorCode::PhoneProviderDisabled,
            ErrorCode::FeatureDisabled,
            ErrorCode::WeakPassword,
            ErrorCode::SamePassword,
            ErrorCode::CurrentPasswordRequired,
            ErrorCode::CurrentPasswordInvalid,
            ErrorCode::ReauthenticationNeeded,
            ErrorCode::ReauthenticationNotValid,
            ErrorCode::InsufficientAal,
            ErrorCode::OverRequestRateLimit,
            ErrorCode::OverEmailSendRateLimit,
            ErrorCode::OverSmsSendRateLimit,
            ErrorCode::SmsSendFailed,
        ])
        // An anonymous account has no address to go with a password.
        .refuses_with(422, ErrorCode::ValidationFailed)
}
