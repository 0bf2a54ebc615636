//! What happens to every request: id, client address, span and log line, metrics, headers, limits.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer, ExposeHeaders};
use tracing::Instrument as _;

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
    });
    let headers: Arc<[(HeaderName, HeaderValue)]> = security_headers(&settings).into();
    router
        .layer(DefaultBodyLimit::max(max_body))
        .layer(from_fn(move |request, next| {
            super::authenticate::layer(authenticate.clone(), request, next)
        }))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(cors(&settings.server.cors_origins))
        .layer(from_fn(move |request, next| {
            add_headers(Arc::clone(&headers), request, next)
        }))
        .layer(from_fn(move |request, next| {
            observe(Arc::clone(&context), request, next)
        }))
}

struct Context {
    config: config::Handle,
    metrics: Metrics,
}

/// Outermost: everything inside runs in the request's span, and every answer carries the id and is counted.
async fn observe(context: Arc<Context>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(&request);
    let client = client_address(&context.config.current(), &request);
    request.extensions_mut().insert(RequestId(id.clone()));
    request.extensions_mut().insert(ClientIp(client));
    let method = request.method().clone();
    let route = route(&request);
    let span = tracing::info_span!("http.request", http.method = %method, http.route = route, request.id = id);
    let in_flight = context.metrics.request_started();
    let mut response = next.run(request).instrument(span.clone()).await;
    drop(in_flight);
    let status = response.status();
    let elapsed = started.elapsed();
    context
        .metrics
        .request_finished(method.as_str(), &route, status.as_u16(), elapsed);
    span.in_scope(|| log(&response, status, elapsed));
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID.clone(), value);
    }
    response
}

/// One line per request; the cause of a failure is printed here and nowhere else.
fn log(response: &Response, status: StatusCode, elapsed: Duration) {
    let duration_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    let status_code = status.as_u16();
    let error = response.extensions().get::<ApiError>();
    let code = error.map(|error| error.code().as_str());
    let cause = error.and_then(ApiError::cause);
    if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE {
        tracing::error!(
            http.status = status_code,
            duration_ms,
            error.code = code,
            error.cause = cause,
            "request failed"
        );
    } else if cause.is_some() {
        tracing::warn!(
            http.status = status_code,
            duration_ms,
            error.code = code,
            error.cause = cause,
            "request refused"
        );
    } else {
        tracing::info!(
            http.status = status_code,
            duration_ms,
            error.code = code,
            "request completed"
        );
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

async fn add_headers(
    headers: Arc<[(HeaderName, HeaderValue)]>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in headers.iter() {
        response
            .headers_mut()
            .entry(name)
            .or_insert_with(|| value.clone());
    }
    response
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

/// Any page may call the API with tokens (never with cookies), and may read the headers the clients need.
fn cors(origins: &[String]) -> CorsLayer {
    const EXPOSED: &[&str] = &[
        "content-range",
        "content-location",
        "content-profile",
        "content-encoding",
        "link",
        "location",
        "preference-applied",
        "range-unit",
        "retry-after",
        "server-timing",
        "x-request-id",
        "x-sb-error-code",
        "x-supabase-api-version",
        "x-total-count",
    ];
    let origin = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(
            origins
                .iter()
                .filter_map(|origin| HeaderValue::from_str(origin.trim_end_matches('/')).ok()),
        )
    };
    CorsLayer::new()
        .allow_origin(origin)
        .allow_methods(AllowMethods::list([
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
            Method::OPTIONS,
        ]))
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(ExposeHeaders::list(
            EXPOSED.iter().map(|name| HeaderName::from_static(name)),
        ))
        .max_age(Duration::from_secs(3600))
}

fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
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
