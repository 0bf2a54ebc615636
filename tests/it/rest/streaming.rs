//! Bodies flow while they are being made, and their limits hold on the way.

use sb::lifecycle::Lifecycle;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::{Gateway, OK, Scripted, read_head, read_until};

/// Runs `script` with the first connection made to the returned gateway's upstream.
async fn scripted<F>(
    change: impl FnOnce(&mut sb::Config),
    script: impl FnOnce(TcpStream) -> F + Send + 'static,
) -> Gateway
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    Lifecycle::new().spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        script(stream).await;
    });
    Gateway::with(&format!("http://{address}"), change).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_first_bytes_of_an_answer_arrive_before_the_last_are_made() {
    let (read, was_read) = oneshot::channel();
    let gateway = scripted(
        |_| {},
        async |mut stream| {
            read_head(&mut stream, &mut Vec::new()).await.unwrap();
            let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";
            stream.write_all(head).await.unwrap();
            was_read.await.unwrap();
            stream.write_all(b"4\r\nlast\r\n0\r\n\r\n").await.unwrap();
        },
    )
    .await;
    let mut client = gateway.connect().await;
    client
        .write_all(b"GET /rest/v1/a HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut client, "first").await;
    read.send(()).unwrap();
    assert!(read_until(&mut client, "0\r\n\r\n").await.contains("last"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_first_bytes_of_a_request_arrive_before_the_last_are_sent() {
    let (read, was_read) = oneshot::channel();
    let gateway = scripted(
        |_| {},
        async |mut stream| {
            read_until(&mut stream, "first").await;
            read.send(()).unwrap();
            read_until(&mut stream, "last").await;
            stream.write_all(OK.as_bytes()).await.unwrap();
        },
    )
    .await;
    let mut client = gateway.connect().await;
    client
        .write_all(b"POST /rest/v1/a HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nfirst")
        .await
        .unwrap();
    was_read.await.unwrap();
    client.write_all(b"last").await.unwrap();
    assert!(
        read_until(&mut client, "[]")
            .await
            .starts_with("HTTP/1.1 200 OK\r\n")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_expected_continue_is_given() {
    let mut upstream = Scripted::answering(OK).await;
    let gateway = Gateway::to(upstream.address).await;
    let mut client = gateway.connect().await;
    client
        .write_all(b"POST /rest/v1/a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(
        read_until(&mut client, "\r\n\r\n").await,
        "HTTP/1.1 100 Continue\r\n\r\n"
    );
    client.write_all(b"abc").await.unwrap();
    assert!(
        read_until(&mut client, "[]")
            .await
            .starts_with("HTTP/1.1 200 OK\r\n")
    );
    let seen = upstream.next().await;
    assert_eq!(
        (seen.values("expect").len(), seen.body.as_slice()),
        (0, &b"abc"[..])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn large_bodies_pass_whole_in_both_directions() {
    const SIZE: usize = 15 * 1024 * 1024;
    let gateway = scripted(
        |_| {},
        async |mut stream| {
            let mut buffer = Vec::new();
            read_head(&mut stream, &mut buffer).await.unwrap();
            let mut body = buffer;
            while body.len() < SIZE {
                assert_ne!(stream.read_buf(&mut body).await.unwrap(), 0);
            }
            stream
                .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n").as_bytes())
                .await
                .unwrap();
            stream.write_all(&body).await.unwrap();
        },
    )
    .await;
    let body: Vec<u8> = (0..SIZE).map(|i| u8::try_from(i % 251).unwrap()).collect();
    let mut client = gateway.connect().await;
    let head = format!(
        "POST /rest/v1/a HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {SIZE}\r\n\r\n"
    );
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(&body).await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert!(answer.ends_with(&body) && answer.len() > SIZE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_stated_length_beyond_the_limit_is_refused_at_once() {
    let mut upstream = Scripted::answering(OK).await;
    let gateway = Gateway::to(upstream.address).await;
    // Not one byte of the 50 MB is sent or waited for.
    let answer = gateway
        .send("POST", "/rest/v1/a", "Content-Length: 52428800\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(
        answer.contains("\"code\":\"request_entity_too_large\""),
        "{answer}"
    );
    assert!(upstream.saw_nothing_more());
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_body_that_grows_beyond_the_limit_is_cut_off_on_both_sides() {
    let (end, ended) = oneshot::channel();
    let limit = |config: &mut sb::Config| config.rest.max_body_bytes = 10;
    let gateway = scripted(limit, async |mut stream| {
        let mut got = Vec::new();
        // A broken connection and a closed one are both the end that must come.
        let _ = stream.read_to_end(&mut got).await;
        end.send(String::from_utf8(got).unwrap()).unwrap();
    })
    .await;
    let answer = gateway
        .raw("POST /rest/v1/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n8\r\n12345678\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let got = ended.await.unwrap();
    let (_, body) = got.split_once("\r\n\r\n").unwrap();
    assert!(
        !body.contains("0\r\n\r\n"),
        "the upstream must not take it for whole: {got}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_body_within_the_limit_passes_chunked_too() {
    let mut upstream = Scripted::answering(OK).await;
    let limit = |config: &mut sb::Config| config.rest.max_body_bytes = 10;
    let gateway = Gateway::with(&format!("http://{}", upstream.address), limit).await;
    let answer = gateway
        .raw("POST /rest/v1/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n5\r\n67890\r\n0\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(upstream.next().await.body, b"1234567890");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_client_that_leaves_ends_the_request_upstream() {
    let (asked, was_asked) = oneshot::channel();
    let (end, ended) = oneshot::channel();
    let gateway = scripted(
        |_| {},
        async |mut stream| {
            read_head(&mut stream, &mut Vec::new()).await.unwrap();
            asked.send(()).unwrap();
            end.send(stream.read(&mut [0; 1]).await.unwrap_or(0))
                .unwrap();
        },
    )
    .await;
    let mut client = gateway.connect().await;
    client
        .write_all(b"GET /rest/v1/slow HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    was_asked.await.unwrap();
    drop(client);
    assert_eq!(ended.await.unwrap(), 0);
}

/// With a stated length and with chunks: what is missing must not look like the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_answer_that_breaks_off_breaks_off_for_the_client() {
    for head in [
        "Content-Length: 100\r\n\r\npart",
        "Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n",
    ] {
        let (read, was_read) = oneshot::channel();
        let script = async move |mut stream: TcpStream| {
            read_head(&mut stream, &mut Vec::new()).await.unwrap();
            let answer = format!("HTTP/1.1 200 OK\r\n{head}");
            stream.write_all(answer.as_bytes()).await.unwrap();
            was_read.await.unwrap();
        };
        let gateway = scripted(|_| {}, script).await;
        let mut client = gateway.connect().await;
        client
            .write_all(b"GET /rest/v1/a HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        let begun = read_until(&mut client, "part").await;
        assert!(
            begun.starts_with("HTTP/1.1 200 OK\r\n") && !begun.contains("content-length: 4\r\n")
        );
        read.send(()).unwrap();
        let mut rest = Vec::new();
        let _ = client.read_to_end(&mut rest).await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{head:?} looks whole");
    }
}
