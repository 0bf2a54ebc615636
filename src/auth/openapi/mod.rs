//! `/openapi.json`: what this service answers to, for client generators, for readers, and for tests that send anything.
//!
//! Each topic is a table of operations beside the others; `tests/it/auth/openapi.rs` holds the tables against the router,
//! so a route without a line here fails the suite, and a line without a route too. The tables name error codes: statuses
//! follow from them. Derived attributes on the handlers would be longer than most handlers, and could not know the codes.

mod accounts;
mod admin;
mod build;
mod mail;
mod meta;
mod mfa;
mod oauth_server;
mod providers;
mod schemas;
mod sessions;

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use build::Operation;

/// A topic: its name, and its operations.
type Topic = (&'static str, fn() -> Vec<Operation>);

/// In the order of the document.
const TOPICS: &[Topic] = &[
    ("Accounts", accounts::operations),
    ("Mails", mail::operations),
    ("Identity providers", providers::operations),
    ("Second factors and passkeys", mfa::operations),
    ("Sessions and the audit log", sessions::operations),
    ("OAuth server", oauth_server::operations),
    ("Administration", admin::operations),
    ("About the service", meta::operations),
];

/// The document as JSON text. It depends on no setting, so it is made once.
pub(super) fn document() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| build_document().to_string());
    &TEXT
}

fn build_document() -> Value {
    let mut paths = Map::new();
    for (topic, operations) in TOPICS {
        for operation in operations() {
            let path = paths
                .entry(operation.full_path())
                .or_insert_with(|| json!({}));
            let method = operation.method();
            path[method] = operation.into_json(topic);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "sb auth",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Accounts and sessions. An error has one of two shapes: with the header \
                X-Supabase-Api-Version: 2024-01-01 it is { code, message }, without it { code, error_code, msg }.",
        },
        // Relative to where the document was read.
        "servers": [{ "url": "/" }],
        "tags": TOPICS.iter().map(|(name, _)| json!({ "name": name })).collect::<Vec<_>>(),
        "paths": paths,
        "components": {
            "schemas": schemas::components(),
            "parameters": { "ApiVersion": build::version_parameter() },
            "securitySchemes": build::security_schemes(),
        },
    })
}
