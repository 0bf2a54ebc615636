//! An application with a worker whose mails end here.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use chrono::TimeDelta;
use sb::db::Connection;
use sb::jobs::Worker;
use sb::mail::{Delivery, Letter};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use url::Url;

use crate::scratch::eventually;
use crate::support::{Reply, TestApp};

pub(super) const PASSWORD: &str = "correct horse battery";
pub(super) const ANA: &str = "ana@example.com";
pub(super) const BO: &str = "bo@example.com";

pub(super) struct Flows {
    pub(super) app: TestApp,
    pub(super) owner: Connection,
    /// Those to come, and those that nobody has asked for yet.
    mails: Mutex<(UnboundedReceiver<Letter>, Vec<Letter>)>,
    _worker: Worker,
}

/// A mail as its reader sees it.
#[derive(Debug)]
pub(super) struct Mail {
    pub(super) code: String,
    pub(super) token: String,
    pub(super) link: String,
    pub(super) values: Value,
}

impl Mail {
    fn read(letter: &Letter) -> Self {
        let text = |name: &str| {
            let value = letter.values.get(name).and_then(Value::as_str);
            value.unwrap_or_default().to_owned()
        };
        Self {
            code: text("Token"),
            token: text("TokenHash"),
            link: text("ConfirmationURL"),
            values: Value::Object(letter.values.clone()),
        }
    }
}

impl Flows {
    /// Sign-ups must be confirmed.
    pub(super) async fn new() -> Self {
        Self::with(&[]).await
    }

