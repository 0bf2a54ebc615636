//! Whatever is sent to whichever documented operation, the answer is a documented one.
//!
//! The requests come from the document itself, so a new route is tested as soon as it is documented. Every operation gets
//! a request in turn until the time is over. A failure is shrunk and printed with the seed that repeats the run:
//! `SB_TEST_SEED`; `SB_TEST_SECONDS` makes it last longer.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use sb::clock::random_bytes;
use sb::config::Config as Settings;
use serde_json::{Value, json};

use super::conforms::differences;
use super::document;
use super::operation::{Asker, Operation, fill, operations};
use crate::auth::support::{App, Options, logs, service_token, token};

/// Part of every secret that is sent, and of nothing else.
const SECRET: &str = "HuShHuSh";

/// Members whose values may not come back.
const SECRET_MEMBERS: &[&str] = &[
    "password",
    "current_password",
    "password_hash",
    "token",
    "token_hash",
    "refresh_token",
    "access_token",
    "id_token",
    "auth_code",
    "code",
    "code_verifier",
    "nonce",
    "client_secret",
];

#[derive(Debug, Clone)]
struct Request {
    /// For the place of an id in the path.
    id: String,
    query: String,
    content_type: Option<&'static str>,
    body: Vec<u8>,
    versioned: bool,
    credentials: Credentials,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Credentials {
    /// Those the operation asks for.
    Right,
    None,
    /// A user's, where the service key is asked for, and the reverse.
    Wrong,
    Garbage,
    /// Of a signed token whose claims are no ids.
    OddClaims,
}

/// Put the text of `serde_json`'s error into the answer and it fails because a password comes back. A check of the input
/// that is gone (the one for NUL characters in metadata, say) is found only by chance, as a 500: the tests of the routes
/// name the check that each needs.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a run is repeated by the seed it named, and made longer by hand"
)]
fn whatever_is_sent_the_answer_is_documented() {
    let seed = match std::env::var("SB_TEST_SEED") {
        Ok(text) => text.parse().unwrap(),
        Err(_) => u64::from_le_bytes(random_bytes::<8>()),
    };
    let seconds = std::env::var("SB_TEST_SECONDS").map_or(10, |text| text.parse().unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let world = runtime.block_on(World::new());
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let started = Instant::now();
    let mut sent = 0;
    let mut answered = std::collections::BTreeMap::<u16, u32>::new();
    'rounds: loop {
        for operation in &world.operations {
            if started.elapsed() > Duration::from_secs(seconds) {
                break 'rounds;
            }
            let mut tree = requests(operation).new_tree(&mut runner).unwrap();
            let mut attempt = |request: &Request| {
                let run = runtime.block_on(world.judge(operation, request));
                run.map(|status| *answered.entry(status).or_default() += 1)
            };
            sent += 1;
            let Err(mut problem) = attempt(&tree.current()) else {
                continue;
            };
            for _ in 0..300 {
                let moved = match attempt(&tree.current()) {
                    Err(text) => {
                        problem = text;
                        tree.simplify()
                    }
                    Ok(()) => tree.complicate(),
                };
                if !moved {
                    break;
                }
            }
            panic!("SB_TEST_SEED={seed}: {problem}");
        }
    }
    assert!(sent > 2 * world.operations.len(), "only {sent} requests");
    assert!(answered.contains_key(&200), "{answered:?}");
    runtime.block_on(world.assert_nothing_leaked(seed));
}

/// What would otherwise answer "switched off" is switched on.
fn everything_on() -> Vec<(&'static str, &'static str)> {
    let mut settings = vec![
        ("auth.openapi", "true"),
        ("auth.rate_limit_enabled", "false"),
        ("auth.manual_linking", "true"),
        ("auth.oauth_server_enabled", "true"),
        ("auth.oauth_dynamic_registration", "true"),
        ("auth.service_token_audiences", "reports"),
        ("auth.anonymous_enabled", "true"),
        ("auth.usernames_enabled", "true"),
        ("auth.profile_lookup", "true"),
    ];
    settings.retain(|(name, _)| Settings::fields().any(|field| field.path() == *name));
    settings.push(("auth.external.github.client_id", "some client"));
    settings.push(("auth.external.github.secret", "some secret"));
    settings
}

struct World {
    app: App,
    document: Value,
    operations: Vec<Operation>,
    user: tokio::sync::Mutex<(u32, String, String)>,
    /// Ids that came back, newest first.
    ids: tokio::sync::Mutex<Vec<String>>,
}

