//! What was acknowledged stays, whoever is killed while rows are written.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sb::db::{Connection, Target};
use serde_json::Value;

use super::{Sandbox, wait_until};

/// Rows written between one kill and the next.
const BETWEEN_KILLS: usize = 50;

#[test]
fn every_acknowledged_row_survives_the_death_of_each_process() {
    let sandbox = Sandbox::with_project();
    sandbox.write(
        "migrations/20260102000000_ledger.sql",
        "create table ledger (id bigint primary key);\n",
    );
    let state = sandbox.sb(&["up", "--json"]).succeeded().json();
    let writers = Writers::start(&state);

    for name in ["postgrest", "postgres"] {
        writers.make_progress();
        kill(pid_of(&sandbox, name));
        // Whoever died comes back by itself, and the writers never noticed more than a pause.
        writers.make_progress();
    }
    kill(u32::try_from(state["pid"].as_u64().unwrap()).unwrap());
    sandbox.assert_nothing_runs();
    let acknowledged = writers.stop();

    let state = sandbox.sb(&["up", "--json"]).succeeded().json();
    let kept = rows(&state);
    let lost: Vec<_> = acknowledged.difference(&kept).collect();
    assert!(
        lost.is_empty(),
        "{} of {} rows were lost: {lost:?}",
        lost.len(),
        acknowledged.len()
    );
    sandbox.sb(&["down"]).succeeded();
    sandbox.assert_nothing_runs();
}

/// Threads that insert row after row and note what was answered 201.
struct Writers {
    acknowledged: Arc<Mutex<BTreeSet<i64>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Writers {
    fn start(state: &Value) -> Self {
        let text = |name: &str| state[name].as_str().unwrap().to_owned();
        let address = text("api_url").trim_start_matches("http://").to_owned();
        let key = text("secret_key");
        let (acknowledged, stop) = (
            Arc::<Mutex<BTreeSet<i64>>>::default(),
            Arc::<AtomicBool>::default(),
        );
        let next = Arc::new(AtomicU64::new(1));
        let write = || {
            let (address, key, next) = (address.clone(), key.clone(), Arc::clone(&next));
            let (acknowledged, stop) = (Arc::clone(&acknowledged), Arc::clone(&stop));
            std::thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    let id = next.fetch_add(1, Ordering::SeqCst);
                    match insert(&address, &key, id) {
                        Ok(201) => drop(
                            acknowledged
                                .lock()
                                .unwrap()
                                .insert(i64::try_from(id).unwrap()),
                        ),
                        // Not acknowledged: it may be there or not. Nobody is waiting for it.
                        Ok(_) | Err(_) => std::thread::park_timeout(Duration::from_millis(20)),
                    }
                }
            })
        };
        let threads = (0..4).map(|_| write()).collect();
        Self {
            acknowledged,
            stop,
            threads,
        }
    }

    #[track_caller]
    fn make_progress(&self) {
        let count = || self.acknowledged.lock().unwrap().len();
        let goal = count() + BETWEEN_KILLS;
        wait_until("rows are written again", || (count() >= goal).then_some(()));
    }

    fn stop(self) -> BTreeSet<i64> {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.acknowledged.lock().unwrap().clone()
    }
}

/// The answer's status.
fn insert(address: &str, key: &str, id: u64) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let body = format!("{{\"id\":{id}}}");
    write!(
        stream,
        "POST /rest/v1/ledger HTTP/1.1\r\nHost: {address}\r\napikey: {key}\r\nContent-Type: application/json\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    status.ok_or_else(|| std::io::Error::other("no whole answer"))
}

#[tokio::main(flavor = "current_thread")]
async fn rows(state: &Value) -> BTreeSet<i64> {
    let target = Target::parse(state["db_url"].as_str().unwrap()).unwrap();
    let connection = Connection::open(&target).await.unwrap();
    let rows = connection
        .query("select id from ledger", &[])
        .await
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// The main process of a child: of a Postgres, the one the others come from.
fn pid_of(sandbox: &Sandbox, name: &str) -> u32 {
    if name == "postgres" {
        let file = std::fs::read_to_string(sandbox.app(".sb/pgdata/postmaster.pid")).unwrap();
        return file.lines().next().unwrap().parse().unwrap();
    }
    let processes = sandbox.processes();
    let found = processes
        .iter()
        .find(|process| process.contains(name) && process.contains("postgrest.conf"));
    found
        .and_then(|process| process.split(' ').next())
        .unwrap()
        .parse()
        .unwrap()
}

fn kill(pid: u32) {
    kill_process(
        Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(),
        Signal::KILL,
    )
    .unwrap();
}
