//! An identity provider on the loopback that does as the test says: OpenID Connect, and the API of GitHub.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

pub(super) const CLIENT_ID: &str = "sb-client:1";
pub(super) const CLIENT_SECRET: &str = "the client secret: ÷";

/// A key of a provider.
pub(super) struct Key {
    pub(super) kid: String,
    pkcs8: Vec<u8>,
    point: Vec<u8>,
}

impl Key {
    pub(super) fn new(kid: &str) -> Self {
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref()).unwrap();
        Self {
            kid: kid.to_owned(),
            point: pair.public_key().as_ref().to_vec(),
            pkcs8: pkcs8.as_ref().to_vec(),
        }
    }

    fn jwk(&self) -> Value {
        let (x, y) = self.point[1..].split_at(32);
        json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid,
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        })
    }

    pub(super) fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.kid.clone());
        let key = EncodingKey::from_ec_der(&self.pkcs8);
        jsonwebtoken::encode(&header, claims, &key).unwrap()
    }
}

/// What a code stands for.
#[derive(Clone)]
struct Code {
    nonce: Option<String>,
    challenge: String,
    redirect_uri: String,
    claims: Map<String, Value>,
}

/// Status, headers, body.
type Instead = (u16, Vec<(String, String)>, String);

pub(super) struct Behaviour {
    pub(super) keys: Vec<Key>,
    /// Merged into the discovery document.
    pub(super) discovery: Value,
    /// Answers by path instead of the usual ones.
    pub(super) instead: HashMap<String, Instead>,
    /// Merged into the token answer.
    pub(super) token_answer: Value,
    /// Paths that are never answered.
    pub(super) silent: Vec<String>,
    /// A code is taken as often as it comes.
    pub(super) codes_are_good_for_ever: bool,
    /// What GitHub's API answers.
    pub(super) emails: Value,
    codes: HashMap<String, Code>,
    calls: Vec<String>,
    forms: Vec<HashMap<String, String>>,
}

#[derive(Clone)]
pub(super) struct Provider {
    pub(super) url: String,
    behaviour: Arc<Mutex<Behaviour>>,
}

/// The query of an address.
pub(super) fn query(url: &str) -> HashMap<String, String> {
    let url = url::Url::parse(url).unwrap();
    url.query_pairs().into_owned().collect()
}

pub(super) fn s256(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

impl Provider {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            behaviour: Arc::new(Mutex::new(Behaviour {
                keys: vec![Key::new("key-1")],
                discovery: json!({}),
                instead: HashMap::new(),
                token_answer: json!({}),
                silent: Vec::new(),
                codes_are_good_for_ever: false,
                emails: json!([]),
                codes: HashMap::new(),
                calls: Vec::new(),
                forms: Vec::new(),
            })),
        };
        let app = Router::new().fallback(answer).with_state(provider.clone());
        #[expect(
            clippy::disallowed_methods,
            reason = "the server ends with the test's runtime"
        )]
        tokio::spawn(async move { axum::serve(listener, app).await });
        provider
    }

    pub(super) fn behave<T>(&self, change: impl FnOnce(&mut Behaviour) -> T) -> T {
        change(&mut self.behaviour.lock().unwrap())
    }

    /// The user signs in on the page that `location` leads to: the code that the browser brings back.
    pub(super) fn sign_in(&self, location: &str, claims: Value) -> String {
        let asked = query(location);
        assert_eq!(asked["client_id"], CLIENT_ID);
        assert_eq!(asked["response_type"], "code");
        assert_eq!(asked["code_challenge_method"], "S256");
        let code = sb::clock::random_token::<16>();
        let new = Code {
            nonce: asked.get("nonce").cloned(),
            challenge: asked["code_challenge"].clone(),
            redirect_uri: asked["redirect_uri"].clone(),
            claims: claims.as_object().cloned().unwrap(),
        };
        self.behave(|it| it.codes.insert(code.clone(), new));
        code
    }

    /// An ID token as this provider makes it, at the time of `now`, with other `claims`; null removes one.
    pub(super) fn id_token(&self, now: i64, claims: &Value) -> String {
        let claims = self.claims(now, claims);
        self.behave(|it| it.keys[0].sign(&claims))
    }

    pub(super) fn claims(&self, now: i64, other: &Value) -> Value {
        let mut claims = json!({
            "iss": self.url, "aud": CLIENT_ID, "sub": "subject-1", "iat": now, "exp": now + 300,
        });
        merge(&mut claims, other);
        claims
    }

    /// How often a path was asked for.
    pub(super) fn calls(&self, path: &str) -> usize {
        self.behave(|it| it.calls.iter().filter(|call| *call == path).count())
    }

    pub(super) fn forms(&self) -> Vec<HashMap<String, String>> {
        self.behave(|it| it.forms.clone())
    }

    fn token(&self, headers: &HeaderMap, body: &[u8]) -> Response {
        let form: HashMap<String, String> =
            url::form_urlencoded::parse(body).into_owned().collect();
        let mut behaviour = self.behaviour.lock().unwrap();
        behaviour.forms.push(form.clone());
        let refused = |problem: &str| {
            let body = json!({"error": problem}).to_string();
            (StatusCode::BAD_REQUEST, json_type(), body).into_response()
        };
        if !is_our_client(headers, &form) {
            return refused("invalid_client");
        }
        let known = form.get("code").and_then(|code| {
            if behaviour.codes_are_good_for_ever {
                behaviour.codes.get(code).cloned()
            } else {
                behaviour.codes.remove(code)
            }
        });
        let Some(code) = known else {
            return refused("invalid_grant");
        };
        let verifier = form.get("code_verifier").map(|verifier| s256(verifier));
        if verifier.as_ref() != Some(&code.challenge)
            || form.get("redirect_uri") != Some(&code.redirect_uri)
        {
            return refused("invalid_grant");
        }
        let now = code.claims.get("iat").and_then(Value::as_i64).unwrap_or(0);
        let mut claims = json!({
            "iss": self.url, "aud": CLIENT_ID, "nonce": code.nonce, "exp": now + 300,
        });
        merge(&mut claims, &Value::Object(code.claims));
        let mut answer = json!({
            "access_token": "provider-access-token", "refresh_token": "provider-refresh-token",
            "token_type": "Bearer", "expires_in": 300, "id_token": behaviour.keys[0].sign(&claims),
        });
        merge(&mut answer, &behaviour.token_answer);
        (json_type(), answer.to_string()).into_response()
    }

    fn discovery(&self) -> Value {
        let url = &self.url;
        let mut document = json!({
            "issuer": url,
            "authorization_endpoint": format!("{url}/authorize"),
            "token_endpoint": format!("{url}/token"),
            "userinfo_endpoint": format!("{url}/userinfo"),
            "jwks_uri": format!("{url}/jwks"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        });
        merge(&mut document, &self.behave(|it| it.discovery.clone()));
        document
    }
}

