//! The hourly job that removes what nobody needs any more.

use sb::App;
use serde_json::json;

use super::Cron;
use crate::scratch::eventually;

/// supython weak point 39: nothing was ever pruned. Fails when a table is left out of `jobs.prune` or
/// `sb.expiring_tables`, and when what is still good goes too.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_old_goes_and_what_is_not_stays() {
    let mut cron = Cron::without_node().await;
    cron.sql(
        "insert into auth.users (id, email) values ('00000000-0000-0000-0000-000000000001', 'ana@example.com');
         insert into auth.sessions (user_id, created_at, refreshed_at, not_after, tag)
           select '00000000-0000-0000-0000-000000000001', now() - created, now() - refreshed, now() + ends, tag
             from (values
               (interval '2 days', null::interval, null::interval, 'fresh'),
               ('400 days', '1 day', null, 'used yesterday'),
               ('400 days', null, null, 'never used'),
               ('400 days', '300 days', null, 'unused'),
               ('1 day', null, '-1 minute', 'ended'),
               ('1 day', null, '1 hour', 'ends soon')
             ) as s (created, refreshed, ends, tag);
         create table public.thoughts (id int, gone_at timestamptz);
         insert into public.thoughts values (1, now() - interval '2 days'), (2, now() - interval '25 hours'), (3, now() - interval '1 hour'), (4, null);
         insert into sb.expiring_tables values ('public.thoughts', 'gone_at', '1 day'), ('public.nothing', 'gone_at', '1 day');
         insert into auth.rate_limits (key, full_at) values ('old', now()), ('new', now() + interval '1 hour');
         insert into auth.sign_in_failures (account, failures, pending, last_failed_at)
           values ('old', 1, 0, now() - interval '25 hours'), ('new', 1, 0, now() - interval '23 hours');
         insert into auth.flow_state (provider_type, authentication_method, redirect_to, created_at, expires_at)
           select 'email', 'otp', 'https://app.example', now(), now() + ends * interval '1 hour' from (values (-1), (1)) as f (ends);
         insert into auth.webauthn_challenges (challenge_type, session_data, created_at, expires_at)
           select 'authentication', '{}', now(), now() + ends * interval '1 hour' from (values (-1), (1)) as c (ends);
         insert into auth.one_time_tokens (user_id, token_type, relates_to, created_at, updated_at, code_expires_at, expires_at)
           select '00000000-0000-0000-0000-000000000001', type, 'ana@example.com', now(), now(), now(), now() + ends * interval '1 hour'
             from (values ('recovery', -1), ('magiclink', 1)) as t (type, ends);
         insert into jobs.cron_runs (name, tick, fired_at)
           select 'a', now() - days * interval '1 day', now() - days * interval '1 day' from generate_series(1, 10) as days",
    )
    .await;
    cron.start(App::new(), |config| {
        config.auth.refresh_token_ttl = 180 * 86_400;
    })
    .await;
    // As the schedule does, only now.
    let run = "select job_id from jobs.run_schedule('sb.retention', true)";
    let id = cron.count(run).await;
    let done =
        format!("select count(*) from jobs.history where id = {id} and status = 'succeeded'");
    eventually("the job has run", async || cron.count(&done).await == 1).await;
    let row = cron
        .owner
        .query_one(
            &format!("select result from jobs.history where id = {id}"),
            &[],
        )
        .await
        .unwrap();
    assert_eq!(
        row.get::<_, serde_json::Value>(0),
        json!({
            "cron_runs": 4, "flow_state": 1, "one_time_tokens": 1, "rate_limits": 1, "sessions": 3, "sign_in_failures": 1,
            "thoughts": 2, "webauthn_challenges": 1,
        })
    );
    let sessions = cron
        .texts("select tag from auth.sessions order by tag")
        .await;
    assert_eq!(sessions, ["ends soon", "fresh", "used yesterday"]);
    let thoughts = cron
        .texts("select id::text from thoughts order by id")
        .await;
    assert_eq!(thoughts, ["3", "4"]);
    for table in [
        "auth.rate_limits",
        "auth.sign_in_failures",
        "auth.flow_state",
        "auth.webauthn_challenges",
        "auth.one_time_tokens",
    ] {
        assert_eq!(
            cron.count(&format!("select count(*) from {table}")).await,
            1,
            "{table}"
        );
    }
    let row = "select overlap || ' ' || source || ' ' || cron_expr from jobs.cron_schedules where name = 'sb.retention'";
    assert_eq!(cron.texts(row).await, ["skip app 17 * * * *"]);
}
