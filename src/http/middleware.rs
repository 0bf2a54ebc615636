//! What happens to every request: id, client address, span and log line, metrics, headers, limits.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use tracing::Instrument as _;

use super::cors::{self, Cors};
use super::extract::ClientIp;
use super::server::Peer;
use super::{ApiError, Authenticate};
use crate::config;
use crate::error::ErrorCode;
use crate::net::{Network, client_ip};
use crate::telemetry::Metrics;

/// Names a request in logs, answers and error reports.
pub static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of the request at hand, a request extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(pub String);

/// Wraps `router` in everything a request passes, outermost last.
pub fn wrap(
    router: Router,
    config: &config::Handle,
    metrics: &Metrics,
    authenticate: Authenticate,
) -> Router {
    let settings = config.current();
    let max_body = usize::try_from(settings.server.max_body_bytes).unwrap_or(usize::MAX);
    let context = Arc::new(Context {
        config: config.clone(),
        metrics: metrics.clone(),
        authenticate,
        cors: Cors::new(&settings.server.cors_origins),
        headers: security_headers(&settings),
    });
    let observe = from_fn(move |request, next| observe(Arc::clone(&context), request, next));
    // One layer to the router: each costs every request a boxed service and a boxed future.
    router.layer((observe, DefaultBodyLimit::max(max_body)))
}

struct Context {
    config: config::Handle,
    metrics: Metrics,
    authenticate: Authenticate,
    cors: Cors,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// Outermost: everything inside runs in the request's span, and every answer carries the id and is counted.
async fn observe(context: Arc<Context>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(&request);
    let client = client_address(&context.config.current(), &request);
    let extensions = request.extensions_mut();
    extensions.insert(RequestId(id.clone()));
    extensions.insert(ClientIp(client));
    extensions.insert(context.authenticate.clone());
    let method = request.method().clone();
    let route = route(&request);
    let span = tracing::info_span!("http.request", http.method = %method, http.route = route, request.id = id);
    let in_flight = context.metrics.request_started();
    let mut response = answer(&context, request, next).instrument(span).await;
    drop(in_flight);
    let line = Line {
        method: method.as_str(),
        route: &route,
        id: &id,
        status: response.status(),
        elapsed: started.elapsed(),
    };
    let status = line.status.as_u16();
    context
        .metrics
        .request_finished(line.method, line.route, status, line.elapsed);
    line.log(response.extensions().get::<ApiError>());
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID.clone(), value);
    }
    response
}

/// The answer with the headers all answers carry; those the feature set itself stand.
async fn answer(context: &Context, request: Request, next: Next) -> Response {
    let mut response = if cors::is_preflight(&request) {
        context.cors.preflight(&request)
    } else {
        let allowed = context.cors.allowed(request.headers().get(header::ORIGIN));
        let response = AssertUnwindSafe(next.run(request)).catch_unwind().await;
        let mut response = response.unwrap_or_else(|panic| panicked(&*panic));
        context.cors.mark(response.headers_mut(), allowed);
        response
    };
    let headers = response.headers_mut();
    for (name, value) in &context.headers {
        headers.entry(name).or_insert_with(|| value.clone());
    }
    response
}

/// What the log says of every request. It names the request itself instead of standing in its span, because a
/// span's fields are parsed anew for every line of JSON, which costs more than the rest of the line.
struct Line<'a> {
    method: &'a str,
    route: &'a str,
    id: &'a str,
    status: StatusCode,
    elapsed: Duration,
}

impl Line<'_> {
    /// The cause of a failure is printed here and nowhere else.
    fn log(&self, error: Option<&ApiError>) {
        let code = error.map(|error| error.code().as_str());
        let cause = error.and_then(ApiError::cause);
        let unavailable = self.status == StatusCode::SERVICE_UNAVAILABLE;
        macro_rules! line {
            ($level:ident, $text:literal) => {
                tracing::$level!(
                    http.method = self.method,
                    http.route = self.route,
                    http.status = self.status.as_u16(),
                    duration_ms = u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX),
                    request.id = self.id,
                    error.code = code,
                    error.cause = cause,
                    $text
                )
            };
        }
        if self.status.is_server_error() && !unavailable {
            line!(error, "request failed");
        } else if cause.is_some() {
            line!(warn, "request refused");
        } else {
            line!(info, "request completed");
        }
    }
}

/// The client's own id when it is short and plain, else a new one.
fn request_id(request: &Request) -> String {
    let plain = |id: &&str| {
        (8..=64).contains(&id.len())
            && id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let given = request
        .headers()
        .get(&REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(plain);
    given.map_or_else(|| uuid::Uuid::new_v4().simple().to_string(), str::to_owned)
}

fn client_address(config: &config::Config, request: &Request) -> std::net::IpAddr {
    let peer = request
        .extensions()
        .get::<Peer>()
        .map_or(std::net::IpAddr::from([127, 0, 0, 1]), |peer| peer.0.ip());
    if config.server.trusted_proxies.is_empty() {
        return peer.to_canonical();
    }
    let trusted: Vec<Network> = config
        .server
        .trusted_proxies
        .iter()
        .filter_map(|text| Network::parse(text))
        .collect();
    let hops = request
        .headers()
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok());
    client_ip(peer, Some(&hops.collect::<Vec<_>>().join(",")), &trusted)
}

/// The route's pattern, never the path: paths hold ids, queries hold tokens.
fn route(request: &Request) -> String {
    request.extensions().get::<MatchedPath>().map_or_else(
        || {
            let first = request.uri().path().split('/').nth(1).unwrap_or_default();
            if first == "rest" {
                "/rest/v1/*".to_owned()
            } else {
                "(none)".to_owned()
            }
        },
        |path| path.as_str().to_owned(),
    )
}

fn security_headers(config: &config::Config) -> Vec<(HeaderName, HeaderValue)> {
    let security = &config.security;
    if !security.headers_enabled {
        return Vec::new();
    }
    let mut headers = vec![(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    )];
    let mut add = |name, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text)
            && !text.is_empty()
        {
            headers.push((name, value));
        }
    };
    add(header::X_FRAME_OPTIONS, &security.frame_options);
    add(header::REFERRER_POLICY, &security.referrer_policy);
    add(header::CONTENT_SECURITY_POLICY, &security.csp);
    if security
        .hsts_enabled
        .unwrap_or_else(|| config.api_url().starts_with("https://"))
    {
        let value = format!("max-age={}; includeSubDomains", security.hsts_max_age);
        add(header::STRICT_TRANSPORT_SECURITY, &value);
    }
    headers
}

fn panicked(panic: &(dyn Any + Send)) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("unknown panic");
    ApiError::internal(format!("panic: {text}")).into_response()
}

/// The answer where nothing is mounted.
pub async fn not_found() -> ApiError {
    ApiError::new(ErrorCode::NotFound, "Nothing is served at this path")
}

/// The answer to a method a path does not take.
pub async fn method_not_allowed() -> ApiError {
    ApiError::new(
        ErrorCode::MethodNotAllowed,
        "This path does not take this method",
    )
}
