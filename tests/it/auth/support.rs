//! An auth service of one's own per test: a cloned database, a clock that stands still, and a client.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use chrono::{DateTime, TimeDelta, Utc};
use http_body_util::BodyExt as _;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use sb::auth::{Auth, Extensions, TokenIssuer};
use sb::clock::Clock;
use sb::config::{self, Config, Secret, Sources};
use sb::db::{Connection, Db, DbOptions, Listener, Target};
use sb::http::{
    ApiError, Authenticate, Outbound, authenticate::Credentials, middleware, server::Peer,
};
use sb::jobs::Jobs;
use sb::keys::{MasterKey, secrets};
use sb::lifecycle::Lifecycle;
use sb::mail::Mailer;
use sb::net::Network;
use sb::telemetry::Metrics;
use sb::{Caller, ErrorCode};
use serde_json::{Map, Value, json};
use tower::ServiceExt as _;

use crate::support::fresh_database;

const SIGNING_SECRET: &[u8] = b"the signing secret of the tests, 32 bytes";

/// A password that is good enough.
pub(crate) const PASSWORD: &str = "correct horse battery";

/// What a test may choose.
pub(crate) struct Options {
    /// `section.key` and value.
    pub(crate) settings: Vec<(&'static str, &'static str)>,
    pub(crate) extensions: Extensions,
    /// The auth service gets half of it.
    pub(crate) pool_max_size: usize,
    pub(crate) pool_timeout: Duration,
    /// In place of a client that may call `outbound.allow`.
    pub(crate) outbound: Option<Outbound>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            settings: Vec::new(),
            extensions: Extensions::default(),
            pool_max_size: 10,
            pool_timeout: Duration::from_secs(10),
            outbound: None,
        }
    }
}

pub(crate) struct App {
    pub(crate) auth: Auth,
    pub(crate) db: Db,
    pub(crate) owner: Connection,
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
    pub(crate) config: config::Handle,
    target: Target,
    router: Router,
}

impl App {
    pub(crate) async fn new() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with_settings(settings: &[(&'static str, &'static str)]) -> Self {
        Self::with(Options {
            settings: settings.to_vec(),
            ..Options::default()
        })
        .await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let clock = Clock::test("2026-01-01T12:00:00Z".parse::<DateTime<Utc>>().unwrap());
        Self::start(options, fresh_database().await, clock).await
    }

    /// Another node on the same database, with the same settings and clock.
    pub(crate) async fn another_node(&self) -> Self {
        let options = Options::default();
        let node = Self::start(options, self.target.clone(), self.clock.clone()).await;
        node.config.replace((*self.config.current()).clone());
        node
    }

    async fn start(options: Options, owner: Target, clock: Clock) -> Self {
        logs();
        let config = config::Handle::new(load(&options.settings));
        let db = Db::new(DbOptions {
            authenticator: owner.with_user("authenticator", ""),
            auth: owner.with_user("sb_auth", ""),
            jobs: owner.with_user("sb_jobs", ""),
            hooks: owner.with_user("sb_hooks", ""),
            jobs_pool_max_size: 2,
            owner: owner.clone(),
            pool_max_size: options.pool_max_size,
            pool_timeout: options.pool_timeout,
            statement_timeout: Duration::from_secs(30),
            allowed_roles: config.current().db.allowed_roles.clone(),
        });
        let metrics = Metrics::default();
        let lifecycle = Lifecycle::new();
        let master = MasterKey::from_secret(&Secret::new(crate::support::MASTER_KEY)).unwrap();
        let listener = Listener::start(owner.clone(), &lifecycle);
        let mailer = Mailer::new(
            Jobs::new(db.clone(), listener, &lifecycle),
            db.clone(),
            &master,
            clock.clone(),
            config.clone(),
        );
        let as_owner = Connection::open(&owner).await.unwrap();
        secrets::init(&as_owner, &master, clock.now())
            .await
            .unwrap();
        let signatures = sb::keys::Secrets::default();
        let connection = db.auth().connection().await.unwrap();
        signatures.load(&connection, &master).await.unwrap();
        drop(connection);
        let auth = Auth::new(
            db.clone(),
            issuer(),
            clock.clone(),
            config.clone(),
            &[7; 32],
            signatures,
            mailer,
            options
                .outbound
                .unwrap_or_else(|| outbound(&config.current())),
            options.extensions,
            &metrics,
        )
        .unwrap();
        let router = Router::new().nest("/auth/v1", sb::auth::router(auth.clone()));
        let authenticate = Authenticate(Arc::new(authenticate));
        Self {
            router: middleware::wrap(router, &config, &metrics, authenticate),
            owner: as_owner,
            auth,
            db,
            clock,
            metrics,
            config,
            target: owner,
        }
    }

