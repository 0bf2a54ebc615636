//! Names, texts and checksums of project files; the database side is in `tests/it/migrate.rs`.

use std::path::Path;

use chrono::{TimeZone as _, Utc};

use super::files::{Migration, load, new};
use crate::clock::Clock;

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("migrations");
    std::fs::create_dir(&dir).unwrap();
    for (name, text) in files {
        std::fs::write(dir.join(name), text).unwrap();
    }
    folder
}

fn loaded(files: &[(&str, &[u8])]) -> Result<Vec<Migration>, String> {
    let folder = folder(files);
    load(&folder.path().join("migrations")).map_err(|error| error.to_string())
}

fn one(text: &str) -> Migration {
    loaded(&[("1_a.sql", text.as_bytes())]).unwrap().remove(0)
}

fn refusal(text: &str) -> String {
    one(text).statements().unwrap_err().to_string()
}

#[test]
fn files_are_ordered_by_number_whatever_their_style() {
    let files: [(&str, &[u8]); 6] = [
        ("20240102000000_b.sql", b""),
        ("20240101000000_a.sql", b""),
        ("V2__two.sql", b""),
        ("V0010__ten.sql", b""),
        (".hidden.sql", b"nonsense"),
        ("README.md", b""),
    ];
    let seen: Vec<_> = loaded(&files)
        .unwrap()
        .into_iter()
        .map(|m| (m.version, m.name))
        .collect();
    let expected = [
        ("2", "two"),
        ("10", "ten"),
        ("20240101000000", "a"),
        ("20240102000000", "b"),
    ];
    assert_eq!(seen, expected.map(|(v, n)| (v.to_owned(), n.to_owned())));
}

#[test]
fn a_missing_folder_has_no_migrations() {
    assert_eq!(load(Path::new("/nonexistent/migrations")).unwrap(), []);
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let cases: [(&str, &[u8], &str); 8] = [
        (
            "todos.sql",
            b"",
            "migrations/todos.sql: is no name of a migration",
        ),
        (
            "V1_x.sql",
            b"",
            "migrations/V1_x.sql: is no name of a migration",
        ),
        (
            "1_.sql",
            b"",
            "migrations/1_.sql: is no name of a migration",
        ),
        (
            "99999999999999999999_x.sql",
            b"",
            "99999999999999999999_x.sql: is no name",
        ),
        (
            "+1_x.sql",
            b"",
            "migrations/+1_x.sql: is no name of a migration",
        ),
        (
            "1_x.down.sql",
            b"",
            "migrations/1_x.down.sql: undoes a migration",
        ),
        (
            "1_x.sql",
            b"select 1;\n\xff\xfe",
            "migrations/1_x.sql:2: is not UTF-8 text",
        ),
        (
            "1_x.SQL",
            b"-- sb: no-transactions\n",
            "migrations/1_x.SQL:1: unknown directive",
        ),
    ];
    for (name, text, expected) in cases {
        let error = loaded(&[(name, text)]).unwrap_err();
        assert!(error.contains(expected), "{name}: {error}");
    }
}

#[test]
fn two_files_of_one_version_are_both_named() {
    let error = loaded(&[("V1__a.sql", b""), ("0001_b.sql", b"")]).unwrap_err();
    assert!(
        error.contains("0001_b.sql") && error.contains("V1__a.sql"),
        "{error}"
    );
}

#[test]
fn line_ends_and_a_byte_order_mark_do_not_change_a_checksum() {
    let plain = one("select 1;\nselect 2;\n");
    assert_eq!(
        one("\u{feff}select 1;\r\nselect 2;\r\n").checksum,
        plain.checksum
    );
    assert_ne!(one("select 1;\nselect 3;\n").checksum, plain.checksum);
}

#[test]
fn only_a_directive_before_the_first_statement_counts() {
    assert!(!one("\n-- about\n-- sb: no-transaction\nselect 1;").transaction);
    assert!(one("select 1;\n-- sb: no-transaction\n").transaction);
}

