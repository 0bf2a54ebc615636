//! A project in the background, from `sb up` to `sb down`, and everything an operator does with it meanwhile.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{Output, Sandbox};

/// One backend for the whole story: a start costs seconds.
#[test]
fn a_project_lives_in_the_background() {
    let sandbox = Sandbox::with_project();
    let up = sandbox.sb(&["up", "--json"]).succeeded();
    assert!(
        up.stderr
            .contains("✓ applied migrations/20260101000000_todos.sql"),
        "{up:#?}"
    );
    let state = up.json();
    status_says_the_same(&sandbox, &state);
    it_is_started_only_once(&sandbox, &state);
    signing_keys_go_round(&sandbox);
    api_keys_come_and_go(&sandbox);
    users_come_and_go(&sandbox);
    a_wrong_password_is_told_apart(&sandbox, &state);
    a_broken_migration_leaves_nothing(&sandbox);
    an_edited_migration_is_drift(&sandbox);
    doctor_finds_nothing(&sandbox);
    reset_begins_anew(&sandbox);
    let log = sandbox.app(".sb/logs/sb.log");
    assert_eq!(mode(&log), 0o600);
    assert_eq!(mode(&sandbox.app(".sb/state.json")), 0o600);

    let down = sandbox.sb(&["down"]).succeeded();
    assert!(
        down.first_line().starts_with("✓ stopped (pid "),
        "{down:#?}"
    );
    sandbox.assert_nothing_runs();
    assert!(!sandbox.app(".sb/state.json").exists() && sandbox.app(".sb/pgdata").exists());
    assert_eq!(
        sandbox.sb(&["down"]).succeeded().first_line(),
        "nothing runs here"
    );
    assert_eq!(sandbox.sb(&["status"]).code, Some(1));
}

fn status_says_the_same(sandbox: &Sandbox, state: &Value) {
    let status = sandbox.sb(&["status", "--json"]).succeeded().json();
    assert_eq!(&status, state);
    for name in [
        "api_url",
        "db_url",
        "rest_url",
        "jwks_url",
        "anon_key",
        "service_role_key",
        "publishable_key",
        "secret_key",
    ] {
        assert!(
            status[name].as_str().is_some_and(|value| !value.is_empty()),
            "{name}: {status}"
        );
    }
    let env = sandbox.sb(&["status", "--env"]).succeeded().stdout;
    let api_url = state["api_url"].as_str().expect("text");
    assert!(env.contains(&format!("API_URL='{api_url}'\n")), "{env}");
}

fn it_is_started_only_once(sandbox: &Sandbox, state: &Value) {
    let (pid, api_url) = (&state["pid"], state["api_url"].as_str().expect("text"));
    let again = sandbox.sb(&["up", "--json"]).succeeded();
    assert_eq!(again.first_line(), format!("already up (pid {pid})"));
    assert_eq!(&again.json(), state);
    let first = format!("error: this project already runs (pid {pid}, {api_url})");
    let dev = sandbox.sb(&["dev"]).failed(1, &first);
    assert_eq!(
        dev.last_line(),
        "sb down   # stops it; `sb status` shows it"
    );
}

fn signing_keys_go_round(sandbox: &Sandbox) {
    let list = || sandbox.sb(&["keygen", "list", "--json"]).succeeded().json();
    let status = |keys: &Value, kid: &str| {
        let key = keys
            .as_array()
            .expect("a list")
            .iter()
            .find(|key| key["kid"] == kid)
            .cloned();
        key.expect("it is listed")["status"]
            .as_str()
            .expect("text")
            .to_owned()
    };
    let first = one_line(&sandbox.sb(&["keygen", "init"]));
    assert_eq!(status(&list(), &first), "active");

    let second = one_line(&sandbox.sb(&["keygen", "rotate"]));
    assert_eq!(
        (
            status(&list(), &first).as_str(),
            status(&list(), &second).as_str()
        ),
        ("active", "standby")
    );
    assert_eq!(one_line(&sandbox.sb(&["keygen", "activate"])), second);
    assert_eq!(
        (
            status(&list(), &first).as_str(),
            status(&list(), &second).as_str()
        ),
        ("previous", "active")
    );
    let third = one_line(&sandbox.sb(&["keygen", "rotate", "--now"]));
    assert_eq!(status(&list(), &third), "active");

    // Nothing signed by them can have expired yet.
    assert_eq!(
        sandbox.sb(&["keygen", "prune"]).succeeded().first_line(),
        "nothing to prune"
    );
    assert_eq!(
        one_line(&sandbox.sb(&["keygen", "revoke", &second])),
        second
    );
    assert_eq!(status(&list(), &second), "revoked");
    // One id in 64 begins like a flag.
    for (command, kid) in [("activate", "nobody"), ("activate", "-x"), ("revoke", "-x")] {
        let unknown = sandbox.sb(&["keygen", command, kid]);
        assert_eq!(
            (unknown.code, unknown.last_line()),
            (Some(1), "sb keygen list"),
            "{unknown:#?}"
        );
    }
}

