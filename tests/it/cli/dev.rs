//! `sb dev` in a terminal: ports, saving, and every way to end.

use std::fs;
use std::net::TcpListener;

use rustix::process::Signal;

use super::{Sandbox, Spawned, wait_until};

#[test]
fn dev_follows_what_is_saved_and_leaves_nothing_however_it_ends() {
    let sandbox = Sandbox::with_project();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("it is bound").port();
    let mut dev = sandbox.spawn(&["dev", "--port", &port.to_string()]);
    let words = dev.says("watching migrations/");
    assert!(
        words.contains(&format!("warning: port {port} is in use; the API takes ")),
        "{words}"
    );
    let state = sandbox.sb(&["status", "--json"]).succeeded().json();
    assert_eq!(state["pid"], dev.child.id());
    let reset = sandbox.sb(&["reset", "--yes"]);
    let first = format!(
        "error: `sb dev` runs in a terminal (pid {}); stop it with Ctrl-C first",
        dev.child.id()
    );
    reset.failed(1, &first);

    sandbox.write(
        "migrations/20260201000000_broken.sql",
        "create tabel x ();\n",
    );
    let words = dev.says("20260201000000_broken.sql:1: syntax error");
    assert!(
        words.contains("warning: migrations/20260201000000_broken.sql:1:"),
        "{words}"
    );
    sandbox.write(
        "migrations/20260201000000_broken.sql",
        "create table public.saved (id int);\n",
    );
    dev.says("✓ applied migrations/20260201000000_broken.sql");
    follows_saves_and_not_reads(&sandbox, &mut dev);

    // Nobody can tidy up after this one: the kernel has to.
    assert!(sandbox.processes().len() > 3, "{:#?}", sandbox.processes());
    dev.signal(Signal::KILL);
    dev.ends();
    sandbox.assert_nothing_runs();

    // Its state file is there still, and fools nobody.
    assert!(sandbox.app(".sb/state.json").exists());
    assert_eq!(sandbox.sb(&["status"]).code, Some(1));
    let mut dev = sandbox.spawn(&["dev"]);
    dev.says("watching migrations/");
    dev.signal(Signal::INT);
    assert_eq!(dev.ends().code(), Some(0), "{}", dev.words());
    let words = dev.words();
    assert!(
        words.ends_with("stopping …\n✓ stopped; the data stays in .sb/\n"),
        "{words}"
    );
    sandbox.assert_nothing_runs();
    assert!(!sandbox.app(".sb/state.json").exists());
}

/// The system reports opened files as well, and `sb` opens what it applies.
fn follows_saves_and_not_reads(sandbox: &Sandbox, dev: &mut Spawned) {
    let toml = fs::read_to_string(sandbox.app("sb.toml")).expect("it is there");
    sandbox.write("sb.toml", &format!("{toml}\n# saved\n"));
    dev.says("✓ settings reloaded");
    sandbox.sb(&["status"]).succeeded();
    sandbox.write("migrations/20260202000000_last.sql", "select 1;\n");
    dev.says("✓ applied migrations/20260202000000_last.sql");
    let words = dev.words();
    for (line, times) in [("settings reloaded", 1), ("syntax error", 1)] {
        assert_eq!(words.matches(line).count(), times, "{line}: {words}");
    }
}

#[test]
fn ctrl_c_during_the_start_leaves_nothing() {
    let sandbox = Sandbox::with_project();
    let mut dev = sandbox.spawn(&["dev"]);
    wait_until("initdb works", || {
        (sandbox.processes().len() > 1).then_some(())
    });
    dev.signal(Signal::INT);
    assert_eq!(dev.ends().code(), Some(130), "{}", dev.words());
    sandbox.assert_nothing_runs();
    assert!(!sandbox.app(".sb/state.json").exists());
}

#[test]
fn a_start_in_the_background_that_fails_says_why() {
    let sandbox = Sandbox::with_project();
    sandbox.write(
        "migrations/20260201000000_broken.sql",
        "select 1;\nselect nonsense;\n",
    );
    let output = sandbox.sb(&["up"]);
    assert_eq!(output.code, Some(1), "{output:#?}");
    let line = "\nerror: migrations/20260201000000_broken.sql:2: column \"nonsense\" does not exist (SQLSTATE 42703)\n";
    assert!(output.stderr.contains(line), "{output:#?}");
    assert!(
        output
            .last_line()
            .starts_with("nothing of this file was kept; correct it and try again"),
        "{output:#?}"
    );
    sandbox.assert_nothing_runs();
}
