//! Templates: which one is taken, what values can do, and what becomes of broken ones.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Rendered, Stored, TemplateError, names, render};

fn values() -> Map<String, Value> {
    let values = json!({
        "ConfirmationURL": "https://api.example.com/verify?token=t0k&type=signup",
        "Token": "483920",
        "TokenHash": "t0k",
        "SiteURL": "https://www.example.com",
        "RedirectTo": "https://www.example.com/in",
        "Email": "ana@example.com",
        "NewEmail": "ana@example.org",
        "Data": { "name": "Ana" },
    });
    values.as_object().unwrap().clone()
}

fn files(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    pairs.collect()
}

fn with_files(pairs: &[(&str, &str)]) -> (Rendered, Vec<TemplateError>) {
    render("recovery", &values(), &[], &files(pairs)).unwrap()
}

fn html(pairs: &[(&str, &str)]) -> String {
    let (rendered, broken) = with_files(pairs);
    assert_eq!(broken, []);
    rendered.html.unwrap()
}

fn broken(text: &str) -> String {
    let (rendered, broken) = with_files(&[("recovery.html", text)]);
    assert!(
        rendered.html.unwrap().contains("Reset your password"),
        "the built-in one goes out"
    );
    assert_eq!(broken.len(), 1, "{broken:?}");
    broken[0].to_string()
}

#[test]
fn every_built_in_template_renders_in_all_its_parts() {
    let all: Vec<&str> = names().collect();
    assert!(all.len() >= 10, "{all:?}");
    for name in all {
        for values in [values(), Map::new()] {
            let (rendered, broken) = render(name, &values, &[], &files(&[])).unwrap();
            assert_eq!(broken, [], "{name}");
            assert!(
                !rendered.subject.is_empty() && !rendered.subject.contains('\n'),
                "{name}"
            );
            assert!(rendered.html.unwrap().contains("<!doctype html>"), "{name}");
            assert!(
                !rendered.text.contains("\n\n\n") && !rendered.text.contains('<'),
                "{name}: {}",
                rendered.text
            );
        }
    }
}

#[test]
fn mails_that_ask_for_something_hold_link_and_code_and_end_with_the_code() {
    for name in [
        "confirmation",
        "invite",
        "magic_link",
        "recovery",
        "email_change",
        "reauthentication",
    ] {
        let (rendered, _) = render(name, &values(), &[], &files(&[])).unwrap();
        let html = rendered.html.unwrap();
        let has_link = name != "reauthentication";
        let link = "https://api.example.com/verify?token=t0k&type=signup";
        assert_eq!(rendered.text.contains(link), has_link, "{name}");
        assert_eq!(
            html.contains(
                r#"href="https:&#x2f;&#x2f;api.example.com&#x2f;verify?token=t0k&amp;type=signup""#
            ),
            has_link,
            "{name}: {html}"
        );
        assert!(
            rendered.text.trim_end().ends_with(" 483920") && html.contains(">483920<"),
            "{name}"
        );
    }
    for name in names().filter(|name| name.ends_with("_notice")) {
        let (rendered, _) = render(name, &values(), &[], &files(&[])).unwrap();
        assert!(
            !rendered.text.contains("483920") && !rendered.text.contains("t0k"),
            "{name}"
        );
    }
}

/// Test suites take the code out of a mail with an expression such as `\b\d{6}\b`, and an address may look like one.
#[test]
fn no_address_is_mistaken_for_a_code() {
    let mut values = values();
    for name in ["Email", "NewEmail", "OldEmail"] {
        values.insert(name.to_owned(), json!("ana-111111@example.com"));
    }
    // In what tells of a change of address it is the message.
    for name in names().filter(|name| !name.starts_with("email_change")) {
        let (rendered, _) = render(name, &values, &[], &files(&[])).unwrap();
        for part in [rendered.subject, rendered.text, rendered.html.unwrap()] {
            assert!(!part.contains("111111"), "{name}: {part}");
        }
    }
}

#[test]
fn each_part_comes_from_the_database_else_from_the_folder_else_it_is_built_in() {
    let stored = [Stored {
        subject: Some("from the database".to_owned()),
        ..Stored::default()
    }];
    let folder = files(&[
        ("recovery.subject.txt", "from the folder"),
        ("recovery.html", "<b>from the folder</b>"),
    ]);
    let (rendered, broken) = render("recovery", &values(), &stored, &folder).unwrap();
    assert_eq!(broken, []);
    assert_eq!(rendered.subject, "from the database");
    assert_eq!(rendered.html.unwrap(), "<b>from the folder</b>");
    assert!(rendered.text.starts_with("Reset your password"));
}

#[test]
fn a_language_goes_before_a_place() {
    let mut values = values();
    values["Data"] = json!({ "locale": "de-AT" });
    let stored = [Stored {
        subject: Some("for everybody".to_owned()),
        ..Stored::default()
    }];
    let folder = files(&[("recovery.de.subject.txt", "Passwort")]);
    let (rendered, _) = render("recovery", &values, &stored, &folder).unwrap();
    assert_eq!(rendered.subject, "Passwort");
    let stored = [Stored {
        language: "de-AT".to_owned(),
        subject: Some("Servus".to_owned()),
        ..Stored::default()
    }];
    let (rendered, _) = render("recovery", &values, &stored, &folder).unwrap();
    assert_eq!(rendered.subject, "Servus");
}

