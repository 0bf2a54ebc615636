//! Sessions, the audit log and public profiles.

use serde_json::Value;

use super::build::{Operation, delete, get};
use super::schemas::{any_object, boolean, integer, list, nullable, object, text, time, uuid};
use crate::error::ErrorCode;

pub(super) fn operations() -> Vec<Operation> {
    let devices = object([("sessions", list(device()))], []);
    let profile = object(
        [
            ("id", uuid()),
            ("username", text()),
            ("created_at", nullable(time())),
        ],
        [],
    );
    vec![
        get("/sessions", "Where the user is signed in")
            .user()
            .json(200, devices.clone()),
        delete("/sessions/{id}", "Sign one of the user's devices out")
            .user()
            .empty(204)
            .refuses(&[ErrorCode::NotFound]),
        get(
            "/admin/users/{id}/sessions",
            "Where an account is signed in",
        )
        .service()
        .json(200, devices)
        .refuses(&[ErrorCode::UserNotFound]),
        delete(
            "/admin/users/{id}/sessions",
            "Sign an account out everywhere",
        )
        .service()
        .json(200, object([("revoked", integer())], []))
        .refuses(&[ErrorCode::UserNotFound]),
        get("/admin/audit", "The audit log, newest first")
            .service()
            .paged()
            .query("query", text())
            .json(200, list(entry())),
        get("/events", "What the audit log says of the user")
            .user()
            .paged()
            .json(200, list(entry())),
        get("/users/{username}", "The public profile of an account")
            .json(200, profile)
            .refuses(&[ErrorCode::UserNotFound]),
    ]
}

fn device() -> Value {
    object(
        [
            ("id", uuid()),
            ("created_at", time()),
            ("refreshed_at", nullable(time())),
            ("not_after", nullable(time())),
            ("aal", text()),
            ("amr", list(any_object())),
            ("ip", nullable(text())),
            ("user_agent", nullable(text())),
            ("is_current", boolean()),
        ],
        [("oauth_client_id", uuid())],
    )
}

fn entry() -> Value {
    object(
        [
            ("id", uuid()),
            ("payload", any_object()),
            ("ip_address", text()),
            ("created_at", nullable(time())),
        ],
        [],
    )
}
