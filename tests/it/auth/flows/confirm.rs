//! Sign-ups that wait for a mail.

use serde_json::json;

use super::support::{ANA, Answer as _, Flows, PASSWORD, claims, parameters};

#[tokio::test]
async fn a_sign_up_is_confirmed_by_its_code() {
    let flows = Flows::new().await;
    let user = flows.sign_up(ANA, PASSWORD).await.ok().json();
    assert!(user.get("access_token").is_none() && user["confirmation_sent_at"].is_string());
    flows
        .sign_in(ANA, PASSWORD)
        .await
        .refused(400, "email_not_confirmed");
    let mail = flows.mail_of("confirmation", ANA).await;
    let session = flows
        .verify_code("signup", "Ana@Example.com", &mail.code)
        .await
        .ok();
    let session = session.json();
    assert_eq!(session["user"]["id"], user["id"]);
    assert!(session["user"]["email_confirmed_at"].is_string());
    assert_eq!(
        session["user"]["identities"][0]["identity_data"]["email_verified"],
        true
    );
    let claims = claims(session["access_token"].as_str().unwrap());
    assert_eq!(claims["amr"][0]["method"], "email/signup");
    flows.sign_in(ANA, PASSWORD).await.ok();
    // Both secrets of the mail are used up now.
    flows
        .verify_code("signup", ANA, &mail.code)
        .await
        .refused(403, "otp_expired");
    flows
        .verify_hash("signup", &mail.token)
        .await
        .refused(403, "otp_expired");
}

#[tokio::test]
async fn a_sign_up_is_confirmed_by_its_link() {
    let flows = Flows::new().await;
    let body = json!({ "email": ANA, "password": PASSWORD, "data": { "nick": "ana" } });
    let path = "/signup?redirect_to=https%3A%2F%2Fsite.example%2Fwelcome%3Fa%3D1";
    flows.post(path, body).await.ok();
    let mail = flows.mail_of("confirmation", ANA).await;
    assert!(
        mail.link
            .starts_with("http://sb.test/auth/v1/verify?token="),
        "{}",
        mail.link
    );
    assert_eq!(mail.values["Data"]["nick"], "ana");
    assert_eq!(
        mail.values["RedirectTo"],
        "https://site.example/welcome?a=1"
    );
    let location = flows.press(&mail.link).await;
    assert!(
        location
            .as_str()
            .starts_with("https://site.example/welcome?a=1#")
    );
    let tokens = parameters(location.fragment());
    assert_eq!(tokens["type"], "signup");
    assert_eq!(tokens["token_type"], "bearer");
    flows.get_user(&tokens["access_token"]).await.ok();
    // The link says so when it is opened once more.
    let again = flows.press(&mail.link).await;
    assert_eq!(parameters(again.fragment())["error_code"], "otp_expired");
    flows
        .verify_code("signup", ANA, &mail.code)
        .await
        .refused(403, "otp_expired");
}

/// Attack 34. Fails when `write_token` keeps the older token beside the newer one.
#[tokio::test]
async fn a_second_sign_up_sends_the_mail_again_and_only_the_newest_counts() {
    let flows = Flows::new().await;
    let first = flows.sign_up(ANA, PASSWORD).await.ok().json();
    let older = flows.mail_of("confirmation", ANA).await;
    flows
        .sign_up(ANA, PASSWORD)
        .await
        .refused(429, "over_email_send_rate_limit");
    flows.later();
    let again = flows.sign_up(ANA, PASSWORD).await.ok().json();
    assert_eq!(again["id"], first["id"]);
    assert_eq!(again["identities"].as_array().unwrap().len(), 1);
    let newer = flows.mail_of("confirmation", ANA).await;
    flows
        .verify_code("signup", ANA, &older.code)
        .await
        .refused(403, "otp_expired");
    flows
        .verify_hash("signup", &older.token)
        .await
        .refused(403, "otp_expired");
    flows.verify_code("signup", ANA, &newer.code).await.ok();
    flows.sign_in(ANA, PASSWORD).await.ok();
}

