//! Which token PostgREST gets to see.

use sb::config::Config;

use super::{Gateway, OK, Scripted};

/// Sends the header lines and says which `authorization` and `apikey` arrived.
async fn arrived(
    gateway: &Gateway,
    upstream: &mut Scripted,
    headers: &str,
) -> (Vec<String>, Vec<String>) {
    let answer = gateway.send("GET", "/rest/v1/items", headers).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n"),
        "{headers:?}: {answer}"
    );
    let seen = upstream.next().await;
    let values = |name| seen.values(name).into_iter().map(str::to_owned).collect();
    (values("authorization"), values("apikey"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn each_kind_of_credential_becomes_what_postgrest_can_verify() {
    let mut upstream = Scripted::answering(OK).await;
    let gateway = Gateway::to(upstream.address).await;
    for (headers, authorization, key) in [
        ("", None, None),
        (
            "Authorization: Bearer eyJuser\r\n",
            Some("Bearer eyJuser"),
            None,
        ),
        (
            "Authorization: bearer   eyJuser\r\n",
            Some("bearer   eyJuser"),
            None,
        ),
        (
            "apikey: eyJanon\r\n",
            Some("Bearer eyJanon"),
            Some("eyJanon"),
        ),
        (
            "apikey: eyJanon\r\nAuthorization: Bearer eyJanon\r\n",
            Some("Bearer eyJanon"),
            Some("eyJanon"),
        ),
        (
            "apikey: eyJanon\r\nAuthorization: Bearer eyJuser\r\n",
            Some("Bearer eyJuser"),
            Some("eyJanon"),
        ),
        (
            "apikey: eyJlegacy\r\n",
            Some("Bearer resigned.jwt"),
            Some("eyJlegacy"),
        ),
        (
            "apikey: eyJanon\r\nAuthorization: Bearer eyJlegacy\r\n",
            Some("Bearer resigned.jwt"),
            Some("eyJanon"),
        ),
        (
            "apikey: sb_publishable_good\r\n",
            Some("Bearer anon.jwt"),
            Some("sb_publishable_good"),
        ),
        (
            "apikey: sb_publishable_good\r\nAuthorization: Bearer sb_publishable_good\r\n",
            Some("Bearer anon.jwt"),
            Some("sb_publishable_good"),
        ),
        (
            "apikey: sb_publishable_good\r\nAuthorization: Bearer eyJuser\r\n",
            Some("Bearer eyJuser"),
            Some("sb_publishable_good"),
        ),
        (
            "apikey: sb_secret_good\r\n",
            Some("Bearer service.jwt"),
            None,
        ),
        (
            "apikey: sb_secret_good\r\nAuthorization: Bearer eyJuser\r\n",
            Some("Bearer eyJuser"),
            None,
        ),
        (
            "Authorization: Bearer sb_secret_good\r\n",
            Some("Bearer service.jwt"),
            None,
        ),
        (
            "apikey: eyJanon\r\nAuthorization:\r\n",
            Some("Bearer eyJanon"),
            Some("eyJanon"),
        ),
        (
            "apikey: eyJanon\r\nAuthorization: Basic eA==\r\n",
            Some("Basic eA=="),
            Some("eyJanon"),
        ),
    ] {
        let (got_authorization, got_key) = arrived(&gateway, &mut upstream, headers).await;
        assert_eq!(
            got_authorization,
            Vec::from_iter(authorization),
            "{headers:?}"
        );
        assert_eq!(got_key, Vec::from_iter(key), "{headers:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn unknown_keys_go_nowhere() {
    let mut upstream = Scripted::answering(OK).await;
    let gateway = Gateway::to(upstream.address).await;
    for (headers, status, code) in [
        ("apikey: sb_secret_bad\r\n", 401, "invalid_api_key"),
        (
            "apikey: sb_publishable_bad\r\nAuthorization: Bearer eyJuser\r\n",
            401,
            "invalid_api_key",
        ),
        (
            "Authorization: Bearer sb_secret_bad\r\n",
            401,
            "invalid_api_key",
        ),
        ("Authorization: Bearer eyJrevoked\r\n", 401, "bad_jwt"),
        (
            "Authorization: Bearer eyJa\r\nAuthorization: Bearer eyJb\r\n",
            400,
            "validation_failed",
        ),
        (
            "apikey: eyJa\r\napikey: sb_secret_good\r\n",
            400,
            "validation_failed",
        ),
    ] {
        let answer = gateway.send("GET", "/rest/v1/items", headers).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{headers:?}: {answer}"
        );
        assert!(
            answer.contains(&format!("\"code\":\"{code}\"")),
            "{headers:?}: {answer}"
        );
        assert!(!answer.contains("sb_secret"), "{answer}");
    }
    assert!(upstream.saw_nothing_more());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_key_in_the_query_works_and_is_taken_out() {
    let mut upstream = Scripted::answering(OK).await;
    let gateway = Gateway::to(upstream.address).await;
    gateway
        .send("GET", "/rest/v1/items?a=eq.1&apikey=sb_secret_good", "")
        .await;
    let seen = upstream.next().await;
    assert_eq!(seen.line, "GET /items?a=eq.1 HTTP/1.1");
    assert_eq!(seen.values("authorization"), ["Bearer service.jwt"]);
    gateway.send("GET", "/rest/v1/items?apikey=eq.x", "").await;
    assert_eq!(
        upstream.next().await.line,
        "GET /items?apikey=eq.x HTTP/1.1"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_key_can_be_required_while_running() {
    let mut upstream = Scripted::answering(OK).await;
    let gateway = Gateway::to(upstream.address).await;
    arrived(&gateway, &mut upstream, "").await;
    let mut config = Config::default();
    config.rest.require_apikey = true;
    gateway.config.replace(config);
    for headers in [
        "",
        "Authorization: Bearer eyJuser\r\n",
        "apikey:\r\n",
        "apikey: x\r\nAuthorization: Bearer eyJuser\r\n",
        "apikey: x\r\nAuthorization: Basic eA==\r\n",
        "apikey: eyJforged\r\nAuthorization: Bearer eyJuser\r\n",
    ] {
        let answer = gateway.send("GET", "/rest/v1/items", headers).await;
        assert!(
            answer.starts_with("HTTP/1.1 401 ") && answer.contains("invalid_api_key"),
            "{answer}"
        );
    }
    assert!(upstream.saw_nothing_more());
    for headers in [
        "apikey: eyJanon\r\n",
        "apikey: eyJanon\r\nAuthorization: Bearer eyJuser\r\n",
        "apikey: sb_publishable_good\r\nAuthorization: Bearer eyJuser\r\n",
        "Authorization: Bearer sb_publishable_good\r\n",
    ] {
        arrived(&gateway, &mut upstream, headers).await;
    }
}