impl World {
    async fn new() -> Self {
        let app = App::with(Options {
            settings: everything_on(),
            ..Options::default()
        })
        .await;
        let document = document(&app).await;
        let operations = operations(&document);
        let world = Self {
            app,
            document,
            operations,
            user: tokio::sync::Mutex::default(),
            ids: tokio::sync::Mutex::default(),
        };
        world.sign_up().await;
        world
    }

    /// Somebody else to be, since the one before has signed out or is gone.
    async fn sign_up(&self) {
        let mut user = self.user.lock().await;
        user.0 += 1;
        let email = format!("user-{}@arbitrary.example", user.0);
        let session = self.app.sign_up(&email).await.ok();
        session.text("/user/id").clone_into(&mut user.1);
        session.access_token().clone_into(&mut user.2);
    }

    /// Attack 47: nothing that was sent as a secret is kept or told anywhere.
    async fn assert_nothing_leaked(&self, seed: u64) {
        let lines = logs();
        let lines = String::from_utf8_lossy(&lines.lock().unwrap()).into_owned();
        let line = lines.lines().find(|line| line.contains(SECRET));
        assert_eq!(line, None, "a secret was logged (SB_TEST_SEED={seed})");
        let metrics = self.app.metrics.encode().unwrap();
        assert!(!metrics.contains(SECRET), "a metric names a secret");
        for table in [
            "auth.audit_log_entries",
            "auth.rate_limits",
            "jobs.pending",
            "jobs.history",
            "jobs.dead",
        ] {
            let rows = format!("select string_agg(t::text, ' ') from {table} as t");
            let rows = self.app.value(&rows).await;
            assert!(
                !rows.contains(SECRET),
                "{table} holds a secret (SB_TEST_SEED={seed})"
            );
        }
    }

    /// The status, or what is wrong with the answer.
    async fn judge(&self, operation: &Operation, request: &Request) -> Result<u16, String> {
        let (_, user_id, access_token) = self.user.lock().await.clone();
        let ids = self.ids.lock().await.clone();
        let id = if request.id.is_empty() {
            user_id
        } else {
            known(&request.id, &ids)
        };
        let path = fill(&operation.path, &id);
        let target = format!("{path}?{}", known(&request.query, &ids));
        let sent = match std::str::from_utf8(&request.body) {
            Ok(text) => known(text, &ids).into_bytes(),
            Err(_) => request.body.clone(),
        };
        let mut call = self.app.request(&operation.method.to_uppercase(), &target);
        if !request.versioned {
            call = call.without_version();
        }
        let bearer = match (request.credentials, operation.asker) {
            (Credentials::None, _) | (Credentials::Right, Asker::Anyone) => None,
            (Credentials::Right, Asker::User) | (Credentials::Wrong, Asker::Service) => {
                Some(access_token)
            }
            (Credentials::Right, Asker::Service) | (Credentials::Wrong, _) => Some(service_token()),
            (Credentials::Garbage, _) => Some(format!("ey.{SECRET}.x")),
            (Credentials::OddClaims, _) => Some(token(json!({
                "role": "authenticated", "sub": "x", "session_id": [1], "jti": {"a": null},
            }))),
        };
        if let Some(bearer) = &bearer {
            call = call.bearer(bearer);
        }
        call = match request.content_type {
            Some(kind) => call.body(kind, sent.clone()),
            None => call.untyped_body(sent.clone()),
        };
        let (status, headers, body) = call.send_raw().await;
        let status = status.as_u16();
        let kind = headers
            .get("content-type")
            .map(|kind| kind.to_str().unwrap());
        let verdict = self.verdict(operation, request, status, kind, &body);
        if status < 300
            && let Ok(value) = serde_json::from_slice(&body)
        {
            remember(&value, &mut *self.ids.lock().await);
        }
        if operation.asker == Asker::User && request.credentials == Credentials::Right {
            let gone = body.windows(17).any(|part| part == b"session_not_found");
            if gone || status < 300 && operation.method != "get" {
                self.sign_up().await;
            }
        }
        verdict.map_err(|problem| {
            let sent = String::from_utf8_lossy(&sent);
            let sent: String = sent.chars().take(2_000).collect();
            let text = String::from_utf8_lossy(&body);
            let (method, kind, who) = (&operation.method, request.content_type, request.credentials);
            format!(
                "{problem}\n  {method} {target}\n  as {who:?}, {kind:?}: {sent}\n  answered {status}: {text}"
            )
        })?;
        Ok(status)
    }