/// An account prepared for a victim is worth nothing once the victim confirms the address. Fails without
/// `unconfirmed::forget` in `sign_up::again`, or in `deliver`.
#[tokio::test]
async fn a_password_that_somebody_else_has_set_does_not_survive() {
    for order in 0..4 {
        let flows = Flows::new().await;
        let attacker = "the attacker's password";
        let (first, second) = if order == 1 {
            (PASSWORD, attacker)
        } else {
            (attacker, PASSWORD)
        };
        flows.sign_up(ANA, first).await.ok();
        flows.discard().await;
        flows.later();
        match order {
            0 | 1 => flows.sign_up(ANA, second).await.ok(),
            2 => flows.post("/otp", json!({ "email": ANA })).await.ok(),
            _ => flows.post("/recover", json!({ "email": ANA })).await.ok(),
        };
        let mail = flows.mail().await;
        let kind = if order == 3 { "recovery" } else { "signup" };
        flows.verify_code(kind, ANA, &mail.code).await.ok();
        flows
            .sign_in(ANA, attacker)
            .await
            .refused(400, "invalid_credentials");
    }
}

/// Attack 26. Whatever else leads into an account that somebody has prepared is gone, too, when its owner confirms the
/// address. Fails without `unconfirmed::forget` in `sign_up::again`, `deliver` or `verify::confirm` (for the invitation),
/// and when `auth.forget_credentials` leaves one of the ways in.
#[tokio::test]
async fn the_owner_of_an_address_is_alone_in_the_account() {
    for (way, kind) in [
        ("signup", "signup"),
        ("otp", "signup"),
        ("recover", "recovery"),
        ("invite", "invite"),
    ] {
        let flows = Flows::new().await;
        let attacker = json!({ "email": ANA, "password": "the attacker's password", "data": { "nick": "ana" } });
        flows.post("/signup", attacker).await.ok();
        flows.discard().await;
        prepare(&flows).await;
        flows.later();
        match way {
            "signup" => flows.sign_up(ANA, PASSWORD).await.ok(),
            "invite" => flows.admin("/invite", json!({ "email": ANA })).await.ok(),
            _ => flows
                .post(&format!("/{way}"), json!({ "email": ANA }))
                .await
                .ok(),
        };
        let mail = flows.mail().await;
        let session = flows.verify_code(kind, ANA, &mail.code).await.ok().json();
        let user = &session["user"];
        assert_eq!(
            user["app_metadata"],
            json!({ "provider": "email", "providers": ["email"] }),
            "{way}"
        );
        assert_eq!(user["identities"].as_array().unwrap().len(), 1, "{way}");
        assert!(user.get("factors").is_none() && user.get("new_email").is_none());
        // What is no way in stays: a mail that is asked for twice must not cost the owner it.
        assert_eq!(user["user_metadata"]["nick"], "ana");
        let left = "select concat_ws(',', (select count(*) from auth.sessions), (select count(*) from auth.identities)
                         , (select count(*) from auth.mfa_factors), (select count(*) from auth.webauthn_credentials)
                         , (select count(*) from auth.flow_state))";
        assert_eq!(flows.value(left).await, "1,1,0,0,0", "{way}");
        flows
            .verify_hash("email_change", "the attacker's link")
            .await
            .refused(403, "otp_expired");
        flows
            .sign_in(ANA, "the attacker's password")
            .await
            .refused(400, "invalid_credentials");
    }
}

/// Gives the one account an identity, a session, a second factor, a passkey, a code of a flow and a change of address.
async fn prepare(flows: &Flows) {
    let id = flows.value("select id from auth.users").await;
    let sql = format!(
        "update auth.users
            set raw_app_meta_data = '{{\"provider\": \"acme\", \"providers\": [\"email\", \"acme\"]}}'
              , email_change = 'eve@example.com'
              , email_change_confirm_status = 1;
         insert into auth.identities (provider_id, user_id, identity_data, provider)
         values ('eve', '{id}', '{{\"sub\": \"eve\", \"email\": \"{ANA}\", \"email_verified\": false}}', 'acme');
         insert into auth.sessions (user_id) values ('{id}');
         insert into auth.mfa_factors (user_id, factor_type, status) values ('{id}', 'totp', 'verified');
         insert into auth.webauthn_credentials (user_id, credential_id, credential) values ('{id}', '\\x01', '{{}}');
         insert into auth.flow_state
           (user_id, provider_type, authentication_method, redirect_to, created_at, expires_at)
         values ('{id}', 'acme', 'oauth', 'https://site.example/', now(), '2100-01-01');
         insert into auth.one_time_tokens
           (user_id, token_type, relates_to, token_hash, created_at, updated_at, code_expires_at, expires_at)
         values
           ('{id}', 'email_change_new', 'eve@example.com', sha256('the attacker''s link'), now(), now(), '2100-01-01', '2100-01-01')"
    );
    flows.owner.batch_execute(&sql).await.unwrap();
}

