//! The whole application in process, on a database of its own.

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use sb::app::Running;
use sb::clock::Clock;
use sb::config::{Config, Sources};
use sb::db::{Connection, Target};
use sb::stack::{PostgrestOptions, Stack};
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// One master key for all: role passwords are cluster-wide.
pub(crate) const MASTER_KEY: &str = "a test master key, long enough to be one";

/// Settings for `url`, as flags on top of the defaults.
pub(crate) fn config(url: &str, settings: &[(&str, &str)]) -> Config {
    let fixed = [
        ("db.url", url),
        ("jwt.master_key", MASTER_KEY),
        ("jwt.alg", "ES256"),
        ("rest.url", "http://127.0.0.1:9"),
        ("server.api_url", "http://sb.test"),
        ("auth.argon2_memory_kib", "64"),
        ("auth.argon2_iterations", "1"),
        ("db.migrate_on_start", "false"),
        // A schedule of ours would enqueue jobs of its own; tests of schedules switch it on.
        ("jobs.cron_backend", "off"),
        // All tests come from one address, and their clock stands still.
        ("auth.rate_limit_token_per_window", "1000"),
        ("auth.rate_limit_signup_per_window", "1000"),
        ("auth.rate_limit_mfa_per_window", "1000"),
        ("auth.rate_limit_refresh_per_window", "10000"),
    ];
    let flags = fixed
        .iter()
        .chain(settings)
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    // An empty folder: relative to the current one, `migrations/` would be the framework's own line.
    let project_dir = super::cluster::scratch_dir("project");
    Config::load(Sources {
        project_dir,
        flags: flags.collect(),
        ..Sources::default()
    })
    .expect("test settings are valid")
}

/// Applies the framework line, for the template.
pub(crate) async fn migrate(url: &str) {
    let config = config(url, &[]);
    sb::App::new()
        .migrate(&config)
        .await
        .expect("the framework migrations apply");
}

/// A running application.
pub(crate) struct TestApp {
    pub(crate) running: Running,
    pub(crate) clock: Clock,
    target: Target,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// The body as JSON; `null` when it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl TestApp {
    pub(crate) async fn new() -> Self {
        Self::with(&[]).await
    }

    /// With settings (`section.key`, value).
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        Self::build(sb::App::new(), settings).await
    }

    /// On the machine's clock and with a PostgREST of its own, which believes no token from the future.
    pub(crate) async fn with_postgrest(settings: &[(&str, &str)]) -> (Self, Stack) {
        let target = super::fresh_database().await;
        let mut stack = super::own_stack(&format!("postgrest-{}", target.database()));
        let authenticator = target.with_user("authenticator", "");
        let settings_of_postgrest = [
            ("db-uri", authenticator.to_libpq().as_str()),
            ("db-schemas", "public"),
            ("db-anon-role", "anon"),
            ("db-extra-search-path", "public, extensions"),
            ("db-pre-config", "sb.pgrst_pre_config"),
            ("jwt-aud", "authenticated"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let options = PostgrestOptions {
            settings: settings_of_postgrest.into(),
            ..PostgrestOptions::default()
        };
        let endpoint = stack
            .start_postgrest(options)
            .await
            .expect("postgrest starts");
        let url = format!("http://127.0.0.1:{}", endpoint.port);
        let settings: Vec<_> = settings
            .iter()
            .copied()
            .chain([("rest.url", url.as_str())])
            .collect();
        let app = Self::start(sb::App::new(), target, Clock::system(), &settings).await;
        (app, stack)
    }

    /// With an embedding author's additions.
    pub(crate) async fn build(app: sb::App, settings: &[(&str, &str)]) -> Self {
        let start = chrono::DateTime::from_timestamp(1_900_000_000, 0).expect("a valid time");
        Self::start(
            app,
            super::fresh_database().await,
            Clock::test(start),
            settings,
        )
        .await
    }

    /// Another node on the same database, with the same clock.
    pub(crate) async fn another_node(&self, settings: &[(&str, &str)]) -> Self {
        let (target, clock) = (self.target.clone(), self.clock.clone());
        Self::start(sb::App::new(), target, clock, settings).await
    }

    async fn start(app: sb::App, target: Target, clock: Clock, settings: &[(&str, &str)]) -> Self {
        let config = config(&super::cluster::url_of(&target), settings);
        let running = app
            .clock(clock.clone())
            .build(config)
            .await
            .expect("the app builds");
        Self {
            running,
            clock,
            target,
        }
    }

    /// A connection as the owner.
    pub(crate) async fn owner(&self) -> Connection {
        Connection::open(&self.target)
            .await
            .expect("postgres takes connections")
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        let response = self
            .running
            .router()
            .oneshot(request)
            .await
            .expect("the router is infallible");
        let (parts, body) = response.into_parts();
        let body = body
            .collect()
            .await
            .expect("the body can be read")
            .to_bytes()
            .to_vec();
        Reply {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    /// A JSON request; `token` goes out as the bearer.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> Reply {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("x-supabase-api-version", "2024-01-01");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        self.send(request.body(body).expect("a valid request"))
            .await
    }

    pub(crate) async fn get(&self, path: &str, token: Option<&str>) -> Reply {
        self.call(Method::GET, path, token, None).await
    }

    pub(crate) async fn post(&self, path: &str, token: Option<&str>, body: Value) -> Reply {
        self.call(Method::POST, path, token, Some(body)).await
    }

    /// Signs a user up and returns the session.
    pub(crate) async fn sign_up(&self, email: &str) -> Value {
        let reply = self
            .post(
                "/auth/v1/signup",
                None,
                json!({ "email": email, "password": "correct horse" }),
            )
            .await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
        reply.json()
    }
}
