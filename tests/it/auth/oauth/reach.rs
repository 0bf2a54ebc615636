//! Where a provider's addresses may lead `sb`: settings and discovery documents are not trusted with its network.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use sb::http::Outbound;
use serde_json::json;

use super::provider::Provider;
use super::*;
use crate::auth::support::Options;

async fn begin(app: &App) -> Reply {
    app.request("GET", "/authorize?provider=acme").send().await
}

/// Fails when the calls do not go through the guarded client.
#[tokio::test]
async fn addresses_inside_are_not_called_and_nothing_of_them_is_told() {
    let inside = Provider::start().await;
    let settings = external("acme", &inside.url);
    let app = App::with_settings(&settings).await;
    let reply = begin(&app).await;
    reply.refused(400, "bad_oauth_callback");
    assert!(
        !reply.body.to_string().contains("127.0.0.1"),
        "{}",
        reply.body
    );
    assert_eq!(inside.calls("/.well-known/openid-configuration"), 0);

    for address in [
        "http://10.0.0.1",
        "http://169.254.169.254/latest",
        "http://[::1]:9",
        "http://0.0.0.0:9",
        "http://[::ffff:10.0.0.1]",
        "http://localhost:9",
    ] {
        for endpoint in ["token_endpoint", "jwks_uri"] {
            let (app, provider) = project(&[]).await;
            provider.behave(|it| it.discovery = json!({endpoint: format!("{address}/x")}));
            // Loopback is allowed in this test, by number and not by name.
            let landing = Browser::new(&app)
                .sign_in(&provider, "provider=acme", ana(&app))
                .await;
            landing.refused("bad_oauth_callback");
            assert!(!format!("{landing:?}").contains("10.0.0.1"), "{landing:?}");
        }
    }
}

/// What a name leads to is looked at, not the name. Fails when the calls do not go through the guarded client.
#[tokio::test]
async fn a_name_that_leads_inside_is_not_called() {
    let inside = TcpListener::bind("127.0.0.1:0").unwrap();
    inside.set_nonblocking(true).unwrap();
    let port = inside.local_addr().unwrap().port();
    let resolver = |_: String| -> BoxFuture<'static, _> {
        Box::pin(async { Ok(vec!["127.0.0.1".parse().unwrap()]) })
    };
    let app = App::with(Options {
        settings: external("acme", &format!("https://idp.example:{port}")),
        outbound: Some(Outbound::with_resolver(Vec::new(), Arc::new(resolver))),
        ..Options::default()
    })
    .await;
    let reply = begin(&app).await;
    reply.refused(400, "bad_oauth_callback");
    assert!(!reply.body.to_string().contains("127.0.0.1"));
    assert!(inside.accept().is_err(), "a connection was made");
}

/// Fails when the client for outside addresses follows redirects.
#[tokio::test]
async fn a_redirect_is_no_discovery_document_and_not_followed() {
    let (app, provider) = project(&[]).await;
    let inside = Provider::start().await;
    for status in [301, 302, 303, 307, 308] {
        app.advance(10);
        let to = vec![(
            "location".to_owned(),
            format!("{}/.well-known/openid-configuration", inside.url),
        )];
        provider.behave(|it| {
            it.instead.insert(
                "/.well-known/openid-configuration".to_owned(),
                (status, to, String::new()),
            )
        });
        begin(&app).await.refused(400, "bad_oauth_callback");
    }
    assert_eq!(inside.calls("/.well-known/openid-configuration"), 0);
    assert_eq!(provider.calls("/.well-known/openid-configuration"), 5);
}

/// Fails without the time limit, and without the memory of a failure.
#[tokio::test]
async fn a_silent_provider_costs_a_second_and_then_nothing() {
    let (app, provider) = project(&[("auth.external_timeout_s", "1")]).await;
    provider.behave(|it| {
        it.silent
            .push("/.well-known/openid-configuration".to_owned());
    });
    let started = Instant::now();
    let calls = (0..10).map(|_| begin(&app));
    for reply in futures_util::future::join_all(calls).await {
        reply.refused(400, "bad_oauth_callback");
    }
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(provider.calls("/.well-known/openid-configuration"), 1);
    provider.behave(|it| it.silent.clear());
    app.advance(6);
    assert_eq!(begin(&app).await.status, 302);
}

#[tokio::test]
async fn a_document_that_does_not_fit_is_refused() {
    for discovery in [
        json!({"issuer": "https://evil.example"}),
        json!({"issuer": null}),
        json!({"jwks_uri": null}),
        json!({"token_endpoint": null}),
        json!({"authorization_endpoint": "javascript:alert(1)"}),
        json!({"authorization_endpoint": "/relative"}),
        json!({"token_endpoint": "file:///etc/passwd"}),
        json!({"padding": "x".repeat(2_000_000)}),
    ] {
        let (app, provider) = project(&[]).await;
        provider.behave(|it| it.discovery = discovery);
        begin(&app).await.refused(400, "bad_oauth_callback");
    }
    let (app, provider) = project(&[]).await;
    let page = "<html>internal page</html>".to_owned();
    provider.behave(|it| {
        it.instead.insert(
            "/.well-known/openid-configuration".to_owned(),
            (200, Vec::new(), page),
        )
    });
    let reply = begin(&app).await;
    reply.refused(400, "bad_oauth_callback");
    assert!(!reply.body.to_string().contains("internal page"));
}