/// Anybody can ask for a mail, so that alone changes nothing of an account that is in use, confirmed or not. Fails when
/// `forget_unconfirmed` does not look whether the account can be signed in to.
#[tokio::test]
async fn a_stranger_who_asks_for_a_mail_takes_nothing_away() {
    let flows = Flows::with(&[("auth.require_email_confirmation", "false")]).await;
    let account = json!({ "email": ANA, "password": PASSWORD });
    flows.admin("/admin/users", account).await.ok();
    let session = flows.sign_in(ANA, PASSWORD).await.ok();
    for path in ["/recover", "/otp", "/magiclink"] {
        flows.later();
        flows.post(path, json!({ "email": ANA })).await.ok();
        flows.settle().await;
        flows.get_user(&session.text_at("/access_token")).await.ok();
        flows.sign_in(ANA, PASSWORD).await.ok();
    }
    let mail = flows.mail_of("recovery", ANA).await;
    flows.verify_hash("recovery", &mail.token).await.ok();
    flows.sign_in(ANA, PASSWORD).await.ok();
}

#[tokio::test]
async fn a_confirmation_is_sent_again_to_who_needs_it_and_to_nobody_else() {
    let flows = Flows::new().await;
    flows.sign_up(ANA, PASSWORD).await.ok();
    flows.discard().await;
    flows.later();
    let resend = json!({ "type": "signup", "email": ANA });
    assert_eq!(
        flows.post("/resend", resend.clone()).await.ok().json(),
        json!({})
    );
    let mail = flows.mail_of("confirmation", ANA).await;
    flows.verify_hash("signup", &mail.token).await.ok();
    flows.sign_in(ANA, PASSWORD).await.ok();
    flows.later();
    flows.post("/resend", resend).await.ok();
    let unknown = json!({ "type": "signup", "email": "no@example.com" });
    flows.post("/resend", unknown).await.ok();
    let old = json!({ "email": "nope@example.com" });
    flows.post("/confirm/resend", old).await.ok();
    flows.no_mail().await;
    for kind in ["", "magiclink", "recovery"] {
        let body = json!({ "type": kind, "email": ANA });
        flows
            .post("/resend", body)
            .await
            .refused(400, "validation_failed");
    }
    let sms = json!({ "type": "sms", "phone": "+4912345678" });
    flows
        .post("/resend", sms)
        .await
        .refused(422, "phone_provider_disabled");
}

/// The mail goes out if and only if the sign-up is stored. Fails when the mail is enqueued in another transaction.
#[tokio::test]
async fn a_sign_up_that_is_not_stored_sends_nothing() {
    let flows = Flows::new().await;
    let sql = "
        create function public.refuse() returns trigger language plpgsql as $$
        begin raise exception 'no'; end $$;
        create constraint trigger refuse after insert on auth.identities
          deferrable initially deferred for each row execute function public.refuse();";
    flows.owner.batch_execute(sql).await.unwrap();
    let reply = flows.sign_up(ANA, PASSWORD).await;
    assert_eq!(reply.status, 500);
    flows.no_mail().await;
    assert_eq!(
        flows
            .value("select count(*) from auth.one_time_tokens")
            .await,
        "0"
    );
}

/// A finished job shows neither the address' secrets nor the address. Fails when `Passed` is not sealed.
#[tokio::test]
async fn no_job_shows_a_secret() {
    let flows = Flows::new().await;
    flows.sign_up(ANA, PASSWORD).await.ok();
    let first = flows.mail().await;
    flows.later();
    flows.post("/recover", json!({ "email": ANA })).await.ok();
    let second = flows.mail().await;
    flows.settle().await;
    let jobs = "select string_agg(to_jsonb(j)::text, ' ') from jobs.jobs j";
    let text = flows.value(jobs).await;
    assert!(
        text.contains("auth.mail") && text.contains("mail.send"),
        "{text}"
    );
    for secret in [&first.code, &first.token, &second.code, &second.token] {
        assert!(
            !text.contains(&format!("\"{secret}\"")),
            "{secret} in {text}"
        );
    }
    assert!(!text.contains(ANA), "{text}");
    let logged = "select string_agg(payload::text, ' ') from auth.audit_log_entries";
    let logged = flows.value(logged).await;
    for secret in [&first.token, &second.token, &first.code] {
        assert!(!logged.contains(secret.as_str()), "{secret} in {logged}");
    }
}
