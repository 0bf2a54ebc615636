//! Cross-origin rules for browsers (the Fetch standard's CORS protocol).
//!
//! Any allowed page may call the API with tokens, never with cookies, and may read the headers the clients need.
//! Only a real preflight is answered here. Other `OPTIONS` requests go through: PostgREST answers them with the
//! methods a table takes. Methods, headers and lifetime are what PostgREST itself would answer.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::Response;

const METHODS: HeaderValue =
    HeaderValue::from_static("GET, POST, PATCH, PUT, DELETE, OPTIONS, HEAD");
const MAX_AGE: HeaderValue = HeaderValue::from_static("86400");
const ANY: HeaderValue = HeaderValue::from_static("*");
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "Content-Encoding, Content-Location, Content-Range, Content-Type, Date, Location, Server, \
     Transfer-Encoding, Range-Unit, Content-Profile, Link, Preference-Applied, Retry-After, Server-Timing, \
     X-Request-Id, X-Sb-Error-Code, X-Supabase-Api-Version, X-Total-Count",
);

/// Which origins may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cors {
    /// All, which is safe because cookies are never accepted.
    Any,
    /// These.
    List(Vec<String>),
}

impl Cors {
    /// From `server.cors_origins`.
    pub(super) fn new(origins: &[String]) -> Self {
        if origins.iter().any(|origin| origin == "*") {
            return Self::Any;
        }
        let trimmed = origins
            .iter()
            .map(|origin| origin.trim_end_matches('/').to_owned());
        Self::List(trimmed.collect())
    }

    /// What to answer to `origin`, if it may call.
    pub(super) fn allowed(&self, origin: Option<&HeaderValue>) -> Option<HeaderValue> {
        match self {
            Self::Any => Some(ANY),
            Self::List(list) => origin
                .filter(|origin| list.iter().any(|allowed| *origin == allowed.as_str()))
                .cloned(),
        }
    }

    /// The answer to a preflight.
    pub(super) fn preflight(&self, request: &Request) -> Response {
        let mut response = Response::new(Body::empty());
        let allowed = self.allowed(request.headers().get(header::ORIGIN));
        let headers = response.headers_mut();
        if allowed.is_some() {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
            if let Some(names) = allowed_headers(request.headers()) {
                headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names);
            }
        }
        self.mark(headers, allowed);
        response
    }

    /// Adds what every answer carries; `allowed` is [`Cors::allowed`] for the request.
    pub(super) fn mark(&self, headers: &mut HeaderMap, allowed: Option<HeaderValue>) {
        if let Some(origin) = allowed {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers
                .entry(header::ACCESS_CONTROL_EXPOSE_HEADERS)
                .or_insert(EXPOSED);
        }
        if matches!(self, Self::List(_)) {
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
    }
}

/// Whether a browser asks for permission, as opposed to an `OPTIONS` request of its own meaning.
pub(super) fn is_preflight(request: &Request) -> bool {
    let headers = request.headers();
    request.method() == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Whatever was asked for; the names are no secret and none is dangerous without cookies.
fn allowed_headers(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = headers
        .get(header::ACCESS_CONTROL_REQUEST_HEADERS)?
        .to_str()
        .ok()?;
    let mut names = vec!["Authorization"];
    names.extend(
        asked
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty()),
    );
    names.extend(["Accept", "Accept-Language", "Content-Language"]);
    HeaderValue::try_from(names.join(", ")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, headers: &[(&str, &str)]) -> Request {
        let request = headers.iter().fold(
            axum::http::Request::builder().method(method),
            |request, (name, value)| request.header(*name, *value),
        );
        request.body(Body::empty()).unwrap()
    }

    #[test]
    fn a_preflight_has_an_origin_and_names_a_method() {
        let origin = ("origin", "http://a.example");
        let method = ("access-control-request-method", "POST");
        assert!(is_preflight(&request("OPTIONS", &[origin, method])));
        assert!(!is_preflight(&request("OPTIONS", &[origin])));
        assert!(!is_preflight(&request("OPTIONS", &[method])));
        assert!(!is_preflight(&request("GET", &[origin, method])));
    }

    /// Attack 46. Fails when an origin is compared by its beginning, or the asker's is repeated.
    #[test]
    fn only_listed_origins_are_allowed() {
        let cors = Cors::new(&["http://a.example/".to_owned()]);
        let answer = |origin| {
            let asked = ("access-control-request-headers", "apikey,X-Client-Info");
            cors.preflight(&request("OPTIONS", &[("origin", origin), asked]))
        };
        let yes = answer("http://a.example");
        assert_eq!(
            yes.headers()["access-control-allow-origin"],
            "http://a.example"
        );
        assert_eq!(
            yes.headers()["access-control-allow-headers"],
            "Authorization, apikey, X-Client-Info, Accept, Accept-Language, Content-Language"
        );
        let no = answer("http://a.example.evil");
        assert_eq!(no.headers().keys().collect::<Vec<_>>(), ["vary"]);
        assert_eq!(no.headers()["vary"], "Origin");
    }
}
