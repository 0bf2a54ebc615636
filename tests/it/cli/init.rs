//! `sb init`: what it writes, and what it never touches.

use std::fs;

use super::Sandbox;

#[test]
fn a_new_project_is_complete_and_carries_its_name() {
    let sandbox = Sandbox::new();
    let output = sandbox
        .sb_in(sandbox.path(""), &["init", "apps/todo-list"])
        .succeeded();
    assert_eq!(output.stdout, "");
    assert_eq!(output.last_line(), "cd apps/todo-list && sb dev");
    let dir = sandbox.path("apps/todo-list");
    for name in [
        "sb.toml",
        ".gitignore",
        ".env.example",
        "seed.sql",
        "docker-compose.yml",
        "migrations",
    ] {
        assert!(dir.join(name).exists(), "{name}");
        assert!(
            name == "migrations" || output.stderr.contains(&format!("  wrote {name}\n")),
            "{name}"
        );
    }
    assert!(!dir.join("gitignore").exists() && !dir.join(".env").exists());
    let settings = fs::read_to_string(dir.join("sb.toml")).expect("it was written");
    assert!(
        settings.contains("todo-list") && !settings.contains("{{"),
        "{settings}"
    );
    sandbox.sb_in(dir, &["info"]).succeeded();
}

#[test]
fn files_are_listed_as_json() {
    let sandbox = Sandbox::new();
    let listed = sandbox
        .sb_in(sandbox.path(""), &["init", "app", "--json"])
        .succeeded()
        .json();
    assert_eq!(listed["name"], "app");
    let files = listed["files"].as_array().expect("a list");
    assert!(files.iter().any(|file| file == ".gitignore"), "{listed}");
    assert!(
        files
            .iter()
            .all(|file| sandbox.app(file.as_str().expect("text")).is_file()),
        "{listed}"
    );
}

#[test]
fn a_folder_in_use_is_left_alone_until_it_is_forced() {
    let sandbox = Sandbox::new();
    let dir = sandbox.path("app");
    fs::create_dir_all(dir.join(".git")).expect("a folder");
    for (name, text) in [
        ("sb.toml", "mine"),
        ("notes.txt", "mine"),
        (".env", "SECRET=mine"),
    ] {
        fs::write(dir.join(name), text).expect("a file");
    }
    let read = |name: &str| fs::read_to_string(dir.join(name)).expect("a file");

    let first = format!(
        "error: {} is not empty: .env, notes.txt, sb.toml",
        dir.display()
    );
    let refused = sandbox.sb_in(dir.clone(), &["init", "."]).failed(1, &first);
    assert_eq!(
        refused.last_line(),
        "sb init . --force   # replaces files of the same name"
    );
    assert_eq!(read("sb.toml"), "mine");

    sandbox
        .sb_in(dir.clone(), &["init", ".", "--force"])
        .succeeded();
    assert!(read("sb.toml").contains("[server]"));
    assert_eq!(
        (read("notes.txt"), read(".env")),
        ("mine".to_owned(), "SECRET=mine".to_owned())
    );
}

#[test]
fn a_folder_with_nothing_but_its_repository_is_empty() {
    let sandbox = Sandbox::new();
    let dir = sandbox.path("My Shop");
    fs::create_dir_all(dir.join(".git")).expect("a folder");
    let made = sandbox
        .sb_in(dir, &["init", ".", "--json"])
        .succeeded()
        .json();
    assert_eq!(made["name"], "my-shop");
}

#[test]
fn a_name_that_would_not_do_is_answered_with_one_that_does() {
    let sandbox = Sandbox::new();
    let refused = sandbox.sb_in(sandbox.path(""), &["init", "apps/My Shop"]);
    let first = "error: \"My Shop\" is no project name: use up to 63 lower-case letters, digits, - and _, beginning with a letter";
    assert_eq!(refused.failed(2, first).last_line(), "sb init apps/my-shop");
    assert!(!sandbox.path("apps").exists());
}
