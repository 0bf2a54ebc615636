//! Changes of tables: what is delivered, to whom, and that a write never suffers from it.

use serde_json::{Value, json};

use super::Hooks;
use super::receiver::Receiver;

const ORDERS: &str = "create table public.orders (id bigint primary key, status text, total numeric, placed timestamptz);
    create policy all_may on public.orders using (true) with check (true)";

const PAYLOADS: &str = "select j.payload from jobs.pending j order by j.id";

async fn orders() -> Hooks {
    let hooks = Hooks::new().await;
    hooks.sql(ORDERS).await;
    hooks
}

fn change(kind: &str, record: Value, old_record: Value) -> Value {
    json!({ "type": kind, "table": "orders", "schema": "public", "record": record, "old_record": old_record })
}

#[tokio::test]
async fn payloads_have_the_form_of_supabase() {
    let hooks = orders().await;
    hooks
        .sql(
            "select hooks.on_change('public.orders', 'kind');
             insert into orders values (1, 'new', 1.50, '2026-01-02 03:04:05+00');
             update orders set status = 'paid';
             delete from orders",
        )
        .await;
    let row = |status: &str| json!({ "id": 1, "status": status, "total": 1.50, "placed": "2026-01-02T03:04:05+00:00" });
    assert_eq!(
        hooks.json(PAYLOADS).await,
        [
            change("INSERT", row("new"), json!(null)),
            change("UPDATE", row("paid"), row("new")),
            change("DELETE", json!(null), row("paid")),
        ]
    );
}

#[tokio::test]
async fn a_rolled_back_change_is_told_to_nobody() {
    let hooks = orders().await;
    hooks
        .sql("select hooks.on_change('public.orders', 'kind', name => 'all')")
        .await;
    hooks
        .sql(
            "begin;
             insert into orders (id) values (1);
             rollback;
             insert into orders (id) values (2);
             update hooks.subscriptions set enabled = false;
             insert into orders (id) values (3);
             update hooks.subscriptions set enabled = true;
             select hooks.off('all');
             insert into orders (id) values (4)",
        )
        .await;
    let ids = "select j.payload -> 'record' -> 'id' from jobs.pending j";
    assert_eq!(hooks.json(ids).await, [json!(2)]);
    assert_eq!(
        hooks
            .value("select count(*) from pg_trigger where tgname like 'sb_hook%'")
            .await,
        "0"
    );
}

#[tokio::test]
async fn whoever_writes_needs_no_right_on_hooks_and_sees_no_delivery() {
    let hooks = orders().await;
    let session = hooks.app.sign_up("ana@example.com").await;
    let user = session["user"]["id"].as_str().unwrap();
    hooks
        .sql(&format!(
            "select hooks.on_change('public.orders', 'sql:public.note', name => 'all');
             create table public.notes (who text, claims jsonb, payload jsonb);
             grant insert on public.notes to service_role;
             create function public.note(payload jsonb) returns text language sql as
               $$ insert into public.notes values (current_user, auth.jwt(), payload) returning 'noted' $$;
             begin;
             set local role authenticated;
             set local request.jwt.claims = '{{\"role\": \"authenticated\", \"sub\": \"{user}\"}}';
             insert into orders (id) values (1);
             create temp table seen on commit preserve rows as select count(*) as n from jobs.jobs;
             commit"
        ))
        .await;
    assert_eq!(hooks.value("select n from seen").await, "0");
    hooks.work().await;
    let id = hooks
        .value("select d.id from hooks.deliveries d")
        .await
        .parse()
        .unwrap();
    let job = hooks.until(id, "succeeded").await;
    assert_eq!(
        (&job["result"], &job["user_id"]),
        (&json!("noted"), &json!(null))
    );
    let noted = hooks
        .json("select jsonb_build_array(n.who, n.claims, n.payload -> 'type') from public.notes n")
        .await;
    assert_eq!(
        noted,
        [json!(["service_role", { "role": "service_role" }, "INSERT"])]
    );
}