    /// A request with the current API version; `path` starts after `/auth/v1`.
    pub(crate) fn request(&self, method: &str, path: &str) -> Call<'_> {
        let builder = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(format!("/auth/v1{path}"))
            .header("x-supabase-api-version", "2024-01-01");
        Call {
            app: self,
            builder,
            body: Body::empty(),
        }
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        self.request("POST", path).json(body).send().await
    }

    pub(crate) async fn sign_up(&self, email: &str) -> Reply {
        let body = json!({"email": email, "password": PASSWORD});
        self.post("/signup", body).await
    }

    pub(crate) async fn sign_in(&self, email: &str, password: &str) -> Reply {
        let body = json!({"email": email, "password": password});
        self.post("/token?grant_type=password", body).await
    }

    pub(crate) async fn refresh(&self, token: &str) -> Reply {
        let body = json!({"refresh_token": token});
        self.post("/token?grant_type=refresh_token", body).await
    }

    pub(crate) async fn get_user(&self, access_token: &str) -> Reply {
        self.request("GET", "/user")
            .bearer(access_token)
            .send()
            .await
    }

    pub(crate) async fn put_user(&self, access_token: &str, body: Value) -> Reply {
        let call = self.request("PUT", "/user").bearer(access_token);
        call.json(body).send().await
    }

    pub(crate) async fn admin(&self, method: &str, path: &str, body: Value) -> Reply {
        let call = self.request(method, &format!("/admin/users{path}"));
        call.bearer(&service_token()).json(body).send().await
    }

    pub(crate) fn advance(&self, seconds: i64) {
        self.clock.advance(TimeDelta::seconds(seconds));
    }

    /// The first column of the one row of `sql`, as text.
    pub(crate) async fn value(&self, sql: &str) -> String {
        let sql = format!("select coalesce(x::text, '') from ({sql}) as t (x)");
        self.owner.query_one(&sql, &[]).await.unwrap().get(0)
    }

    /// Returns when `count` statements wait for a lock that somebody else holds.
    pub(crate) async fn wait_for_blocked(&self, count: i64) {
        let observer = self.db.owner().await.unwrap();
        let sql = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        let blocked = async {
            while observer.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) < count {
                tokio::task::yield_now().await;
            }
        };
        let deadline = Duration::from_secs(3);
        tokio::time::timeout(deadline, blocked).await.unwrap();
    }

    /// `action` of the audit log, oldest first.
    pub(crate) async fn audit(&self) -> String {
        let sql = "select string_agg(payload ->> 'action', ' ' order by created_at, ctid) from auth.audit_log_entries";
        self.value(sql).await
    }

    /// Argon2 computations so far.
    pub(crate) fn password_hashes(&self) -> u64 {
        let text = self.metrics.encode().unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("sb_auth_password_hashes_total "));
        line.unwrap().parse().unwrap()
    }
}

pub(crate) struct Call<'a> {
    app: &'a App,
    builder: axum::http::request::Builder,
    body: Body,
}