    fn verdict(
        &self,
        operation: &Operation,
        request: &Request,
        status: u16,
        kind: Option<&str>,
        body: &[u8],
    ) -> Result<(), String> {
        let documented = &operation.object["responses"][status.to_string()];
        if documented.is_null() {
            return Err(format!("status {status} is not documented"));
        }
        if String::from_utf8_lossy(body).contains(SECRET) {
            return Err("a secret came back".to_owned());
        }
        let Some(content) = documented["content"].as_object() else {
            return if body.is_empty() {
                Ok(())
            } else {
                Err("an answer without content has a body".to_owned())
            };
        };
        let kind = kind
            .unwrap_or_default()
            .split(';')
            .next()
            .unwrap_or_default();
        let schema = content.get(kind);
        let schema = &schema.ok_or(format!("content type {kind:?} is not documented"))?["schema"];
        if kind != "application/json" {
            return Ok(());
        }
        let value: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        differences(&self.document, schema, &value)?;
        if status < 400 || value["error"].is_string() && value["error_description"].is_string() {
            return Ok(());
        }
        let code = if request.versioned {
            &value["code"]
        } else if value["code"] == status {
            &value["error_code"]
        } else {
            return Err("the error is not in the older shape".to_owned());
        };
        let codes = documented["x-error-codes"].as_array();
        if codes.is_none_or(|codes| !codes.contains(code)) {
            return Err(format!("code {code} is not documented for {status}"));
        }
        Ok(())
    }
}

/// `@0` and so on stand for ids that came back before, newest first: of factors, sessions, clients.
fn known(text: &str, ids: &[String]) -> String {
    let numbered = ids.iter().take(KNOWN.len()).zip(KNOWN);
    numbered.fold(text.to_owned(), |text, (id, name)| text.replace(name, id))
}

const KNOWN: [&str; 4] = ["@0", "@1", "@2", "@3"];

fn remember(value: &Value, ids: &mut Vec<String>) {
    match value {
        Value::String(text) if uuid::Uuid::parse_str(text).is_ok() && !ids.contains(text) => {
            ids.insert(0, text.clone());
            ids.truncate(KNOWN.len());
        }
        Value::Array(items) => items.iter().for_each(|item| remember(item, ids)),
        Value::Object(members) => members.values().for_each(|member| remember(member, ids)),
        _ => {}
    }
}

fn requests(operation: &Operation) -> impl Strategy<Value = Request> + use<> {
    let credentials = prop_oneof![
        12 => Just(Credentials::Right),
        1 => Just(Credentials::None),
        1 => Just(Credentials::Wrong),
        1 => Just(Credentials::Garbage),
        1 => Just(Credentials::OddClaims),
    ];
    (
        ids(),
        queries(operation.query.clone()),
        content_types(),
        bodies(operation.members.clone()),
        any::<bool>(),
        credentials,
    )
        .prop_map(
            |(id, query, content_type, body, versioned, credentials)| Request {
                id,
                query,
                content_type,
                body,
                versioned,
                credentials,
            },
        )
}

/// An empty one stands for the user's own.
fn ids() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just(String::new()),
        4 => select(KNOWN.to_vec()).prop_map(str::to_owned),
        2 => any::<u128>().prop_map(|id| uuid::Uuid::from_u128(id).to_string()),
        1 => select(vec!["x", "..", "%00", "%ff", "%2e%2e%2f", "'%20or%201=1--", "null", "%f0%9f%92%a3"])
            .prop_map(str::to_owned),
        1 => any::<String>().prop_map(|text| format!("x{}", escaped(&text))),
    ]
}

fn escaped(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn queries(names: Vec<String>) -> impl Strategy<Value = String> {
    let mut all = vec!["x".to_owned(), String::new()];
    for _ in 0..4 {
        all.extend(names.iter().cloned());
    }
    let value = prop_oneof![
        3 => words().prop_map(|word| escaped(&word)),
        1 => any::<String>().prop_map(|text| escaped(&text)),
        1 => select(vec!["", "%", "%zz", "%ff", "%00", "a&a", "[]", "%0d%0ax:y", "99999999999999999999"]).prop_map(str::to_owned),
        1 => Just("9".repeat(5_000)),
    ];
    let pair = (select(all), value).prop_map(|(name, value)| format!("{name}={value}"));
    prop::collection::vec(pair, 0..4).prop_map(|pairs| pairs.join("&"))
}

fn content_types() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![
        8 => Just(Some("application/json")),
        1 => Just(Some("application/json;charset=UTF-8")),
        1 => Just(None),
        3 => Just(Some("application/x-www-form-urlencoded")),
        1 => select(vec!["text/plain", "application/xml", "multipart/form-data; boundary=x", "application/jsonx", "*", ";"]).prop_map(Some),
    ]
}

