//! Which headers pass, in both directions.
//!
//! Everything does, duplicates included, but for what belongs to one connection (RFC 9110, 7.6.1), what a client
//! could forge about itself, and what the edge answers (CORS).

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use super::path::PREFIX;
use crate::http::middleware::REQUEST_ID;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const PREFIX_VALUE: HeaderValue = HeaderValue::from_static(PREFIX);

/// They end at each hop, whether `Connection` names them or not.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// What a client might say of itself; `sb` says it anew. `Expect` has been answered here.
const CLIENT_SAYS: [HeaderName; 6] = [
    header::EXPECT,
    header::FORWARDED,
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-server"),
    HeaderName::from_static("x-original-forwarded-for"),
    HeaderName::from_static("x-real-ip"),
];

/// What PostgREST is told of the way a request came.
#[derive(Debug)]
pub(super) struct Via<'a> {
    /// The upstream's `Host`.
    pub(super) authority: &'a HeaderValue,
    /// The client's address.
    pub(super) client: IpAddr,
    /// The id in the logs.
    pub(super) request_id: Option<&'a str>,
    /// Whether clients reach `sb` over TLS.
    pub(super) https: bool,
}

/// Makes a client's headers PostgREST's.
pub(super) fn to_upstream(headers: &mut HeaderMap, via: &Via<'_>) {
    let chunked = headers.contains_key(header::TRANSFER_ENCODING);
    strip_connection(headers);
    for name in &CLIENT_SAYS {
        headers.remove(name);
    }
    if chunked {
        // Without it hyper would send no body with a GET.
        headers.insert(
            header::TRANSFER_ENCODING,
            HeaderValue::from_static("chunked"),
        );
    }
    match headers.insert(header::HOST, via.authority.clone()) {
        Some(host) => drop(headers.insert(FORWARDED_HOST, host)),
        None => drop(headers.remove(FORWARDED_HOST)),
    }
    if let Ok(client) = HeaderValue::try_from(via.client.to_string()) {
        headers.insert(FORWARDED_FOR, client);
    }
    let proto = if via.https { "https" } else { "http" };
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(proto));
    headers.insert(FORWARDED_PREFIX, PREFIX_VALUE);
    if let Some(Ok(id)) = via.request_id.map(HeaderValue::from_str) {
        headers.insert(REQUEST_ID.clone(), id);
    }
}

/// Makes PostgREST's headers the answer's. CORS is the edge's: its rules hold for every path. Which headers a page may
/// read is PostgREST's word, though: only it knows what it sends.
pub(super) fn to_client(headers: &mut HeaderMap) {
    strip_connection(headers);
    let cors: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("access-control-"))
        .filter(|name| *name != header::ACCESS_CONTROL_EXPOSE_HEADERS)
        .cloned()
        .collect();
    for name in cors {
        headers.remove(name);
    }
}

fn strip_connection(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let listed: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            // Framing is not for a list to take away.
            .filter(|name| *name != header::CONTENT_LENGTH)
            .collect();
        for name in listed {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_connection_list_cannot_take_the_length_away() {
        let mut headers = map(&[
            ("connection", "content-length, x-a"),
            ("content-length", "3"),
            ("x-a", "1"),
        ]);
        strip_connection(&mut headers);
        assert_eq!(headers, map(&[("content-length", "3")]));
    }

    #[test]
    fn duplicates_stay() {
        let mut headers = map(&[
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("access-control-allow-origin", "*"),
        ]);
        to_client(&mut headers);
        assert_eq!(
            headers,
            map(&[("set-cookie", "a=1"), ("set-cookie", "b=2")])
        );
    }
}
