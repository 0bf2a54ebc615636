//! What the service key may do with accounts.

use serde_json::Value;

use super::build::{Operation, delete, get, post, put};
use super::schemas::{any_object, boolean, list, nothing, object, reference, takes, text, uuid};
use crate::error::ErrorCode;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        list_users(),
        post("/admin/users", "Make an account")
            .service()
            .body(account())
            .json(200, reference("User"))
            .refuses(SAVING),
        get("/admin/users/{id}", "An account")
            .service()
            .json(200, reference("User"))
            .refuses(&[ErrorCode::UserNotFound]),
        put("/admin/users/{id}", "Change an account")
            .service()
            .body(account())
            .json(200, reference("User"))
            .refuses(&[ErrorCode::UserNotFound])
            .refuses(SAVING),
        delete("/admin/users/{id}", "Remove an account")
            .service()
            .optional_body(takes([], [("should_soft_delete", boolean())]))
            .json(200, nothing())
            .refuses(&[ErrorCode::UserNotFound, ErrorCode::Conflict]),
    ]
}

/// What a write of an account is refused with.
const SAVING: &[ErrorCode] = &[
    ErrorCode::UserAlreadyExists,
    ErrorCode::EmailExists,
    ErrorCode::FeatureDisabled,
    ErrorCode::PhoneExists,
    ErrorCode::Conflict,
    ErrorCode::WeakPassword,
];

fn list_users() -> Operation {
    let page = object([("users", list(reference("User"))), ("aud", text())], []);
    get("/admin/users", "All accounts, newest first")
        .service()
        .paged()
        .query("filter", text())
        .query("email", text())
        .query("phone", text())
        .query("sort", text())
        .json(200, page)
}

fn account() -> Value {
    takes(
        [],
        [
            ("id", uuid()),
            ("email", text()),
            ("phone", text()),
            ("username", text()),
            ("password", text()),
            ("password_hash", text()),
            ("email_confirm", boolean()),
            ("phone_confirm", boolean()),
            ("user_metadata", any_object()),
            ("app_metadata", any_object()),
            ("role", text()),
            ("aud", text()),
            ("ban_duration", text()),
        ],
    )
}
