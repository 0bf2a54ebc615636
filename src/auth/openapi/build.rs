//! One operation of the document, put together in a line or two per fact.

#![expect(
    clippy::needless_pass_by_value,
    reason = "descriptions are made where they are passed"
)]

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::error::ErrorCode;

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asker {
    Anyone,
    User,
    Service,
}

/// What one method of one path takes and answers.
pub(super) struct Operation {
    method: &'static str,
    path: &'static str,
    at_root: bool,
    summary: &'static str,
    asker: Asker,
    query: Vec<Value>,
    body: Option<Value>,
    answers: BTreeMap<u16, Value>,
    codes: BTreeMap<u16, Vec<ErrorCode>>,
    oauth_errors: bool,
}

macro_rules! methods {
    ($($name:ident),+) => {
        $(
            /// An operation that anybody may ask for, until `user` or `service` is said.
            pub(super) fn $name(path: &'static str, summary: &'static str) -> Operation {
                Operation::new(stringify!($name), path, summary)
            }
        )+
    };
}

methods!(get, post, put, patch, delete);

impl Operation {
    fn new(method: &'static str, path: &'static str, summary: &'static str) -> Self {
        let operation = Self {
            method,
            path,
            at_root: false,
            summary,
            asker: Asker::Anyone,
            query: Vec::new(),
            body: None,
            answers: BTreeMap::new(),
            codes: BTreeMap::new(),
            oauth_errors: false,
        }
        .refuses(&[ErrorCode::ServiceUnavailable, ErrorCode::RequestTimeout]);
        if path.contains('{') {
            operation.refuses_with(404, ErrorCode::ValidationFailed)
        } else {
            operation
        }
    }

    /// The path stands at the root of the server, not below `/auth/v1`.
    pub(super) fn at_root(mut self) -> Self {
        self.at_root = true;
        self
    }

    /// The bearer token of a signed-in user is needed.
    pub(super) fn user(mut self) -> Self {
        self.asker = Asker::User;
        let (user_gone, user_banned) = (ErrorCode::UserNotFound, ErrorCode::UserBanned);
        self.refuses(&[
            ErrorCode::ValidationFailed,
            ErrorCode::NoAuthorization,
            ErrorCode::InvalidApiKey,
            ErrorCode::BadJwt,
            ErrorCode::SessionNotFound,
        ])
        .refuses_with(403, user_gone)
        .refuses_with(403, user_banned)
    }

    /// The service key is needed.
    pub(super) fn service(mut self) -> Self {
        self.asker = Asker::Service;
        self.refuses(&[
            ErrorCode::ValidationFailed,
            ErrorCode::NoAuthorization,
            ErrorCode::InvalidApiKey,
            ErrorCode::BadJwt,
            ErrorCode::NotAdmin,
        ])
    }

    /// A query parameter that may be left out.
    pub(super) fn query(mut self, name: &'static str, schema: Value) -> Self {
        self.query
            .push(json!({ "name": name, "in": "query", "schema": schema }));
        // One that stands there twice is refused.
        self.refuses(&[ErrorCode::ValidationFailed])
    }

    /// Pages of a list, `page` and `per_page`.
    pub(super) fn paged(self) -> Self {
        let number = json!({ "type": "integer", "minimum": 1 });
        self.query("page", number.clone()).query("per_page", number)
    }

    /// A JSON body.
    pub(super) fn body(mut self, schema: Value) -> Self {
        let kinds = json!({ "application/json": { "schema": schema } });
        self.body = Some(json!({ "required": true, "content": kinds }));
        self.reads_a_body().refuses(&[
            ErrorCode::BadJson,
            ErrorCode::ValidationFailed,
            ErrorCode::UnsupportedMediaType,
        ])
    }

    /// A JSON body that may be left out.
    pub(super) fn optional_body(self, schema: Value) -> Self {
        let mut operation = self.body(schema);
        if let Some(body) = &mut operation.body {
            body["required"] = false.into();
        }
        operation
    }

    /// A body as a browser's form sends it.
    pub(super) fn form(mut self, schema: Value) -> Self {
        let kinds = json!({ "application/x-www-form-urlencoded": { "schema": schema } });
        self.body = Some(json!({ "required": true, "content": kinds }));
        self.reads_a_body()
    }

    /// A body as a form or as JSON.
    pub(super) fn form_or_json(mut self, schema: Value) -> Self {
        let kinds = json!({
            "application/x-www-form-urlencoded": { "schema": schema },
            "application/json": { "schema": schema },
        });
        self.body = Some(json!({ "required": true, "content": kinds }));
        self.reads_a_body()
    }

    fn reads_a_body(self) -> Self {
        self.refuses(&[ErrorCode::RequestEntityTooLarge])
    }

    /// Answers JSON.
    pub(super) fn json(self, status: u16, schema: Value) -> Self {
        self.answer(status, "application/json", schema)
    }

    /// Answers something else than JSON, HTML for example.
    pub(super) fn text(self, kind: &str) -> Self {
        self.answer(200, kind, json!({ "type": "string" }))
    }

    /// Says with a page that something is not there.
    pub(super) fn missing_page(self) -> Self {
        self.answer(404, "text/html", json!({ "type": "string" }))
    }

