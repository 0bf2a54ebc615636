//! Instant revocation, with a real PostgREST: attack 18.

use axum::http::{Method, StatusCode};
use sb::stack::Stack;
use serde_json::{Value, json};

use crate::scratch::eventually;
use crate::support::TestApp;

const SQL: &str = "
    create table public.notes (id int generated always as identity, text text);
    alter table public.notes enable row level security;
    create policy everybody on public.notes to authenticated using (true) with check (true);
    grant select, insert on public.notes to authenticated;
    create function public.no_robots() returns void language plpgsql as $$
    begin
      if current_setting('request.headers', true)::json ->> 'x-robot' = 'yes' then
        raise sqlstate 'PT403' using message = 'no robots';
      end if;
    end
    $$;
    grant execute on function public.no_robots() to anon, authenticated, service_role;";

async fn with(settings: &[(&str, &str)]) -> (TestApp, Stack) {
    let (app, stack) = TestApp::with_postgrest(settings).await;
    app.owner().await.batch_execute(SQL).await.unwrap();
    let knows = async || {
        let call = app.call(Method::OPTIONS, "/rest/v1/notes", None, None);
        call.await.status == StatusCode::OK
    };
    eventually("PostgREST knows the table", knows).await;
    (app, stack)
}

async fn sign_up(app: &TestApp, email: &str) -> (String, String) {
    let session = app.sign_up(email).await;
    let text = |pointer: &str| {
        session
            .pointer(pointer)
            .unwrap()
            .as_str()
            .unwrap()
            .to_owned()
    };
    (text("/access_token"), text("/user/id"))
}

async fn read(app: &TestApp, token: &str) -> (u16, Value) {
    let reply = app.get("/rest/v1/notes", Some(token)).await;
    (reply.status.as_u16(), reply.json()["code"].clone())
}

async fn write(app: &TestApp, token: &str) -> u16 {
    let body = json!({"text": "a"});
    app.post("/rest/v1/notes", Some(token), body)
        .await
        .status
        .as_u16()
}

/// Returns when PostgREST has taken over the setting.
async fn in_force(app: &TestApp) {
    let (token, _) = sign_up(app, "probe@example.com").await;
    let out = app.post("/auth/v1/logout", Some(&token), json!({})).await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    eventually("ended sessions are refused", async || {
        write(app, &token).await == 401
    })
    .await;
}

/// Attacks 12 and 18. Remove the look at the session, or at the ban, from `auth.pre_request`, and the token is good for
/// an hour more.
#[tokio::test]
async fn an_ended_session_is_refused_at_once() {
    let (app, stack) = with(&[("auth.instant_revocation", "all")]).await;
    in_force(&app).await;
    let (ana, _) = sign_up(&app, "ana@example.com").await;
    let (bo, bo_id) = sign_up(&app, "bo@example.com").await;
    for token in [&ana, &bo] {
        assert_eq!(read(&app, token).await.0, 200);
        assert_eq!(write(&app, token).await, 201);
    }
    app.post("/auth/v1/logout", Some(&ana), json!({})).await;
    assert_eq!(read(&app, &ana).await, (401, json!("session_not_found")));
    assert_eq!(write(&app, &ana).await, 401);
    assert_eq!(read(&app, &bo).await.0, 200);
    let owner = app.owner().await;
    let ban = format!(
        "update auth.users set banned_until = now() + interval '1 hour' where id = '{bo_id}'"
    );
    owner.batch_execute(&ban).await.unwrap();
    assert_eq!(read(&app, &bo).await, (401, json!("user_banned")));
    let lift = "update auth.users set banned_until = null";
    owner.batch_execute(lift).await.unwrap();
    assert_eq!(read(&app, &bo).await.0, 200);
    owner.batch_execute("delete from auth.users").await.unwrap();
    assert_eq!(read(&app, &bo).await, (401, json!("session_not_found")));
    // Who has no session is not asked for one.
    let service = app.running.role_token("service_role").unwrap();
    assert_eq!(app.get("/rest/v1/notes", Some(&service)).await.status, 200);
    assert_eq!(app.get("/rest/v1/notes", None).await.status, 200);
    stack.stop().await;
}

/// Attack 18. Fails when `auth.pre_request` does not look at the method, or does not call what the project has set.
#[tokio::test]
async fn mutations_only_and_the_projects_own_check_runs_too() {
    let (app, stack) = with(&[("auth.instant_revocation", "mutations")]).await;
    in_force(&app).await;
    // As with `db-pre-request` in sb.toml.
    let publish = "select sb.publish_revocation('mutations', 'public.no_robots')";
    let owner = app.owner().await;
    owner.batch_execute(publish).await.unwrap();
    let (ana, _) = sign_up(&app, "ana@example.com").await;
    app.post("/auth/v1/logout", Some(&ana), json!({})).await;
    assert_eq!(read(&app, &ana).await.0, 200);
    assert_eq!(write(&app, &ana).await, 401);
    let (bo, _) = sign_up(&app, "bo@example.com").await;
    let request = axum::http::Request::get("/rest/v1/notes")
        .header("authorization", format!("Bearer {bo}"))
        .header("x-robot", "yes");
    let robot = app
        .send(request.body(axum::body::Body::empty()).unwrap())
        .await;
    assert_eq!(robot.status, StatusCode::FORBIDDEN, "{}", robot.text());
    assert_eq!(read(&app, &bo).await.0, 200);
    stack.stop().await;
}

#[tokio::test]
async fn by_default_postgrest_is_left_alone() {
    let (app, stack) = with(&[]).await;
    let (ana, _) = sign_up(&app, "ana@example.com").await;
    app.post("/auth/v1/logout", Some(&ana), json!({})).await;
    assert_eq!(read(&app, &ana).await.0, 200);
    stack.stop().await;
}

/// As Supabase's guides set it. Switching ours on and off again leaves theirs.
#[tokio::test]
async fn a_check_set_on_the_role_is_kept() {
    let app = TestApp::new().await;
    let owner = app.owner().await;
    let setting = async || -> String {
        let sql = "select coalesce(max(c), '') as setting from pg_db_role_setting s cross join unnest(s.setconfig) c
            where s.setdatabase = (select oid from pg_database where datname = current_database()) and c like 'pgrst.db_pre%'";
        owner.query_one(sql, &[]).await.unwrap().get(0)
    };
    let next = async || -> String {
        let sql = "select coalesce(next_function, '') as next from sb.revocation";
        owner.query_one(sql, &[]).await.unwrap().get(0)
    };
    let publish = async |mode: &str, own: Option<&str>| {
        let sql = "select sb.publish_revocation($1, $2)";
        owner.execute(sql, &[&mode, &own]).await
    };
    publish("off", None).await.unwrap();
    assert_eq!(setting().await, "");
    let theirs = "do $$ begin execute format('alter role authenticator in database %I set pgrst.db_pre_request = ''public.check''', current_database()); end $$";
    owner.batch_execute(theirs).await.unwrap();
    for _ in 0..2 {
        publish("all", None).await.unwrap();
        assert_eq!(setting().await, "pgrst.db_pre_request=auth.pre_request");
        assert_eq!(next().await, "public.\"check\"");
    }
    publish("mutations", Some("Other Thing")).await.unwrap_err();
    publish("mutations", Some("other_thing")).await.unwrap();
    assert_eq!(next().await, "other_thing");
    publish("off", None).await.unwrap();
    assert_eq!(setting().await, "pgrst.db_pre_request=public.check");
    assert_eq!(next().await, "");
}
