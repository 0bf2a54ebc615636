//! Signing in with identity providers, and the identities of a user.

use serde_json::Value;

use super::build::{Operation, delete, get, post};
use super::schemas::{nothing, object, takes, text};
use crate::error::ErrorCode;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        post("/sso", "Single sign-on by SAML, which is not offered").refuses(&[
            ErrorCode::SamlProviderDisabled,
            ErrorCode::CaptchaFailed,
            ErrorCode::RequestEntityTooLarge,
        ]),
        begins("/authorize", "Sign in with a provider").query("provider", text()),
        begins(
            "/authorize/{provider}",
            "The same, with the provider in the path",
        )
        .query("redirect_uri", text()),
        get(
            "/authorize/continue",
            "Begin a link that an application asked for",
        )
        .query("state", text())
        .redirects(302)
        .refuses(&[ErrorCode::BadOauthState, ErrorCode::ProviderDisabled]),
        returns(get("/callback", "Where a provider sends the browser back")),
        returns(get("/callback/{provider}", "The same, for one provider")),
        posts("/callback", "The answer of a provider as a form"),
        posts("/callback/{provider}", "The same, for one provider"),
        begins("/user/identities/authorize", "Link a further identity")
            .query("provider", text())
            .query("skip_http_redirect", text())
            .user()
            .json(200, object([("url", text())], []))
            .refuses(&[ErrorCode::ManualLinkingDisabled]),
        delete("/user/identities/{id}", "Unlink an identity")
            .user()
            .json(200, nothing())
            .refuses(&[
                ErrorCode::ManualLinkingDisabled,
                ErrorCode::IdentityNotFound,
                ErrorCode::SingleIdentityNotDeletable,
                ErrorCode::EmailConflictIdentityNotDeletable,
                ErrorCode::InsufficientAal,
            ]),
    ]
}

fn begins(path: &'static str, summary: &'static str) -> Operation {
    get(path, summary)
        .query("redirect_to", text())
        .query("scopes", text())
        .query("code_challenge", text())
        .query("code_challenge_method", text())
        .query("invite_token", text())
        .redirects(302)
        .refuses(&[
            ErrorCode::ProviderDisabled,
            ErrorCode::OauthProviderNotSupported,
            ErrorCode::BadOauthCallback,
            ErrorCode::OverRequestRateLimit,
        ])
}

fn returns(operation: Operation) -> Operation {
    let operation = ["code", "state", "error", "error_description", "iss"]
        .into_iter()
        .fold(operation, |operation, name| operation.query(name, text()));
    operation.redirects(302).refuses(RETURNING)
}

/// What has no place to lead the browser to.
const RETURNING: &[ErrorCode] = &[
    ErrorCode::BadOauthState,
    ErrorCode::BadOauthCallback,
    ErrorCode::ProviderDisabled,
    ErrorCode::OverRequestRateLimit,
];

fn posts(path: &'static str, summary: &'static str) -> Operation {
    post(path, summary)
        .form(answer())
        .redirects(302)
        .text("text/html")
        .refuses(RETURNING)
}

fn answer() -> Value {
    takes(
        [],
        [
            ("code", text()),
            ("state", text()),
            ("error", text()),
            ("error_description", text()),
            ("iss", text()),
            ("user", text()),
        ],
    )
}
