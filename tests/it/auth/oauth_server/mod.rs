//! The OAuth 2.1 and OpenID Connect provider, as clients and users meet it, on real keys.

mod attacks;
mod clients;
mod flow;
mod service_tokens;
mod sessions;

use axum::body::Body;
use axum::http::{Method, Request};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use serde_json::{Map, Value, json};
use url::{Url, form_urlencoded};

use crate::support::{Reply, TestApp};

/// The pair of RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

const REDIRECT: &str = "https://app.example/cb";
const ISSUER: &str = "http://sb.test/auth/v1";

/// A registered client.
#[derive(Debug, Clone)]
struct Client {
    id: String,
    secret: Option<String>,
    redirect: String,
}

/// The application with the provider switched on.
struct Provider {
    app: TestApp,
}

impl Provider {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    async fn with(settings: &[(&str, &str)]) -> Self {
        let on = [("auth.oauth_server_enabled", "true")];
        let all: Vec<_> = on.iter().chain(settings).copied().collect();
        Self {
            app: TestApp::with(&all).await,
        }
    }

    fn service(&self) -> String {
        self.app.running.role_token("service_role").unwrap()
    }

    fn advance(&self, seconds: i64) {
        self.app.clock.advance(TimeDelta::seconds(seconds));
    }

    /// The first column of the one row of `sql`, as text.
    async fn value(&self, sql: &str) -> String {
        let sql = format!("select coalesce(x::text, '') from ({sql}) as t (x)");
        let owner = self.app.owner().await;
        owner.query_one(&sql, &[]).await.unwrap().get(0)
    }

    /// A user's own session.
    async fn user(&self, email: &str) -> Value {
        self.app.sign_up(email).await
    }

    async fn add(&self, body: Value) -> Reply {
        let token = self.service();
        self.app
            .post("/auth/v1/admin/oauth/clients", Some(&token), body)
            .await
    }

    async fn client(&self, body: Value) -> Client {
        let reply = self.add(body).await;
        assert_eq!(reply.status, 201, "{}", reply.text());
        let client = reply.json();
        Client {
            id: client["client_id"].as_str().unwrap().to_owned(),
            secret: client["client_secret"].as_str().map(str::to_owned),
            redirect: client["redirect_uris"][0].as_str().unwrap().to_owned(),
        }
    }

    /// A client that shows its secret in a header.
    async fn confidential(&self) -> Client {
        let body = json!({ "client_name": "Notes", "redirect_uris": [REDIRECT] });
        self.client(body).await
    }

    /// An app on the user's machine.
    async fn public(&self) -> Client {
        let body = json!({
            "client_name": "Desk",
            "redirect_uris": ["http://127.0.0.1/cb"],
            "token_endpoint_auth_method": "none",
        });
        self.client(body).await
    }