    pub(super) async fn with(settings: &[(&str, &str)]) -> Self {
        let common = [
            ("auth.require_email_confirmation", "true"),
            ("server.site_url", "https://site.example/app"),
            ("auth.rate_limit_otp_per_window", "100000"),
            ("auth.rate_limit_magiclink_per_window", "100000"),
            ("auth.rate_limit_recover_per_window", "100000"),
            ("auth.rate_limit_confirm_per_window", "100000"),
        ];
        let settings: Vec<_> = common.iter().chain(settings).copied().collect();
        let app = TestApp::build(sb::App::new(), &settings).await;
        let (sender, mails) = unbounded_channel();
        let deliver = move |letter: Letter| -> futures_util::future::BoxFuture<'static, _> {
            let sent = sender.send(letter);
            Box::pin(async move {
                sent.expect("the test reads its mails");
                Ok(Delivery::Taken)
            })
        };
        app.running.context().mail.deliver_with(Arc::new(deliver));
        let worker = app.running.start_worker().await.unwrap();
        let owner = app.owner().await;
        Self {
            app,
            owner,
            mails: Mutex::new((mails, Vec::new())),
            _worker: worker,
        }
    }

    /// The next mail.
    pub(super) async fn mail(&self) -> Mail {
        self.next(|_| true).await
    }

    /// The next mail from this template to this address. Others, which may overtake it, are kept.
    pub(super) async fn mail_of(&self, template: &str, to: &str) -> Mail {
        self.next(|letter| letter.template == template && letter.to == to)
            .await
    }

    async fn next(&self, is_wanted: impl Fn(&Letter) -> bool) -> Mail {
        let mut mails = self.mails.lock().await;
        let (incoming, kept) = &mut *mails;
        if let Some(at) = kept.iter().position(&is_wanted) {
            return Mail::read(&kept.remove(at));
        }
        loop {
            let letter = tokio::time::timeout(Duration::from_secs(10), incoming.recv()).await;
            let Ok(letter) = letter else {
                panic!("no such mail arrives; there are {kept:?}");
            };
            let letter = letter.expect("mails are read");
            if is_wanted(&letter) {
                return Mail::read(&letter);
            }
            kept.push(letter);
        }
    }

    /// Waits until the worker has nothing left to do, and fails when a mail came of it.
    pub(super) async fn no_mail(&self) {
        self.settle().await;
        let (incoming, kept) = &mut *self.mails.lock().await;
        let left = kept.pop().or_else(|| incoming.try_recv().ok());
        assert!(left.is_none(), "unexpected: {left:?}");
    }

    /// Waits until the worker has nothing left to do.
    pub(super) async fn settle(&self) {
        eventually("the queue is empty", async || {
            self.value("select count(*) from jobs.pending").await == "0"
        })
        .await;
    }

    /// Forgets the mails so far.
    pub(super) async fn discard(&self) {
        self.settle().await;
        let (incoming, kept) = &mut *self.mails.lock().await;
        kept.clear();
        while incoming.try_recv().is_ok() {}
    }

    /// The first column of the one row of `sql`, as text.
    pub(super) async fn value(&self, sql: &str) -> String {
        let sql = format!("select coalesce(x::text, '') from ({sql}) as t (x)");
        self.owner.query_one(&sql, &[]).await.unwrap().get(0)
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Reply {
        self.app.post(&format!("/auth/v1{path}"), None, body).await
    }

    pub(super) async fn admin(&self, path: &str, body: Value) -> Reply {
        let key = self.app.running.role_token("service_role").unwrap();
        let path = format!("/auth/v1{path}");
        self.app.post(&path, Some(&key), body).await
    }

    pub(super) async fn put_user(&self, token: &str, body: Value) -> Reply {
        let (method, path) = (axum::http::Method::PUT, "/auth/v1/user");
        self.app.call(method, path, Some(token), Some(body)).await
    }

    pub(super) async fn get_user(&self, token: &str) -> Reply {
        self.app.get("/auth/v1/user", Some(token)).await
    }

    pub(super) async fn sign_up(&self, email: &str, password: &str) -> Reply {
        let body = json!({ "email": email, "password": password });
        self.post("/signup", body).await
    }

    pub(super) async fn sign_in(&self, email: &str, password: &str) -> Reply {
        let body = json!({ "email": email, "password": password });
        self.post("/token?grant_type=password", body).await
    }

    pub(super) async fn verify_code(&self, kind: &str, email: &str, code: &str) -> Reply {
        let body = json!({ "type": kind, "email": email, "token": code, "options": {} });
        self.post("/verify", body).await
    }

    pub(super) async fn verify_hash(&self, kind: &str, token: &str) -> Reply {
        let body = json!({ "type": kind, "token_hash": token });
        self.post("/verify", body).await
    }

    /// Opens a link.
    pub(super) async fn open(&self, method: &str, link: &str) -> Reply {
        let path = link.strip_prefix("http://sb.test").expect("a link to sb");
        let request = Request::builder().method(method).uri(path);
        self.app.send(request.body(Body::empty()).unwrap()).await
    }

    /// Presses the button of the page behind a link. Returns where the browser is sent.
    pub(super) async fn press(&self, link: &str) -> Url {
        self.press_with(link, &[]).await
    }

    /// The same with other values in the form.
    pub(super) async fn press_with(&self, link: &str, changed: &[(&str, &str)]) -> Url {
        let link = Url::parse(link).unwrap();
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in link.query_pairs() {
            let other = changed.iter().find(|(changed, _)| *changed == name);
            form.append_pair(&name, other.map_or(&value, |(_, value)| value));
        }
        let request = Request::post("/auth/v1/verify/link")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("sec-fetch-site", "same-origin");
        let request = request.body(Body::from(form.finish())).unwrap();
        let reply = self.app.send(request).await;
        assert_eq!(reply.status, 303, "{}", reply.text());
        let location = reply.headers["location"].to_str().unwrap();
        Url::parse(location).unwrap()
    }

    /// An account with a confirmed address, signed in. Returns its access token.
    pub(super) async fn member(&self, email: &str) -> String {
        let account = json!({ "email": email, "password": PASSWORD, "email_confirm": true });
        self.admin("/admin/users", account).await.ok();
        let session = self.sign_in(email, PASSWORD).await.ok();
        session.text_at("/access_token")
    }

    /// Lets the interval between two mails to one address pass.
    pub(super) fn later(&self) {
        self.app.clock.advance(TimeDelta::seconds(61));
    }
}

/// What tests ask of an answer.
pub(super) trait Answer {
    fn ok(self) -> Self;
    fn refused(&self, status: u16, code: &str);
    fn text_at(&self, pointer: &str) -> String;
}

impl Answer for Reply {
    #[track_caller]
    fn ok(self) -> Self {
        assert_eq!(self.status, 200, "{}", self.text());
        self
    }

    #[track_caller]
    fn refused(&self, status: u16, code: &str) {
        let body = self.json();
        let got = (self.status.as_u16(), body["code"].as_str());
        assert_eq!(got, (status, Some(code)), "{body}");
    }

    #[track_caller]
    fn text_at(&self, pointer: &str) -> String {
        let body = self.json();
        let found = body.pointer(pointer).and_then(Value::as_str);
        found
            .unwrap_or_else(|| panic!("no text at {pointer} in {body}"))
            .to_owned()
    }
}

/// The claims of an access token, not verified.
pub(super) fn claims(token: &str) -> Value {
    use base64::Engine as _;
    let body = token.split('.').nth(1).unwrap();
    let body = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(body);
    serde_json::from_slice(&body.unwrap()).unwrap()
}

/// The parameters of a fragment or query.
pub(super) fn parameters(text: Option<&str>) -> std::collections::BTreeMap<String, String> {
    let pairs = url::form_urlencoded::parse(text.unwrap_or_default().as_bytes());
    pairs.into_owned().collect()
}
