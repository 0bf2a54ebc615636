//! Nobody learns from an answer, or from its time, whether an address has an account.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::{ANA, Answer as _, Flows, PASSWORD};
use crate::support::Reply;

fn shape(reply: &Reply) -> (u16, Value, Vec<String>) {
    let mut headers: Vec<String> = reply
        .headers
        .iter()
        .filter(|(name, _)| name.as_str() != "x-request-id")
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    headers.sort();
    (reply.status.as_u16(), reply.json(), headers)
}

/// Fails when a request looks at the account before it answers.
#[tokio::test]
async fn answers_are_alike_for_known_and_unknown_addresses() {
    let flows = Flows::with(&[("auth.hide_accounts", "true")]).await;
    flows.member(ANA).await;
    for (path, body) in [
        ("/recover", json!({})),
        ("/magiclink", json!({})),
        ("/otp", json!({ "create_user": false })),
        ("/otp", json!({})),
        ("/resend", json!({ "type": "signup" })),
        ("/resend", json!({ "type": "email_change" })),
        ("/confirm/resend", json!({})),
        ("/verify", json!({ "type": "email", "token": "123456" })),
        ("/verify", json!({ "type": "recovery", "token": "123456" })),
        (
            "/recover/verify",
            json!({ "token": "123456", "password": PASSWORD }),
        ),
    ] {
        flows.later();
        let mut shapes = Vec::new();
        for email in [ANA, "nobody@example.com"] {
            let mut body = body.clone();
            body["email"] = email.into();
            let first = flows.post(path, body.clone()).await;
            // Within the minute, when a mail has just been sent to one of them.
            let second = flows.post(path, body).await;
            shapes.push((shape(&first), shape(&second)));
        }
        assert_eq!(shapes[0], shapes[1], "{path}");
    }
    flows.discard().await;
}

/// Attack 39. Fails when the answer for a taken address is less than that for a free one.
#[tokio::test]
async fn a_sign_up_looks_the_same_where_accounts_are_hidden() {
    let flows = Flows::with(&[("auth.hide_accounts", "true")]).await;
    flows.member(ANA).await;
    let known = flows.sign_up(ANA, PASSWORD).await.ok().json();
    flows.mail_of("account_exists_notice", ANA).await;
    let unknown = flows
        .sign_up("nobody@example.com", PASSWORD)
        .await
        .ok()
        .json();
    flows.mail_of("confirmation", "nobody@example.com").await;
    assert_eq!(names(&known), names(&unknown));
    assert_eq!(
        names(&known["identities"][0]),
        names(&unknown["identities"][0])
    );
    let id = flows
        .value("select id from auth.users where email = 'ana@example.com'")
        .await;
    assert!(!known.to_string().contains(&id));
    flows.sign_in(ANA, PASSWORD).await.ok();
}

fn names(value: &Value) -> Vec<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

/// The largest distance between two distributions (Kolmogorov and Smirnov).
fn distance(a: &mut [Duration], b: &mut [Duration]) -> f64 {
    a.sort();
    b.sort();
    let share = |sorted: &[Duration], value: &Duration| {
        let count = sorted.partition_point(|other| other <= value);
        f64::from(u32::try_from(count).unwrap()) / f64::from(u32::try_from(sorted.len()).unwrap())
    };
    a.iter()
        .chain(b.iter())
        .map(|value| (share(a, value) - share(b, value)).abs())
        .fold(0.0, f64::max)
}

/// How many times each address is asked for, of each kind.
#[expect(
    clippy::disallowed_methods,
    reason = "a thousand take minutes, so they are asked for by hand"
)]
fn samples() -> usize {
    std::env::var("SB_TEST_SAMPLES").map_or(120, |text| text.parse().unwrap())
}

/// Attack 39. Known and unknown addresses come twice each, so that whatever else the machine does meets both alike, and so
/// that each follows each as often: what the worker does after a known one is felt by the request that comes next, whichever
/// that is. Fails when wrong codes are refused as soon as they are known to be (`evenly` in `verify::prove_if`).
/// `SB_TEST_SAMPLES=1000` takes a quarter of an hour and sees the rest of what `evenly` hides.
#[tokio::test]
async fn times_are_alike_for_known_and_unknown_addresses() {
    let settings = [
        ("auth.rate_limit_enabled", "false"),
        ("auth.hide_accounts", "true"),
    ];
    let flows = Flows::with(&settings).await;
    flows.member(ANA).await;
    let samples = samples();
    let mut apart = Vec::new();
    for (path, body) in [
        ("/recover", json!({})),
        ("/otp", json!({ "create_user": false })),
        ("/resend", json!({ "type": "email_change" })),
        ("/verify", json!({ "type": "email", "token": "123456" })),
        (
            "/token?grant_type=password",
            json!({ "password": "another password" }),
        ),
        ("/signup", json!({ "password": "another password" })),
    ] {
        let mut times = [Vec::new(), Vec::new()];
        let mut statuses = HashSet::new();
        for round in 0..2 * samples {
            let which = round / 2 % 2;
            let mut body = body.clone();
            // Each sign-up makes the address of the next one known.
            let unknown = match path {
                "/signup" => format!("nobody{round}@example.com"),
                _ => "nobody@example.com".to_owned(),
            };
            body["email"] = [ANA, unknown.as_str()][which].into();
            // What the last request left to the worker does not count for this one; nor do guesses that it has used up.
            flows.settle().await;
            if path == "/verify" {
                flows.owner.batch_execute(A_CODE_TO_GUESS).await.unwrap();
            }
            let started = Instant::now();
            let reply = flows.post(path, body).await;
            times[which].push(started.elapsed());
            statuses.insert(reply.status);
        }
        assert_eq!(statuses.len(), 1, "{path}: {statuses:?}");
        let [known, unknown] = &mut times;
        let distance = distance(known, unknown);
        // Chance alone exceeds two thirds of it in one of a thousand runs.
        let bound = 2.7 * (2.0 / f64::from(u32::try_from(samples).unwrap())).sqrt();
        let [known, unknown] = [known, unknown].map(|sorted| sorted[sorted.len() / 2]);
        if distance >= bound {
            apart.push(format!("{path}: {distance}, {known:?} and {unknown:?}"));
        }
    }
    assert!(apart.is_empty(), "{}", apart.join("\n"));
    flows.discard().await;
}

/// The known address has a code that waits, with all its tries.
const A_CODE_TO_GUESS: &str = "
    delete from auth.rate_limits;
    update auth.one_time_tokens set failed_attempts = 0, code_expires_at = '2100-01-01', expires_at = '2100-01-01'";
