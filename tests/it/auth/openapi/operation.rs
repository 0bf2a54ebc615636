//! The operations of the document, as tests ask for them.

use serde_json::Value;

/// What may be sent to one operation.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    pub(super) method: String,
    /// Below `/auth/v1`.
    pub(super) path: String,
    pub(super) asker: Asker,
    pub(super) query: Vec<String>,
    pub(super) members: Vec<String>,
    pub(super) object: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    Anyone,
    User,
    Service,
}

/// The path with `id` in place of its parameters.
pub(super) fn fill(path: &str, id: &str) -> String {
    let parts = path.split('/');
    let filled = parts.map(|part| if part.starts_with('{') { id } else { part });
    filled.collect::<Vec<_>>().join("/")
}

pub(super) fn operations(document: &Value) -> Vec<Operation> {
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        // What stands at the root is served by another router.
        let Some(path) = path.strip_prefix("/auth/v1") else {
            continue;
        };
        for (method, object) in methods.as_object().unwrap() {
            let schemes = object["security"].as_array().unwrap();
            let asker = match schemes.first() {
                None => Asker::Anyone,
                Some(scheme) if scheme.get("user").is_some() => Asker::User,
                Some(_) => Asker::Service,
            };
            let parameters = object["parameters"].as_array().unwrap();
            let names = parameters.iter().filter(|one| one["in"] == "query");
            let content = object["requestBody"]["content"].as_object();
            let schema = content.and_then(|kinds| kinds.values().next());
            let schema = schema.map_or(&Value::Null, |kind| &kind["schema"]);
            let members = schema["properties"].as_object();
            operations.push(Operation {
                method: method.clone(),
                path: path.to_owned(),
                asker,
                query: names
                    .map(|one| one["name"].as_str().unwrap().to_owned())
                    .collect(),
                members: members
                    .into_iter()
                    .flat_map(|all| all.keys().cloned())
                    .collect(),
                object: object.clone(),
            });
        }
    }
    operations
}
