//! The `OpenAPI` document: complete, served where it should be, and true of what the service answers to anything.

mod access;
mod arbitrary;
mod conforms;
mod operation;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::support::App;

/// The document as it is served.
pub(super) async fn document(app: &App) -> Value {
    app.request("GET", "/openapi.json").send().await.ok().body
}

#[tokio::test]
async fn it_is_served_only_where_that_is_wanted() {
    let app = App::new().await;
    let hidden = app.request("GET", "/openapi.json").send().await;
    hidden.refused(404, "not_found");
    let app = App::with_settings(&[("auth.openapi", "true")]).await;
    let reply = app.request("GET", "/openapi.json").send().await.ok();
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(reply.text("/openapi"), "3.1.0");
}

/// A route without a line in the tables, or a line without a route, fails here.
#[tokio::test]
async fn it_names_every_route_and_no_other() {
    let app = App::with_settings(&[("auth.openapi", "true")]).await;
    let document = document(&app).await;
    let mut documented = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let path = path.strip_prefix("/auth/v1").unwrap_or(path);
        for method in methods.as_object().unwrap().keys() {
            documented.insert(format!("{method} {path}"));
        }
    }
    let served = routes_of_the_sources();
    let missing: Vec<_> = served.difference(&documented).collect();
    let stale: Vec<_> = documented.difference(&served).collect();
    assert!(
        missing.is_empty() && stale.is_empty(),
        "add to src/auth/openapi: {missing:#?}\nremove from it: {stale:#?}"
    );
}

/// Every `$ref` leads somewhere, and no two operations have one id.
#[tokio::test]
async fn it_holds_together() {
    let app = App::with_settings(&[("auth.openapi", "true")]).await;
    let document = document(&app).await;
    let mut references = Vec::new();
    collect(&document, "$ref", &mut references);
    assert!(references.len() > 20, "{references:?}");
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let mut ids = Vec::new();
    collect(&document, "operationId", &mut ids);
    let unique: BTreeSet<_> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len(), "{ids:?}");
}

fn collect(value: &Value, name: &str, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, name, found)),
        Value::Object(members) => {
            for (key, member) in members {
                if key == name
                    && let Some(text) = member.as_str()
                {
                    found.push(text.to_owned());
                }
                collect(member, name, found);
            }
        }
        _ => {}
    }
}

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// `method path` of every `.route("path", method(…)…)` in `src/auth`.
fn routes_of_the_sources() -> BTreeSet<String> {
    let mut files = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/auth");
    rust_files(&root, &mut files);
    let mut routes = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for other in [".route_service(", ".nest(", ".nest_service("] {
            assert!(
                !text.contains(other),
                "{}: {other} is not read here",
                file.display()
            );
        }
        for (at, _) in text.match_indices(".route(") {
            let call = balanced(&text[at + ".route".len()..]);
            let mut quoted = call.split('"');
            let path = quoted
                .nth(1)
                .unwrap_or_else(|| panic!("no literal path: {call}"));
            let handlers = quoted.next().unwrap_or_default();
            let named: Vec<_> = METHODS
                .iter()
                .filter(|name| calls(handlers, name))
                .collect();
            assert!(!named.is_empty(), "{}: no method in {call}", file.display());
            routes.extend(named.iter().map(|method| format!("{method} {path}")));
        }
    }
    assert!(routes.len() > 10, "{routes:?}");
    routes
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// From an opening parenthesis to the one that closes it.
fn balanced(text: &str) -> &str {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 1 => return &text[..at],
            ')' => depth -= 1,
            _ => {}
        }
    }
    text
}

fn calls(code: &str, name: &str) -> bool {
    let call = format!("{name}(");
    code.match_indices(&call)
        .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}
