//! From the client's target to PostgREST's, unchanged but for the prefix.
//!
//! A path that two parties could read differently (dot segments, encoded slashes) is refused, so that no proxy in
//! front and no PostgREST behind can disagree with what was routed here.

use axum::http::Uri;
use axum::http::uri::PathAndQuery;

use super::credentials::looks_like_key;
use crate::error::ErrorCode;
use crate::http::ApiError;

pub(super) const PREFIX: &str = "/rest/v1";

/// What goes upstream, and the API key the query named, if it did.
#[derive(Debug)]
pub(super) struct Forwarded {
    pub(super) uri: Uri,
    pub(super) query_key: Option<String>,
}

/// Strips the prefix and puts `base` (a path without trailing slash, mostly empty) before the rest. A query
/// parameter `apikey` that holds a key is taken out, as Supabase's gateway does; `apikey=eq.x` filters a column.
pub(super) fn forwarded(uri: &Uri, base: &str) -> Result<Forwarded, ApiError> {
    let bad = || {
        ApiError::new(
            ErrorCode::BadPath,
            "The path could be read in more than one way",
        )
    };
    if uri.authority().is_some() {
        return Err(bad());
    }
    let tail = uri.path().strip_prefix(PREFIX).ok_or_else(bad)?;
    if !is_plain(tail) {
        return Err(bad());
    }
    let sent = uri.path_and_query().map_or("", PathAndQuery::as_str);
    let rest = sent.get(PREFIX.len()..).unwrap_or_default();
    let slash = if tail.is_empty() { "/" } else { "" };
    let (rest, query_key) = match uri.query().and_then(split_key) {
        Some((query, key)) => (format!("{tail}{query}").into(), Some(key)),
        None => (std::borrow::Cow::Borrowed(rest), None),
    };
    let target = if base.is_empty() && slash.is_empty() {
        PathAndQuery::try_from(rest.as_ref())
    } else {
        PathAndQuery::try_from(format!("{base}{slash}{rest}"))
    };
    Ok(Forwarded {
        uri: Uri::from(target.map_err(|_| bad())?),
        query_key,
    })
}

/// Whether a path below the prefix has one reading only.
fn is_plain(tail: &str) -> bool {
    if tail.is_empty() {
        return true;
    }
    if !tail.starts_with('/') || tail.starts_with("//") || tail.contains('\\') {
        return false;
    }
    if !tail.contains(['%', '.']) {
        return true;
    }
    tail.split('/').all(is_plain_segment)
}

fn is_plain_segment(segment: &str) -> bool {
    let mut dots = 0;
    let mut length = 0;
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        let byte = if byte == b'%' {
            let hex = |digit: Option<u8>| char::from(digit.unwrap_or(0)).to_digit(16);
            let (Some(high), Some(low)) = (hex(bytes.next()), hex(bytes.next())) else {
                return false;
            };
            u8::try_from(high * 16 + low).unwrap_or(0)
        } else {
            byte
        };
        if byte.is_ascii_control() || matches!(byte, b'/' | b'\\') {
            return false;
        }
        length += 1;
        dots += usize::from(byte == b'.');
    }
    !(length == dots && (length == 1 || length == 2))
}

/// The query (with its question mark) without a parameter that holds an API key, and the key.
fn split_key(query: &str) -> Option<(String, String)> {
    let key = query.split('&').find_map(key_of)?.to_owned();
    let kept: Vec<_> = query
        .split('&')
        .filter(|pair| key_of(pair).is_none())
        .collect();
    let mut rest = kept.join("&");
    if !rest.is_empty() {
        rest.insert(0, '?');
    }
    Some((rest, key))
}

fn key_of(pair: &str) -> Option<&str> {
    pair.strip_prefix("apikey=")
        .filter(|value| looks_like_key(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(target: &str) -> Result<String, ErrorCode> {
        let uri: Uri = target.parse().unwrap();
        match forwarded(&uri, "") {
            Ok(forwarded) => Ok(forwarded.uri.to_string()),
            Err(error) => Err(error.code()),
        }
    }

    #[test]
    fn legal_targets_go_on_byte_for_byte() {
        for tail in [
            "/",
            "/?",
            "/items",
            "/items?",
            "/rpc/add_them?a=1&b=2",
            "/items?select=*,child(*)&id=in.(1,2)&name=eq.%2F..%2f%00",
            "/%D9%85%D9%88%D8%A7%D8%B1%D8%AF",
            "/Server%20Today?cHostname=like.*%25x",
            "/a.b/..c/...",
            "/v1.0%2e",
            "/items?a=1&&b=%zz&apikey=eq.x",
            "/items/?q='%22;--",
            "/%c3%28",
        ] {
            assert_eq!(sent(&format!("/rest/v1{tail}")), Ok(tail.to_owned()));
        }
        assert_eq!(sent("/rest/v1"), Ok("/".to_owned()));
        assert_eq!(sent("/rest/v1?select=a"), Ok("/?select=a".to_owned()));
    }

    #[test]
    fn ambiguous_targets_are_refused() {
        for target in [
            "/rest/v1//items",
            "/rest/v1/..",
            "/rest/v1/./items",
            "/rest/v1/items/../../admin",
            "/rest/v1/%2e%2E/admin",
            "/rest/v1/.%2e/admin",
            "/rest/v1/%2e",
            "/rest/v1/a%2fb",
            "/rest/v1/a%5Cb",
            "/rest/v1/a%00",
            "/rest/v1/a%0d%0aX:y",
            "/rest/v1/a%7f",
            "/rest/v1/a%",
            "/rest/v1/a%4",
            "/rest/v1/a%zz",
            "/rest/v1evil",
            "/other",
            "http://evil.example/rest/v1/items",
        ] {
            assert_eq!(sent(target), Err(ErrorCode::BadPath), "{target}");
        }
    }

    #[test]
    fn a_base_path_goes_before() {
        let uri: Uri = "/rest/v1/items?a=1".parse().unwrap();
        assert_eq!(
            forwarded(&uri, "/api").unwrap().uri.to_string(),
            "/api/items?a=1"
        );
        let root: Uri = "/rest/v1".parse().unwrap();
        assert_eq!(forwarded(&root, "/api").unwrap().uri.to_string(), "/api/");
    }

    #[test]
    fn a_key_in_the_query_is_taken_out() {
        for (query, rest) in [
            ("?apikey=sb_publishable_x", ""),
            ("?a=eq.1&apikey=sb_secret_x&b=eq.2", "?a=eq.1&b=eq.2"),
            ("?apikey=eyJhbGci.x.y&apikey=eq.1", "?apikey=eq.1"),
        ] {
            let uri: Uri = format!("/rest/v1/items{query}").parse().unwrap();
            let forwarded = forwarded(&uri, "").unwrap();
            assert_eq!(forwarded.uri.to_string(), format!("/items{rest}"));
            assert!(forwarded.query_key.is_some());
        }
    }
}
