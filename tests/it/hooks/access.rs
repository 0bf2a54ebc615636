//! Who may manage hooks, and who may not (supython weak point 3).

use serde_json::json;

use super::Hooks;

#[tokio::test]
async fn only_the_service_manages_hooks() {
    let hooks = Hooks::new().await;
    hooks
        .sql("create table public.orders (id int); grant all on public.orders to anon, authenticated, service_role")
        .await;
    for role in ["anon", "authenticated", "authenticator", "sb_jobs"] {
        for statement in [
            "select hooks.on('user.login', 'x')",
            "select hooks.on_change('public.orders', 'x')",
            "select hooks.off('x')",
            "select hooks.redeliver(1)",
            "select hooks.emit('user.login', '{}')",
            "select hooks.drop_triggers('x')",
            "select from hooks.subscriptions",
            "select from hooks.deliveries",
            "insert into hooks.subscriptions (name, event, target) values ('x', 'user.login', 'x')",
            "create trigger t after insert on public.orders for each statement execute function hooks.changed('x')",
        ] {
            let text = hooks.refusal(role, statement).await;
            assert!(
                text.contains("permission denied"),
                "{role}: {statement}: {text}"
            );
        }
    }
    for (role, statement) in [
        ("service_role", "select hooks.emit('user.login', '{}')"),
        ("sb_auth", "select from hooks.subscriptions"),
        ("sb_auth", "select hooks.on('user.login', 'x')"),
    ] {
        let text = hooks.refusal(role, statement).await;
        assert!(
            text.contains("permission denied"),
            "{role}: {statement}: {text}"
        );
    }
    hooks
        .sql(
            "begin; set local role service_role;
             select hooks.on('user.login', 'x', name => 'a'), hooks.on_change('public.orders', 'x', name => 'b');
             insert into public.orders values (1);
             select hooks.off('b');
             select hooks.redeliver(d.id) from hooks.deliveries d;
             commit",
        )
        .await;
    assert_eq!(
        hooks.value("select count(*) from hooks.deliveries").await,
        "2"
    );
}

#[tokio::test]
async fn nothing_of_the_schema_is_open_to_everybody() {
    let hooks = Hooks::new().await;
    let open = hooks
        .json(
            "select to_jsonb(p.oid::regprocedure::text)
               from pg_proc p
              where p.pronamespace = 'hooks'::regnamespace
                and (has_function_privilege('anon', p.oid, 'execute')
                  or p.prosecdef and not coalesce('search_path=\"\"' = any (p.proconfig), false))",
        )
        .await;
    assert_eq!(json!(open), json!([]));
    let tables = hooks
        .json(
            "select to_jsonb(c.relname)
               from pg_class c
              where c.relnamespace = 'hooks'::regnamespace
                and c.relkind = 'r'
                and not c.relrowsecurity",
        )
        .await;
    assert_eq!(json!(tables), json!([]));
}
