//! `sb user`, `sb audit` and `sb secret`, the real program on a database of its own.

use std::fs;

use sb::db::Connection;
use serde_json::{Value, json};

use super::Sandbox;

/// A project on a migrated database, and the owner's connection.
async fn project() -> (Sandbox, Connection) {
    let (mut sandbox, target) = Sandbox::on_database().await;
    sandbox.set("AUTH_ARGON2_MEMORY_KIB", "64");
    let owner = Connection::open(&target)
        .await
        .expect("postgres takes connections");
    (sandbox, owner)
}

async fn value(owner: &Connection, sql: &str) -> String {
    let sql = format!("select coalesce(x::text, '') from ({sql}) as t (x)");
    owner.query_one(&sql, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_managed_from_the_command_line() {
    let (sandbox, owner) = project().await;
    let added = sandbox.sb(&[
        "user",
        "add",
        "ana@example.com",
        "--password",
        "first password",
    ]);
    let id = added.succeeded().stdout.trim().to_owned();
    let banned = "select banned_until > now() + interval '90 years' from auth.users";
    sandbox.sb(&["user", "ban", "ana@example.com"]).succeeded();
    assert_eq!(value(&owner, banned).await, "true");
    let list = sandbox.sb(&["user", "list"]).succeeded();
    assert!(list.stdout.contains(" banned until "), "{list:#?}");
    sandbox
        .sb(&["user", "mint-token", "ana@example.com"])
        .failed(1, "error: User is banned");
    sandbox.sb(&["user", "unban", &id]).succeeded();
    assert_eq!(value(&owner, banned).await, "");
    sandbox
        .sb(&["user", "ban", "ana@example.com", "--for", "soon"])
        .failed(
            2,
            "error: ban_duration must be \"none\" or a duration such as 24h or 1h30m",
        );

    let minted = sandbox
        .sb(&["user", "mint-token", &id, "--json"])
        .succeeded();
    assert_eq!(minted.json()["user"]["id"], id.as_str());
    assert_eq!(
        value(&owner, "select count(*) from auth.sessions").await,
        "1"
    );
    let out = sandbox
        .sb(&["user", "logout", "ana@example.com"])
        .succeeded();
    assert_eq!(out.stdout, "1\n");
    assert_eq!(
        value(&owner, "select count(*) from auth.sessions").await,
        "0"
    );

    let hash = "select encrypted_password from auth.users";
    let before = value(&owner, hash).await;
    let made = sandbox
        .sb(&["user", "set-password", "ana@example.com"])
        .succeeded();
    assert_eq!(made.stdout.lines().count(), 2, "{made:#?}");
    assert_ne!(value(&owner, hash).await, before);
    sandbox
        .sb(&[
            "user",
            "set-password",
            "ana@example.com",
            "--password",
            "short",
        ])
        .failed(2, "error: Password should be at least 6 characters.");
    let role = sandbox.sb(&["user", "set-role", "ana@example.com", "guest", "--json"]);
    assert_eq!(role.succeeded().json()["role"], "guest");
    sandbox
        .sb(&["user", "set-role", "ana@example.com", "service_role"])
        .failed(
            2,
            "error: role must be one of db.allowed_roles and not service_role",
        );
    for command in ["ban", "unban", "logout", "mint-token", "set-password"] {
        sandbox
            .sb(&["user", command, "nobody@example.com"])
            .failed(1, "error: User not found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_imported_once_with_their_passwords() {
    let (sandbox, owner) = project().await;
    let hash = bcrypt::hash("an old password", 4).unwrap();
    // Columns of auth.users, as `copy … to … with (format csv, header)` writes them.
    let csv = format!(
        "id,aud,role,email,encrypted_password,email_confirmed_at,raw_app_meta_data,raw_user_meta_data,created_at,phone,is_anonymous\n\
         7d7bd1f6-3f05-4c43-9d67-0c3a9d5b1a10,authenticated,authenticated,Ana@example.com,{hash},2024-05-06 07:08:09.123456+00,\
         \"{{\"\"provider\"\": \"\"email\"\", \"\"providers\"\": [\"\"email\"\"]}}\",\"{{\"\"nick\"\":\n \"\"Ana, B\"\"}}\",2024-05-06 07:08:09+00,,f\n\
         not-an-id,authenticated,service_role,bo@example.com,{hash},,,,,,f\n\
         ,authenticated,authenticated,cy@example.com,a plain password,,,,,,f\n\
         ,authenticated,authenticated,dan@example.com,,,,,,4912345678,f\n"
    );
    fs::write(sandbox.app("users.csv"), csv).unwrap();
    let output = sandbox.sb(&["user", "import", "users.csv", "--json"]);
    assert_eq!(output.code, Some(1), "{output:#?}");
    assert!(!output.stderr.contains("a plain password"), "{output:#?}");
    let report: Value =
        serde_json::from_str(output.stdout.split("\n{\n  \"error\"").next().unwrap()).unwrap();
    assert_eq!(
        (&report["added"], &report["skipped"], &report["failed"]),
        (&json!(2), &json!(0), &json!(2))
    );
    let lines: Vec<_> = report["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| problem["line"].as_u64())
        .collect();
    assert_eq!(lines, [Some(4), Some(5)], "{report}");
    let ana = "select id || ' ' || email || ' ' || to_char(email_confirmed_at at time zone 'utc', 'YYYY-MM-DD HH24:MI:SS.US')
        || ' ' || to_char(created_at at time zone 'utc', 'YYYY') || ' ' || (raw_user_meta_data ->> 'nick')
        from auth.users where email = 'ana@example.com'";
    assert_eq!(
        value(&owner, ana).await,
        "7d7bd1f6-3f05-4c43-9d67-0c3a9d5b1a10 ana@example.com 2024-05-06 07:08:09.123456 2024 Ana, B"
    );
    let identities = "select string_agg(provider, ' ' order by provider) from auth.identities";
    assert_eq!(value(&owner, identities).await, "email email phone");

    // Again, with one more, as JSON lines from elsewhere.
    let jsonl = [
        json!({"email": "ana@example.com", "password_hash": hash}),
        json!({"id": "abc123def456ghi", "email": "eve@example.com", "password": hash, "verified": true}),
    ];
    let jsonl = jsonl.map(|record| record.to_string()).join("\n");
    fs::write(sandbox.app("users.jsonl"), jsonl).unwrap();
    for added in [1, 0] {
        let output = sandbox.sb(&["user", "import", "users.jsonl"]).succeeded();
        assert_eq!(output.stdout, format!("{added}\n"));
    }
    let eve = "select email_confirmed_at is not null and raw_app_meta_data ->> 'imported_id' = 'abc123def456ghi'
        from auth.users where email = 'eve@example.com'";
    assert_eq!(value(&owner, eve).await, "true");
    fs::write(sandbox.app("latin.csv"), b"email\n\xe4@b.example\n").unwrap();
    for (file, error, next) in [
        (
            "no where.csv",
            "cannot read no where.csv: No such file or directory (os error 2)",
            "ls -ld 'no where.csv'",
        ),
        (
            "migrations",
            "cannot read migrations: Is a directory (os error 21)",
            "ls -ld migrations",
        ),
        (
            "latin.csv",
            "latin.csv:2: the line is not UTF-8",
            "sb user import FILE",
        ),
    ] {
        let output = sandbox.sb(&["user", "import", file]);
        let output = output.failed(1, &format!("error: {error}"));
        assert!(output.last_line().starts_with(next), "{output:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_is_checked_from_the_command_line() {
    let (sandbox, owner) = project().await;
    sandbox.sb(&["user", "add", "ana@example.com"]).succeeded();
    let unsealed = sandbox
        .sb(&["audit", "verify", "--json"])
        .succeeded()
        .json();
    assert_eq!(
        unsealed,
        json!({"sealed": 0, "unsealed": 1, "first": null, "head": null, "problems": []})
    );
    // A seal that nobody with the key has made.
    let forged = "
        insert into auth.audit_seals (number, sealed_at, entries, newest_at, digest, mac)
          values (1, now(), 1, now(), sha256(''), sha256(''));
        update auth.audit_log_entries set seal = 1";
    owner.batch_execute(forged).await.unwrap();
    let output = sandbox.sb(&["audit", "verify"]);
    assert_eq!(output.code, Some(5), "{output:#?}");
    assert!(
        output.stderr.contains("error: the audit log was changed"),
        "{output:#?}"
    );
    let head = sandbox.sb(&["audit", "verify", "--head", "nonsense"]);
    assert_eq!(head.code, Some(2), "{head:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_rotated_from_the_command_line() {
    let (sandbox, _owner) = project().await;
    sandbox.sb(&["keygen", "init"]).succeeded();
    let states = || {
        let list = sandbox
            .sb(&["secret", "status", "--json"])
            .succeeded()
            .json();
        let links = list
            .as_array()
            .unwrap()
            .iter()
            .filter(|secret| secret["family"] == "links");
        links
            .map(|secret| secret["status"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(states(), ["active"]);
    sandbox
        .sb(&["secret", "activate", "links"])
        .failed(1, "error: there is no secret in reserve");
    let kid = sandbox
        .sb(&["secret", "rotate", "links"])
        .succeeded()
        .stdout;
    assert_eq!(states(), ["active", "standby"]);
    let activated = sandbox.sb(&["secret", "activate", "links"]).succeeded();
    assert_eq!(activated.stdout, kid);
    assert_eq!(states(), ["previous", "active"]);
    let kept = sandbox.sb(&["secret", "prune"]).succeeded();
    assert_eq!(
        (kept.stdout.as_str(), kept.first_line()),
        ("", "nothing to prune")
    );
    sandbox
        .sb(&["secret", "prune", "links", "--force"])
        .succeeded();
    assert_eq!(states(), ["revoked", "active"]);
    assert_eq!(sandbox.sb(&["secret", "rotate", "nonsense"]).code, Some(2));
}

/// Weak point 29: what is written is the new password, and it works. Fails when the file is written before the password
/// is another.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_of_the_owners_own_goes_into_the_env_file() {
    let (mut sandbox, owner) = project().await;
    let role = format!("owner_{}", std::process::id());
    let sql = format!("create role {role} superuser login password 'old-password'");
    owner.batch_execute(&sql).await.unwrap();
    let row = "select current_setting('port') || '/' || current_database() as place";
    let place: String = owner.query_one(row, &[]).await.unwrap().get("place");
    let url = format!("postgresql://{role}:old-password@127.0.0.1:{place}");
    sandbox.env.retain(|(name, _)| name != "DATABASE_URL");
    sandbox.write(".env", &format!("# secrets\nDATABASE_URL={url}\nOTHER=1\n"));
    let output = sandbox.sb(&["password", "rotate", &role]).succeeded();
    let password = output.stdout.trim();
    let file = fs::read_to_string(sandbox.app(".env")).unwrap();
    let new = url.replace("old-password", password);
    assert_eq!(file, format!("# secrets\nDATABASE_URL={new}\nOTHER=1\n"));
    assert_ne!(password, "old-password");
    let open = async |url: &str| Connection::open(&sb::db::Target::parse(url).unwrap()).await;
    open(&new).await.unwrap();
    open(&url).await.unwrap_err();
    sandbox.sb(&["user", "list"]).succeeded();
    let unknown = sandbox.sb(&["password", "rotate", "somebody"]);
    assert_eq!(unknown.code, Some(2), "{unknown:#?}");
}
