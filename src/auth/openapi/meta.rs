//! What clients ask before anybody signs in.

use super::build::{Operation, get};
use super::schemas::{any_object, boolean, list, object, text};
use crate::error::ErrorCode;

pub(super) fn operations() -> Vec<Operation> {
    let settings = object(
        [
            ("external", any_object()),
            ("disable_signup", boolean()),
            ("mailer_autoconfirm", boolean()),
            ("phone_autoconfirm", boolean()),
            ("sms_provider", text()),
            ("saml_enabled", boolean()),
        ],
        [("passkeys_enabled", boolean())],
    );
    let health = object(
        [
            ("version", text()),
            ("name", text()),
            ("description", text()),
        ],
        [],
    );
    vec![
        get("/settings", "What a sign-in form may offer").json(200, settings),
        get("/health", "Whether the service answers, and its version").json(200, health),
        get("/.well-known/jwks.json", "The public keys of access tokens")
            .json(200, object([("keys", list(any_object()))], [])),
        get("/openapi.json", "This document")
            .json(200, any_object())
            .refuses(&[ErrorCode::NotFound]),
    ]
}
