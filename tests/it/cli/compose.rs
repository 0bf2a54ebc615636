//! `sb up` with containers, against a `docker` that writes down what it is told.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::Sandbox;

/// A sandbox whose `docker` answers `status` to every command.
fn with_docker(status: u8) -> Sandbox {
    let mut sandbox = Sandbox::with_project();
    let bin = sandbox.path("bin");
    fs::create_dir(&bin).expect("a folder");
    let log = sandbox.path("docker.log");
    let script = format!(
        "#!/bin/sh\n(echo \"$@\"; echo \"expects $JOBS_EXPECT_WORKER\") >> '{}'\nexit {status}\n",
        log.display()
    );
    fs::write(bin.join("docker"), script).expect("a file");
    fs::set_permissions(bin.join("docker"), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let path = format!("{}:{}", bin.display(), super::search_path());
    sandbox.set("PATH", &path);
    sandbox
}

fn log(sandbox: &Sandbox) -> String {
    fs::read_to_string(sandbox.path("docker.log")).unwrap_or_default()
}

fn told(sandbox: &Sandbox) -> Vec<String> {
    log(sandbox)
        .lines()
        .filter(|line| line.starts_with("compose --project"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn production_is_composed_from_the_project_and_its_secrets() {
    let sandbox = with_docker(0);
    let missing = sandbox.sb(&["up", "--prod"]).failed(
        3,
        "error: there is no .env with the secrets of the deployment",
    );
    assert_eq!(
        missing.last_line(),
        "cp .env.example .env && chmod 600 .env   # then fill it in"
    );

    sandbox.write(".env", "SB_API_URL=https://api.example.com\n");
    let up = sandbox.sb(&["up", "--prod", "--timeout", "9"]).succeeded();
    assert_eq!(up.stdout, "https://api.example.com\n");
    let dir = sandbox.path("app").canonicalize().expect("it exists");
    let common = format!(
        "compose --project-directory {0} --env-file {0}/.env --profile prod",
        dir.display()
    );
    assert_eq!(
        told(&sandbox),
        [format!("{common} up -d --wait --wait-timeout 9")]
    );

    let reset = sandbox.sb(&["reset", "--yes"]);
    reset.failed(
        1,
        "error: this is the production profile; its data is not reset",
    );
    sandbox.sb(&["down"]).succeeded();
    assert_eq!(
        told(&sandbox)[1..],
        [format!("{common} --profile worker down")]
    );
    assert_eq!(
        sandbox.sb(&["down"]).succeeded().first_line(),
        "nothing runs here"
    );
}

#[test]
fn without_an_engine_containers_are_refused() {
    let sandbox = with_docker(1);
    let prod = sandbox.sb(&["up", "--prod"]);
    prod.failed(
        1,
        "error: `sb up --prod` needs a Docker engine with compose, and none answers",
    );
    let docker = sandbox.sb(&["up", "--engine", "docker"]);
    docker.failed(1, "error: no Docker engine with compose answers");
    assert!(told(&sandbox).is_empty());
}

#[test]
fn a_worker_is_a_profile_that_readiness_asks_for() {
    let sandbox = with_docker(0);
    sandbox.write(".env", "SB_API_URL=https://api.example.com\n");
    sandbox
        .sb(&["up", "--prod", "--worker", "--timeout", "9"])
        .succeeded();
    let line = told(&sandbox).remove(0);
    let expected = "--profile prod --profile worker up -d --wait --wait-timeout 9";
    assert!(line.ends_with(expected), "{line}");
    assert!(
        log(&sandbox).contains("\nexpects true\n"),
        "{}",
        log(&sandbox)
    );
    sandbox.sb(&["down"]).succeeded();
    let line = told(&sandbox).remove(1);
    assert!(
        line.ends_with("--profile prod --profile worker down"),
        "{line}"
    );
}

#[test]
fn what_the_author_says_of_the_worker_stands() {
    let sandbox = with_docker(0);
    sandbox.write(
        ".env",
        "SB_API_URL=https://api.example.com\nJOBS_EXPECT_WORKER=false\n",
    );
    sandbox.sb(&["up", "--prod", "--worker"]).succeeded();
    assert!(log(&sandbox).contains("\nexpects \n"), "{}", log(&sandbox));
}