impl Call<'_> {
    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        let headers = self.builder.headers_mut().unwrap();
        let name = axum::http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.insert(name, value.parse().unwrap());
        self
    }

    /// As if the connection came from `ip`.
    pub(crate) fn from(mut self, ip: &str) -> Self {
        let peer = Peer(SocketAddr::new(ip.parse().unwrap(), 50_000));
        self.builder = self.builder.extension(peer);
        self
    }

    pub(crate) fn without_version(mut self) -> Self {
        let headers = self.builder.headers_mut().unwrap();
        headers.remove("x-supabase-api-version");
        self
    }

    pub(crate) fn json(self, body: Value) -> Self {
        self.body(
            "application/json;charset=UTF-8",
            body.to_string().into_bytes(),
        )
    }

    pub(crate) fn body(self, content_type: &str, body: Vec<u8>) -> Self {
        let mut call = self.header("content-type", content_type);
        call.body = Body::from(body);
        call
    }

    /// A body without a content type.
    pub(crate) fn untyped_body(mut self, body: Vec<u8>) -> Self {
        self.body = Body::from(body);
        self
    }

    /// The answer as it is.
    pub(crate) async fn send_raw(self) -> (StatusCode, HeaderMap, Vec<u8>) {
        let request = self.builder.body(self.body).unwrap();
        let response = self.app.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes().to_vec();
        (parts.status, parts.headers, bytes)
    }

    pub(crate) async fn send(self) -> Reply {
        let request = self.builder.body(self.body).unwrap();
        let response = self.app.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Reply {
            status: parts.status,
            headers: parts.headers,
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Reply {
    /// Fails the test unless the answer is 200.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.status, 200, "{}", self.body);
        self
    }

    /// Fails the test unless the answer is this error.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) {
        let got = (self.status.as_u16(), self.body["code"].as_str());
        assert_eq!(got, (status, Some(code)), "{}", self.body);
    }

    pub(crate) fn text(&self, pointer: &str) -> &str {
        let found = self.body.pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_else(|| panic!("no text at {pointer} in {}", self.body))
    }

    pub(crate) fn access_token(&self) -> &str {
        self.text("/access_token")
    }

    pub(crate) fn refresh_token(&self) -> &str {
        self.text("/refresh_token")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

/// A token as the service key's.
pub(crate) fn service_token() -> String {
    token(json!({"role": "service_role"}))
}

/// A token with these claims.
pub(crate) fn token(claims: Value) -> String {
    sign(claims.as_object().unwrap()).unwrap()
}

/// The claims of a token.
pub(crate) fn claims(token: &str) -> Map<String, Value> {
    read(token).unwrap()
}

/// The claims of a token that [`sign`] has made. Whether it has expired is not looked at.
fn read(token: &str) -> Option<Map<String, Value>> {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let key = DecodingKey::from_secret(SIGNING_SECRET);
    jsonwebtoken::decode(token, &key, &validation)
        .ok()
        .map(|data| data.claims)
}

fn sign(claims: &Map<String, Value>) -> Result<String, String> {
    let key = EncodingKey::from_secret(SIGNING_SECRET);
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).map_err(|e| e.to_string())
}

/// With the networks of `outbound.allow`.
fn outbound(config: &Config) -> Outbound {
    let networks = config.outbound.allow.iter();
    Outbound::new(networks.filter_map(|text| Network::parse(text)).collect())
}

fn issuer() -> TokenIssuer {
    TokenIssuer {
        sign: Arc::new(sign),
        verify: Arc::new(read),
        jwks: Arc::new(|| Arc::from(r#"{"keys":[]}"#)),
    }
}

fn authenticate(credentials: Credentials<'_>) -> Result<Caller, ApiError> {
    let Some(token) = credentials.bearer else {
        return Ok(Caller::anon());
    };
    read(token)
        .map(Caller::from_claims)
        .ok_or_else(|| ApiError::new(ErrorCode::BadJwt, "invalid JWT"))
}

pub(crate) fn load(settings: &[(&'static str, &'static str)]) -> Config {
    let mut flags: Vec<(String, String)> = [
        ("auth.argon2_memory_kib", "64"),
        ("auth.argon2_iterations", "1"),
        ("server.api_url", "http://sb.test"),
        // All tests come from one address, and their clock stands still.
        ("auth.rate_limit_token_per_window", "1000"),
        ("auth.rate_limit_signup_per_window", "1000"),
        ("auth.rate_limit_mfa_per_window", "1000"),
        ("auth.rate_limit_refresh_per_window", "10000"),
    ]
    .iter()
    .chain(settings)
    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
    .collect();
    flags.dedup();
    Config::load(Sources {
        flags,
        ..Sources::default()
    })
    .unwrap()
}

/// Everything that was logged by any test of this process, before redaction.
pub(crate) fn logs() -> Arc<Mutex<Vec<u8>>> {
    static LOGS: OnceLock<Arc<Mutex<Vec<u8>>>> = OnceLock::new();
    let logs = LOGS.get_or_init(|| {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&lines);
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter("trace,tokio_postgres=debug,hyper=info")
            .with_writer(move || Lines(Arc::clone(&writer)))
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        lines
    });
    Arc::clone(logs)
}

struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
