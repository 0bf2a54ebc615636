//! Synchronous hooks whose target is a Postgres function.

use axum::http::StatusCode;
use sb::auth::{Decision, Extensions, HookRejection};
use serde_json::{Value, json};

use super::support::{App, Options, PASSWORD, claims};

const CLAIMS: (&str, &str) = (
    "auth.hook.custom_access_token.uri",
    "pg-functions://postgres/public/hook",
);
const PASSWORDS: (&str, &str) = (
    "auth.hook.password_verification_attempt.uri",
    "pg-functions://postgres/public/hook",
);
const BEFORE: (&str, &str) = (
    "auth.hook.before_user_created.uri",
    "pg-functions://postgres/public/hook",
);

/// An app with a hook `public.hook(event jsonb)`, whose body is plpgsql.
async fn app(setting: (&'static str, &'static str), body: &str) -> App {
    let app = App::with_settings(&[setting]).await;
    define(&app, body).await;
    app
}

async fn define(app: &App, body: &str) {
    let sql = format!(
        "create or replace function public.hook(event jsonb) returns jsonb language plpgsql as $hook$ {body} $hook$;
         grant execute on function public.hook to supabase_auth_admin;
         revoke execute on function public.hook from public, anon, authenticated;"
    );
    app.owner.batch_execute(&sql).await.unwrap();
}

/// As Supabase's guide on role-based access tells it, to the letter: the function reads a table of the project.
#[tokio::test]
async fn the_hook_of_supabases_guide_adds_a_role_at_sign_in_and_refresh() {
    let app = App::with_settings(&[(
        "auth.hook.custom_access_token.uri",
        "pg-functions://postgres/public/custom_access_token_hook",
    )])
    .await;
    let sql = include_str!("sql/custom_access_token_hook.sql");
    app.owner.batch_execute(sql).await.unwrap();
    let session = app.sign_up("ana@example.com").await.ok();
    assert_eq!(claims(session.access_token())["user_role"], Value::Null);
    let id = session.text("/user/id");
    let sql = format!("insert into public.user_roles (user_id, role) values ('{id}', 'admin')");
    app.owner.batch_execute(&sql).await.unwrap();
    let refreshed = app.refresh(session.refresh_token()).await.ok();
    assert_eq!(claims(refreshed.access_token())["user_role"], "admin");
    let signed_in = app.sign_in("ana@example.com", PASSWORD).await.ok();
    assert_eq!(claims(signed_in.access_token())["user_role"], "admin");
}

#[tokio::test]
async fn a_claims_hook_is_told_who_and_how_and_from_where() {
    let body = "begin return jsonb_build_object('claims', (event -> 'claims') || jsonb_build_object('event', event - 'claims')); end";
    let app = app(CLAIMS, body).await;
    let session = app.sign_up("ana@example.com").await.ok();
    let first = claims(session.access_token());
    let event = &first["event"];
    assert_eq!(event["user_id"], first["sub"]);
    assert_eq!(event["authentication_method"], "password");
    assert_eq!(event["metadata"]["name"], "customize-access-token");
    assert_eq!(event["metadata"]["time"], "2026-01-01T12:00:00Z");
    assert!(event["metadata"]["ip_address"].is_string());
    assert!(event["metadata"]["uuid"].is_string());
    let refreshed = app.refresh(session.refresh_token()).await.ok();
    let second = claims(refreshed.access_token());
    assert_eq!(second["event"]["authentication_method"], "token_refresh");
}

#[tokio::test]
async fn what_a_claims_hook_leaves_out_is_left_out_save_for_who_somebody_is() {
    let body = "begin return jsonb_build_object('claims', jsonb_build_object('plan', 'pro')); end";
    let app = app(CLAIMS, body).await;
    let session = app.sign_up("ana@example.com").await.ok();
    let mut names: Vec<_> = claims(session.access_token())
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    names.sort();
    assert_eq!(
        names.join(" "),
        "aal amr aud email exp iat is_anonymous iss jti phone plan role session_id sub"
    );
    app.refresh(session.refresh_token()).await.ok();
}

