//! What operators and load balancers ask: `/livez`, `/readyz`, `/health`, `/metrics`.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Map, Value, json};

use crate::app::Context;
use crate::error::ErrorCode;
use crate::http::{ApiError, ClientIp, Json};
use crate::rest::Rest;

/// How long each readiness check may take; they run side by side.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// A worker whose newest sign of life is older than this is not there.
const WORKER_AGE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
struct Ops {
    context: Context,
    /// `None` in a process that serves no `/rest/v1`.
    rest: Option<Rest>,
}

/// The operators' routes, mounted at the root.
pub(crate) fn router(context: Context, rest: Option<Rest>) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .with_state(Ops { context, rest })
}

/// The process answers; nothing else is asked.
async fn livez() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// Whether requests can be served: 200, or 503 naming the check that failed.
async fn readyz(State(ops): State<Ops>) -> Response {
    let (ready, checks) = Box::pin(ops.checks()).await;
    let stopping = ops.context.lifecycle.stopping().is_cancelled();
    let status = if ready && !stopping {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let word = if status == StatusCode::OK {
        "ok"
    } else {
        "fail"
    };
    (status, Json(json!({ "status": word, "checks": checks }))).into_response()
}

/// The same for people and dashboards: always 200.
async fn health(State(ops): State<Ops>) -> Json<Value> {
    let (ready, checks) = Box::pin(ops.checks()).await;
    Json(json!({
        "status": if ready { "ok" } else { "degraded" },
        "version": env!("CARGO_PKG_VERSION"),
        "checks": checks,
        "timestamp": ops.context.clock.now(),
    }))
}

/// `OpenMetrics` text, for `server.metrics_token` or, without one, for loopback clients.
async fn metrics(
    State(ops): State<Ops>,
    ClientIp(client): ClientIp,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    ops.admit_to_metrics(client, &headers)?;
    let context = &ops.context;
    context.jobs.refresh_metrics(&context.lifecycle).await;
    let text = context.metrics.encode().map_err(ApiError::internal)?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// What a check said and how long it took; nothing when there is no check.
async fn timed<E: std::fmt::Display>(
    check: Option<impl Future<Output = Result<(), E>>>,
) -> Option<(Duration, Result<(), String>)> {
    let started = Instant::now();
    let result = check?.await.map_err(|error| error.to_string());
    Some((started.elapsed(), result))
}

impl Ops {
    async fn checks(&self) -> (bool, Map<String, Value>) {
        let Context {
            db, jobs, config, ..
        } = &self.context;
        let expects_worker = config.current().jobs.expect_worker || jobs.has_worker();
        let database = async { db.ping(CHECK_TIMEOUT).await.map_err(|e| e.to_string()) };
        let postgrest = self.rest.as_ref().map(|rest| rest.ping(CHECK_TIMEOUT));
        let worker = expects_worker.then(|| jobs.check_worker(WORKER_AGE, CHECK_TIMEOUT));
        let (database, postgrest, worker) =
            tokio::join!(timed(Some(database)), timed(postgrest), timed(worker));
        let mut ready = true;
        let mut checks = Map::new();
        for (name, outcome) in [
            ("database", database),
            ("postgrest", postgrest),
            ("worker", worker),
        ] {
            let Some((took, result)) = outcome else {
                continue;
            };
            ready &= result.is_ok();
            // The reason can name hosts; it goes to the log, not to whoever asks.
            if let Err(error) = &result {
                tracing::warn!(check = name, error = %error, "a readiness check failed");
            }
            let latency_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            let status = if result.is_ok() { "ok" } else { "fail" };
            checks.insert(
                name.to_owned(),
                json!({ "status": status, "latency_ms": latency_ms }),
            );
        }
        (ready, checks)
    }

    fn admit_to_metrics(&self, client: IpAddr, headers: &HeaderMap) -> Result<(), ApiError> {
        let config = self.context.config.current();
        let Some(token) = &config.server.metrics_token else {
            // A proxy on this machine is a loopback client too, and who it speaks for is not known without
            // server.trusted_proxies.
            let is_forwarded = ["x-forwarded-for", "forwarded", "x-real-ip", "via"]
                .iter()
                .any(|name| headers.contains_key(*name));
            return if client.is_loopback() && !is_forwarded {
                Ok(())
            } else {
                let message = "Metrics are for loopback clients unless server.metrics_token is set";
                Err(ApiError::new(ErrorCode::NotAdmin, message))
            };
        };
        let given = headers
            .get(header::AUTHORIZATION)
            .map(axum::http::HeaderValue::as_bytes)
            .unwrap_or_default();
        let expected = format!("Bearer {}", token.expose());
        aws_lc_rs::constant_time::verify_slices_are_equal(given, expected.as_bytes()).map_err(
            |_| {
                ApiError::new(
                    ErrorCode::NoAuthorization,
                    "Metrics need their bearer token",
                )
            },
        )
    }
}
