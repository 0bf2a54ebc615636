//! Plain calls of a running `sb`, and threads that make them until they are stopped.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use super::wait_until;

/// The whole answer. `head` ends with the last header that matters to the caller.
fn ask(address: &str, head: &str, body: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(stream, "{head}\r\nConnection: close\r\n")?;
    if !body.is_empty() {
        let length = body.len();
        let kind = "Content-Type: application/json";
        write!(stream, "{kind}\r\nContent-Length: {length}\r\n")?;
    }
    write!(stream, "\r\n{body}")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The whole answer to a `GET`.
pub(super) fn get(address: &str, host: &str, path: &str) -> String {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: {host}"), "").unwrap()
}

/// A call by its number, counted from 1, and the status it was answered, if it was.
type Call = (i64, Option<u16>);

/// Threads that call all the time.
pub(super) struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    address: String,
    head: String,
    body: fn(i64) -> String,
    next: AtomicI64,
    stop: AtomicBool,
    calls: Mutex<Vec<Call>>,
}

impl Load {
    /// Calls with the secret key. `line` is a method and a path; `body` is told the number of the call.
    pub(super) fn start(
        state: &Value,
        threads: usize,
        line: &str,
        body: fn(i64) -> String,
    ) -> Self {
        let text = |name: &str| state[name].as_str().unwrap();
        let address = text("api_url").trim_start_matches("http://").to_owned();
        let key = text("secret_key");
        let shared = Arc::new(Shared {
            head: format!("{line} HTTP/1.1\r\nHost: {address}\r\napikey: {key}"),
            address,
            body,
            next: AtomicI64::new(1),
            stop: AtomicBool::default(),
            calls: Mutex::default(),
        });
        let caller = |_| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.call_until_stopped())
        };
        let threads = (0..threads).map(caller).collect();
        Self { shared, threads }
    }

    /// Waits for so many more calls that are answered well; all there have been by then.
    #[track_caller]
    pub(super) fn make_progress(&self, more: usize) -> Vec<Call> {
        let calls = || self.shared.calls.lock().unwrap();
        let good = || {
            calls()
                .iter()
                .filter(|(_, status)| is_good(*status))
                .count()
        };
        let goal = good() + more;
        wait_until("calls are answered", || (good() >= goal).then_some(()));
        calls().clone()
    }

    /// All calls there have been.
    pub(super) fn stop(self) -> Vec<Call> {
        self.shared.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.shared.calls.lock().unwrap().clone()
    }
}

impl Shared {
    fn call_until_stopped(&self) {
        while !self.stop.load(Ordering::SeqCst) {
            let number = self.next.fetch_add(1, Ordering::SeqCst);
            let answer = ask(&self.address, &self.head, &(self.body)(number)).unwrap_or_default();
            let status = answer.split(' ').nth(1);
            let status = status.and_then(|status| status.parse().ok());
            self.calls.lock().unwrap().push((number, status));
            if !is_good(status) {
                // Whoever is gone comes back; nobody is waiting for this one.
                std::thread::park_timeout(Duration::from_millis(20));
            }
        }
    }
}

fn is_good(status: Option<u16>) -> bool {
    matches!(status, Some(200..=299))
}
