//! The gateway: `/rest/v1` is PostgREST, seen from outside.
//!
//! A request is read as little as possible and changed only where it must be: [`path`] refuses what could be read
//! in two ways and strips the prefix, [`credentials`] decides which bearer token goes on, [`headers`] takes out
//! what belongs to one connection only, [`forward`] sends it and streams the answer back. PostgREST verifies the
//! token and decides everything else, so that both addresses behave the same.
//!
//! Where PostgREST listens is a [`Target`], which may change while running: the embedded one can come back on
//! another port. Connections are kept in a [`pool`] and driven by the task of the request that uses them, which
//! saves a switch between tasks in both directions.

mod body;
mod credentials;
mod error;
mod forward;
mod headers;
mod missing_table;
mod path;
mod patience;
mod ping;
mod pool;
mod target;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::routing::any;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

pub use credentials::{Exchange, KeyExchange, Purpose};
pub use target::{Target, TargetError};

use crate::config;
use crate::telemetry::Metrics;
use error::Failure;
use pool::Upstream;

/// The gateway's handle. Clones share everything.
#[derive(Clone)]
pub struct Rest(Arc<Inner>);

struct Inner {
    config: config::Handle,
    exchange: KeyExchange,
    upstream: RwLock<Option<Arc<Upstream>>>,
    timeout: Duration,
    max_body_bytes: u64,
    failures: Family<Failure, Counter>,
}

impl Rest {
    /// A gateway to `target`; without one every request is answered 503 until [`Rest::set_target`] names one.
    pub fn new(
        config: &config::Handle,
        metrics: &Metrics,
        exchange: KeyExchange,
        target: Option<Target>,
    ) -> Self {
        let settings = config.current();
        let failures = Family::default();
        metrics.register(|registry| {
            registry.register(
                "rest_upstream_failures",
                "Requests PostgREST did not answer, by reason",
                failures.clone(),
            );
        });
        Self(Arc::new(Inner {
            config: config.clone(),
            exchange,
            upstream: RwLock::new(target.map(Upstream::shared)),
            timeout: Duration::from_secs(settings.rest.timeout_s),
            max_body_bytes: settings.rest.max_body_bytes,
            failures,
        }))
    }

    /// Sends requests elsewhere from now on; those in flight end where they began.
    pub fn set_target(&self, target: Option<Target>) {
        let upstream = target.map(Upstream::shared);
        *self
            .0
            .upstream
            .write()
            .unwrap_or_else(PoisonError::into_inner) = upstream;
    }

    fn upstream(&self) -> Option<Arc<Upstream>> {
        self.0
            .upstream
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl std::fmt::Debug for Rest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rest")
    }
}

/// The gateway's routes, to be mounted at the root: they carry the prefix, because the path is never rewritten
/// before it has been checked.
pub fn router(rest: Rest) -> Router {
    Router::new()
        .route("/rest/v1", any(forward::forward))
        .route("/rest/v1/", any(forward::forward))
        .route("/rest/v1/{*path}", any(forward::forward))
        .with_state(rest)
}
