//! Every rule can fail: samples that break it, and samples that come close and do not.

use super::rust::{Source, strip};
use super::*;

fn imports_of(path: &str, text: &str) -> Vec<String> {
    let root = Source::new(
        "src/lib.rs",
        "pub use http::ApiError;\npub use identity::{Caller, model::User as Person};",
    );
    imports(
        &Source::new(path, text),
        &reexports(&Tree {
            sources: vec![root],
        }),
    )
}

#[test]
fn imports_upwards_are_refused() {
    let refused = [
        ("src/error.rs", "use crate::http::ApiError;"),
        ("src/error.rs", "fn f() { crate::db::connect() }"),
        ("src/error.rs", "use crate::{identity::Caller, db};"),
        (
            "src/error.rs",
            "use crate::{\n    clock,\n    config::{Config, section},\n    http,\n};",
        ),
        ("src/error.rs", "use super::db::Db;"),
        ("src/error.rs", "use crate::ApiError;"),
        ("src/db/tx.rs", "use crate::auth::Auth;"),
        ("src/http/mod.rs", "use super::rest::Rest;"),
        ("src/rest/mod.rs", "use crate::app::App;"),
        ("src/app.rs", "use crate::cli::Ui;"),
        ("src/clock.rs", "pub use crate::{error as e, keys::*};"),
    ];
    for (path, text) in refused {
        assert_eq!(
            imports_of(path, text).len(),
            1,
            "{path}: {text}: {:?}",
            imports_of(path, text)
        );
    }
}

#[test]
fn imports_downwards_are_fine() {
    let fine = [
        (
            "src/http/error.rs",
            "use crate::db::{DbError, SqlState};\nuse crate::{Caller, error::ErrorCode};",
        ),
        (
            "src/auth/routes/user.rs",
            "use crate::http::Json; use crate::auth::queries; use super::super_user;",
        ),
        ("src/cli/dev.rs", "use crate::{app::App, stack::Stack};"),
        ("src/main.rs", "fn main() { sb::App::new().main() }"),
        (
            "src/error.rs",
            "// use crate::http;\nconst A: &str = \"crate::http\"; /* crate::db */",
        ),
        ("src/http/mod.rs", "mod tests { use super::*; }"),
        (
            "src/lib.rs",
            "pub use http::ApiError; fn f() { crate::cli::run() }",
        ),
    ];
    for (path, text) in fine {
        assert!(
            imports_of(path, text).is_empty(),
            "{path}: {text}: {:?}",
            imports_of(path, text)
        );
    }
}

#[test]
fn features_that_meet_are_refused() {
    assert_eq!(
        imports_of("src/rest/gateway.rs", "use crate::auth::Auth;").len(),
        1
    );
    assert_eq!(
        imports_of("src/auth/mod.rs", "use crate::{db::Db, storage};").len(),
        1
    );
    assert_eq!(imports_of("src/auth/mod.rs", "use super::rest;").len(), 1);
    assert!(imports_of("src/admin/routes/users.rs", "use crate::auth::Auth;").is_empty());
}

#[test]
fn another_rooms_statements_and_handlers_are_refused() {
    for text in [
        "use crate::auth::queries;",
        "use crate::auth::{queries::find_user, Auth};",
        "crate::auth::routes::user()",
    ] {
        for path in ["src/admin/mod.rs", "src/cli/user.rs", "src/app.rs"] {
            assert_eq!(imports_of(path, text).len(), 1, "{path}: {text}");
        }
    }
}

#[test]
fn a_module_without_a_layer_is_refused() {
    assert_eq!(imports_of("src/helpers.rs", "").len(), 1);
}

#[test]
fn violations_name_file_and_line() {
    let found = imports_of(
        "src/error.rs",
        "//! Doc.\n\nconst A: &str = r#\"\n\"#;\nuse crate::http;",
    );
    assert!(
        found[0].starts_with("src/error.rs:5: error imports crate::http"),
        "{found:?}"
    );
}

