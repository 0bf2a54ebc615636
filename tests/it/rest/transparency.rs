//! What passes unchanged, and the little that does not.

use super::{Gateway, OK, Scripted};
use tokio::io::AsyncWriteExt as _;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn requests_arrive_as_they_were_sent() {
    let mut upstream = Scripted::answering(OK).await;
    let gateway = Gateway::to(upstream.address).await;
    let body = "\u{0}not even [json";
    let answer = gateway
        .raw(&format!(
            "PATCH /rest/v1/b%C3%BCcher%20x?id=in.(1,%22a%2Fb%22)&&o=&select=*,c(*) HTTP/1.1\r\n\
             Host: api.example.com\r\nConnection: close\r\nPrefer: return=minimal\r\nPrefer: tx=commit\r\n\
             Accept-Encoding: gzip, br\r\nAccept: application/vnd.pgrst.object+json\r\nRange: 0-9\r\n\
             Content-Profile: api\r\nContent-Type: text/csv\r\nX-Odd: a, b;c=\"d\"\r\nCookie: a=1\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n[]"),
        "{answer}"
    );
    let seen = upstream.next().await;
    assert_eq!(
        seen.line,
        "PATCH /b%C3%BCcher%20x?id=in.(1,%22a%2Fb%22)&&o=&select=*,c(*) HTTP/1.1"
    );
    assert_eq!(seen.body, body.as_bytes());
    assert_eq!(seen.values("prefer"), ["return=minimal", "tx=commit"]);
    for (name, value) in [
        ("accept-encoding", "gzip, br"),
        ("accept", "application/vnd.pgrst.object+json"),
        ("range", "0-9"),
        ("content-profile", "api"),
        ("content-type", "text/csv"),
        ("x-odd", "a, b;c=\"d\""),
        ("cookie", "a=1"),
        ("content-length", "15"),
        ("host", &upstream.address.to_string()),
    ] {
        assert_eq!(seen.values(name), [value], "{name}");
    }
    assert!(seen.values("authorization").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_method_passes_and_the_root_is_served() {
    let mut upstream =
        Scripted::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nAllow: OPTIONS,GET\r\n\r\n")
            .await;
    let gateway = Gateway::to(upstream.address).await;
    for method in [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "X-ODD",
    ] {
        for (target, sent) in [
            ("/rest/v1", "/"),
            ("/rest/v1/", "/"),
            ("/rest/v1/rpc/f?a=1", "/rpc/f?a=1"),
        ] {
            let answer = gateway
                .send(method, target, "Origin: http://a.example\r\n")
                .await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            assert!(answer.contains("allow: OPTIONS,GET\r\n"), "{answer}");
            let seen = upstream.next().await;
            assert_eq!(seen.line, format!("{method} {sent} HTTP/1.1"));
            assert!(seen.values("content-length").is_empty(), "{seen:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn only_preflights_are_answered_at_the_edge() {
    let mut upstream = Scripted::answering(OK).await;
    let gateway = Gateway::to(upstream.address).await;
    let asks = "Origin: http://a.example\r\nAccess-Control-Request-Method: PATCH\r\n";
    let answer = gateway.send("OPTIONS", "/rest/v1/items", asks).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(
        answer.contains("access-control-allow-methods: GET, POST, PATCH"),
        "{answer}"
    );
    assert!(upstream.saw_nothing_more());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn headers_of_a_connection_and_forged_ones_end_here() {
    let mut upstream = Scripted::answering(OK).await;
    let gateway = Gateway::to(upstream.address).await;
    let forged = "Connection: X-Mine, te\r\nX-Mine: 1\r\nTE: trailers\r\nTrailer: X-T\r\nKeep-Alive: timeout=5\r\n\
                  Upgrade: h2c\r\nProxy-Authorization: Basic eA==\r\nProxy-Connection: keep-alive\r\n\
                  X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\nX-Forwarded-Host: evil\r\n\
                  X-Forwarded-Proto: gopher\r\nX-Forwarded-Prefix: /evil\r\nX-Forwarded-Port: 1\r\n\
                  Forwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Request-Id: request-12345\r\n";
    let answer = gateway.send("GET", "/rest/v1/items", forged).await;
    assert!(
        answer.contains("x-request-id: request-12345\r\n"),
        "{answer}"
    );
    let mut headers = upstream.next().await.headers;
    headers.sort();
    assert_eq!(
        headers,
        [
            &format!("host: {}", upstream.address),
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-host: api.example.com",
            "x-forwarded-prefix: /rest/v1",
            "x-forwarded-proto: http",
            "x-request-id: request-12345",
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_made_up_request_id_reaches_both_sides() {
    let mut upstream = Scripted::answering(OK).await;
    let gateway = Gateway::to(upstream.address).await;
    let answer = gateway.send("GET", "/rest/v1/items", "").await;
    let seen = upstream.next().await;
    let ids = seen.values("x-request-id");
    assert_eq!(ids.len(), 1, "{seen:?}");
    assert!(
        answer.contains(&format!("x-request-id: {}\r\n", ids[0])),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn answers_arrive_as_they_were_given() {
    let upstream = Scripted::answering(
        "HTTP/1.1 206 Some Of It\r\nContent-Range: 0-1/3573458\r\nContent-Location: /items?a=1\r\n\
         Location: /items?id=eq.7\r\nPreference-Applied: count=exact\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
         Server: postgrest/12.0.2\r\nDate: Sat, 21 Nov 2020 00:00:00 GMT\r\nContent-Encoding: gzip\r\n\
         Access-Control-Allow-Origin: http://wrong\r\nAccess-Control-Allow-Credentials: true\r\n\
         Access-Control-Expose-Headers: Content-Range\r\n\
         Connection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=1\r\nProxy-Authenticate: Basic\r\n\
         WWW-Authenticate: Bearer error=\"x\"\r\nContent-Length: 4\r\n\r\n\u{1}\u{2}\r\n",
    )
    .await;
    let gateway = Gateway::to(upstream.address).await;
    let answer = gateway
        .send("GET", "/rest/v1/items", "Origin: http://a.example\r\n")
        .await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "\u{1}\u{2}\r\n");
    assert!(head.starts_with("HTTP/1.1 206 Some Of It\r\n"), "{head}");
    for line in [
        "content-range: 0-1/3573458",
        "content-location: /items?a=1",
        "location: /items?id=eq.7",
        "preference-applied: count=exact",
        "set-cookie: a=1\r\nset-cookie: b=2",
        "server: postgrest/12.0.2",
        "date: Sat, 21 Nov 2020 00:00:00 GMT",
        "content-encoding: gzip",
        "content-length: 4",
        "www-authenticate: Bearer error=\"x\"",
        "access-control-allow-origin: *",
        "access-control-expose-headers: Content-Range",
    ] {
        assert_eq!(
            head.matches(&format!("\r\n{line}")).count(),
            1,
            "{line} in {head}"
        );
    }
    for name in [
        "x-hop",
        "keep-alive",
        "proxy-authenticate",
        "allow-credentials",
        "http://wrong",
    ] {
        assert!(!head.contains(name), "{name} in {head}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn answers_without_a_body_keep_their_length() {
    for (method, given, expected) in [
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n",
            Some("1234"),
        ),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            None,
        ),
        ("DELETE", "HTTP/1.1 204 No Content\r\n\r\n", None),
        ("GET", "HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", None),
    ] {
        let upstream = Scripted::answering(given).await;
        let gateway = Gateway::to(upstream.address).await;
        let answer = gateway.send(method, "/rest/v1/items", "").await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, "", "{method} {given}");
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        assert_eq!(length, expected, "{method} {given} became {head}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn connections_are_used_again() {
    let mut upstream = Scripted::answering(OK).await;
    let gateway = Gateway::to(upstream.address).await;
    let mut client = gateway.connect().await;
    for _ in 0..3 {
        client
            .write_all(b"GET /rest/v1/items HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        super::read_until(&mut client, "\r\n\r\n[]").await;
        upstream.next().await;
    }
    assert_eq!(upstream.connections(), 1);
}
