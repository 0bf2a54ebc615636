//! Accounts with numbers; text messages go into a table, by a Postgres function.

use serde_json::{Value, json};

use super::support::{App, PASSWORD, Reply, claims};

const HOOK: (&str, &str) = (
    "auth.hook.send_sms.uri",
    "pg-functions://postgres/public/send_sms",
);
const PHONE: &str = "+15550001111";

async fn app(more: &[(&'static str, &'static str)]) -> App {
    let mut settings = vec![HOOK];
    settings.extend(more);
    let app = App::with_settings(&settings).await;
    let sql = "
        create table public.messages (id bigint generated always as identity, phone text, otp text, event jsonb);
        grant insert on public.messages to supabase_auth_admin;
        create policy hooks on public.messages for insert to supabase_auth_admin with check (true);
        create function public.send_sms(event jsonb) returns void language sql as $$
          insert into public.messages (phone, otp, event) values (event #>> '{sms,phone}', event #>> '{sms,otp}', event)
        $$;
        grant execute on function public.send_sms to supabase_auth_admin;
        revoke execute on function public.send_sms from public, anon, authenticated";
    app.owner.batch_execute(sql).await.unwrap();
    app
}

async fn sign_up(app: &App, password: &str) -> Reply {
    app.post("/signup", json!({"phone": PHONE, "password": password}))
        .await
}

async fn otp(app: &App, phone: &str) -> Reply {
    app.post("/otp", json!({"phone": phone})).await
}

async fn verify(app: &App, phone: &str, code: &str) -> Reply {
    let body = json!({"type": "sms", "phone": phone, "token": code});
    app.post("/verify", body).await
}

async fn sign_in(app: &App, password: &str) -> Reply {
    let body = json!({"phone": PHONE, "password": password});
    app.post("/token?grant_type=password", body).await
}

/// The code in the newest message.
async fn code(app: &App) -> String {
    app.value("select otp from public.messages order by id desc limit 1")
        .await
}

async fn messages(app: &App) -> String {
    app.value("select count(*) from public.messages").await
}

/// A code that is not this one.
fn other_than(code: &str) -> String {
    let number: u32 = code.parse().unwrap();
    format!("{:06}", (number + 1) % 1_000_000)
}

#[tokio::test]
async fn a_sign_up_waits_for_its_code() {
    let app = app(&[]).await;
    let user = sign_up(&app, PASSWORD).await.ok();
    assert!(user.body.get("access_token").is_none());
    assert_eq!(user.body["phone"], "15550001111");
    assert!(user.body.get("phone_confirmed_at").is_none());
    assert!(user.body["confirmation_sent_at"].is_string());
    sign_in(&app, PASSWORD)
        .await
        .refused(400, "phone_not_confirmed");
    sign_in(&app, "wrong password")
        .await
        .refused(400, "invalid_credentials");
    let session = verify(&app, PHONE, &code(&app).await).await.ok();
    assert_eq!(session.body["user"]["id"], user.body["id"]);
    assert_eq!(
        session.body["user"]["identities"][0]["identity_data"]["phone_verified"],
        true
    );
    let issued = claims(session.access_token());
    assert_eq!(
        (&issued["phone"], &issued["email"]),
        (&json!("15550001111"), &json!(""))
    );
    assert_eq!(issued["amr"][0]["method"], "otp");
    assert_eq!(
        issued["app_metadata"],
        json!({"provider": "phone", "providers": ["phone"]})
    );
    sign_in(&app, PASSWORD).await.ok();
}

#[tokio::test]
async fn a_number_signs_in_with_a_code_and_gets_an_account_by_it() {
    let app = app(&[]).await;
    let body = json!({"phone": PHONE, "data": {"name": "Ana"}, "channel": "sms"});
    assert_eq!(app.post("/otp", body).await.ok().body, json!({}));
    let session = verify(&app, "15550001111", &code(&app).await).await.ok();
    assert_eq!(session.body["user"]["user_metadata"]["name"], "Ana");
    app.advance(60);
    otp(&app, PHONE).await.ok();
    let again = verify(&app, PHONE, &code(&app).await).await.ok();
    assert_eq!(again.body["user"]["id"], session.body["user"]["id"]);
    assert_eq!(app.value("select count(*) from auth.users").await, "1");
    let event: Value = serde_json::from_str(
        &app.value("select event from public.messages where id = 1")
            .await,
    )
    .unwrap();
    assert_eq!(event["metadata"]["name"], "send-sms");
    assert_eq!(event["user"]["phone"], "15550001111");
    let settings = app.request("GET", "/settings").send().await.ok();
    assert_eq!(settings.body["external"]["phone"], true);
}

#[tokio::test]
async fn without_a_sender_there_are_no_phone_accounts() {
    let app = App::new().await;
    sign_up(&app, PASSWORD)
        .await
        .refused(422, "phone_provider_disabled");
    otp(&app, PHONE)
        .await
        .refused(422, "phone_provider_disabled");
    verify(&app, PHONE, "123456")
        .await
        .refused(422, "phone_provider_disabled");
    let resend = json!({"type": "sms", "phone": PHONE});
    app.post("/resend", resend)
        .await
        .refused(422, "phone_provider_disabled");
    let session = app.sign_up("ana@example.com").await.ok();
    let change = app
        .put_user(session.access_token(), json!({"phone": PHONE}))
        .await;
    change.refused(422, "phone_provider_disabled");
    let settings = app.request("GET", "/settings").send().await.ok();
    assert_eq!(settings.body["external"]["phone"], false);
}

#[tokio::test]
async fn a_code_is_good_once_for_a_minute_and_for_its_number() {
    let app = app(&[]).await;
    otp(&app, PHONE).await.ok();
    let first = code(&app).await;
    verify(&app, "+15550002222", &first)
        .await
        .refused(403, "otp_expired");
    let change = json!({"type": "phone_change", "phone": PHONE, "token": first});
    app.post("/verify", change)
        .await
        .refused(403, "otp_expired");
    app.advance(60);
    verify(&app, PHONE, &first)
        .await
        .refused(403, "otp_expired");
    otp(&app, PHONE).await.ok();
    let second = code(&app).await;
    if first != second {
        verify(&app, PHONE, &first)
            .await
            .refused(403, "otp_expired");
    }
    verify(&app, PHONE, &second).await.ok();
    verify(&app, PHONE, &second)
        .await
        .refused(403, "otp_expired");
}

/// Attack 31. Remove the count of tries in `try_codes`, or the one per number in `begin_guess`.
#[tokio::test]
async fn five_wrong_codes_burn_a_code_and_twenty_a_day_end_the_guessing() {
    let app = app(&[
        ("auth.sms_interval_seconds", "0"),
        ("auth.sms_per_hour", "1000"),
        ("auth.sms_per_hour_in_all", "1000"),
        ("auth.rate_limit_otp_per_window", "1000"),
    ])
    .await;
    otp(&app, PHONE).await.ok();
    let right = code(&app).await;
    for _ in 0..5 {
        verify(&app, PHONE, &other_than(&right))
            .await
            .refused(403, "otp_expired");
    }
    verify(&app, PHONE, &right)
        .await
        .refused(403, "otp_expired");
    for _ in 0..14 {
        otp(&app, PHONE).await.ok();
        let wrong = other_than(&code(&app).await);
        verify(&app, PHONE, &wrong)
            .await
            .refused(403, "otp_expired");
    }
    otp(&app, PHONE).await.ok();
    let right = code(&app).await;
    verify(&app, PHONE, &right)
        .await
        .refused(429, "over_request_rate_limit");
}

#[tokio::test]
async fn of_callers_with_one_code_one_gets_a_session() {
    let app = app(&[]).await;
    otp(&app, PHONE).await.ok();
    let code = code(&app).await;
    let replies = futures_util::future::join_all((0..8).map(|_| verify(&app, PHONE, &code))).await;
    let signed_in = replies.iter().filter(|reply| reply.status == 200).count();
    assert_eq!(signed_in, 1);
}

#[tokio::test]
async fn messages_are_counted_per_number_and_in_all() {
    let app = app(&[
        ("auth.sms_per_hour", "2"),
        ("auth.sms_per_hour_in_all", "4"),
    ])
    .await;
    otp(&app, PHONE).await.ok();
    let soon = otp(&app, PHONE).await;
    soon.refused(429, "over_sms_send_rate_limit");
    assert_eq!(soon.header("retry-after"), "60");
    app.advance(60);
    otp(&app, PHONE).await.ok();
    app.advance(60);
    otp(&app, PHONE)
        .await
        .refused(429, "over_sms_send_rate_limit");
    // Whether or not there is an account.
    let unknown = json!({"type": "sms", "phone": "+15550003333"});
    app.post("/resend", unknown.clone()).await.ok();
    app.post("/resend", unknown)
        .await
        .refused(429, "over_sms_send_rate_limit");
    otp(&app, "+15550004444").await.ok();
    otp(&app, "+15550005555")
        .await
        .refused(429, "over_sms_send_rate_limit");
    assert_eq!(messages(&app).await, "3");
}

/// An account prepared for a victim. Remove `unconfirmed::forget` in `phone`, and the attacker is in.
#[tokio::test]
async fn a_password_set_before_a_number_was_confirmed_is_worth_nothing() {
    let app = app(&[]).await;
    let attackers = "the attacker's password";
    sign_up(&app, attackers).await.ok();
    app.advance(60);
    otp(&app, PHONE).await.ok();
    verify(&app, PHONE, &code(&app).await).await.ok();
    sign_in(&app, attackers)
        .await
        .refused(400, "invalid_credentials");

    let app = self::app(&[]).await;
    sign_up(&app, attackers).await.ok();
    app.advance(60);
    sign_up(&app, PASSWORD).await.ok();
    verify(&app, PHONE, &code(&app).await).await.ok();
    sign_in(&app, attackers)
        .await
        .refused(400, "invalid_credentials");
}

#[tokio::test]
async fn who_signs_up_twice_keeps_the_password_and_a_taken_number_looks_new() {
    let app = app(&[]).await;
    sign_up(&app, PASSWORD).await.ok();
    app.advance(60);
    sign_up(&app, PASSWORD).await.ok();
    let session = verify(&app, PHONE, &code(&app).await).await.ok();
    sign_in(&app, PASSWORD).await.ok();
    app.advance(60);
    let before = messages(&app).await;
    let taken = sign_up(&app, "quite another one").await.ok();
    assert_ne!(taken.body["id"], session.body["user"]["id"]);
    assert_eq!(taken.body["identities"], json!([]));
    assert_eq!(messages(&app).await, before);
    sign_in(&app, PASSWORD).await.ok();
}

#[tokio::test]
async fn numbers_can_count_as_confirmed() {
    let app = App::with_settings(&[("auth.sms_autoconfirm", "true")]).await;
    let session = sign_up(&app, PASSWORD).await.ok();
    assert!(session.body["user"]["phone_confirmed_at"].is_string());
    sign_up(&app, PASSWORD)
        .await
        .refused(422, "user_already_exists");
    sign_in(&app, PASSWORD).await.ok();
    let change = app
        .put_user(session.access_token(), json!({"phone": "+15550009999"}))
        .await
        .ok();
    assert_eq!(change.body["phone"], "15550009999");
    // Nobody could tell the code.
    otp(&app, PHONE)
        .await
        .refused(422, "phone_provider_disabled");
}

#[tokio::test]
async fn a_test_number_has_its_code_and_is_sent_nothing() {
    let settings = [("auth.sms_test_otp", "15550001111:123456")];
    let app = app(&settings).await;
    otp(&app, PHONE).await.ok();
    verify(&app, PHONE, "654321")
        .await
        .refused(403, "otp_expired");
    verify(&app, PHONE, "123456").await.ok();
    verify(&app, PHONE, "123456")
        .await
        .refused(403, "otp_expired");
    assert_eq!(messages(&app).await, "0");
    // The list is enough for its numbers.
    let app = App::with_settings(&settings).await;
    otp(&app, PHONE).await.ok();
    verify(&app, PHONE, "123456").await.ok();
    otp(&app, "+15550002222")
        .await
        .refused(422, "phone_provider_disabled");
}

#[tokio::test]
async fn an_unknown_number_gets_no_account_unless_it_is_asked_for() {
    let app = app(&[]).await;
    let body = json!({"phone": PHONE, "create_user": false});
    app.post("/otp", body.clone())
        .await
        .refused(422, "otp_disabled");
    let mut config = (*app.config.current()).clone();
    config.auth.hide_accounts = true;
    app.config.replace(config);
    app.post("/otp", body).await.ok();
    assert_eq!(app.value("select count(*) from auth.users").await, "0");
    assert_eq!(messages(&app).await, "0");
}

/// Fails when an unknown number is not counted, when sign-ups being off is told for it only, or when a taken number has
/// no identity.
#[tokio::test]
async fn answers_are_alike_for_known_and_unknown_numbers() {
    let app = app(&[("auth.hide_accounts", "true")]).await;
    otp(&app, PHONE).await.ok();
    verify(&app, PHONE, &code(&app).await).await.ok();
    let unknown = "+15550002222";
    for (create, disabled) in [(false, false), (true, true)] {
        let mut config = (*app.config.current()).clone();
        config.auth.disable_signup = disabled;
        app.config.replace(config);
        app.advance(60);
        for number in [PHONE, unknown] {
            let body = json!({"phone": number, "create_user": create});
            app.post("/otp", body.clone()).await.ok();
            // Within the minute.
            let again = app.post("/otp", body).await;
            again.refused(429, "over_sms_send_rate_limit");
        }
    }
    let mut config = (*app.config.current()).clone();
    config.auth.disable_signup = false;
    app.config.replace(config);
    app.advance(60);
    let mut shapes = Vec::new();
    for number in [PHONE, unknown] {
        let body = json!({"phone": number, "password": PASSWORD});
        let user = app.post("/signup", body).await.ok().body;
        let names = |value: &Value| {
            value
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect::<Vec<_>>()
        };
        shapes.push((names(&user), names(&user["identities"][0])));
    }
    assert_eq!(shapes[0], shapes[1]);
}

#[tokio::test]
async fn a_new_number_takes_the_place_of_the_old_one_when_it_is_confirmed() {
    let app = app(&[]).await;
    let session = app.sign_up("ana@example.com").await.ok();
    let token = session.access_token();
    let waiting = app.put_user(token, json!({"phone": PHONE})).await.ok();
    assert_eq!(
        (&waiting.body["phone"], &waiting.body["new_phone"]),
        (&json!(""), &json!("15550001111"))
    );
    let first = code(&app).await;
    verify(&app, PHONE, &first)
        .await
        .refused(403, "otp_expired");
    app.advance(60);
    let resend = json!({"type": "phone_change", "phone": PHONE});
    app.post("/resend", resend).await.ok();
    let body = json!({"type": "phone_change", "phone": PHONE, "token": code(&app).await});
    let changed = app.post("/verify", body).await.ok();
    let user = &changed.body["user"];
    assert_eq!(user["phone"], "15550001111");
    assert!(user.get("new_phone").is_none());
    assert_eq!(user["app_metadata"]["providers"], json!(["email", "phone"]));
    sign_in(&app, PASSWORD).await.ok();
    let other = app.sign_up("ben@example.com").await.ok();
    app.put_user(other.access_token(), json!({"phone": PHONE}))
        .await
        .refused(422, "phone_exists");
}

#[tokio::test]
async fn a_visitor_keeps_the_account_by_a_number() {
    let app = app(&[("auth.anonymous_enabled", "true")]).await;
    let session = app.post("/signup", json!({})).await.ok();
    let token = session.access_token();
    let body = json!({"phone": PHONE, "password": PASSWORD});
    let waiting = app.put_user(token, body).await.ok();
    assert_eq!(waiting.body["is_anonymous"], true);
    let body = json!({"type": "phone_change", "phone": PHONE, "token": code(&app).await});
    let changed = app.post("/verify", body).await.ok();
    assert_eq!(changed.body["user"]["is_anonymous"], false);
    assert_eq!(changed.body["user"]["id"], session.body["user"]["id"]);
    sign_in(&app, PASSWORD).await.ok();
}

/// Fails when `check_nonce` lets a code through that was sent for something else, or to somebody else.
#[tokio::test]
async fn an_old_session_without_an_address_proves_itself_by_number() {
    let more = [
        ("auth.require_reauthentication", "true"),
        ("auth.access_token_ttl", "1000000"),
    ];
    let app = app(&more).await;
    sign_up(&app, PASSWORD).await.ok();
    let session = verify(&app, PHONE, &code(&app).await).await.ok();
    app.advance(25 * 3600);
    let ask = app
        .request("GET", "/reauthenticate")
        .bearer(session.access_token());
    assert_eq!(ask.send().await.ok().body, json!({}));
    let proof = code(&app).await;
    let change = |nonce: &str| json!({"password": "a new long password", "nonce": nonce});
    let put = |nonce: String| app.put_user(session.access_token(), change(&nonce));
    put(other_than(&proof))
        .await
        .refused(422, "reauthentication_not_valid");
    // It signs nobody in, and what signs in proves nothing here.
    verify(&app, PHONE, &proof)
        .await
        .refused(403, "otp_expired");
    app.advance(60);
    otp(&app, PHONE).await.ok();
    put(code(&app).await)
        .await
        .refused(422, "reauthentication_not_valid");
    let changed = put(proof.clone()).await.ok();
    assert!(changed.body["reauthentication_sent_at"].is_string());
    put(proof).await.refused(422, "reauthentication_not_valid");
    sign_in(&app, "a new long password").await.ok();
}

#[tokio::test]
async fn a_visitor_has_nothing_to_prove_it_with() {
    let app = app(&[("auth.anonymous_enabled", "true")]).await;
    let session = app.post("/signup", json!({})).await.ok();
    let ask = app
        .request("GET", "/reauthenticate")
        .bearer(session.access_token());
    let reply = ask.send().await;
    reply.refused(400, "validation_failed");
    assert_eq!(
        reply.text("/message"),
        "Reauthentication requires the user to have an email or a phone number"
    );
    assert_eq!(messages(&app).await, "0");
}

#[tokio::test]
async fn a_sender_that_fails_is_told_and_the_account_waits() {
    let app = app(&[]).await;
    let sql = "create or replace function public.send_sms(event jsonb) returns void language plpgsql as $$ begin raise exception 'no credit'; end $$";
    app.owner.batch_execute(sql).await.unwrap();
    let failed = otp(&app, PHONE).await;
    failed.refused(500, "unexpected_failure");
    assert!(!failed.body.to_string().contains("no credit"));
    sign_in(&app, PASSWORD)
        .await
        .refused(400, "invalid_credentials");
}

#[tokio::test]
async fn what_is_no_number_or_no_code_is_refused() {
    let app = app(&[]).await;
    for phone in [
        "",
        "abc",
        "+0123456789",
        "123",
        "+1555000\u{0661}111",
        "+15550001111\0",
    ] {
        let body = json!({"phone": phone, "email": ""});
        app.post("/otp", body)
            .await
            .refused(400, "validation_failed");
    }
    otp(&app, PHONE).await.ok();
    for (kind, token) in [("sms", ""), ("signup", "123456"), ("", "123456")] {
        let body = json!({"type": kind, "phone": PHONE, "token": token});
        app.post("/verify", body)
            .await
            .refused(400, "validation_failed");
    }
    let both =
        json!({"type": "sms", "phone": PHONE, "email": "ana@example.com", "token": "123456"});
    app.post("/verify", both)
        .await
        .refused(400, "validation_failed");
    let channel = json!({"phone": PHONE, "channel": "pigeon"});
    app.post("/otp", channel)
        .await
        .refused(400, "validation_failed");
}