/// With the secret in either place.
fn is_our_client(headers: &HeaderMap, form: &HashMap<String, String>) -> bool {
    let encoded =
        |text: &str| -> String { url::form_urlencoded::byte_serialize(text.as_bytes()).collect() };
    let basic = format!("{}:{}", encoded(CLIENT_ID), encoded(CLIENT_SECRET));
    let basic = format!("Basic {}", STANDARD.encode(basic));
    let by_header = headers
        .get(header::AUTHORIZATION)
        .is_some_and(|value| value == basic.as_str());
    let by_form = form.get("client_id").is_some_and(|id| id == CLIENT_ID)
        && form
            .get("client_secret")
            .is_some_and(|it| it == CLIENT_SECRET);
    by_header || by_form
}

/// Null removes.
pub(super) fn merge(base: &mut Value, other: &Value) {
    for (name, value) in other.as_object().unwrap() {
        if value.is_null() {
            base.as_object_mut().unwrap().remove(name);
        } else {
            base[name] = value.clone();
        }
    }
}

fn json_type() -> [(header::HeaderName, &'static str); 1] {
    [(header::CONTENT_TYPE, "application/json")]
}

async fn answer(
    State(provider): State<Provider>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path().to_owned();
    let (instead, is_silent) = provider.behave(|it| {
        it.calls.push(path.clone());
        (it.instead.get(&path).cloned(), it.silent.contains(&path))
    });
    if is_silent {
        std::future::pending::<()>().await;
    }
    if let Some((status, extra, body)) = instead {
        let mut response =
            (StatusCode::from_u16(status).unwrap(), json_type(), body).into_response();
        for (name, value) in extra {
            let name: header::HeaderName = name.parse().unwrap();
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        return response;
    }
    let document = match path.as_str() {
        "/token" | "/login/oauth/access_token" => return provider.token(&headers, &body),
        "/jwks" => {
            provider.behave(|it| json!({"keys": it.keys.iter().map(Key::jwk).collect::<Vec<_>>()}))
        }
        "/api/v3/user" => {
            json!({"id": 7, "login": "ana", "name": "Ana", "email": "public@example.com"})
        }
        "/api/v3/user/emails" => provider.behave(|it| it.emails.clone()),
        _ if path.ends_with("/.well-known/openid-configuration") => provider.discovery(),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    (json_type(), document.to_string()).into_response()
}
