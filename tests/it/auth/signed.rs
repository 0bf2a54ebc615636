//! What states and links are signed with is changed under nodes that run.

use axum::body::Body;
use axum::http::{Method, Request};
use sb::config::{Config, Secret};
use sb::db::Connection;
use sb::keys::MasterKey;
use sb::keys::secrets::{self, Family};
use serde_json::json;
use url::Url;

use crate::scratch::eventually;
use crate::support::{MASTER_KEY, TestApp};

const SETTINGS: [(&str, &str); 3] = [
    ("auth.external.github.client_id", "client"),
    ("auth.external.github.secret", "secret"),
    ("auth.rate_limit_oauth_per_window", "100000"),
];

/// A sign-in at a provider that has begun.
struct Begun {
    state: String,
    cookie: String,
}

impl Begun {
    async fn at(node: &TestApp) -> Self {
        let reply = node.get("/auth/v1/authorize?provider=github", None).await;
        assert_eq!(reply.status, 302, "{}", reply.text());
        let header = |name| reply.headers[name].to_str().unwrap().to_owned();
        let location = Url::parse(&header("location")).unwrap();
        let state = location.query_pairs().find(|(name, _)| name == "state");
        Self {
            state: state.unwrap().1.into_owned(),
            cookie: header("set-cookie").split(';').next().unwrap().to_owned(),
        }
    }

    /// What the browser is told when it comes back to `node`, the user having refused.
    async fn ends_at(&self, node: &TestApp) -> String {
        let path = format!("/auth/v1/callback?error=access_denied&state={}", self.state);
        let request = Request::get(path).header("cookie", &self.cookie);
        let reply = node.send(request.body(Body::empty()).unwrap()).await;
        let location = Url::parse(reply.headers["location"].to_str().unwrap()).unwrap();
        let code = location
            .query_pairs()
            .find(|(name, _)| name == "error_code");
        code.unwrap().1.into_owned()
    }
}

/// The token of a link to sign in with, made at `node`.
async fn link(node: &TestApp, email: &str) -> String {
    let key = node.running.role_token("service_role").unwrap();
    let body = json!({ "type": "magiclink", "email": email });
    let path = "/auth/v1/admin/generate_link";
    let made = node.post(path, Some(&key), body).await.json();
    made["hashed_token"].as_str().unwrap().to_owned()
}

/// What follows when the link is used at `node`.
async fn use_link(node: &TestApp, token: &str) -> u16 {
    let body = json!({ "type": "magiclink", "token_hash": token });
    let body = Some(body);
    let reply = node.call(Method::POST, "/auth/v1/verify", None, body).await;
    reply.status.as_u16()
}

/// The id of the secret that something is signed with.
fn kid(text: &str) -> &str {
    text.split('.').nth(1).unwrap()
}

async fn rotate(owner: &Connection, node: &TestApp, family: Family) -> String {
    let master = MasterKey::from_secret(&Secret::new(MASTER_KEY)).unwrap();
    let made = secrets::rotate(owner, &master, family, &node.clock).await;
    let active = secrets::activate(owner, family, None, &node.clock).await;
    assert_eq!(made.unwrap(), *active.as_ref().unwrap());
    active.unwrap()
}

/// Part 10 of auth: without downtime. Let `signed::is_ours` answer yes to everything, and what a revoked secret has signed
/// is still good; sign with anything but the secret in force, and no node follows.
#[tokio::test(flavor = "multi_thread")]
async fn secrets_change_under_states_and_links() {
    let one = TestApp::with(&SETTINGS).await;
    let two = one.another_node(&SETTINGS).await;
    for email in ["a@example.com", "b@example.com", "c@example.com"] {
        one.sign_up(email).await;
    }
    let (link_a, link_c) = (
        link(&one, "a@example.com").await,
        link(&one, "c@example.com").await,
    );
    let mut begun = Vec::new();
    for _ in 0..200 {
        begun.push(Begun::at(&one).await);
    }

    let owner = one.owner().await;
    let for_links = rotate(&owner, &one, Family::Links).await;
    let for_states = rotate(&owner, &one, Family::OauthState).await;
    for node in [&one, &two] {
        eventually("the node signs states anew", async || {
            kid(&Begun::at(node).await.state) == for_states
        })
        .await;
        eventually("the node signs links anew", async || {
            kid(&link(node, "b@example.com").await) == for_links
        })
        .await;
    }

    // What was signed before is good, and so is what is signed now, at either node.
    assert_eq!(use_link(&two, &link_a).await, 200);
    assert_eq!(
        use_link(&two, &link(&one, "b@example.com").await).await,
        200
    );
    let before = begun.pop().unwrap();
    assert_eq!(before.ends_at(&two).await, "bad_oauth_callback");
    let anew = Begun::at(&two).await;
    assert_eq!(anew.ends_at(&one).await, "bad_oauth_callback");

    // Until the former secrets are revoked.
    let force = (&Config::default(), true);
    let pruned = secrets::prune(&owner, None, force, &one.clock).await;
    assert_eq!(pruned.unwrap().len(), 2);
    let lasting = Begun::at(&one).await;
    for node in [&one, &two] {
        // Each is used up by being looked at.
        eventually(
            "the node refuses what a revoked secret has signed",
            async || {
                let before = begun.pop().expect("there are enough");
                before.ends_at(node).await == "bad_oauth_state"
            },
        )
        .await;
    }
    assert_eq!(use_link(&two, &link_c).await, 403);
    assert_eq!(lasting.ends_at(&two).await, "bad_oauth_callback");
}