#[tokio::test]
async fn one_statement_tells_of_all_its_rows_also_when_keys_move() {
    let hooks = orders().await;
    hooks
        .sql(
            "select hooks.on_change('public.orders', 'https://example.com/', max_attempts => 4);
             insert into orders (id, total) select g, g from generate_series(1, 10000) g;
             update orders set id = -id",
        )
        .await;
    let sql = "select concat_ws(' ',
        count(*) filter (where j.payload ->> 'type' = 'INSERT'),
        count(*) filter (where j.payload ->> 'type' = 'UPDATE'),
        count(*) filter (where (j.payload #>> '{record,id}')::int = -(j.payload #>> '{old_record,id}')::int
          and j.payload #> '{record,total}' = j.payload #> '{old_record,total}'),
        count(distinct j.payload #> '{record,id}'), min(j.max_attempts), max(j.backoff_max_s))
      from jobs.pending j";
    assert_eq!(hooks.value(sql).await, "10000 10000 10000 20000 4 3600");
}

#[tokio::test]
async fn columns_and_a_condition_narrow_what_is_told() {
    let hooks = orders().await;
    hooks
        .sql(
            r#"select hooks.on_change('public.orders', 'kind', '{update}', columns => '{status}',
                 condition => '$.record.status == "paid" && $.record.total > 10');
             insert into orders (id, status, total) values (1, 'new', 5), (2, 'new', 50), (3, 'paid', 50);
             update orders set status = 'paid';
             update orders set total = 60"#,
        )
        .await;
    let ids = "select j.payload -> 'record' -> 'id' from jobs.pending j";
    assert_eq!(hooks.json(ids).await, [json!(2)]);
}

#[tokio::test]
async fn rows_that_fit_into_no_job_are_told_by_their_key() {
    let hooks = Hooks::new().await;
    hooks
        .sql(
            r#"create table public.large (a int, b int, body text, raw json, primary key (b, a));
             create table public.keyless (body text);
             select hooks.on_change('public.large', 'kind'), hooks.on_change('public.keyless', 'kind');
             insert into large values (1, 2, repeat('x', 300000));
             update large set body = 'small';
             update large set raw = '{"a": "\u0000"}';
             insert into keyless values (repeat('x', 300000))"#,
        )
        .await;
    let told = |table: &str, kind: &str, record: Value, old_record: Value| {
        json!({ "type": kind, "table": table, "schema": "public", "record": record, "old_record": old_record,
                "truncated": true })
    };
    let key = json!({ "a": 1, "b": 2 });
    assert_eq!(
        hooks.json(PAYLOADS).await,
        [
            told("large", "INSERT", key.clone(), json!(null)),
            told("large", "UPDATE", key.clone(), key.clone()),
            told("large", "UPDATE", key.clone(), key),
            told("keyless", "INSERT", json!({}), json!(null)),
        ]
    );
}

#[tokio::test]
async fn a_hook_is_replaced_by_one_of_its_name_and_partitions_tell_too() {
    let hooks = Hooks::new().await;
    hooks
        .sql(
            "create table public.events (id int, day date) partition by list (day);
             create table public.today partition of public.events for values in ('2026-01-01');
             create table public.tomorrow partition of public.events for values in ('2026-01-02');
             select hooks.on_change('public.events', 'first', name => 'events');
             select hooks.on_change('public.events', 'second', '{UPDATE}', name => 'events');
             insert into events values (1, '2026-01-01');
             update events set day = '2026-01-02'",
        )
        .await;
    let told = hooks
        .json("select jsonb_build_array(j.name, j.source, j.payload -> 'type', j.payload -> 'table', j.payload #> '{old_record,day}') from jobs.pending j")
        .await;
    assert_eq!(
        told,
        [json!([
            "second",
            "hook:events",
            "UPDATE",
            "events",
            "2026-01-01"
        ])]
    );
    hooks
        .sql("select hooks.on('user.login', 'third', name => 'events')")
        .await;
    assert_eq!(
        hooks
            .value("select count(*) from pg_trigger where tgname like 'sb_hook%'")
            .await,
        "0"
    );
}

#[tokio::test]
async fn tables_that_are_no_ones_business_are_refused() {
    let hooks = orders().await;
    hooks
        .sql(
            "create role stranger; create schema foreign_schema authorization stranger;
             grant usage on schema foreign_schema to service_role;
             create table foreign_schema.things (id int); alter table foreign_schema.things owner to stranger;
             create view public.some_view as select 1 as one;
             create temp table passing (id int)",
        )
        .await;
    for (call, reason) in [
        (
            "hooks.on_change('foreign_schema.things', 'x')",
            "foreign_schema.things belongs to stranger",
        ),
        (
            "hooks.on_change('pg_catalog.pg_class', 'x')",
            "pg_catalog.pg_class is a system table",
        ),
        (
            "hooks.on_change('auth.users', 'x')",
            "auth.users is a system table",
        ),
        (
            "hooks.on_change('jobs.pending', 'x')",
            "jobs.pending is a system table",
        ),
        (
            "hooks.on_change('public.some_view', 'x')",
            "public.some_view is no ordinary table",
        ),
        (
            "hooks.on_change('public.nothing', 'x')",
            "relation \"public.nothing\" does not exist",
        ),
        (
            "hooks.on_change('public.orders', 'x', '{TRUNCATE}')",
            "events are some of INSERT, UPDATE and DELETE",
        ),
        (
            "hooks.on_change('public.orders', 'x', columns => '{nope}')",
            "public.orders has no column \"nope\"",
        ),
        (
            "hooks.on_change('public.orders', 'x', queue => 'nope')",
            "queue \"nope\" does not exist",
        ),
        (
            "hooks.on_change('public.orders', '')",
            "a hook needs a target",
        ),
        (
            "hooks.on_change('public.orders', 'http://a:b@c/')",
            "is no http or https address",
        ),
        (
            "hooks.on('user.left', 'x')",
            "there is no event \"user.left\"",
        ),
        (
            "hooks.on('user.login', 'x', name => 'a b')",
            "subscriptions_name_check",
        ),
        ("hooks.off('nope')", "there is no hook \"nope\""),
    ] {
        let text = hooks
            .refusal("service_role", &format!("select {call}"))
            .await;
        assert!(text.contains(reason), "{call}: {text}");
    }
    hooks
        .sql("drop schema foreign_schema cascade; drop role stranger")
        .await;
    assert_eq!(
        hooks
            .value("select count(*) from hooks.subscriptions")
            .await,
        "0"
    );
}

#[tokio::test]
async fn a_delivery_is_logged_and_can_be_repeated() {
    let hooks = orders().await;
    let receiver = Receiver::start(|_| "ok").await;
    hooks.work().await;
    hooks
        .sql(&format!(
            "select hooks.on_change('public.orders', '{}', name => 'ship', timeout_s => 9)",
            receiver.url
        ))
        .await;
    hooks.sql("insert into orders (id) values (7)").await;
    let first = hooks
        .value("select d.id from hooks.deliveries d")
        .await
        .parse()
        .unwrap();
    hooks.until(first, "succeeded").await;
    let second = hooks
        .value(&format!("select hooks.redeliver({first})"))
        .await
        .parse()
        .unwrap();
    hooks.until(second, "succeeded").await;
    let calls = receiver.calls();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0].json(), calls[1].json());
    assert_ne!(calls[0].header("webhook-id"), calls[1].header("webhook-id"));
    let log = hooks
        .json("select jsonb_build_array(d.hook, d.status, d.attempts, d.response_status, d.last_error) from hooks.deliveries d")
        .await;
    assert_eq!(
        log,
        [
            json!(["ship", "succeeded", 1, 200, null]),
            json!(["ship", "succeeded", 1, 200, null])
        ]
    );
    let ordinary = hooks.enqueue(&receiver.url, "").await;
    let text = hooks
        .refusal(
            "service_role",
            &format!("select hooks.redeliver({ordinary})"),
        )
        .await;
    assert!(text.contains("is no delivery of a hook"), "{text}");
}