#[test]
fn of_a_dbmate_file_only_the_way_up_is_run() {
    let file = one(
        "-- migrate:up transaction:false\ncreate table a ();\n\n-- migrate:down\ndrop table a;\n",
    );
    assert!(!file.transaction);
    let statements = file.statements().unwrap();
    assert_eq!((statements.len(), statements[0].line), (1, 2));
    assert_ne!(
        file.checksum,
        one("-- migrate:up transaction:false\ncreate table a ();\n").checksum
    );
}

#[test]
fn a_file_may_wrap_itself_or_parts_in_transactions() {
    let file = one("begin;\ncreate table a ();\nrollback to savepoint x;\ncommit;");
    let lines: Vec<_> = file.statements().unwrap().iter().map(|s| s.line).collect();
    assert_eq!(lines, [2, 3]);
    // As in the examples of Supabase that make the publication of realtime anew.
    let file = one("select 1;\nbegin;\nselect 2;\ncommit;\nselect 3;\nstart transaction;\nend;");
    let lines: Vec<_> = file.statements().unwrap().iter().map(|s| s.line).collect();
    assert_eq!(lines, [1, 3, 5]);
}

#[test]
fn what_would_break_the_transaction_is_refused_by_line() {
    for (word, line) in [
        ("commit", 2),
        ("rollback", 2),
        ("abort", 2),
        ("begin", 2),
        ("END", 2),
    ] {
        let error = refusal(&format!("select 1;\n{word};\nselect 2;"));
        let expected = format!(
            "migrations/1_a.sql:{line}: `{}` in the middle",
            word.to_lowercase()
        );
        assert!(error.starts_with(&expected), "{error}");
        assert!(error.contains("-- sb: no-transaction"), "{error}");
    }
    let nested = refusal("begin;\nbegin;\nselect 1;\ncommit;\ncommit;");
    assert!(
        nested.starts_with("migrations/1_a.sql:2: `begin`"),
        "{nested}"
    );
    let file = one("-- sb: no-transaction\nbegin;\nselect 1;\ncommit;\nvacuum;");
    assert_eq!(file.statements().unwrap().len(), 4);
}

#[test]
fn what_only_psql_can_do_is_refused_by_line() {
    let error = refusal("--\n-- a dump\n--\n\\restrict abcdef\n");
    assert!(
        error.starts_with("migrations/1_a.sql:4: a command of psql"),
        "{error}"
    );
    let error = refusal("create table t (a int);\ncopy t (a) from stdin;\n1\n\\.\n");
    assert!(error.starts_with("migrations/1_a.sql:4"), "{error}");
    let error = refusal("copy t (a) from stdin;");
    assert!(error.contains("--inserts"), "{error}");
    let error = refusal("select 1;\n\nselect 'abc;\n");
    assert!(
        error.starts_with("migrations/1_a.sql:3: a string begins here"),
        "{error}"
    );
}

#[test]
fn a_new_file_comes_after_all_others_and_says_its_name() {
    let folder = folder(&[("20300101000000_future.sql", b"")]);
    let dir = folder.path().join("migrations");
    let clock = Clock::test(Utc.with_ymd_and_hms(2026, 1, 2, 3, 4, 5).unwrap());
    let path = new(&dir, "  Create: Todos! ", &clock).unwrap();
    assert_eq!(path.file_name().unwrap(), "20300101000001_create_todos.sql");
    let path = new(&dir.join("empty"), "añadir", &clock).unwrap();
    assert_eq!(path.file_name().unwrap(), "20260102030405_añadir.sql");
    assert!(new(&dir, " -- ", &clock).is_err());
    assert_eq!(load(&dir).unwrap().len(), 2);
}

#[test]
fn the_framework_line_has_no_gaps() {
    let names = super::framework::names();
    assert!(names.len() >= 2);
    for (index, name) in names.iter().enumerate() {
        assert!(name.starts_with(&format!("V{}__", index + 1)), "{name}");
    }
}