fn api_keys_come_and_go(sandbox: &Sandbox) {
    let create = [
        "keygen", "api-key", "create", "--name", "ci", "--type", "secret",
    ];
    let key = one_line(&sandbox.sb(&create));
    assert!(key.starts_with("sb_secret_"), "{key}");
    sandbox
        .sb(&create)
        .failed(1, "error: an API key named \"ci\" exists already");
    let listed = sandbox
        .sb(&["keygen", "api-key", "list"])
        .succeeded()
        .stdout;
    assert!(
        listed.contains("ci ") && listed.contains(&key[..14]) && !listed.contains(&key),
        "{listed}"
    );
    assert_eq!(
        one_line(&sandbox.sb(&["keygen", "api-key", "revoke", "ci"])),
        "ci"
    );
    sandbox
        .sb(&["keygen", "api-key", "revoke", "ci"])
        .failed(1, "error: no API key in force is named \"ci\"");
    let jwt = one_line(&sandbox.sb(&["keygen", "jwt", "--role", "anon"]));
    assert_eq!(jwt.split('.').count(), 3, "{jwt}");
    assert_eq!(
        sandbox.sb(&["keygen", "jwt", "--role", "postgres"]).code,
        Some(2)
    );
}

fn users_come_and_go(sandbox: &Sandbox) {
    let added = sandbox
        .sb(&["user", "add", "ana@example.com", "--json"])
        .succeeded()
        .json();
    assert!(
        added["password"]
            .as_str()
            .is_some_and(|password| password.len() >= 20),
        "{added}"
    );
    sandbox
        .sb(&[
            "user",
            "add",
            "bo@example.com",
            "--password",
            "correct horse",
        ])
        .succeeded();
    let twice = sandbox.sb(&["user", "add", "Ana@example.com"]);
    twice.failed(
        1,
        "error: A user with this email address has already been registered",
    );
    let weak = sandbox.sb(&["user", "add", "cy@example.com", "--password", "x"]);
    weak.failed(2, "error: Password should be at least 6 characters.");

    let listed = sandbox.sb(&["user", "list", "--json"]).succeeded().json();
    assert_eq!(
        (&listed["total"], &listed["users"][1]["email"]),
        (&2.into(), &"ana@example.com".into()),
        "{listed}"
    );
    assert!(
        listed["users"][1]["email_confirmed_at"].is_string(),
        "{listed}"
    );

    let refused = sandbox.sb(&["user", "remove", "ana@example.com"]);
    assert_eq!(
        (refused.code, refused.last_line()),
        (Some(2), "sb user remove ana@example.com --yes"),
        "{refused:#?}"
    );
    let id = one_line(&sandbox.sb(&["user", "remove", "ana@example.com", "--yes"]));
    assert_eq!(added["id"], id.as_str());
    sandbox
        .sb(&["user", "remove", &id, "--yes"])
        .failed(1, "error: User not found");
}

fn a_wrong_password_is_told_apart(sandbox: &Sandbox, state: &Value) {
    let url = state["db_url"].as_str().expect("text");
    let (before, after) = (
        url.find(':').expect("a scheme"),
        url.find('@').expect("a host"),
    );
    let url = format!("{}://postgres:hunter2{}", &url[..before], &url[after..]);
    let output = sandbox
        .command(&sandbox.path("app"), &["keygen", "list"])
        .env("DATABASE_URL", url)
        .output();
    let output = output.expect("sb can be run");
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{words}");
    assert!(
        words.starts_with(
            "error: password authentication failed for user \"postgres\" (SQLSTATE 28P01)"
        ),
        "{words}"
    );
    assert!(!words.contains("hunter2"), "{words}");
}