/// Attack 10. Remove `check_change` in `claims::merge`: tokens are issued.
#[tokio::test]
async fn a_claims_hook_that_makes_somebody_else_of_a_user_gets_no_token() {
    let app = app(CLAIMS, "begin return event; end").await;
    app.sign_up("ana@example.com").await.ok();
    for (name, value) in [
        ("sub", json!("00000000-0000-4000-8000-000000000000")),
        ("role", json!("postgres")),
        ("role", json!("service_role")),
        ("role", json!("supabase_auth_admin")),
        ("role", json!(["authenticated"])),
        ("role", json!(null)),
        ("exp", json!(4_000_000_000_u64)),
        ("exp", json!(null)),
        ("aal", json!("aal2")),
        ("aud", json!("other")),
        ("iss", json!("https://other.example")),
        ("session_id", json!("00000000-0000-4000-8000-000000000000")),
        ("amr", json!([])),
        ("is_anonymous", json!(true)),
        ("nbf", json!(1)),
        ("act", json!({"sub": "x"})),
    ] {
        let body = format!("begin return jsonb_set(event, '{{claims,{name}}}', '{value}'); end");
        define(&app, &body).await;
        let reply = app.sign_in("ana@example.com", PASSWORD).await;
        reply.refused(500, "unexpected_failure");
        assert!(reply.body.get("access_token").is_none(), "{name} {value}");
        assert_eq!(reply.text("/message"), "Internal Server Error");
    }
    define(&app, "begin return event; end").await;
    app.sign_in("ana@example.com", PASSWORD).await.ok();
}

/// The other side of attack 10. Fails when `may_be_given` refuses what `db.allowed_roles` allows.
#[tokio::test]
async fn a_claims_hook_may_give_a_role_that_tokens_may_name() {
    let body = r#"begin return jsonb_set(event, '{claims,role}', '"editor"'); end"#;
    let settings = [CLAIMS, ("db.allowed_roles", "anon,authenticated,editor")];
    let app = App::with_settings(&settings).await;
    define(&app, body).await;
    let session = app.sign_up("ana@example.com").await.ok();
    assert_eq!(claims(session.access_token())["role"], "editor");
}

#[tokio::test]
async fn a_claims_hook_can_refuse_with_a_text_and_status_of_its_own() {
    let body = r#"begin return '{"error": {"http_code": 403, "message": "Not on Sundays"}}'; end"#;
    let app = app(CLAIMS, body).await;
    let reply = app.sign_up("ana@example.com").await;
    reply.refused(403, "hook_rejected");
    assert_eq!(reply.text("/message"), "Not on Sundays");
}

/// The texts of the project's SQL can hold anything.
#[tokio::test]
async fn what_goes_wrong_in_a_function_is_not_told_to_clients() {
    for (body, status) in [
        ("begin raise exception 'the secret word'; end", 500),
        ("begin return '[]'; end", 500),
        ("begin return null; end", 500),
        ("begin return '{\"claims\": 1}'; end", 500),
    ] {
        let app = app(CLAIMS, body).await;
        let reply = app.sign_up("ana@example.com").await;
        reply.refused(status, "unexpected_failure");
        assert!(
            !reply.body.to_string().contains("secret word"),
            "{}",
            reply.body
        );
    }
    let app = App::with_settings(&[CLAIMS]).await;
    let missing = app.sign_up("ana@example.com").await;
    missing.refused(500, "unexpected_failure");
}

/// Remove the statement timeout of the pool for hooks, and both wait a minute.
#[tokio::test]
async fn a_function_has_two_seconds_and_a_refresh_keeps_its_session() {
    let slow = "begin perform pg_sleep(60); return event; end";
    let app = app(CLAIMS, "begin return event; end").await;
    let session = app.sign_up("ana@example.com").await.ok();
    define(&app, slow).await;
    let started = std::time::Instant::now();
    let (sign_in, refresh) = tokio::join!(
        app.sign_in("ana@example.com", PASSWORD),
        app.refresh(session.refresh_token())
    );
    sign_in.refused(422, "hook_timeout");
    assert!(
        started.elapsed().as_secs() < 8,
        "two seconds are two seconds"
    );
    // A client gives up its session at any 4xx.
    refresh.refused(503, "service_unavailable");
    assert_eq!(refresh.header("retry-after"), "1");
    define(&app, "begin return event; end").await;
    app.refresh(session.refresh_token()).await.ok();
}

