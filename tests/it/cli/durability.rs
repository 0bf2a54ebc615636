//! What was acknowledged stays, whoever is killed while rows are written.

use std::collections::BTreeSet;

use rustix::process::{Pid, Signal, kill_process};
use sb::db::{Connection, Target};
use serde_json::Value;

use super::Sandbox;
use super::client::Load;

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
    let writers = Load::start(&state, 4, "POST /rest/v1/ledger", |id| {
        format!("{{\"id\":{id}}}")
    });

    for name in ["postgrest", "postgres"] {
        writers.make_progress(BETWEEN_KILLS);
        kill(pid_of(&sandbox, name));
        // Whoever died comes back by itself, and the writers never noticed more than a pause.
        writers.make_progress(BETWEEN_KILLS);
    }
    kill(u32::try_from(state["pid"].as_u64().unwrap()).unwrap());
    sandbox.assert_nothing_runs();
    let calls = writers.stop().into_iter();
    // Any other may be there or not.
    let acknowledged: BTreeSet<i64> = calls
        .filter_map(|(id, status)| (status == Some(201)).then_some(id))
        .collect();

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
