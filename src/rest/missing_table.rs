//! One answer of PostgREST 12 is told as later releases tell it.
//!
//! Asked for a table that does not exist, PostgREST 12 passes on Postgres' own `42P01`; since 13 it answers
//! `PGRST205`, which today's clients branch on. This is done only for the PostgREST `sb` runs itself, whose version
//! is pinned to 12 for now; an upstream named in `rest.url` is passed on byte for byte. It goes away with the pin.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use serde_json::{Value, json};

use super::patience;

/// The last segment of `uri`, when it can be a table's name.
pub(super) fn table(uri: &Uri) -> Option<String> {
    let name = uri
        .path()
        .rsplit('/')
        .next()
        .filter(|name| !name.is_empty())?;
    let is_function = uri.path().trim_end_matches(name).ends_with("/rpc/");
    let plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (!is_function && plain).then(|| name.to_owned())
}

/// `response` to a request for `table`, retold if it says that the table does not exist.
pub(super) async fn retell(response: Response, table: &str) -> Response {
    let from_12 = |server: &HeaderValue| server.as_bytes().starts_with(b"postgrest/12.");
    if response.status() != StatusCode::NOT_FOUND
        || !response.headers().get(header::SERVER).is_some_and(from_12)
    {
        return response;
    }
    let (mut parts, bytes) = match patience::short(response).await {
        Ok(short) => short,
        Err(response) => return response,
    };
    let Some(retold) = retold(&bytes, table) else {
        return Response::from_parts(parts, Body::from(bytes));
    };
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.remove(header::TRANSFER_ENCODING);
    Response::from_parts(parts, Body::from(retold))
}

/// Only when the missing relation is the table that was asked for: a view or function may miss another one.
fn retold(body: &[u8], table: &str) -> Option<String> {
    let error: Value = serde_json::from_slice(body).ok()?;
    if error["code"] != "42P01" {
        return None;
    }
    let relation = error["message"]
        .as_str()?
        .strip_prefix("relation \"")?
        .strip_suffix("\" does not exist")?;
    let (_, name) = relation.split_once('.')?;
    let message = format!("Could not find the table '{relation}' in the schema cache");
    (name == table).then(|| {
        json!({ "code": "PGRST205", "details": null, "hint": null, "message": message }).to_string()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(message: &str) -> Vec<u8> {
        json!({ "code": "42P01", "details": null, "hint": null, "message": message })
            .to_string()
            .into_bytes()
    }

    #[test]
    fn only_the_table_that_was_asked_for_is_retold() {
        let retold_code = |message, table| {
            let body = retold(&error(message), table)?;
            Some(
                serde_json::from_str::<Value>(&body).unwrap()["code"]
                    .as_str()
                    .unwrap()
                    .to_owned(),
            )
        };
        let code = retold_code("relation \"public.nope\" does not exist", "nope");
        assert_eq!(code.as_deref(), Some("PGRST205"));
        assert_eq!(
            retold_code("relation \"public.inner\" does not exist", "nope"),
            None
        );
        assert_eq!(retold_code("something \"public.nope\" else", "nope"), None);
        assert_eq!(retold(b"{}", "nope"), None);
        assert_eq!(retold(b"<html>", "nope"), None);
    }

    #[test]
    fn functions_and_odd_names_are_left_alone() {
        let table = |path: &str| table(&path.parse().unwrap());
        assert_eq!(table("/todos?select=*").as_deref(), Some("todos"));
        assert_eq!(table("/rpc/todos"), None);
        assert_eq!(table("/"), None);
        assert_eq!(table("/a%20b"), None);
    }
}
