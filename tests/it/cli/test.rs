//! `sb test`: a database of its own, thrown away.

use super::Sandbox;

#[test]
fn tests_get_a_backend_of_their_own() {
    let mut sandbox = Sandbox::with_project();
    // Whatever the project works with must not be what its tests work with.
    sandbox.set(
        "DATABASE_URL",
        "postgresql://ana:hunter2@127.0.0.1:1/production",
    );
    sandbox.set("SB", env!("CARGO_BIN_EXE_sb"));
    let script = r#"
        set -e
        test -n "$SUPABASE_ANON_KEY" && test -n "$SUPABASE_SERVICE_ROLE_KEY" && test "$SB_API_URL" = "$SUPABASE_URL"
        "$SB" user add ana@example.com >/dev/null
        "$SB" user list --json | grep '"total": 1'
        "$SB" test reset
        "$SB" user list --json | grep '"total": 0'
        "$SB" doctor >&2
        "$SB" user add bo@example.com >/dev/null
        exit 7
    "#;
    let output = sandbox.sb(&["test", "run", "--", "sh", "-c", script]);
    assert_eq!(output.code, Some(7), "{output:#?}");
    assert_eq!(
        output.stdout, "  \"total\": 1,\n  \"total\": 0,\n",
        "{output:#?}"
    );
    assert!(
        output
            .stderr
            .contains("✓ the database is as it was after migrations and seed"),
        "{output:#?}"
    );
    sandbox.assert_nothing_runs();
    assert!(!sandbox.app(".sb/test/pgdata").exists() && !sandbox.app(".sb/pgdata").exists());

    let missing = sandbox
        .sb(&["test", "reset"])
        .failed(1, "error: no test backend runs here");
    assert_eq!(missing.last_line(), "sb test up");
}

#[test]
fn a_test_backend_can_stay_up() {
    let sandbox = Sandbox::with_project();
    let state = sandbox.sb(&["test", "up", "--json"]).succeeded().json();
    assert_eq!(
        sandbox.sb(&["test", "up", "--json"]).succeeded().json(),
        state
    );
    let output = sandbox.sb(&[
        "test",
        "run",
        "--",
        "sh",
        "-c",
        "echo $SUPABASE_URL; kill -9 $$",
    ]);
    assert_eq!(
        (output.code, output.stdout.trim_end()),
        (Some(137), state["api_url"].as_str().expect("text"))
    );
    let unknown = sandbox.sb(&["test", "run", "--", "no-such-program"]);
    assert_eq!(unknown.code, Some(2), "{unknown:#?}");
    // It was not started by `run`, so it is still there.
    assert_eq!(
        sandbox.sb(&["test", "up", "--json"]).succeeded().json(),
        state
    );
    assert_eq!(
        sandbox.sb(&["status"]).code,
        Some(1),
        "the project itself does not run"
    );
    sandbox.sb(&["test", "down"]).succeeded();
    sandbox.assert_nothing_runs();
    assert!(!sandbox.app(".sb/test/pgdata").exists());
}
