//! What needs no database: settings, versions, completions, and errors before anything starts.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use super::Sandbox;

const NOWHERE: &str = "postgresql://ana:hunter2@127.0.0.1:1/app";

#[test]
fn an_unknown_key_is_refused_with_the_nearest_one() {
    let sandbox = Sandbox::with_project();
    sandbox.write("sb.toml", "[server]\nprot = 1\n\n[serve]\n");
    for command in [
        &["dev"][..],
        &["serve"],
        &["up"],
        &["migrate"],
        &["info"],
        &["reset", "--yes"],
    ] {
        let output = sandbox
            .sb(command)
            .failed(3, "error: the configuration is not valid:");
        assert!(
            output
                .stderr
                .contains("unknown key server.prot; did you mean port?"),
            "{output:#?}"
        );
        assert!(
            output
                .stderr
                .contains("unknown section [serve]; did you mean [server]?"),
            "{output:#?}"
        );
        assert!(
            output.last_line().starts_with("sb info --fields"),
            "{output:#?}"
        );
    }
    let doctor = sandbox.sb(&["doctor", "--json"]);
    assert_eq!(
        (doctor.code, &doctor.json()["findings"][0]["level"]),
        (Some(1), &"fail".into()),
        "{doctor:#?}"
    );
    assert!(!sandbox.app(".sb").exists(), "nothing was begun");
}

#[test]
fn outside_a_project_the_next_command_makes_one() {
    let sandbox = Sandbox::new();
    let first = format!(
        "error: {} is no sb project: there is no sb.toml here or above",
        sandbox
            .path("")
            .canonicalize()
            .expect("it exists")
            .display()
    );
    let output = sandbox.sb_in(sandbox.path(""), &["dev"]).failed(2, &first);
    assert_eq!(output.last_line(), "sb init NAME && cd NAME   # makes one");
}

#[test]
fn what_does_not_run_is_neither_shown_nor_stopped() {
    let sandbox = Sandbox::with_project();
    let first = format!(
        "error: nothing runs in {}",
        sandbox.app("").canonicalize().expect("it exists").display()
    );
    sandbox.sb(&["status"]).failed(1, &first);
    sandbox.sb(&["status", "--json"]).failed(1, &first);
    assert_eq!(
        sandbox.sb(&["down"]).succeeded().first_line(),
        "nothing runs here"
    );
    assert_eq!(
        sandbox.sb(&["test", "down"]).succeeded().first_line(),
        "no test backend runs here"
    );
    for command in [
        &["keygen", "list"][..],
        &["user", "list"],
        &["migrate"],
        &["migrate", "status"],
    ] {
        let first =
            "error: no database: DATABASE_URL is not set, and no development database runs here";
        let output = sandbox.sb(command).failed(4, first);
        assert_eq!(output.last_line(), "sb up   # starts it in the background");
    }
}

/// supython weak point 14: the address of the database was printed with its password. Fails when `db.url` is shown as it is.
#[test]
fn an_unreachable_database_is_named_without_its_password() {
    let mut sandbox = Sandbox::with_project();
    sandbox.set("DATABASE_URL", NOWHERE);
    for command in [
        &["serve"][..],
        &["migrate"],
        &["migrate", "status"],
        &["keygen", "list"],
        &["reset", "--yes"],
    ] {
        let output = sandbox.sb(command);
        assert_eq!(output.code, Some(4), "{command:?} {output:#?}");
        assert!(
            output
                .first_line()
                .starts_with("error: cannot reach the database: Connection refused"),
            "{output:#?}"
        );
        assert_eq!(
            output.last_line(),
            "sb doctor   # checks DATABASE_URL step by step"
        );
        assert!(!output.stderr.contains("hunter2"), "{output:#?}");
    }
    let doctor = sandbox.sb(&["doctor"]);
    assert_eq!(doctor.code, Some(1), "{doctor:#?}");
    let line = "fail: database: cannot reach the database: Connection refused (os error 111) (127.0.0.1:1): database app at 127.0.0.1:1 as ana\n";
    assert!(doctor.stdout.contains(line), "{doctor:#?}");
    assert!(!doctor.stdout.contains("hunter2"), "{doctor:#?}");
    let info = sandbox.sb(&["info"]).succeeded();
    let told = format!("{}{}", info.stdout, info.stderr);
    assert!(
        told.contains("db.url") && !told.contains("hunter2"),
        "{told}"
    );
}

#[test]
fn nonsense_for_a_database_is_a_mistake_in_the_settings() {
    let mut sandbox = Sandbox::with_project();
    sandbox.set("DATABASE_URL", "mysql://root:hunter2@localhost/app");
    let output = sandbox.sb(&["migrate"]);
    assert_eq!(output.code, Some(3), "{output:#?}");
    assert!(
        output
            .first_line()
            .starts_with("error: DATABASE_URL is not a Postgres connection string"),
        "{output:#?}"
    );
    assert!(!output.stderr.contains("hunter2"), "{output:#?}");
}

#[test]
fn serve_does_not_move_to_another_port() {
    let mut sandbox = Sandbox::with_project();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    sandbox.set("DATABASE_URL", NOWHERE);
    let output = sandbox
        .sb(&["serve", "--port", &port])
        .failed(1, &format!("error: port {port} is in use"));
    assert_eq!(
        output.last_line(),
        "sb serve --port 0   # any free port; or stop what listens there"
    );
}

