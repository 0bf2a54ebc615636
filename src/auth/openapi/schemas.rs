//! The shapes of bodies and answers.

#![expect(
    clippy::needless_pass_by_value,
    reason = "descriptions are made where they are passed"
)]

use serde_json::{Map, Value, json};

pub(super) use super::build::reference;

/// Any text.
pub(super) fn text() -> Value {
    json!({ "type": "string" })
}

/// One of these words.
pub(super) fn one_of(words: &[&str]) -> Value {
    json!({ "type": "string", "enum": words })
}

/// An id.
pub(super) fn uuid() -> Value {
    json!({ "type": "string", "format": "uuid" })
}

/// A time, RFC 3339.
pub(super) fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

/// A whole number.
pub(super) fn integer() -> Value {
    json!({ "type": "integer" })
}

/// True or false.
pub(super) fn boolean() -> Value {
    json!({ "type": "boolean" })
}

/// An object of whatever members.
pub(super) fn any_object() -> Value {
    json!({ "type": "object", "additionalProperties": true })
}

/// The object without members.
pub(super) fn nothing() -> Value {
    object([], [])
}

/// A list of these.
pub(super) fn list(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

/// The same, or null.
pub(super) fn nullable(schema: Value) -> Value {
    json!({ "anyOf": [schema, { "type": "null" }] })
}

/// The first members are always there, the others may be absent.
pub(super) fn object<const N: usize, const M: usize>(
    always: [(&'static str, Value); N],
    sometimes: [(&'static str, Value); M],
) -> Value {
    let required: Vec<_> = always.iter().map(|(name, _)| *name).collect();
    let members = always.into_iter().chain(sometimes);
    let properties: Map<String, Value> = members
        .map(|(name, schema)| (name.to_owned(), schema))
        .collect();
    let mut object = json!({ "type": "object", "properties": properties });
    if !required.is_empty() {
        object["required"] = required.into();
    }
    object
}

/// A body: the first members are needed, the others may be absent or null; further members are ignored.
pub(super) fn takes<const N: usize, const M: usize>(
    needed: [(&'static str, Value); N],
    optional: [(&'static str, Value); M],
) -> Value {
    let optional = optional.map(|(name, schema)| (name, nullable(schema)));
    let mut body = object(needed, optional);
    body["additionalProperties"] = true.into();
    body
}

/// What operations refer to by name.
pub(super) fn components() -> Value {
    json!({
        "User": user(),
        "GeneratedLink": super::mail::generated_link(user()),
        "Identity": identity(),
        "Session": session(),
        "Factor": super::mfa::factor(),
        "Passkey": super::mfa::passkey(),
        "OAuthClient": super::oauth_server::client(),
        "Error": { "anyOf": [reference("VersionedError"), reference("LegacyError")] },
        "VersionedError": versioned_error(),
        "LegacyError": legacy_error(),
        "OAuthError": oauth_error(),
    })
}

/// The members every user has, with those that may be absent.
fn user() -> Value {
    object(
        [
            ("id", uuid()),
            ("aud", text()),
            ("role", text()),
            ("email", text()),
            ("phone", text()),
            ("app_metadata", any_object()),
            ("user_metadata", any_object()),
            ("identities", list(reference("Identity"))),
            ("created_at", time()),
            ("updated_at", time()),
            ("is_anonymous", boolean()),
        ],
        [
            ("email_confirmed_at", time()),
            ("phone_confirmed_at", time()),
            ("confirmed_at", time()),
            ("invited_at", time()),
            ("confirmation_sent_at", time()),
            ("recovery_sent_at", time()),
            ("new_email", text()),
            ("email_change_sent_at", time()),
            ("new_phone", text()),
            ("phone_change_sent_at", time()),
            ("reauthentication_sent_at", time()),
            ("last_sign_in_at", time()),
            ("banned_until", time()),
            ("deleted_at", time()),
            ("factors", list(reference("Factor"))),
            ("username", text()),
        ],
    )
}

fn identity() -> Value {
    object(
        [
            ("identity_id", uuid()),
            ("id", text()),
            ("user_id", uuid()),
            ("identity_data", any_object()),
            ("provider", text()),
        ],
        [
            ("email", text()),
            ("last_sign_in_at", nullable(time())),
            ("created_at", nullable(time())),
            ("updated_at", nullable(time())),
        ],
    )
}

fn session() -> Value {
    object(
        [
            ("access_token", text()),
            ("token_type", one_of(&["bearer"])),
            ("expires_in", integer()),
            ("expires_at", integer()),
            ("refresh_token", text()),
            ("user", reference("User")),
        ],
        [
            ("provider_token", text()),
            ("provider_refresh_token", text()),
            ("weak_password", weak_password()),
        ],
    )
}

fn weak_password() -> Value {
    object([("reasons", list(text()))], [("message", text())])
}

fn versioned_error() -> Value {
    let mut error = object(
        [("code", text()), ("message", text())],
        [("hint", text()), ("weak_password", weak_password())],
    );
    error["additionalProperties"] = true.into();
    error
}

fn legacy_error() -> Value {
    let mut error = object(
        [("code", integer()), ("error_code", text()), ("msg", text())],
        [("hint", text()), ("weak_password", weak_password())],
    );
    error["additionalProperties"] = true.into();
    error
}

fn oauth_error() -> Value {
    let mut error = object([("error", text()), ("error_description", text())], []);
    error["additionalProperties"] = true.into();
    error
}
