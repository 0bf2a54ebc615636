//! PostgREST is away, slow, or moves.

use std::time::{Duration, Instant};

use sb::lifecycle::Lifecycle;
use sb::rest::Target;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use super::{Gateway, OK, Scripted, read_head, read_until};

fn is_unavailable(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n")
        && answer.contains("retry-after: 1\r\n")
        && answer.contains("content-type: application/json\r\n")
        && answer.contains("access-control-allow-origin: *\r\n")
        && answer.contains("\"code\":\"upstream_unavailable\"")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_restart_is_answered_503_and_then_forgotten() {
    let upstream = Scripted::answering(OK).await;
    let gateway = Gateway::to(upstream.address).await;
    for _ in 0..2 {
        assert!(
            gateway
                .send("GET", "/rest/v1/a", "")
                .await
                .starts_with("HTTP/1.1 200 ")
        );
    }
    let address = upstream.stop().await;
    for method in ["GET", "POST"] {
        let answer = gateway.send(method, "/rest/v1/a", "").await;
        assert!(is_unavailable(&answer), "{answer}");
        assert!(!answer.contains(&address.port().to_string()), "{answer}");
    }
    let _again = Scripted::on(address, OK).await;
    assert!(
        gateway
            .send("POST", "/rest/v1/a", "")
            .await
            .starts_with("HTTP/1.1 200 ")
    );
    let metrics = gateway.metrics.encode().unwrap();
    assert!(
        metrics.contains("sb_rest_upstream_failures_total{reason=\"Connect\"} 2"),
        "{metrics}"
    );
}

const NO_DATABASE: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 33\r\n\r\n{\"code\":\"PGRST000\",\"message\":\"x\"}";
const SAID_BY_SQL: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 32\r\n\r\n{\"code\":\"PT503\",\"message\":\"nay\"}";

/// A gateway to a PostgREST of our own.
async fn ours(upstream: &Scripted) -> Gateway {
    let gateway = Gateway::to(upstream.address).await;
    let target = Target::ours(upstream.address.port()).unwrap();
    gateway.rest.set_target(Some(target));
    gateway
}

/// Fails without `patiently`.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_read_waits_for_a_postgrest_of_ours_that_has_no_database() {
    let mut upstream = Scripted::answering(NO_DATABASE).await;
    let gateway = ours(&upstream).await;
    let comes_back = async {
        upstream.next().await;
        upstream.next().await;
        Scripted::on(upstream.stop().await, OK).await
    };
    let read = gateway.send("GET", "/rest/v1/a", "");
    tokio::pin!(read);
    let _upstream = tokio::select! {
        answer = &mut read => panic!("it was asked once: {answer}"),
        upstream = comes_back => upstream,
    };
    let answer = read.await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// Fails without the pauses in `connect`.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_write_waits_for_a_postgrest_of_ours_that_is_away() {
    let upstream = Scripted::answering(OK).await;
    let gateway = ours(&upstream).await;
    let address = upstream.stop().await;
    let began = Instant::now();
    let answer = gateway.send("POST", "/rest/v1/a", "").await;
    assert!(is_unavailable(&answer), "{answer}");
    assert!(
        began.elapsed() > Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    let (_again, answer) = tokio::join!(
        Scripted::on(address, OK),
        gateway.send("POST", "/rest/v1/a", "")
    );
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// Fails when more than reads is sent again, when what SQL says is taken for a missing database, or when an upstream that
/// is not ours is asked twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nothing_else_is_asked_again() {
    for (method, answer, is_ours) in [
        ("POST", NO_DATABASE, true),
        ("GET", SAID_BY_SQL, true),
        ("GET", NO_DATABASE, false),
    ] {
        let mut upstream = Scripted::answering(answer).await;
        let gateway = if is_ours {
            ours(&upstream).await
        } else {
            Gateway::to(upstream.address).await
        };
        let told = gateway.send(method, "/rest/v1/a", "").await;
        assert!(told.starts_with("HTTP/1.1 503 "), "{told}");
        assert!(
            told.ends_with(answer.rsplit('\n').next().unwrap()),
            "{told}"
        );
        upstream.next().await;
        assert!(upstream.saw_nothing_more(), "{method} {answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_connection_closed_while_idle_costs_no_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    Lifecycle::new().spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_head(&mut stream, &mut Vec::new()).await;
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
    });
    let gateway = Gateway::to(address).await;
    for _ in 0..20 {
        let answer = gateway.send("GET", "/rest/v1/a", "").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let metrics = gateway.metrics.encode().unwrap();
    assert!(!metrics.contains("reason=\"Connect\""), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_request_that_was_sent_is_never_sent_twice() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (count, mut counted) = tokio::sync::mpsc::unbounded_channel();
    Lifecycle::new().spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let head = read_head(&mut stream, &mut Vec::new()).await.unwrap();
            count.send(head.line).unwrap();
        }
    });
    let gateway = Gateway::to(address).await;
    let answer = gateway.send("POST", "/rest/v1/a", "").await;
    assert!(is_unavailable(&answer), "{answer}");
    assert_eq!(counted.recv().await.unwrap(), "POST /a HTTP/1.1");
    assert!(counted.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn silence_is_answered_504_and_the_connection_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let gateway = Gateway::with(&url, |config| config.rest.timeout_s = 1).await;
    let (answer, seen) = tokio::join!(gateway.send("GET", "/rest/v1/a", ""), async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = Vec::new();
        read_head(&mut stream, &mut buffer).await.unwrap();
        read_head(&mut stream, &mut buffer).await
    });
    assert!(
        answer.starts_with("HTTP/1.1 504 ") && answer.contains("\"code\":\"request_timeout\""),
        "{answer}"
    );
    assert_eq!(seen, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_answer_that_is_no_http_is_not_passed_on() {
    let upstream = Scripted::answering("SSH-2.0-OpenSSH_9.6\r\n\r\n").await;
    let gateway = Gateway::to(upstream.address).await;
    let answer = gateway.send("GET", "/rest/v1/a", "").await;
    assert!(
        is_unavailable(&answer) && !answer.contains("SSH"),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_target_can_move_while_a_request_is_in_flight() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut second = Scripted::answering(OK).await;
    let gateway = Gateway::to(listener.local_addr().unwrap()).await;
    let mut slow = gateway.connect().await;
    slow.write_all(b"GET /rest/v1/slow HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    read_head(&mut stream, &mut Vec::new()).await.unwrap();

    gateway.rest.set_target(Some(
        Target::parse(&format!("http://{}/base", second.address)).unwrap(),
    ));
    assert!(
        gateway
            .send("GET", "/rest/v1/new", "")
            .await
            .starts_with("HTTP/1.1 200 ")
    );
    assert_eq!(second.next().await.line, "GET /base/new HTTP/1.1");
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold")
        .await
        .unwrap();
    read_until(&mut slow, "old").await;

    gateway.rest.set_target(None);
    assert!(is_unavailable(
        &gateway.send("GET", "/rest/v1/new", "").await
    ));
}