#[test]
fn production_needs_a_database_of_its_own() {
    let sandbox = Sandbox::with_project();
    let output = sandbox
        .sb(&["serve"])
        .failed(3, "error: no database is configured");
    assert!(
        output.last_line().starts_with("export DATABASE_URL="),
        "{output:#?}"
    );
}

#[test]
fn a_state_folder_that_cannot_be_used_is_named() {
    let sandbox = Sandbox::with_project();
    sandbox.write(".sb", "not a folder");
    let path = sandbox.app(".sb").canonicalize().expect("it exists");
    for command in [&["dev"][..], &["up"]] {
        let output = sandbox.sb(command);
        assert_eq!(output.code, Some(1), "{output:#?}");
        let first = format!("error: cannot make {}", path.display());
        assert!(output.first_line().starts_with(&first), "{output:#?}");
        assert!(
            output.last_line().starts_with("ls -ld . .sb"),
            "{output:#?}"
        );
    }
    sandbox.assert_nothing_runs();
}

/// A cluster that somebody else made is neither used nor put aside.
#[test]
fn a_data_directory_that_cannot_be_read_is_left_where_it_is() {
    let sandbox = Sandbox::with_project();
    let data = sandbox.app(".sb/pgdata");
    fs::create_dir_all(data.join("global")).expect("the sandbox can be written");
    fs::write(data.join("PG_VERSION"), "17\n").expect("the sandbox can be written");
    let as_root = rustix::process::geteuid().is_root();
    if as_root {
        std::os::unix::fs::chown(&data, Some(65534), Some(65534)).expect("root may");
    }
    let mode = if as_root { 0o700 } else { 0o000 };
    fs::set_permissions(&data, fs::Permissions::from_mode(mode)).expect("it is ours");
    let mut command = sandbox.command(&sandbox.path("app"), &["dev"]);
    if as_root {
        // Root's rights end where a user namespace does not map the owner.
        command = sandbox.wrapped(
            &["unshare", "--user", "--map-user=1000", "--map-group=1000"],
            &["dev"],
        );
    }
    let output = command.output().expect("sb can be run");
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words}");
    let first = format!(
        "error: could not read {}: Permission denied",
        data.display()
    );
    assert!(words.contains(&first), "{words}");
    let entries = fs::read_dir(sandbox.app(".sb")).expect("it is there");
    let names = entries.flatten().map(|entry| entry.file_name());
    assert!(
        names
            .into_iter()
            .all(|name| !name.to_string_lossy().contains("broken"))
    );
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).expect("it is ours");
    sandbox.assert_nothing_runs();
}

#[test]
fn the_version_and_completions_are_data() {
    let sandbox = Sandbox::new();
    let run = |arguments: &[&str]| sandbox.sb_in(sandbox.path(""), arguments).succeeded();
    let version = run(&["version", "--json"]).json();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert!(
        run(&["version"])
            .stdout
            .starts_with(concat!("sb ", env!("CARGO_PKG_VERSION")))
    );
    for (shell, mark) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef sb"),
        ("fish", "complete -c sb"),
    ] {
        let output = run(&["completions", shell]);
        assert!(output.stdout.contains(mark), "{shell}");
        assert!(
            output.stdout.contains("keygen") && output.stderr.is_empty(),
            "{shell}"
        );
    }
}

#[test]
fn a_mistyped_command_is_answered_with_the_right_one() {
    let sandbox = Sandbox::new();
    let output = sandbox.sb_in(sandbox.path(""), &["statsu"]);
    assert_eq!(output.code, Some(2), "{output:#?}");
    assert!(output.stderr.contains("'status'"), "{output:#?}");
}

#[test]
fn doctor_sees_secrets_that_others_can_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let sandbox = Sandbox::with_project();
    sandbox.write(".env", "SB_API_URL=http://localhost:8000\n");
    fs::set_permissions(sandbox.app(".env"), fs::Permissions::from_mode(0o644))
        .expect("it is ours");
    let output = sandbox.sb(&["doctor"]).succeeded();
    assert!(
        output
            .stdout
            .contains("warn: .env: others can read it (mode 644)\n      chmod 600 "),
        "{output:#?}"
    );
    assert!(
        output
            .stdout
            .contains("warn: database: DATABASE_URL is not set"),
        "{output:#?}"
    );
}

#[test]
fn a_migration_is_begun_without_a_database() {
    let sandbox = Sandbox::with_project();
    let output = sandbox
        .sb(&["migrate", "new", "add", "Due Date"])
        .succeeded();
    let path = output.stdout.trim_end();
    assert!(
        path.starts_with("migrations/2") && path.ends_with("_add_due_date.sql"),
        "{path}"
    );
    assert!(sandbox.app(path).is_file());
    assert_eq!(sandbox.sb(&["migrate", "new", "!"]).code, Some(2));
}

#[test]
fn a_file_of_settings_that_cannot_be_read_is_named() {
    let sandbox = Sandbox::with_project();
    let name = sandbox.path("app").canonicalize().unwrap().join(".env");
    let name = name.display();
    fs::write(sandbox.app(".env"), b"SB_PORT=\xff").unwrap();
    let error = format!("error: cannot read {name}: stream did not contain valid UTF-8");
    let output = sandbox.sb(&["info"]).failed(3, &error);
    assert!(
        output.last_line().starts_with(&format!("ls -ld {name}")),
        "{output:#?}"
    );
}