fn a_broken_migration_leaves_nothing(sandbox: &Sandbox) {
    let path = "migrations/20260201000000_broken.sql";
    sandbox.write(
        path,
        "create table public.kept (id int);\n\nselect\n  nonsense;\n",
    );
    let first = format!("error: {path}:4: column \"nonsense\" does not exist (SQLSTATE 42703)");
    let output = sandbox.sb(&["migrate"]).failed(1, &first);
    assert!(
        output.stderr.contains("nothing of this file was kept"),
        "{output:#?}"
    );
    let status = sandbox
        .sb(&["migrate", "status", "--json"])
        .succeeded()
        .json();
    assert_eq!(status[1]["state"], "pending", "{status}");

    // The first table would exist if anything had been kept.
    sandbox.write(path, "create table public.kept (id int);\n");
    let output = sandbox.sb(&["migrate", "--json"]).succeeded();
    assert_eq!(output.json()["applied"][0]["name"], path);
    assert!(
        output
            .first_line()
            .starts_with(&format!("✓ applied {path}  ")),
        "{output:#?}"
    );
    assert_eq!(
        sandbox.sb(&["migrate"]).succeeded().first_line(),
        "nothing to apply"
    );
}

fn an_edited_migration_is_drift(sandbox: &Sandbox) {
    let path = "migrations/20260201000000_broken.sql";
    sandbox.write(path, "create table public.other (id int);\n");
    let status = sandbox.sb(&["migrate", "status"]);
    assert_eq!(status.code, Some(5), "{status:#?}");
    assert!(
        status.stdout.contains("edited after it was applied"),
        "{status:#?}"
    );
    sandbox.sb(&["migrate"]).failed(
        5,
        &format!("error: {path}: was edited after it had been applied"),
    );
    let doctor = sandbox.sb(&["doctor"]);
    assert_eq!(doctor.code, Some(1), "{doctor:#?}");
    let line = "fail: project migrations: 20260201000000_broken: edited after it was applied\n";
    assert!(doctor.stdout.contains(line), "{doctor:#?}");
    fs::remove_file(sandbox.app(path)).expect("it is there");
    assert_eq!(
        sandbox.sb(&["migrate", "status", "--json"]).json()[1]["state"],
        "missing"
    );
    sandbox.write(path, "create table public.kept (id int);\n");
    sandbox.sb(&["migrate", "status"]).succeeded();
}

fn doctor_finds_nothing(sandbox: &Sandbox) {
    let report = sandbox.sb(&["doctor", "--json"]).succeeded().json();
    assert_eq!(report["healthy"], true);
    let findings = report["findings"].as_array().expect("a list");
    let missing = "extension pgcrypto is not available on this server (extension_pgcrypto)";
    let expected: &[&str] = if has_pgcrypto() { &[] } else { &[missing] };
    let bad: Vec<_> = findings
        .iter()
        .filter(|finding| finding["level"] != "ok")
        .map(|finding| finding["message"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(bad, expected, "{report:#}");
    let message = "answers and believes a token signed just now";
    assert!(
        findings
            .iter()
            .any(|finding| finding["check"] == "PostgREST" && finding["message"] == message),
        "{report}"
    );
}

/// Not every build in the matrix has it.
fn has_pgcrypto() -> bool {
    crate::support::postgres_bin_dir().is_none_or(|dir| {
        let output = Command::new(dir.join("pg_config"))
            .arg("--sharedir")
            .output()
            .expect("pg_config is part of every Postgres");
        let share = String::from_utf8(output.stdout).expect("a path");
        Path::new(share.trim())
            .join("extension/pgcrypto.control")
            .exists()
    })
}

fn reset_begins_anew(sandbox: &Sandbox) {
    let refused = sandbox.sb(&["reset"]);
    assert_eq!(
        (refused.code, refused.last_line()),
        (Some(2), "sb reset --yes"),
        "{refused:#?}"
    );
    assert!(
        refused.stderr.contains("\n  auth.users (1 row)\n"),
        "{refused:#?}"
    );
    let before = sandbox.sb(&["status", "--json"]).succeeded().json();

    sandbox.write("seed.sql", "insert into public.kept (id) values (7);\n");
    let output = sandbox.sb(&["reset", "--yes"]).succeeded();
    assert!(output.stderr.contains("✓ applied seed.sql"), "{output:#?}");
    let after = sandbox.sb(&["status", "--json"]).succeeded().json();
    assert_ne!(before["pid"], after["pid"]);
    assert_eq!(
        sandbox.sb(&["user", "list", "--json"]).succeeded().json()["total"],
        0
    );
}

/// The one line of data a command printed.
#[track_caller]
fn one_line(output: &Output) -> String {
    assert_eq!(
        (output.code, output.stdout.lines().count()),
        (Some(0), 1),
        "{output:#?}"
    );
    output.stdout.trim_end().to_owned()
}

fn mode(path: &std::path::Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).expect("it exists").permissions().mode() & 0o777
}