#[test]
fn templates_from_supabase_and_of_our_own_layout_render() {
    let supabase = r#"<h2>Reset</h2>
{{ if .Data.name }}<p>Dear {{ .Data.name }}</p>{{ end }}<a href="{{ .ConfirmationURL }}">{{ .Token }}</a>{{ .Data.none }}"#;
    assert_eq!(
        html(&[("recovery.html", supabase)]),
        "<h2>Reset</h2>\n<p>Dear Ana</p><a href=\"https:&#x2f;&#x2f;api.example.com&#x2f;verify?token=t0k&amp;type=signup\">483920</a>"
    );
    let ours = "{% extends 'sb/layout.html' %}{% block content %}{% include 'greeting.html' %}{% endblock %}";
    let page = html(&[
        ("recovery.html", ours),
        ("greeting.html", "<i>{{ Email }}</i>"),
    ]);
    assert!(
        page.contains("<i>ana@example.com</i>") && page.contains("483920"),
        "{page}"
    );
}

/// Attack 42. Fails when the engine escapes nothing (`set_auto_escape_callback`), and when values are put into the source
/// before it is parsed.
#[test]
fn what_a_user_writes_is_shown_and_does_nothing() {
    let mut values = values();
    let hostile = "<img src=x onerror=alert(1)>{{ Token }}{% for x in range(9) %}\r\nBcc: eve@example.com\u{202e}";
    values["Data"] = json!({ "name": hostile });
    let folder = files(&[
        (
            "recovery.html",
            "<p>{{ .Data.name }}</p><p title=\"{{ Data.name }}\">",
        ),
        ("recovery.txt", "Dear {{ Data.name }}!"),
        ("recovery.subject.txt", "For {{ Data.name }}"),
    ]);
    let (rendered, broken) = render("recovery", &values, &[], &folder).unwrap();
    assert_eq!(broken, []);
    let html = rendered.html.unwrap();
    assert!(
        !html.contains("<img") && html.contains("&lt;img src=x"),
        "{html}"
    );
    for text in [&html, &rendered.text, &rendered.subject] {
        assert!(
            !text.contains("483920") && text.contains("{{ Token }}"),
            "{text}"
        );
        assert!(
            !text.contains('\u{202e}') && !text.contains('\r'),
            "{text:?}"
        );
    }
    assert_eq!(rendered.text.lines().count(), 1, "{:?}", rendered.text);
    assert!(!rendered.subject.contains('\n'));
}

#[test]
fn a_broken_part_is_named_with_line_and_remedy_and_the_built_in_one_goes_out() {
    for (text, expected) in [
        (
            "a\n{{ ConfirmatonURL }}",
            "the template recovery.html line 2: there is no value ConfirmatonURL; did you mean ConfirmationURL?; the values are \
             ConfirmationURL, Data, Email,",
        ),
        (
            "a\n\n{% if %}",
            "the template recovery.html line 3: syntax error",
        ),
        (
            "{{ Email | shout }}",
            "the template recovery.html line 1: unknown filter",
        ),
        (
            "\n{{ range .Data.items }}{{ end }}",
            "the template recovery.html line 2: {{ range .Data.items }} cannot be translated from Go; of Go's",
        ),
        (
            "{% for a in range(9999) %}{% for b in range(9999) %}{{ b }}{% endfor %}{% endfor %}",
            "the template recovery.html line 1: it takes too many steps; loop over less",
        ),
        (
            "{% include '/etc/passwd' %}",
            "the template recovery.html line 1: tried to include non-existing template '/etc/passwd'; templates include",
        ),
        (
            "{% include '../sb.toml' %}",
            "the template recovery.html line 1: tried to include non-existing template '../sb.toml'",
        ),
        (
            " \n ",
            "the template recovery.html: it renders to nothing; write something into it, or remove it",
        ),
    ] {
        let told = broken(text);
        assert!(told.starts_with(expected), "{text:?} was answered {told:?}");
    }
}

#[test]
fn an_error_in_an_included_file_is_named() {
    let (_, broken) = with_files(&[
        ("recovery.html", "{% include 'foot.html' %}"),
        ("foot.html", "\n{% if %}"),
    ]);
    let told = broken[0].to_string();
    assert!(
        told.contains("it includes foot.html, which is broken: syntax error")
            && told.contains("correct foot.html"),
        "{told}"
    );
}

#[test]
fn an_error_never_quotes_a_value() {
    let told = broken("{{ Token + 1 }}{{ Data.name.x.y() }}");
    assert!(!told.contains("483920") && !told.contains("Ana"), "{told}");
}

#[test]
fn a_mail_cannot_grow_without_end() {
    let mut values = values();
    values["Data"] = json!({ "name": "x".repeat(100_000) });
    let folder = files(&[(
        "recovery.txt",
        "{% for a in range(1000) %}{{ Data.name }}{% endfor %}",
    )]);
    let (_, broken) = render("recovery", &values, &[], &folder).unwrap();
    assert!(
        broken[0].to_string().contains("it renders to more than"),
        "{broken:?}"
    );
}

#[test]
fn a_project_may_have_templates_of_its_own() {
    let folder = files(&[
        ("welcome.subject.txt", "Hi"),
        ("welcome.txt", "Hello {{ Email }}"),
    ]);
    let (rendered, _) = render("welcome", &values(), &[], &folder).unwrap();
    assert_eq!(
        (rendered.html, rendered.text.as_str()),
        (None, "Hello ana@example.com\n")
    );
    let missing = render(
        "welcome",
        &values(),
        &[],
        &files(&[("welcome.subject.txt", "Hi")]),
    );
    assert!(missing.is_err_and(|error| {
        error
            .to_string()
            .starts_with("welcome.txt: there is no such template")
    }));
    let broken = files(&[
        ("welcome.subject.txt", "Hi"),
        ("welcome.txt", "{{ Nothing }}"),
    ]);
    assert!(
        render("welcome", &values(), &[], &broken).is_err(),
        "nothing could replace it"
    );
}
