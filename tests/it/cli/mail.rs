//! Mails in the real program: sent by a worker of its own over an encrypted connection, or kept for `sb mail`.

use std::path::Path;
use std::process::Command;

use sb::clock::Clock;
use sb::db::Target;
use sb::jobs::JobId;
use serde_json::{Value, json};

use super::client::get;
use super::{Sandbox, Spawned, wait_until};
use crate::mail::server::SmtpServer;
use crate::mail::{CODE, LINK, recovery};
use crate::support;

/// A project on a migrated database.
async fn project() -> (Sandbox, Target) {
    let (mut sandbox, target) = Sandbox::on_database().await;
    sandbox.set("SB_MIGRATE_ON_START", "false");
    sandbox.set("POSTGREST_URL", "http://127.0.0.1:9");
    (sandbox, target)
}

/// What another node does that serves the API.
async fn enqueue(target: &Target, to: &str) -> JobId {
    let url = support::cluster().url(target.database());
    let app = sb::App::new().clock(Clock::system());
    let running = app.build(support::config(&url, &[])).await.unwrap();
    let tx = running.db().auth().begin().await.unwrap();
    let id = running
        .context()
        .mail
        .enqueue(&tx, &recovery(to))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    running.shutdown().await;
    id
}

/// A certificate for `localhost` that nobody but the sandbox trusts.
fn certificate(sandbox: &Sandbox) -> (String, String) {
    let (certificate, key) = (sandbox.path("cert.pem"), sandbox.path("key.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
        ])
        .args([
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-addext",
            "extendedKeyUsage=serverAuth",
        ])
        .arg("-out")
        .arg(&certificate)
        .arg("-keyout")
        .arg(&key)
        .output()
        .expect("openssl is installed");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let text = |path: &Path| path.to_str().expect("the path is text").to_owned();
    (text(&certificate), text(&key))
}

fn show(sandbox: &Sandbox, id: JobId, status: &str) -> (Value, String) {
    wait_until(status, || {
        let shown = sandbox
            .sb(&["jobs", "show", &id.to_string(), "--json"])
            .succeeded();
        let job = shown.json();
        (job["status"] == status).then(|| {
            let text = sandbox
                .sb(&["jobs", "show", &id.to_string()])
                .succeeded()
                .stdout;
            (job, text + &shown.stdout)
        })
    })
}

#[track_caller]
fn says_nothing(words: &str) {
    for secret in [CODE, "4bcb2f9c7e1d4a0d", "verify?token", "smtp-password-7"] {
        assert!(!words.contains(secret), "{secret} is in {words}");
    }
}

/// Weak point 16 of what `sb` replaces: mails that only the API's own process could send. Fails when the handler is
/// registered by the API alone; and, with the second half, when certificates are not checked.
#[tokio::test(flavor = "multi_thread")]
async fn a_stand_alone_worker_sends_over_tls_and_shows_no_secret() {
    for implicit in [false, true] {
        let (mut sandbox, target) = project().await;
        let (certificate, key) = certificate(&sandbox);
        let mut arguments = vec![
            "--certificate",
            &certificate,
            "--key",
            &key,
            "--user",
            "app",
            "--password",
            "smtp-password-7",
        ];
        arguments.extend(implicit.then_some("--implicit-tls"));
        let server = SmtpServer::start(&arguments);
        for (name, value) in [
            ("EMAIL_BACKEND", "smtp"),
            ("EMAIL_FROM", "app@example.org"),
            ("SMTP_HOST", "localhost"),
            ("SMTP_PORT", &server.port.to_string()),
            ("SMTP_USERNAME", "app"),
            ("SMTP_PASSWORD", "smtp-password-7"),
            ("SMTP_TLS", if implicit { "true" } else { "false" }),
            ("LOG_LEVEL", "trace"),
        ] {
            sandbox.set(name, value);
        }
        let id = enqueue(&target, "ana@example.com").await;
        let worker = sandbox.spawn(&["worker", "run"]);
        let (job, shown) = show(&sandbox, id, "scheduled");
        let error = job["last_error"].as_str().unwrap();
        assert!(
            error.contains("the SMTP server localhost") && error.contains("certificate"),
            "{error}"
        );
        says_nothing(&(worker.words() + &shown));
        assert_eq!(
            server.events("recipient"),
            [] as [Value; 0],
            "nothing is told to a server that is not who it says"
        );
        stop(worker);

        sandbox.set("SSL_CERT_FILE", &certificate);
        let worker = sandbox.spawn(&["worker", "run"]);
        sandbox.sb(&["jobs", "retry", &id.to_string()]).succeeded();
        let mail = server.until("mail", 1).await.remove(0);
        assert_eq!((&mail["tls"], &mail["user"]), (&json!(true), &json!("app")));
        assert!(mail["text"].as_str().unwrap().contains(LINK));
        let (_, shown) = show(&sandbox, id, "succeeded");
        says_nothing(&(worker.words() + &shown));
        stop(worker);
    }
}