    fn answer(mut self, status: u16, kind: &str, schema: Value) -> Self {
        let content = json!({ kind: { "schema": schema } });
        let answer = json!({ "description": "Done", "content": content });
        self.answers.insert(status, answer);
        self
    }

    /// Answers without a body.
    pub(super) fn empty(mut self, status: u16) -> Self {
        self.answers
            .insert(status, json!({ "description": "Done" }));
        self
    }

    /// Leads the browser on.
    pub(super) fn redirects(mut self, status: u16) -> Self {
        let location = json!({ "schema": { "type": "string" } });
        let answer = json!({ "description": "On to", "headers": { "Location": location } });
        self.answers.insert(status, answer);
        self
    }

    /// Errors, each with the status of its code.
    pub(super) fn refuses(self, codes: &[ErrorCode]) -> Self {
        codes
            .iter()
            .fold(self, |all, code| all.refuses_with(code.status(), *code))
    }

    /// An error with another status than its code's own.
    pub(super) fn refuses_with(mut self, status: u16, code: ErrorCode) -> Self {
        let codes = self.codes.entry(status).or_default();
        if !codes.contains(&code) {
            codes.push(code);
        }
        self
    }

    /// Refusals may have the members of RFC 6749 instead, with these statuses.
    pub(super) fn oauth_errors(mut self, statuses: &[u16]) -> Self {
        self.oauth_errors = true;
        for status in statuses {
            self.codes.entry(*status).or_default();
        }
        self
    }

    /// The key of its path in the document.
    pub(super) fn full_path(&self) -> String {
        let base = if self.at_root { "" } else { "/auth/v1" };
        format!("{base}{}", self.path)
    }

    /// `get`, `post`, …
    pub(super) fn method(&self) -> &'static str {
        self.method
    }

    /// The operation object.
    pub(super) fn into_json(self, topic: &str) -> Value {
        let mut parameters = vec![json!({ "$ref": "#/components/parameters/ApiVersion" })];
        parameters.extend(self.path_parameters());
        let mut object = json!({
            "operationId": self.id(),
            "summary": self.summary,
            "tags": [topic],
            "security": self.security(),
            "responses": self.responses(),
        });
        parameters.extend(self.query);
        object["parameters"] = parameters.into();
        if let Some(body) = self.body {
            object["requestBody"] = body;
        }
        object
    }

    fn id(&self) -> String {
        let words = self.path.split(|c: char| !c.is_ascii_alphanumeric());
        let words = words.filter(|word| !word.is_empty());
        let place = if self.at_root { "root_" } else { "" };
        format!(
            "{}_{place}{}",
            self.method,
            words.collect::<Vec<_>>().join("_")
        )
    }

    fn path_parameters(&self) -> Vec<Value> {
        let names = self
            .path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        names
            .map(|name| {
                let schema = if name == "id" || name.ends_with("_id") {
                    json!({ "type": "string", "format": "uuid" })
                } else {
                    json!({ "type": "string", "minLength": 1 })
                };
                json!({ "name": name, "in": "path", "required": true, "schema": schema })
            })
            .collect()
    }

    fn security(&self) -> Value {
        match self.asker {
            Asker::Anyone => json!([]),
            Asker::User => json!([{ "user": [] }]),
            Asker::Service => json!([{ "service": [] }, { "secret_key": [] }]),
        }
    }

    fn responses(&self) -> Value {
        let schema = if self.oauth_errors {
            json!({ "anyOf": [reference("OAuthError"), reference("Error")] })
        } else {
            reference("Error")
        };
        let mut all: Map<String, Value> = self
            .answers
            .iter()
            .map(|(status, answer)| (status.to_string(), answer.clone()))
            .collect();
        for (status, codes) in &self.codes {
            let names: Vec<_> = codes.iter().map(|code| code.as_str()).collect();
            let texts: Vec<_> = codes
                .iter()
                .map(|code| format!("`{}`: {}", code.as_str(), code.doc().trim()))
                .collect();
            let description = if texts.is_empty() {
                "An error as RFC 6749 words it".to_owned()
            } else {
                texts.join("\n")
            };
            let mut answer = json!({
                "description": description,
                "content": { "application/json": { "schema": schema } },
                "x-error-codes": names,
            });
            if matches!(status, 429 | 503) {
                let seconds = json!({ "type": "integer" });
                answer["headers"] = json!({ "Retry-After": { "schema": seconds } });
            }
            // A page may be answered with the same status.
            if let Some(other) = all.get(&status.to_string()) {
                let other = other["content"].as_object().cloned();
                for (kind, content) in other.into_iter().flatten() {
                    answer["content"][kind] = content;
                }
            }
            all.insert(status.to_string(), answer);
        }
        Value::Object(all)
    }
}

/// A schema of the document by name.
pub(super) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// The header that chooses the shape of errors.
pub(super) fn version_parameter() -> Value {
    json!({
        "name": "X-Supabase-Api-Version",
        "in": "header",
        "description": "From 2024-01-01 on, errors have their code as text",
        "schema": { "type": "string", "examples": ["2024-01-01"] },
    })
}

/// How callers say who they are.
pub(super) fn security_schemes() -> Value {
    json!({
        "user": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "The access token of a session",
        },
        "service": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "The key of role service_role",
        },
        "secret_key": {
            "type": "apiKey",
            "in": "header",
            "name": "apikey",
            "description": "A secret key, sb_secret_…",
        },
    })
}