#[test]
fn the_other_rules_refuse_their_samples() {
    let source = Source::new;
    assert_eq!(
        no_double_super(&source("src/auth/a/b.rs", "use super::super::x;")).len(),
        1
    );
    assert!(
        no_double_super(&source("src/auth/a/b.rs", "// super::super\nuse super::x;")).is_empty()
    );

    let long = source("src/auth/big.rs", &"x\n".repeat(MOST_LINES + 1));
    assert_eq!(size(&long, &[]).len(), 1);
    assert!(size(&long, &[("src/auth/big.rs", MOST_LINES + 1, "a table")]).is_empty());
    assert_eq!(
        size(&long, &[("src/auth/big.rs", MOST_LINES, "a table")]).len(),
        1
    );

    for path in [
        "src/http/queries.rs",
        "src/queries.rs",
        "src/auth/oauth/queries.rs",
        "src/cli/queries.rs",
        "src/cli/queries/mod.rs",
    ] {
        assert_eq!(
            queries_in_their_room(&source(path, ""), &[]).len(),
            1,
            "{path}"
        );
    }
    for path in ["src/auth/queries.rs", "src/auth/queries/user.rs"] {
        assert!(
            queries_in_their_room(&source(path, ""), &[]).is_empty(),
            "{path}"
        );
    }

    let driver = source(
        "src/auth/mod.rs",
        "use tokio_postgres::Row;\nuse deadpool_postgres::Pool;",
    );
    assert_eq!(drivers_in_db(&driver, &[]).len(), 2);
    assert!(drivers_in_db(&driver, &[("src/auth/mod.rs", "why")]).is_empty());
    assert!(
        drivers_in_db(
            &source("src/keys/mod.rs", "use tokio_postgres_rustls::X;"),
            &[]
        )
        .is_empty()
    );

    for path in ["src/auth/mod.rs", "src/telemetry.rs"] {
        for text in ["println!(\"x\")", "let x = std::io::stderr();", "dbg!(x)"] {
            assert_eq!(
                only_the_cli_prints(&source(path, text)).len(),
                1,
                "{path}: {text}"
            );
        }
    }
    assert!(only_the_cli_prints(&source("src/cli/ui.rs", "println!()")).is_empty());

    assert_eq!(
        says_what_it_is_for(&source("src/a.rs", "use std::fs;\n//! late")).len(),
        1
    );
    assert_eq!(
        unsafe_in_one_file(&source("src/db/mod.rs", "fn f() { unsafe { g() } }")).len(),
        1
    );
    assert!(
        unsafe_in_one_file(&source("src/db/mod.rs", "#![deny(unsafe_code)] // unsafe")).is_empty()
    );
    assert!(unsafe_in_one_file(&source(UNSAFE_FILE, "unsafe { g() }")).is_empty());
}

#[test]
fn sql_in_routes_is_refused() {
    let sql = [
        "select id from auth.users",
        "\n    SELECT 1",
        "insert into t values (1)",
        "update auth.users set a = 1",
        "delete from t",
        "with x as (select 1) select 2",
        "drop table if exists t",
        "create unique index i on t (a)",
        "set local role anon",
    ];
    for text in sql {
        let code = format!("fn f() {{ g(r#\"{text}\"#) }}");
        assert_eq!(
            no_sql_in_routes(&Source::new("src/auth/routes/user.rs", &code)).len(),
            1,
            "{text}"
        );
        assert!(no_sql_in_routes(&Source::new("src/auth/queries.rs", &code)).is_empty());
    }
    for text in [
        "Select a provider",
        "update",
        "update your password first",
        "create an account first",
        "/user",
        "with a token",
    ] {
        let code = format!("fn f() {{ g(\"{text}\") }} // select 1");
        assert!(
            no_sql_in_routes(&Source::new("src/auth/routes/user.rs", &code)).is_empty(),
            "{text}"
        );
    }
}

#[test]
fn forgotten_files_and_stale_exceptions_are_refused() {
    let tree = |files: &[(&str, &str)]| Tree {
        sources: files
            .iter()
            .map(|(path, text)| Source::new(path, text))
            .collect(),
    };
    let forgotten = tree(&[
        ("tests/it/main.rs", "mod tidy; // mod stack;\nmod auth;"),
        ("tests/it/tidy.rs", ""),
        ("tests/it/stack.rs", ""),
        ("tests/it/auth/mod.rs", "mod signup;"),
        ("tests/it/auth/signup.rs", ""),
        ("tests/it/auth/token.rs", ""),
        ("tests/it/rest/mod.rs", ""),
    ]);
    let violations = forgotten_modules(&forgotten, "tests/it/main.rs");
    let named = [
        "tests/it/stack.rs",
        "tests/it/auth/token.rs",
        "tests/it/rest/mod.rs",
    ];
    assert_eq!(violations.len(), named.len(), "{violations:?}");
    assert!(
        named
            .iter()
            .all(|path| violations.iter().any(|text| text.starts_with(path))),
        "{violations:?}"
    );

    let shrunk = tree(&[("src/big.rs", "x")]);
    assert_eq!(
        stale_exceptions(
            &shrunk,
            &[("src/big.rs", 900, "why"), ("src/gone.rs", 900, "why")],
            &[("src/big.rs", "why")]
        )
        .len(),
        3
    );
}

#[test]
fn literals_and_comments_are_told_from_code() {
    let (code, strings) = strip(
        "let a = \"x \\\" // y\"; /* /* */ crate */ let b = 'c'; fn f<'a>() {} // end\nlet c = br#\"\"q\"\"#; let d = '\\''; let e = r\"\\\";",
    );
    assert_eq!(
        code,
        "let a = \"\";  let b = ' '; fn f<'a>() {} \nlet c = \"\"; let d = ' '; let e = \"\";"
    );
    let texts: Vec<(usize, &str)> = strings
        .iter()
        .map(|(line, text)| (*line, text.as_str()))
        .collect();
    assert_eq!(texts, [(1, "x \\\" // y"), (2, "\"q\""), (2, "\\")]);
}
