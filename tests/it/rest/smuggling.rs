//! Requests that two parties could read differently.

use super::{Gateway, OK, Scripted};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn ambiguous_paths_are_refused() {
    let mut upstream = Scripted::answering(OK).await;
    let gateway = Gateway::to(upstream.address).await;
    for target in [
        "/rest/v1//items",
        "/rest/v1/../items",
        "/rest/v1/a/%2e%2e/b",
        "/rest/v1/a%2fb",
        "/rest/v1/a%5cb",
        "/rest/v1/a\\b",
        "/rest/v1/a%00b",
        "/rest/v1/a%0ab",
        "/rest/v1/a%",
        "http://evil.example/rest/v1/items",
    ] {
        let answer = gateway.send("GET", target, "").await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{target}: {answer}");
        assert!(
            answer.contains("\"code\":\"bad_path\""),
            "{target}: {answer}"
        );
    }
    for target in [
        "/rest/v1evil",
        "/rest/v2/items",
        "//rest/v1/items",
        "/rest/v1%2fitems",
        "/REST/v1/items",
    ] {
        let answer = gateway.send("GET", target, "").await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{target}: {answer}");
    }
    assert!(upstream.saw_nothing_more());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn malformed_framing_is_refused() {
    let mut upstream = Scripted::answering(OK).await;
    let gateway = Gateway::to(upstream.address).await;
    for framing in [
        "Content-Length: 3\r\nContent-Length: 4\r\n",
        "Content-Length: +3\r\n",
        "Content-Length: 3, 4\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x3\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Content-Length : 3\r\n",
        "X-A: 1\r\n Transfer-Encoding: chunked\r\n",
        "X-A\r\n",
    ] {
        let request = format!(
            "POST /rest/v1/items HTTP/1.1\r\nHost: a\r\n{framing}\r\n3\r\nabc\r\n0\r\n\r\n"
        );
        let answer = gateway.raw(&request).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{framing:?}: {answer}");
    }
    let old = "POST /rest/v1/items HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert!(gateway.raw(old).await.starts_with("HTTP/1.1 400 "));
    assert!(upstream.saw_nothing_more());
}

/// A proxy in front that follows the length sees one request here; it must not become two.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn two_framings_never_hide_a_second_request() {
    let hidden = "GET /rest/v1/hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut upstream = Scripted::answering(OK).await;
    let gateway = Gateway::to(upstream.address).await;
    for framing in [
        "Content-Length: 48\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 48\r\n",
        "Transfer-Encoding: chunked\r\n",
    ] {
        let request =
            format!("POST /rest/v1/items HTTP/1.1\r\nHost: a\r\n{framing}\r\n0\r\n\r\n{hidden}");
        let answer = gateway.raw(&request).await;
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        let seen = upstream.next().await;
        assert_eq!(
            (seen.line.as_str(), seen.body.as_slice()),
            ("POST /items HTTP/1.1", &b""[..])
        );
        assert_eq!(seen.values("transfer-encoding"), ["chunked"]);
        assert!(seen.values("content-length").is_empty(), "{seen:?}");
        assert!(upstream.saw_nothing_more());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_connection_list_cannot_hide_the_length() {
    let mut upstream = Scripted::answering(OK).await;
    let gateway = Gateway::to(upstream.address).await;
    let answer = gateway
        .raw("POST /rest/v1/items HTTP/1.1\r\nHost: a\r\nConnection: close, content-length, host\r\nContent-Length: 3\r\n\r\nabc")
        .await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let seen = upstream.next().await;
    assert_eq!(
        (seen.values("content-length"), seen.body.as_slice()),
        (vec!["3"], &b"abc"[..])
    );
    assert_eq!(seen.values("host"), [upstream.address.to_string()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_get_keeps_its_body() {
    let mut upstream = Scripted::answering(OK).await;
    let gateway = Gateway::to(upstream.address).await;
    for (framing, body) in [
        ("Content-Length: 3", "abc"),
        ("Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\n\r\n"),
    ] {
        gateway
            .raw(&format!("GET /rest/v1/rpc/f HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{framing}\r\n\r\n{body}"))
            .await;
        assert_eq!(upstream.next().await.body, b"abc");
    }
}
