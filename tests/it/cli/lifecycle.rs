//! A node in production: settings change under it, and it ends without cutting anybody off.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use rustix::process::Signal;

use super::{Sandbox, Spawned, wait_until};

/// `sb serve` on a database of its own, with a PostgREST played by the test. Its address is in the log.
async fn serve(postgrest: &TcpListener) -> (Sandbox, Spawned, String) {
    let (mut sandbox, _) = Sandbox::on_database().await;
    let address = postgrest.local_addr().unwrap();
    sandbox.set("POSTGREST_URL", &format!("http://{address}"));
    let mut node = sandbox.spawn(&["serve"]);
    let words = node.says("listening on http://");
    let (_, rest) = words.split_once("listening on http://").unwrap();
    let address = rest.lines().next().unwrap().to_owned();
    (sandbox, node, address)
}

fn ask(address: &str, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

fn answer(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn sign_up(address: &str, name: &str) -> String {
    let body = format!("{{\"email\":\"{name}@example.com\",\"password\":\"correct horse\"}}");
    let length = body.len();
    let head = "POST /auth/v1/signup HTTP/1.1\r\nHost: sb\r\nContent-Type: application/json\r\nConnection: close";
    answer(ask(
        address,
        &format!("{head}\r\nContent-Length: {length}\r\n\r\n{body}"),
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_applies_the_settings_that_need_no_restart() {
    let postgrest = TcpListener::bind("127.0.0.1:0").unwrap();
    let (sandbox, mut node, address) = serve(&postgrest).await;
    assert!(sign_up(&address, "ana").starts_with("HTTP/1.1 200 "));

    sandbox.write(
        "sb.toml",
        "[auth]\ndisable_signup = true\nargon2_queue = 5\n",
    );
    node.signal(Signal::HUP);
    node.says("a restart is needed for auth.argon2_queue");
    let refused = sign_up(&address, "bo");
    assert!(
        refused.starts_with("HTTP/1.1 422 ") && refused.contains("signup_disabled"),
        "{refused}"
    );

    // A mistake changes nothing and is told.
    sandbox.write("sb.toml", "[auth]\ndisable_sinup = false\n");
    node.signal(Signal::HUP);
    node.says("did you mean disable_signup?");
    assert!(sign_up(&address, "cy").contains("signup_disabled"));

    node.signal(Signal::TERM);
    assert_eq!(node.ends().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_finishes_the_requests_in_flight_and_takes_no_new_ones() {
    let postgrest = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_sandbox, mut node, address) = serve(&postgrest).await;
    let waiting = ask(
        &address,
        "GET /rest/v1/todos HTTP/1.1\r\nHost: sb\r\nConnection: close\r\n\r\n",
    );
    let (mut upstream, _) = postgrest.accept().unwrap();
    let mut head = [0; 1024];
    assert!(upstream.read(&mut head).unwrap() > 0);

    node.signal(Signal::TERM);
    wait_until("nobody new is let in", || {
        TcpStream::connect(&address).is_err().then_some(())
    });
    upstream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole")
        .unwrap();
    let answered = answer(waiting);
    assert!(
        answered.starts_with("HTTP/1.1 200 ") && answered.ends_with("whole"),
        "{answered}"
    );
    assert_eq!(node.ends().code(), Some(0));
}