/// Attack 48. Fails when hooks run on the pool of the auth service: `reset role` gives a hook the keys, the codes and the
/// counters; and when a hook has the right to make triggers, which run as `sb_auth` with the next sign-in.
#[tokio::test]
async fn a_hook_has_the_rights_of_its_role_and_cannot_get_others() {
    let app = app(CLAIMS, "begin return event; end").await;
    let tables = app
        .value("select string_agg(c.oid::regclass::text, ' ' order by c.relname) from pg_class c where c.relnamespace = 'auth'::regnamespace and c.relkind = 'r' and c.relname not in ('users', 'identities', 'sessions', 'audit_log_entries')")
        .await;
    assert!(tables.contains("auth.signing_keys"), "{tables}");
    app.owner
        .batch_execute(
            "create table public.plans (name text); insert into public.plans values ('pro')",
        )
        .await
        .unwrap();
    let statements: Vec<String> = tables
        .split(' ')
        .map(|table| format!("perform 1 from {table}"))
        .chain(
            [
                "perform 1 from public.plans",
                "set role sb_auth",
                "set role postgres",
                "set role service_role",
                "set session authorization sb_auth",
                "perform sb.public_jwks()",
                "create table sb.mine ()",
            ]
            .map(str::to_owned),
        )
        .chain(["users", "identities", "sessions"].map(|table| {
            format!("create trigger mine before update on auth.{table} for each row execute function suppress_redundant_updates_trigger()")
        }))
        .collect();
    for statement in statements {
        for before in ["null", "reset role", "set role none"] {
            let body = format!(
                "begin
                   {before};
                   begin
                     {statement};
                     return jsonb_set(event, '{{claims,got}}', '\"in\"');
                   exception when insufficient_privilege then
                     set role supabase_auth_admin;
                     return jsonb_set(event, '{{claims,got}}', '\"out\"');
                   end;
                 end"
            );
            define(&app, &body).await;
            let reply = match app.sign_in("ana@example.com", PASSWORD).await {
                reply if reply.status == StatusCode::BAD_REQUEST => {
                    app.sign_up("ana@example.com").await
                }
                reply => reply,
            };
            assert_eq!(
                claims(reply.ok().access_token())["got"],
                "out",
                "{before}; {statement}"
            );
        }
    }
}

#[tokio::test]
async fn a_function_can_refuse_an_account() {
    let body = r#"
        begin
          if event #>> '{user,email}' like '%@example.com' then return '{}'; end if;
          return '{"error": {"http_code": 400, "message": "Only our own addresses"}}';
        end"#;
    let app = app(BEFORE, body).await;
    app.sign_up("ana@example.com").await.ok();
    let reply = app.sign_up("ana@other.example").await;
    reply.refused(400, "hook_rejected");
    assert_eq!(reply.text("/message"), "Only our own addresses");
    assert_eq!(app.value("select count(*) from auth.users").await, "1");
}

#[tokio::test]
async fn a_function_sees_what_would_be_stored_and_no_password() {
    let body = "begin insert into public.seen values (event); return null; end";
    let app = app(BEFORE, body).await;
    let sql = "create table public.seen (event jsonb); grant all on public.seen to supabase_auth_admin; create policy hooks on public.seen to supabase_auth_admin using (true) with check (true)";
    app.owner.batch_execute(sql).await.unwrap();
    app.sign_up("ana@example.com").await.ok();
    let seen = app.value("select event from public.seen").await;
    let seen: Value = serde_json::from_str(&seen).unwrap();
    assert_eq!(seen["user"]["email"], "ana@example.com");
    assert_eq!(seen["metadata"]["name"], "before-user-created");
    let text = seen.to_string();
    assert!(
        !text.contains(PASSWORD) && !text.contains("argon2"),
        "{text}"
    );
}

/// A hook that counts, as Supabase's guide has it.
const COUNTING: &str = r#"
    begin
      insert into public.attempts values (event);
      if (select count(*) from public.attempts a where not (a.event ->> 'valid')::boolean) > 2 then
        return '{"decision": "reject", "message": "Too many tries", "should_logout_user": true}';
      end if;
      return '{"decision": "continue"}';
    end"#;