/// What the members of the interface are called, and words some of them take.
fn words() -> impl Strategy<Value = String> {
    let known = vec![
        "password",
        "refresh_token",
        "pkce",
        "id_token",
        "global",
        "local",
        "others",
        "signup",
        "magiclink",
        "recovery",
        "invite",
        "email_change",
        "email",
        "sms",
        "phone",
        "totp",
        "webauthn",
        "recovery_code",
        "s256",
        "plain",
        "true",
        "none",
        "24h",
        "google",
        "authorization_code",
        "code",
        "openid",
        "service_role",
        "authenticated",
        "user-1@arbitrary.example",
        "new@arbitrary.example",
        "+4915112345678",
        "https://evil.example/",
        "http://localhost:3000/x",
        "//evil.example",
        "1",
        "0",
        "-1",
        "2026-01-01T00:00:00Z",
        "00000000-0000-0000-0000-000000000000",
        "123456",
        "approve",
        "action:login",
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
    ];
    prop_oneof![
        5 => select(known).prop_map(str::to_owned),
        1 => select(KNOWN.to_vec()).prop_map(str::to_owned),
    ]
}

fn bodies(members: Vec<String>) -> impl Strategy<Value = Vec<u8>> {
    let raw: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"{".to_vec(),
        b"\xff\xfe{}".to_vec(),
        b"\xef\xbb\xbf{}".to_vec(),
        b"{\"a\":\"\xff\"}".to_vec(),
        b"null".to_vec(),
        b"{} {}".to_vec(),
        "[".repeat(50_000).into_bytes(),
        "{\"data\":".repeat(20_000).into_bytes(),
        format!("\"{SECRET}\"").into_bytes(),
        format!("{{\"password\":\"{SECRET}").into_bytes(),
        vec![b' '; 1_100_000],
    ];
    let form = (members.clone(), words());
    prop_oneof![
        10 => objects(members).prop_map(String::into_bytes),
        2 => fragments().prop_map(String::into_bytes),
        1 => select(raw),
        1 => prop::collection::vec(any::<u8>(), 0..64),
        1 => forms(form.0),
    ]
}

/// A JSON object of documented members, some twice, and of others.
fn objects(members: Vec<String>) -> impl Strategy<Value = String> {
    let mut names = vec!["x".to_owned(), "gotrue_meta_security".to_owned()];
    for _ in 0..4 {
        names.extend(members.iter().cloned());
    }
    let member = (select(names), fragments(), words()).prop_map(|(name, fragment, word)| {
        let value = if SECRET_MEMBERS.contains(&name.as_str()) {
            // Of the right type or not, it is recognised when it comes back.
            match fragment.as_bytes().first() {
                Some(b'"' | b'[' | b'{') => fragment.replacen(['"'], &format!("\"{SECRET}"), 1),
                _ => format!("\"{SECRET}{word}\""),
            }
        } else {
            fragment
        };
        format!("{}:{value}", Value::from(name))
    });
    prop::collection::vec(member, 0..6).prop_map(|members| format!("{{{}}}", members.join(",")))
}

fn forms(members: Vec<String>) -> impl Strategy<Value = Vec<u8>> {
    queries(members).prop_map(String::into_bytes)
}

/// JSON text of one value, sometimes of none.
fn fragments() -> impl Strategy<Value = String> {
    let odd = vec![
        "1e400",
        "-0",
        "0.1e-999",
        "123456789012345678901234567890",
        "NaN",
        "'x'",
        "\"\\u0000\"",
        "\"a\\u0000b\"",
        "\"\\ud800\"",
        "\"\\udc00\\ud800\"",
        "\"\\x\"",
        "\"\n\"",
        "{\"\\u0000\":1}",
        "{\"a\":\"\\u0000\"}",
        "[[\"\\u0000\"]]",
        "{\"a\":1,\"a\":2}",
        "{\"captcha_token\":7}",
        "\"\\u202eevil@example.com\"",
        "\"a@b\\r\\nBcc: c@d\"",
        "\"'; drop table auth.users --\"",
        "\"{{ 7*7 }}\"",
        "\"\\ufeff\"",
        "\"K@\\u0130.example\"",
        "\"   \"",
        "\"\"",
    ];
    prop_oneof![
        6 => words().prop_map(|word| Value::from(word).to_string()),
        2 => json_values().prop_map(|value| value.to_string()),
        2 => select(odd).prop_map(str::to_owned),
        1 => select(vec!["null", "true", "false", "0", "-1", "1.5", "[]", "{}"]).prop_map(str::to_owned),
        1 => (1_usize..130).prop_map(|depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth))),
        1 => (1_usize..130).prop_map(|depth| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth))),
        1 => select(vec![100, 1_100, 100_000]).prop_map(|length| format!("\"{}\"", "x".repeat(length))),
        1 => any::<String>().prop_map(|text| Value::from(text).to_string()),
    ]
}

fn json_values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}
