//! The generated pages of `docs/reference/`: they cannot lag, because this fails when they do.
//! `SB_UPDATE_REFERENCE=1 cargo test --test it reference` writes them anew.

use std::fmt::Write as _;
use std::path::Path;

use sb::ErrorCode;
use sb::config::Config;

fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs/reference")
        .join(name);
    if std::env::var_os("SB_UPDATE_REFERENCE").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("docs can be written");
        std::fs::write(&path, text).expect("docs can be written");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "docs/reference/{name} is out of date: SB_UPDATE_REFERENCE=1 cargo test --test it reference"
    );
}

#[test]
fn every_setting_is_documented() {
    let mut text = String::from(
        "# Settings\n\nGenerated from `src/config/sections.rs`. Order, later wins: default, `sb.toml`, `.env`, \
         environment, flag.\nSettings marked *live* take effect on save (`sb dev`) or on SIGHUP.\n",
    );
    let mut section = "";
    for field in Config::fields() {
        if field.section != section {
            section = field.section;
            let _ = write!(
                text,
                "\n## [{section}]\n\n| Key | Environment | Default | Meaning |\n|---|---|---|---|\n"
            );
        }
        let doc: Vec<&str> = field.doc.iter().map(|line| line.trim()).collect();
        assert!(
            !doc.join("").is_empty(),
            "{} has no description",
            field.path()
        );
        let default = (field.default)();
        let default = if default.is_empty() {
            String::new()
        } else {
            format!("`{default}`")
        };
        let live = if field.live { " *live*" } else { "" };
        let _ = writeln!(
            text,
            "| `{}` | `{}` | {default} | {}{live} |",
            field.key,
            field.env,
            doc.join(" ").replace('|', "\\|")
        );
    }
    text.push_str(
        "\n## [cron.NAME]\n\nOne table for each schedule, or `[[cron]]` with a `name`. \
         See the [guide](../guides/cron.md).\n\n| Key | Meaning |\n|---|---|\n",
    );
    for (key, doc) in sb::config::cron::Cron::keys() {
        let _ = writeln!(text, "| `{key}` | {doc} |");
    }
    text.push_str(
        "\n## [auth.external.NAME]\n\nOne table for each identity provider; in the environment `SB_AUTH_EXTERNAL_NAME_KEY`, and \
         `GOOGLE_CLIENT_ID`, `GOOGLE_CLIENT_SECRET`, `GITHUB_CLIENT_ID`, `GITHUB_CLIENT_SECRET`. \
         See the [guide](../guides/oauth.md).\n\n| Key | Meaning |\n|---|---|\n",
    );
    for (key, doc) in sb::config::external::External::keys() {
        let _ = writeln!(text, "| `{key}` | {doc} |");
    }
    text.push_str("\nAny setting of PostgREST can stand in `[rest]` under PostgREST's name, or in the environment as `PGRST_…`.\n");
    check("config.md", &text);
}

/// supython weak point 31: settings that nothing read. A setting is read where its name stands in the program outside
/// of what loads the settings. Fails when the last use of one goes.
#[test]
fn every_setting_is_read() {
    let mut program = String::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("src/config") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                program.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let is_read = |key: &str| {
        let name = format!(".{key}");
        program.match_indices(&name).any(|(at, _)| {
            let next = program[at + name.len()..].chars().next();
            next.is_some_and(|c| !c.is_alphanumeric() && c != '_')
        })
    };
    let unread: Vec<_> = Config::fields()
        .filter(|field| !is_read(field.key))
        .map(sb::config::section::Field::path)
        .collect();
    assert!(unread.is_empty(), "nothing reads {unread:?}");
}

#[test]
fn every_error_code_is_documented() {
    let mut text = String::from(
        "# Error codes\n\nGenerated from `src/error.rs`. A code never changes its name.\n\n| Code | Status | Meaning |\n|---|---|---|\n",
    );
    for code in ErrorCode::ALL {
        let _ = writeln!(
            text,
            "| `{}` | {} | {} |",
            code.as_str(),
            code.status(),
            code.doc().trim()
        );
    }
    check("errors.md", &text);
}

#[test]
fn every_command_is_documented() {
    let mut text = String::from("# Commands\n\nGenerated from the help texts.\n");
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_sb"))
            .args(arguments)
            .output()
            .expect("sb runs");
        String::from_utf8(output.stdout).expect("help is text")
    };
    let top = run(&["--help"]);
    let _ = write!(text, "\n```text\n{top}```\n");
    let commands = top
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty());
    for command in commands
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
    {
        let _ = write!(
            text,
            "\n## sb {command}\n\n```text\n{}```\n",
            run(&[command, "--help"])
        );
    }
    check("cli.md", &text);
}
