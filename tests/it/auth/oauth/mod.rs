//! Signing in with identity providers, honest and hostile ones.

mod attacks;
mod flow;
mod id_token;
mod linking;
mod provider;
mod reach;

use std::collections::HashMap;

use serde_json::{Value, json};

use super::support::{App, Reply};
use provider::{CLIENT_ID, CLIENT_SECRET, Provider, query};

/// The site that sign-ins lead back to.
const SITE: &str = "http://localhost:3000/cb";

/// A project with the provider `acme`, and more settings.
async fn project(settings: &[(&'static str, &'static str)]) -> (App, Provider) {
    let provider = Provider::start().await;
    let app = project_of(&provider, "acme", settings).await;
    (app, provider)
}

/// A project with `provider` under a name.
async fn project_of(
    provider: &Provider,
    name: &str,
    settings: &[(&'static str, &'static str)],
) -> App {
    let mut all = external(name, &provider.url);
    all.push(("outbound.allow", "127.0.0.0/8"));
    all.extend_from_slice(settings);
    App::with_settings(&all).await
}

/// The settings of a provider.
fn external(name: &str, url: &str) -> Vec<(&'static str, &'static str)> {
    [
        ("client_id", CLIENT_ID.to_owned()),
        ("secret", CLIENT_SECRET.to_owned()),
        ("url", url.to_owned()),
    ]
    .into_iter()
    .map(|(key, value)| (text(format!("auth.external.{name}.{key}")), text(value)))
    .collect()
}

/// Settings of tests are constants.
fn text(text: String) -> &'static str {
    text.leak()
}

/// The claims of somebody whose address the provider has verified.
fn ana(app: &App) -> Value {
    json!({
        "sub": "subject-1", "iat": now(app), "email": "ana@example.com", "email_verified": true, "name": "Ana"
    })
}

fn now(app: &App) -> i64 {
    app.clock.now().timestamp()
}

/// A browser on its way through a sign-in.
struct Browser<'a> {
    app: &'a App,
    cookie: Option<String>,
}

impl<'a> Browser<'a> {
    fn new(app: &'a App) -> Self {
        Self { app, cookie: None }
    }

    async fn get(&mut self, path: &str) -> Reply {
        let mut call = self.app.request("GET", path);
        if let Some(cookie) = &self.cookie {
            call = call.header("cookie", cookie);
        }
        let reply = call.send().await;
        let set = reply.header("set-cookie");
        if !set.is_empty() {
            assert!(
                set.contains("HttpOnly") && set.contains("SameSite=Lax"),
                "{set}"
            );
            self.cookie = set.split(';').next().map(str::to_owned);
        }
        reply
    }

    /// The provider's page.
    async fn begin(&mut self, query: &str) -> String {
        let reply = self.get(&format!("/authorize?{query}")).await;
        assert_eq!(reply.status, 302, "{}", reply.body);
        reply.header("location").to_owned()
    }

    /// The end of a sign-in that came back with `state` and `code`.
    async fn come_back(&mut self, state: &str, code: &str) -> Landing {
        let reply = self
            .get(&format!("/callback?state={state}&code={code}"))
            .await;
        Landing::of(&reply)
    }

    /// A whole sign-in.
    async fn sign_in(&mut self, provider: &Provider, query: &str, claims: Value) -> Landing {
        let location = self.begin(query).await;
        let code = provider.sign_in(&location, claims);
        self.come_back(&state_of(&location), &code).await
    }
}

fn state_of(location: &str) -> String {
    query(location)["state"].clone()
}

/// Where a sign-in has led.
#[derive(Debug)]
struct Landing {
    /// Without query and fragment.
    target: String,
    query: HashMap<String, String>,
    fragment: HashMap<String, String>,
}

impl Landing {
    fn of(reply: &Reply) -> Self {
        assert_eq!(reply.status, 302, "{}", reply.body);
        assert_eq!(reply.header("cache-control"), "no-store");
        assert_eq!(reply.header("referrer-policy"), "no-referrer");
        let url = url::Url::parse(reply.header("location")).unwrap();
        let fragment = url.fragment().unwrap_or_default();
        Self {
            target: url[..url::Position::AfterPath].to_owned(),
            query: url.query_pairs().into_owned().collect(),
            fragment: url::form_urlencoded::parse(fragment.as_bytes())
                .into_owned()
                .collect(),
        }
    }

    #[track_caller]
    fn access_token(&self) -> &str {
        assert!(!self.query.contains_key("access_token"));
        let token = self.fragment.get("access_token");
        token.unwrap_or_else(|| panic!("no session: {self:?}"))
    }

    #[track_caller]
    fn code(&self) -> &str {
        assert!(self.fragment.is_empty(), "{self:?}");
        self.query
            .get("code")
            .unwrap_or_else(|| panic!("no code: {self:?}"))
    }

    /// Fails the test unless it ended with this error and nothing else.
    #[track_caller]
    fn refused(&self, code: &str) {
        let told = self.query.get("error_code").map(String::as_str);
        assert_eq!(told, Some(code), "{self:?}");
        assert_eq!(self.fragment.get("error_code").map(String::as_str), told);
        for parts in [&self.query, &self.fragment] {
            assert!(!parts.contains_key("access_token") && !parts.contains_key("code"));
        }
    }
}

/// `#users,#identities,#sessions`.
async fn counts(app: &App) -> String {
    app.value(
        "select concat_ws(',', (select count(*) from auth.users), (select count(*) from auth.identities), (select count(*) from auth.sessions))",
    )
    .await
}

/// The reasons in the audit log for linking or not.
async fn reasons(app: &App) -> String {
    app.value(
        "select string_agg((payload ->> 'action') || ': ' || (payload -> 'traits' ->> 'reason'), '; ' order by created_at, ctid)
           from auth.audit_log_entries
          where payload ->> 'action' like 'identity%'",
    )
    .await
}
