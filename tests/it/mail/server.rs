//! A real SMTP server, aiosmtpd, in a process of its own.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};

use serde_json::Value;

use crate::scratch::eventually;
use crate::support::cache_dir;

/// Pinned, with what it needs.
const PACKAGES: [&str; 3] = ["aiosmtpd==1.4.6", "atpublic==5.1", "attrs==25.3.0"];

/// A running server; it ends with the value.
pub(crate) struct SmtpServer {
    pub(crate) port: u16,
    child: Child,
    events: Arc<Mutex<Vec<Value>>>,
}

impl SmtpServer {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/mail/server.py");
        let mut child = Command::new("python3")
            .arg(script)
            .args(arguments)
            .env("PYTHONPATH", packages())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is installed");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let read = |line: std::io::Result<String>| {
            serde_json::from_str::<Value>(&line.expect("text")).expect("lines are JSON")
        };
        let ready = read(
            lines
                .next()
                .expect("the server starts; see its error above"),
        );
        let events: Arc<Mutex<Vec<Value>>> = Arc::default();
        let seen = Arc::clone(&events);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                seen.lock().unwrap().push(read(Ok(line)));
            }
        });
        let port = ready["port"].as_u64().unwrap().try_into().unwrap();
        Self {
            port,
            child,
            events,
        }
    }

    /// What it told of one kind, in order.
    pub(crate) fn events(&self, kind: &str) -> Vec<Value> {
        let events = self.events.lock().unwrap();
        events
            .iter()
            .filter(|event| event["event"] == kind)
            .cloned()
            .collect()
    }

    /// Waits for so many.
    pub(crate) async fn until(&self, kind: &str, count: usize) -> Vec<Value> {
        let what = format!(
            "{count} × {kind}; there is {:?}",
            self.events.lock().unwrap()
        );
        eventually(&what, async || self.events(kind).len() >= count).await;
        self.events(kind)
    }
}

impl Drop for SmtpServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Installed once, into the cache.
fn packages() -> &'static Path {
    static PACKAGES_DIR: OnceLock<PathBuf> = OnceLock::new();
    PACKAGES_DIR.get_or_init(|| {
        let dir = cache_dir().join(PACKAGES.join("-").replace("==", "-"));
        if dir.join("aiosmtpd").is_dir() {
            return dir;
        }
        std::fs::create_dir_all(cache_dir()).expect("the cache can be written");
        let fresh = tempfile::tempdir_in(cache_dir()).expect("the cache can be written");
        let installed = Command::new("python3")
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--disable-pip-version-check",
                "--root-user-action=ignore",
                "--target",
            ])
            .arg(fresh.path())
            .args(PACKAGES)
            .status()
            .expect("python3 is installed");
        assert!(installed.success(), "pip could not install {PACKAGES:?}");
        // Of two runs that install at once, the second keeps the first one's.
        let _ = std::fs::rename(fresh.path(), &dir);
        dir
    })
}

/// A port where nobody listens, until a test starts a server there.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
