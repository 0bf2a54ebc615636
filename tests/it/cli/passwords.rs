//! `sb password rotate authenticator` under a PostgREST that serves, on a Postgres that asks for passwords.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sb::db::{Connection, Target};
use serde_json::Value;

use super::{Sandbox, wait_until};
use crate::scratch::eventually;
use crate::support::own_stack;

/// Answers that must come before the story goes on.
const ENOUGH: usize = 30;

/// Two clients that read all the time, and what they are answered.
struct Readers {
    answers: Arc<Mutex<Vec<u16>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    fn start(state: &Value) -> Self {
        let text = |name: &str| state[name].as_str().unwrap().to_owned();
        let address = text("api_url").trim_start_matches("http://").to_owned();
        let key = text("secret_key");
        let (answers, stop) = (
            Arc::<Mutex<Vec<u16>>>::default(),
            Arc::<AtomicBool>::default(),
        );
        let read = || {
            let (address, key) = (address.clone(), key.clone());
            let (answers, stop) = (Arc::clone(&answers), Arc::clone(&stop));
            std::thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    let status = read(&address, &key).expect("sb itself answers");
                    answers.lock().unwrap().push(status);
                }
            })
        };
        let threads = (0..2).map(|_| read()).collect();
        Self {
            answers,
            stop,
            threads,
        }
    }

    /// Waits for answers that are good; all there have been by then.
    #[track_caller]
    fn make_progress(&self) -> Vec<u16> {
        let good = || {
            let answers = self.answers.lock().unwrap();
            answers.iter().filter(|status| **status == 200).count()
        };
        let goal = good() + ENOUGH;
        wait_until("requests are answered", || (good() >= goal).then_some(()));
        self.answers.lock().unwrap().clone()
    }

    fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

/// The answer's status.
fn read(address: &str, key: &str) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(
        stream,
        "GET /rest/v1/todos HTTP/1.1\r\nHost: {address}\r\napikey: {key}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    status.ok_or_else(|| std::io::Error::other("no whole answer"))
}

/// PostgREST makes each of its connections anew after a second here. Leave `keep_passfile` out of `bring_up`, and it has
/// none soon.
#[tokio::test(flavor = "multi_thread")]
async fn postgrest_follows_a_new_password_while_it_serves() {
    let mut stack = own_stack("postgrest-password");
    let connection = stack.start_postgres().await.expect("postgres starts");
    let target = Target::parse(&connection.url()).unwrap();
    let mut sandbox = Sandbox::with_project();
    sandbox.set("DATABASE_URL", &connection.url());
    sandbox.set("PGRST_DB_POOL_MAX_LIFETIME", "1");
    let state = sandbox.sb(&["up", "--json"]).succeeded().json();
    let owner = Connection::open(&target).await.unwrap();
    let readers = Readers::start(&state);
    readers.make_progress();
    for _ in 0..3 {
        let arguments = ["password", "rotate", "authenticator"];
        sandbox.sb(&arguments).succeeded();
        let row = owner.query_one("select now() as rotated", &[]).await;
        let rotated: DateTime<Utc> = row.unwrap().get("rotated");
        let older = "select count(*) from pg_stat_activity where usename = 'authenticator' and query not ilike 'listen%' and backend_start <= $1";
        eventually("every connection has the new password", async || {
            owner
                .query_one(older, &[&rotated])
                .await
                .unwrap()
                .get::<_, i64>(0)
                == 0
        })
        .await;
        let answers = readers.make_progress();
        assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
    }
    readers.stop();
    sandbox.sb(&["down"]).succeeded();
    stack.stop().await;
}