#[tokio::test]
async fn a_function_can_end_the_guessing_of_passwords() {
    let app = app(PASSWORDS, COUNTING).await;
    let sql = "create table public.attempts (event jsonb); grant all on public.attempts to supabase_auth_admin; create policy hooks on public.attempts to supabase_auth_admin using (true) with check (true)";
    app.owner.batch_execute(sql).await.unwrap();
    let session = app.sign_up("ana@example.com").await.ok();
    app.sign_in("ana@example.com", PASSWORD).await.ok();
    app.sign_in("nobody@example.com", PASSWORD)
        .await
        .refused(400, "invalid_credentials");
    for _ in 0..2 {
        let wrong = app.sign_in("ana@example.com", "wrong password").await;
        wrong.refused(400, "invalid_credentials");
        assert_eq!(wrong.text("/message"), "Invalid login credentials");
    }
    for password in ["wrong password", PASSWORD] {
        let rejected = app.sign_in("ana@example.com", password).await;
        rejected.refused(400, "invalid_credentials");
        assert_eq!(rejected.text("/message"), "Too many tries");
    }
    app.get_user(session.access_token())
        .await
        .refused(403, "session_not_found");
    let told = "select string_agg(event ->> 'valid' || ' ' || ((event ->> 'user_id') = u.id::text), ', ') from public.attempts, auth.users u";
    assert_eq!(
        app.value(told).await,
        "true true, false true, false true, false true, true true"
    );
}

#[tokio::test]
async fn a_program_can_decide_about_passwords() {
    let extensions =
        Extensions::default().password_verification_attempt(|context, attempt| async move {
            assert!(context.client.ip.is_some());
            if attempt.valid {
                let message = String::new();
                Ok(Decision::Reject {
                    message,
                    should_logout_user: false,
                })
            } else {
                Err(HookRejection("Go away".to_owned()))
            }
        });
    let app = App::with(Options {
        extensions,
        ..Options::default()
    })
    .await;
    app.sign_up("ana@example.com").await.ok();
    let right = app.sign_in("ana@example.com", PASSWORD).await;
    right.refused(400, "invalid_credentials");
    assert_eq!(
        right.text("/message"),
        "Further password verification attempts will be rejected."
    );
    app.sign_in("ana@example.com", "wrong password")
        .await
        .refused(422, "hook_rejected");
}

#[tokio::test]
async fn a_hook_that_is_switched_off_is_not_asked() {
    let off = ("auth.hook.custom_access_token.enabled", "false");
    let app = App::with_settings(&[CLAIMS, off]).await;
    app.sign_up("ana@example.com").await.ok();
}

/// Remove the call in `mfa::verify::conclude`, and the session is raised.
#[tokio::test]
async fn a_function_can_end_the_guessing_of_second_factors() {
    let body = r#"
        begin
          insert into public.attempts values (event);
          if (event ->> 'valid')::boolean then return '{"decision": "continue"}'; end if;
          return '{"decision": "reject", "message": "Call us"}';
        end"#;
    let setting = (
        "auth.hook.mfa_verification_attempt.uri",
        "pg-functions://postgres/public/hook",
    );
    let app = app(setting, body).await;
    let sql = "create table public.attempts (event jsonb); grant all on public.attempts to supabase_auth_admin; create policy hooks on public.attempts to supabase_auth_admin using (true) with check (true)";
    app.owner.batch_execute(sql).await.unwrap();
    let (raised, totp) = app.with_totp("ana@example.com").await;
    let told = "select event - 'metadata' from public.attempts";
    let told: Value = serde_json::from_str(&app.value(told).await).unwrap();
    let expected = json!({
        "user_id": raised.text("/user/id"), "factor_id": totp.id, "factor_type": "totp", "valid": true
    });
    assert_eq!(told, expected);
    let session = app.sign_in("ana@example.com", PASSWORD).await.ok();
    let challenge = app.challenge(session.access_token(), &totp.id).await;
    let wrong = totp.wrong_code(&app);
    let rejected = app
        .answer(session.access_token(), &totp.id, &challenge, &wrong)
        .await;
    rejected.refused(403, "mfa_verification_rejected");
    assert_eq!(rejected.text("/message"), "Call us");
    for token in [raised.access_token(), session.access_token()] {
        app.get_user(token).await.refused(403, "session_not_found");
    }
}