fn stop(mut worker: Spawned) {
    worker.signal(rustix::process::Signal::TERM);
    worker.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn in_development_mails_are_kept_and_read_on_the_command_line() {
    let (sandbox, target) = project().await;
    let empty = sandbox.sb(&["mail", "inbox"]).succeeded();
    assert_eq!((empty.stdout.as_str(), empty.first_line()), ("", "no mail"));
    sandbox
        .sb(&["mail", "show"])
        .failed(1, "error: there is no such mail");

    let mut dev = sandbox.spawn(&["dev", "--no-watch"]);
    dev.says("ready");
    let state = sandbox.sb(&["status", "--json"]).succeeded().json();
    let (api, inbox) = (
        state["api_url"].as_str().unwrap(),
        state["mail_url"].as_str().unwrap(),
    );
    assert_eq!(inbox, format!("{api}/inbox"));
    assert!(dev.words().contains(inbox), "{}", dev.words());
    let ids = [
        enqueue(&target, "ana@example.com").await,
        enqueue(&target, "ben@example.com").await,
    ];
    for id in ids {
        show(&sandbox, id, "succeeded");
    }
    let search = "/inbox/api/v1/search?query=to%3A%22ana%40example.com%22";
    let address = api.trim_start_matches("http://");
    let found = get(address, address, search);
    assert!(
        found.starts_with("HTTP/1.1 200 OK") && found.contains("\"Address\":\"ana@example.com\""),
        "{found}"
    );
    // A page of somebody else's, under a name of theirs that leads to this machine.
    let refused = get(address, "evil.example:8000", search);
    assert!(
        refused.starts_with("HTTP/1.1 403") && !refused.contains("ana@"),
        "{refused}"
    );
    let listed = sandbox.sb(&["mail", "inbox"]).succeeded().stdout;
    assert_eq!(listed.lines().count(), 3, "{listed}");
    assert!(!listed.contains(CODE), "{listed}");
    let list = sandbox
        .sb(&["mail", "inbox", "--to", "ana@", "--json"])
        .succeeded()
        .json();
    let mail = &list["messages"][0];
    assert_eq!(
        (&mail["to"], list["messages"].as_array().unwrap().len()),
        (&json!("ana@example.com"), 1)
    );
    let shown = sandbox
        .sb(&["mail", "show", mail["id"].as_str().unwrap()])
        .succeeded()
        .stdout;
    assert!(
        shown.contains(LINK) && shown.trim_end().ends_with(CODE),
        "{shown}"
    );
    let latest = sandbox
        .sb(&["mail", "show", "latest", "--json"])
        .succeeded()
        .json();
    assert!(latest["text"].as_str().unwrap().contains(CODE));
    sandbox
        .sb(&["mail", "show", "x"])
        .failed(2, "error: x is no id of a mail");
}

/// Fails when backend `console` shows mails to whoever reads the log of a server.
#[tokio::test(flavor = "multi_thread")]
async fn the_console_shows_mails_in_development_only() {
    let (mut sandbox, target) = project().await;
    sandbox.set("EMAIL_BACKEND", "console");
    let id = enqueue(&target, "ana@example.com").await;
    let worker = sandbox.spawn(&["worker", "run"]);
    show(&sandbox, id, "succeeded");
    let mut worker = worker;
    let words = worker.says("a mail was not sent: set EMAIL_BACKEND=smtp and SMTP_HOST");
    says_nothing(&words);
    stop(worker);

    let mut dev = sandbox.spawn(&["dev", "--no-watch"]);
    dev.says("ready");
    let id = enqueue(&target, "ana@example.com").await;
    show(&sandbox, id, "succeeded");
    let words = dev.says(CODE);
    assert!(
        words.contains(LINK) && words.contains("mail to ana@example.com: Reset your password"),
        "{words}"
    );
    let state = sandbox.sb(&["status", "--json"]).succeeded().json();
    assert_eq!(state["mail_url"], Value::Null, "there is no inbox");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_is_seen_before_anybody_gets_it() {
    let (sandbox, _) = project().await;
    let built_in = sandbox.sb(&["mail", "preview", "recovery"]).succeeded();
    assert!(
        built_in.stdout.starts_with("subject Reset your password\n"),
        "{}",
        built_in.stdout
    );
    std::fs::create_dir(sandbox.app("templates")).unwrap();
    sandbox.write(
        "templates/recovery.de.html",
        "<p>Hallo {{ .Data.name }}</p>",
    );
    let german = sandbox.sb(&["mail", "preview", "recovery", "--html", "--language", "de"]);
    assert_eq!(german.succeeded().stdout, "<p>Hallo Ana</p>\n");
    sandbox.write("templates/recovery.txt", "\n{{ .Tokn }}");
    let broken = sandbox.sb(&["mail", "preview", "recovery"]);
    let first =
        "warning: the template recovery.txt line 2: there is no value Tokn; did you mean Token?";
    assert!(
        broken.code == Some(1) && broken.first_line().starts_with(first),
        "{broken:#?}"
    );
    let none = sandbox.sb(&["mail", "preview", "none"]);
    let first = "error: none.subject.txt: there is no such template; add it to the folder of templates, or to mail.templates";
    let none = none.failed(1, first);
    assert!(none.last_line().contains("magic_link"), "{none:#?}");
}