    /// `GET /oauth/authorize`, with what a good request has and `changes` in place of it; an empty value takes one away.
    async fn authorize(&self, client: &Client, changes: &[(&str, &str)]) -> Reply {
        let mut asked: Vec<(&str, &str)> = vec![
            ("client_id", &client.id),
            ("redirect_uri", &client.redirect),
            ("response_type", "code"),
            ("scope", "openid email"),
            ("state", "the state"),
            ("nonce", "the nonce"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        asked.retain(|(name, _)| changes.iter().all(|(other, _)| other != name));
        asked.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
        let path = format!("/auth/v1/oauth/authorize?{}", form(&asked));
        self.app.get(&path, None).await
    }

    /// The id of a stored request.
    async fn begin(&self, client: &Client, changes: &[(&str, &str)]) -> String {
        let reply = self.authorize(client, changes).await;
        assert_eq!(reply.status, 302, "{}", reply.text());
        let page = location(&reply);
        parameter(&page, "authorization_id")
            .unwrap_or_else(|| panic!("no authorization_id in {page}"))
    }

    async fn details(&self, token: &str, id: &str) -> Reply {
        let path = format!("/auth/v1/oauth/authorizations/{id}");
        self.app.get(&path, Some(token)).await
    }

    async fn decide(&self, token: &str, id: &str, action: &str) -> Reply {
        let path = format!("/auth/v1/oauth/authorizations/{id}/consent");
        let body = json!({ "action": action });
        self.app.post(&path, Some(token), body).await
    }

    /// The user looks and allows; where the browser goes then.
    async fn approve(&self, user: &Value, id: &str) -> Url {
        let token = access(user);
        let details = self.details(token, id).await;
        assert_eq!(details.status, 200, "{}", details.text());
        let mut answer = details.json();
        if answer.get("redirect_url").is_none() {
            let decided = self.decide(token, id, "approve").await;
            assert_eq!(decided.status, 200, "{}", decided.text());
            answer = decided.json();
        }
        Url::parse(answer["redirect_url"].as_str().unwrap()).unwrap()
    }

    /// A code for `client`, allowed by `user`.
    async fn code(&self, client: &Client, user: &Value, changes: &[(&str, &str)]) -> String {
        let id = self.begin(client, changes).await;
        let back = self.approve(user, &id).await;
        parameter(&back, "code").unwrap_or_else(|| panic!("no code in {back}"))
    }

    /// `POST /oauth/token` and its siblings, authenticated as `client` is registered.
    async fn ask(&self, path: &str, client: &Client, fields: &[(&str, &str)]) -> Reply {
        let mut all = fields.to_vec();
        let header = client
            .secret
            .as_ref()
            .map(|secret| STANDARD.encode(format!("{}:{secret}", client.id)));
        if header.is_none() {
            all.push(("client_id", &client.id));
        }
        self.post_form(path, &all, header.as_deref()).await
    }

    async fn post_form(&self, path: &str, fields: &[(&str, &str)], basic: Option<&str>) -> Reply {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("/auth/v1{path}"))
            .header("content-type", "application/x-www-form-urlencoded");
        if let Some(basic) = basic {
            request = request.header("authorization", format!("Basic {basic}"));
        }
        let request = request.body(Body::from(form(fields))).unwrap();
        self.app.send(request).await
    }

    async fn exchange(&self, client: &Client, code: &str) -> Reply {
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("code_verifier", VERIFIER),
            ("redirect_uri", client.redirect.as_str()),
        ];
        self.ask("/oauth/token", client, &fields).await
    }

    /// The tokens of `client` for `user`.
    async fn tokens(&self, client: &Client, user: &Value, changes: &[(&str, &str)]) -> Value {
        let code = self.code(client, user, changes).await;
        let reply = self.exchange(client, &code).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()
    }

    async fn refresh(&self, client: &Client, token: &str) -> Reply {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", token)];
        self.ask("/oauth/token", client, &fields).await
    }

    async fn userinfo(&self, token: &str) -> Reply {
        self.app.get("/auth/v1/oauth/userinfo", Some(token)).await
    }
}

fn form(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}

#[track_caller]
fn location(reply: &Reply) -> Url {
    Url::parse(reply.headers["location"].to_str().unwrap()).unwrap()
}

fn parameter(url: &Url, name: &str) -> Option<String> {
    let found = url.query_pairs().find(|(key, _)| key == name);
    found.map(|(_, value)| value.into_owned())
}

fn access(session: &Value) -> &str {
    session["access_token"].as_str().unwrap()
}

fn refresh_token(session: &Value) -> &str {
    session["refresh_token"].as_str().unwrap()
}

/// What a token says, unverified.
fn claims(token: &str) -> Map<String, Value> {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[track_caller]
fn refused(reply: &Reply, status: u16, code: &str) {
    let got = (reply.status.as_u16(), reply.json()["code"].clone());
    assert_eq!(got, (status, json!(code)), "{}", reply.text());
}

/// The error of an OAuth endpoint.
#[track_caller]
fn oauth_refused(reply: &Reply, status: u16, error: &str) {
    let got = (reply.status.as_u16(), reply.json()["error"].clone());
    assert_eq!(got, (status, json!(error)), "{}", reply.text());
    assert!(reply.json()["error_description"].is_string());
}
