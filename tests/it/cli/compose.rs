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
        "#!/bin/sh\necho \"$@\" >> '{}'\nexit {status}\n",
        log.display()
    );
    fs::write(bin.join("docker"), script).expect("a file");
    fs::set_permissions(bin.join("docker"), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let path = format!("{}:{}", bin.display(), super::search_path());
    sandbox.set("PATH", &path);
    sandbox
}

fn told(sandbox: &Sandbox) -> Vec<String> {
    let text = fs::read_to_string(sandbox.path("docker.log")).unwrap_or_default();
    text.lines()
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
    assert_eq!(told(&sandbox)[1..], [format!("{common} down")]);
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
fn a_worker_is_refused_while_there_is_none() {
    let sandbox = with_docker(0);
    let up = sandbox.sb(&["up", "--prod", "--worker"]).failed(
        2,
        "error: there is no worker to run: background jobs are planned, not made",
    );
    assert_eq!(up.last_line(), "sb up --prod   # all there is");
    assert!(told(&sandbox).is_empty());
}
