//! `/jobs/v1`: who may do what, and what bad input is told.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use sb::jobs::{Backoff, Kind};
use serde_json::{Value, json};
use std::time::Duration;

use super::Queue;
use crate::support::TestApp;

#[tokio::test]
async fn a_running_job_is_stopped_and_not_cancelled_twice() {
    let app = sb::App::new().job_fn(Kind::new("endless"), |context, _| async move {
        context.set_progress(json!({ "begun": true }));
        std::future::pending::<sb::jobs::JobResult>().await
    });
    let queue = Queue::build(app).await;
    let id = queue.id(&queue.service, json!({ "name": "endless" })).await;
    let service = Some(queue.service.as_str());
    let cancel = async || {
        queue
            .post(&format!("jobs/{id}/cancel"), service, json!({}))
            .await
    };
    // A worker that died: the request is noted, and a second one refused, until another worker finds it.
    let claim = "update jobs.pending set status = 'running', lease = 1, attempts = 1, locked_by = 0, locked_at = now()";
    queue.owner.batch_execute(claim).await.unwrap();
    assert_eq!(cancel().await.0, 204);
    let (status, error) = cancel().await;
    assert_eq!(
        (status, &error["code"]),
        (409, &json!("job_state_conflict"))
    );
    assert_eq!(
        error["message"],
        json!(format!("job {id} is being cancelled already"))
    );

    let _worker = queue.sleepy_worker().await;
    let id = queue.id(&queue.service, json!({ "name": "endless" })).await;
    let job = queue.until(id, "running").await;
    assert_eq!(job["attempts"], json!(1));
    let (status, _) = queue
        .post(&format!("jobs/{id}/cancel"), service, json!({}))
        .await;
    assert_eq!(status, 204);
    queue.until(id, "cancelled").await;
}

#[tokio::test]
async fn the_service_enqueues_with_every_option_and_reads_it_back() {
    let queue = Queue::new().await;
    let options = json!({
        "name": "mail", "payload": { "to": "ana", "n": 1.5 }, "queue": "default", "idempotency_key": "k",
        "unique_for": "1h", "user_id": "6f0c5b7e-0f0e-4d52-8f0b-1f5a3d1f9f10", "role": "authenticated",
        "version": 2, "max_attempts": 7, "backoff": "linear", "backoff_base_s": 2.5, "backoff_max_s": 60,
        "delay": 90, "priority": -3, "concurrency_key": "c", "concurrency_limit": 2, "timeout_s": 30,
    });
    let answer = queue.enqueue(&queue.service, options.clone()).await;
    assert_eq!(answer["is_new"], json!(true));
    let job = &answer["job"];
    for name in [
        "name",
        "payload",
        "queue",
        "idempotency_key",
        "user_id",
        "role",
        "version",
        "max_attempts",
        "backoff",
        "backoff_base_s",
        "backoff_max_s",
        "priority",
        "concurrency_key",
        "concurrency_limit",
        "timeout_s",
    ] {
        assert_eq!(job[name], options[name], "{name}");
    }
    assert_eq!(
        (&job["status"], &job["attempts"]),
        (&json!("scheduled"), &json!(0))
    );

    let again = queue.enqueue(&queue.service, options).await;
    assert_eq!(
        (&again["is_new"], &again["job"]["id"]),
        (&json!(false), &job["id"])
    );
    let (status, shown) = queue
        .get(&format!("jobs/{}", job["id"]), Some(&queue.service))
        .await;
    assert_eq!((status, &shown["payload"]), (200, &job["payload"]));
}

#[tokio::test]
async fn calls_shaped_as_for_supython_work() {
    let queue = Queue::new().await;
    let body = json!({
        "name": "mail", "payload": { "a": 1 }, "queue": "default", "idempotency_key": null, "user_id": null,
        "max_attempts": 3, "backoff": "exponential", "backoff_base_s": 5, "backoff_max_s": 300,
        "run_at": "2026-01-01T00:00:00+00:00", "version": 1, "role": "service_role", "claims_from": "user_id",
    });
    let answer = queue.enqueue(&queue.service, body).await;
    let job = &answer["job"];
    for name in [
        "id",
        "name",
        "version",
        "status",
        "payload",
        "queue",
        "user_id",
        "attempts",
        "max_attempts",
        "run_at",
        "finished_at",
        "created_at",
        "last_error",
        "idempotency_key",
        "locked_at",
        "locked_by",
        "role",
    ] {
        assert!(job.get(name).is_some(), "{name} is missing");
    }
    assert_eq!(job["status"], json!("queued"));
    let (status, list) = queue
        .get(
            "jobs?status=queued&queue=default&name=mail&limit=50&offset=0",
            Some(&queue.service),
        )
        .await;
    assert_eq!((status, list[0]["id"].clone()), (200, job["id"].clone()));

    let sql = "select (e.job).id, e.is_new from jobs.enqueue(p_name => 'mail', p_payload => '{}', p_max_attempts => 2) as e";
    assert!(
        queue
            .owner
            .query_one(sql, &[])
            .await
            .unwrap()
            .get::<_, bool>(1)
    );
}

#[tokio::test]
async fn lists_are_newest_first_filtered_and_paged() {
    let queue = Queue::new().await;
    let mut ids = Vec::new();
    for (name, delay) in [("a", 0), ("b", 60), ("a", 60)] {
        ids.push(
            queue
                .id(&queue.service, json!({ "name": name, "delay": delay }))
                .await,
        );
    }
    let service = Some(queue.service.as_str());
    let list = async |filter: &str| {
        let (status, list) = queue.get(&format!("jobs?{filter}"), service).await;
        assert_eq!(status, 200, "{list}");
        let ids = list
            .as_array()
            .unwrap()
            .iter()
            .map(|job| job["id"].as_i64().unwrap());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(list("").await, [ids[2], ids[1], ids[0]]);
    assert_eq!(list("name=a").await, [ids[2], ids[0]]);
    assert_eq!(list("status=scheduled&name=b").await, [ids[1]]);
    assert_eq!(list("queue=other").await, [0; 0]);
    assert_eq!(list("limit=1&offset=1").await, [ids[1]]);
    assert_eq!(list("status=&limit=").await.len(), 3);
}

#[tokio::test]
async fn many_are_enqueued_at_once_or_none() {
    let queue = Queue::new().await;
    queue.allow_users().await;
    let three = json!([{ "name": "a" }, { "name": "b", "idempotency_key": "k" }, { "name": "b", "idempotency_key": "k" }]);
    for token in [&queue.service, &queue.ana] {
        let (status, answers) = queue.post("enqueue_many", Some(token), three.clone()).await;
        assert_eq!(status, 200, "{answers}");
        let new: Vec<&Value> = answers
            .as_array()
            .unwrap()
            .iter()
            .map(|answer| &answer["is_new"])
            .collect();
        assert_eq!(new, [&json!(true), &json!(true), &json!(false)]);
    }
    let mixed = json!([{ "name": "a" }, { "name": "secret" }]);
    let (status, error) = queue.post("enqueue_many", Some(&queue.ana), mixed).await;
    assert_eq!(
        (status, &error["code"]),
        (403, &json!("insufficient_privilege"))
    );
    let bad = json!([{ "name": "a" }, { "name": "b", "priority": "high" }]);
    let (status, error) = queue.post("enqueue_many", Some(&queue.service), bad).await;
    assert_eq!(
        (status, &error["message"]),
        (400, &json!("[1].priority is a whole number within 32 bits"))
    );
    let (_, list) = queue.get("jobs", Some(&queue.service)).await;
    assert_eq!(list.as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn bad_input_is_told_what_is_wrong_and_never_a_500() {
    let queue = Queue::new().await;
    let post = async |body: &Value| {
        queue
            .post("enqueue", Some(&queue.service), body.clone())
            .await
    };
    for (body, words) in bad_texts_and_times().into_iter().chain(bad_numbers()) {
        let (status, error) = post(&body).await;
        let shown: String = body.to_string().chars().take(80).collect();
        assert_eq!(
            (status, &error["code"]),
            (400, &json!("validation_failed")),
            "{shown}: {error}"
        );
        assert!(
            error["message"].as_str().unwrap().contains(words),
            "{shown}: {error}"
        );
    }
    let (status, error) = post(&json!({ "name": "a", "payload": "x".repeat(300_000) })).await;
    assert_eq!(
        (status, &error["code"]),
        (413, &json!("request_entity_too_large"))
    );
    assert!(error["message"].as_str().unwrap().contains("262144"));
    let (status, error) = post(&json!({ "name": "a", "queue": "nowhere" })).await;
    assert_eq!((status, &error["code"]), (400, &json!("queue_not_found")));
    assert!(
        error["hint"]
            .as_str()
            .unwrap()
            .contains("jobs.create_queue('nowhere')"),
        "{error}"
    );
    let (_, error) = post(&json!({ "name": "a", "prioritty": 1 })).await;
    assert_eq!(error["hint"], json!("did you mean priority?"));
}

fn bad_texts_and_times() -> Vec<(Value, &'static str)> {
    vec![
        (json!({}), "name is missing"),
        (json!([]), "JSON object"),
        (json!({ "name": "" }), "name"),
        (json!({ "name": "n".repeat(501) }), "500 characters"),
        (json!({ "name": "a", "delay": -1 }), "delay is negative"),
        (
            json!({ "name": "a", "delay": "-5 minutes" }),
            "delay is negative",
        ),
        (
            json!({ "name": "a", "delay": "soon" }),
            "delay is not a duration",
        ),
        (json!({ "name": "a", "delay": 1e300 }), "delay is too long"),
        (
            json!({ "name": "a", "delay": "9999999w" }),
            "delay is too long",
        ),
        (
            json!({ "name": "a", "backoff": "exponental" }),
            "exponential, linear, constant",
        ),
        (
            json!({ "name": "a", "payload": { "a": ["b\u{0}"] } }),
            "NUL",
        ),
        (json!({ "name": "a", "payload": { "b\u{0}": 1 } }), "NUL"),
        (json!({ "name": "a\u{0}" }), "NUL"),
        (
            json!({ "name": "a", "idempotency_key": "k".repeat(3_000) }),
            "500 characters",
        ),
        (json!({ "name": "a", "run_at": "tomorrow" }), "run_at"),
        (
            json!({ "name": "a", "run_at": "2026-02-30T00:00:00Z" }),
            "run_at",
        ),
        (json!({ "name": "a", "run_at": 7 }), "run_at"),
    ]
}

fn bad_numbers() -> Vec<(Value, &'static str)> {
    vec![
        (
            json!({ "name": "a", "backoff_base_s": -1 }),
            "backoff_base_s",
        ),
        (
            json!({ "name": "a", "backoff_max_s": 1e300 }),
            "backoff_max_s",
        ),
        (json!({ "name": "a", "prioritty": 1 }), "prioritty"),
        (json!({ "name": "a", "priority": 1.5 }), "priority"),
        (json!({ "name": "a", "priority": 40_000 }), "priority"),
        (
            json!({ "name": "a", "priority": 99_999_999_999_i64 }),
            "priority",
        ),
        (json!({ "name": "a", "max_attempts": 0 }), "max_attempts"),
        (
            json!({ "name": "a", "max_attempts": 1_001 }),
            "max_attempts",
        ),
        (
            json!({ "name": "a", "concurrency_limit": 0 }),
            "concurrency_limit",
        ),
        (json!({ "name": "a", "timeout_s": 0 }), "timeout_s"),
        (json!({ "name": "a", "user_id": "ana" }), "UUID"),
        (json!({ "name": "a", "claims_from": "email" }), "user_id"),
        (
            json!({ "name": "a", "role": "postgres" }),
            "no job runs as role \"postgres\"",
        ),
        (
            json!({ "name": "a", "unique_for": 5 }),
            "needs an idempotency_key",
        ),
        (json!({ "name": "a", "source": "cron:x" }), "source"),
    ]
}

#[tokio::test]
async fn bodies_that_are_no_json_are_refused() {
    let queue = Queue::new().await;
    let send = async |body: Vec<u8>| {
        let request = Request::post("/jobs/v1/enqueue")
            .header("authorization", format!("Bearer {}", queue.service))
            .header("content-type", "application/json")
            .body(Body::from(body));
        let reply = queue.app.send(request.unwrap()).await;
        (reply.status.as_u16(), reply.json())
    };
    let (status, error) = send(b"{\"name\": \"a\xff\"}".to_vec()).await;
    assert_eq!((status, &error["code"]), (400, &json!("bad_json")));
    assert_eq!(error["message"], json!("The body is not UTF-8 (byte 11)"));
    let (status, error) = send(b"{\"name\": ".to_vec()).await;
    assert_eq!((status, &error["code"]), (400, &json!("bad_json")));
    let (status, error) = send(br#"{"name": "a", "payload": "\ud800"}"#.to_vec()).await;
    assert_eq!((status, &error["code"]), (400, &json!("bad_json")));
    let (status, error) = send("[".repeat(100_000).into_bytes()).await;
    assert_eq!((status, &error["code"]), (400, &json!("bad_json")));
    let (status, error) =
        send(format!(r#"{{"name":"a","payload":"{}"}}"#, "x".repeat(20 << 20)).into_bytes()).await;
    assert_eq!(
        (status, &error["code"]),
        (413, &json!("request_entity_too_large"))
    );
}

#[tokio::test]
async fn an_index_too_deep_for_postgres_or_a_time_that_never_comes_is_refused_in_sql_too() {
    let queue = Queue::new().await;
    for (sql, words) in [
        (
            "select jobs.enqueue('a', run_at => 'infinity')",
            "out of range",
        ),
        (
            "select jobs.enqueue('a', run_at => '-infinity')",
            "out of range",
        ),
        (
            "select jobs.enqueue_many('[{\"name\": \"a\", \"run_at\": \"-infinity\"}]')",
            "out of range",
        ),
    ] {
        let error = queue
            .owner
            .batch_execute(sql)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(words), "{sql}: {error}");
    }
}

/// Supython answered 500 to each.
#[tokio::test]
async fn weak_point_25_invalid_filters_are_400() {
    let queue = Queue::new().await;
    for (filter, words) in [
        ("limit=-1", "limit is a whole number from 1 to 500"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=ten", "limit"),
        ("limit=99999999999999999999", "limit"),
        ("offset=-1", "offset is a whole number from 0"),
        ("offset=1.5", "offset"),
        ("status=done", "There is no status \"done\""),
        ("status=Queued", "There is no status"),
        ("name=a%00b", "name holds the character NUL"),
        ("queu=a", "There is no filter \"queu\""),
    ] {
        let (status, error) = queue
            .get(&format!("jobs?{filter}"), Some(&queue.service))
            .await;
        assert_eq!(
            (status, &error["code"]),
            (400, &json!("validation_failed")),
            "{filter}: {error}"
        );
        assert!(
            error["message"].as_str().unwrap().contains(words),
            "{filter}: {error}"
        );
    }
    let (_, error) = queue.get("jobs?queu=a", Some(&queue.service)).await;
    assert_eq!(error["hint"], json!("did you mean queue?"));
}

#[tokio::test]
async fn states_decide_what_can_be_done() {
    let queue = Queue::new().await;
    let service = Some(queue.service.as_str());
    let id = queue
        .id(&queue.service, json!({ "name": "a", "delay": "1h" }))
        .await;
    let act = async |path: String| queue.post(&path, service, json!({})).await;

    assert_eq!(act(format!("jobs/{id}/cancel")).await.0, 204);
    let (status, error) = act(format!("jobs/{id}/cancel")).await;
    assert_eq!(
        (status, &error["code"]),
        (409, &json!("job_state_conflict"))
    );
    assert_eq!(
        error["message"],
        json!(format!("job {id} is over already: cancelled"))
    );
    assert_eq!(act(format!("jobs/{id}/retry")).await.0, 204);
    let (status, error) = act(format!("jobs/{id}/retry")).await;
    assert_eq!(
        (status, &error["code"]),
        (409, &json!("job_state_conflict"))
    );

    let sql = queue
        .id(&queue.service, json!({ "name": "sql:public.noop" }))
        .await;
    let function = "create function public.noop(payload jsonb) returns void language sql as ''";
    queue.owner.batch_execute(function).await.unwrap();
    let _worker = queue.sleepy_worker().await;
    queue.until(sql, "succeeded").await;
    let (status, error) = act(format!("jobs/{sql}/retry")).await;
    assert_eq!(
        (status, &error["code"]),
        (409, &json!("job_state_conflict"))
    );
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("only failed and cancelled"),
        "{error}"
    );

    for path in ["jobs/999999/cancel", "jobs/999999/retry"] {
        let (status, error) = act(path.to_owned()).await;
        assert_eq!(
            (status, &error["code"]),
            (404, &json!("job_not_found")),
            "{path}"
        );
    }
    for path in ["jobs/999999", "jobs/abc", "jobs/99999999999999999999"] {
        assert_eq!(queue.get(path, service).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn nobody_unknown_has_jobs() {
    let queue = Queue::new().await;
    queue.allow_users().await;
    for (status, error) in [
        queue.post("enqueue", None, json!({ "name": "a" })).await,
        queue
            .post("enqueue_many", None, json!([{ "name": "a" }]))
            .await,
        queue.get("jobs", None).await,
        queue.get("jobs/1", None).await,
        queue.post("jobs/1/cancel", None, json!({})).await,
        queue.post("jobs/1/retry", None, json!({})).await,
    ] {
        assert_eq!(
            (status, &error["code"]),
            (401, &json!("no_authorization")),
            "{error}"
        );
        assert!(
            error["message"].as_str().unwrap().starts_with("Sign in"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn users_enqueue_what_a_policy_allows_and_as_nobody_else() {
    let queue = Queue::new().await;
    let ana = Some(queue.ana.as_str());
    let (status, error) = queue.post("enqueue", ana, json!({ "name": "a" })).await;
    assert_eq!(
        (status, &error["code"]),
        (403, &json!("insufficient_privilege"))
    );
    assert!(
        error["hint"].as_str().unwrap().starts_with("create policy"),
        "{error}"
    );

    queue.allow_users().await;
    let job = queue
        .enqueue(&queue.ana, json!({ "name": "a", "payload": 7 }))
        .await["job"]
        .clone();
    assert_eq!(
        (&job["role"], &job["status"]),
        (&json!("authenticated"), &json!("queued"))
    );
    assert_ne!(job["user_id"], Value::Null);
    for body in [
        json!({ "name": "secret" }),
        json!({ "name": "a", "role": "service_role" }),
        json!({ "name": "a", "user_id": "6f0c5b7e-0f0e-4d52-8f0b-1f5a3d1f9f10" }),
    ] {
        let (status, error) = queue.post("enqueue", ana, body.clone()).await;
        assert_eq!(
            (status, &error["code"]),
            (403, &json!("insufficient_privilege")),
            "{body}: {error}"
        );
    }
}

#[tokio::test]
async fn a_user_cannot_see_touch_or_infer_the_jobs_of_another() {
    let queue = Queue::new().await;
    queue.allow_users().await;
    let (ana, ben) = (Some(queue.ana.as_str()), Some(queue.ben.as_str()));
    let body = json!({ "name": "a", "idempotency_key": "k", "unique_for": 3600 });
    let id = queue.id(&queue.ana, body.clone()).await;

    assert_eq!(queue.get(&format!("jobs/{id}"), ana).await.0, 200);
    let missing = queue.get(&format!("jobs/{}", id + 1000), ben).await;
    let hidden = queue.get(&format!("jobs/{id}"), ben).await;
    assert_eq!((missing.0, hidden.0), (404, 404));
    assert_eq!(queue.get("jobs", ben).await.1, json!([]));
    for action in ["cancel", "retry"] {
        let (status, error) = queue
            .post(&format!("jobs/{id}/{action}"), ben, json!({}))
            .await;
        assert_eq!(
            (status, &error["code"]),
            (404, &json!("job_not_found")),
            "{action}"
        );
        assert_eq!(error["message"], json!(format!("job {id} does not exist")));
    }
    let bens = queue.enqueue(&queue.ben, body.clone()).await;
    assert_eq!(
        bens["is_new"],
        json!(true),
        "the key of another user is not taken"
    );
    assert_ne!(bens["job"]["id"], json!(id));
    let anas = queue.enqueue(&queue.ana, body.clone()).await;
    assert_eq!(
        (&anas["is_new"], &anas["job"]["id"]),
        (&json!(false), &json!(id))
    );
    // The service's keys are a third person's.
    assert_eq!(
        queue.enqueue(&queue.service, body.clone()).await["is_new"],
        json!(true)
    );

    // Over or not makes no difference.
    assert_eq!(
        queue
            .post(&format!("jobs/{id}/cancel"), ana, json!({}))
            .await
            .0,
        204
    );
    for path in ["cancel", "retry"] {
        assert_eq!(
            queue
                .post(&format!("jobs/{id}/{path}"), ben, json!({}))
                .await
                .0,
            404,
            "{path}"
        );
    }
    assert_eq!(
        queue
            .post(&format!("jobs/{id}/retry"), ana, json!({}))
            .await
            .0,
        204
    );
    let (_, list) = queue.get("jobs", Some(&queue.service)).await;
    assert_eq!(list.as_array().unwrap().len(), 3, "the service sees all");
}

/// A key that stays taken after its job has ended says nothing to others either, not even through SQL.
#[tokio::test]
async fn a_spent_key_is_answered_to_its_user_only() {
    let queue = Queue::new().await;
    queue.allow_users().await;
    let function = "create function public.noop(payload jsonb) returns void language sql as '';
         grant execute on function public.noop(jsonb) to authenticated;";
    queue.owner.batch_execute(function).await.unwrap();
    let _worker = queue.sleepy_worker().await;
    let body = json!({ "name": "sql:public.noop", "idempotency_key": "k", "unique_for": 3600 });
    let id = queue.id(&queue.ana, body.clone()).await;
    let job = queue.until(id, "succeeded").await;
    let again = queue.enqueue(&queue.ana, body.clone()).await;
    assert_eq!(
        (&again["is_new"], &again["job"]["id"]),
        (&json!(false), &json!(id))
    );
    assert_eq!(
        queue.enqueue(&queue.ben, body.clone()).await["is_new"],
        json!(true)
    );

    let spent = format!(
        "select jobs.spent_key('sql:public.noop', 'k', 'authenticated', {})",
        job["user_id"].to_string().replace('"', "'")
    );
    let claims = json!({ "role": "authenticated", "sub": "6f0c5b7e-0f0e-4d52-8f0b-1f5a3d1f9f10" });
    let caller = sb::Caller::from_claims(claims.as_object().unwrap().clone());
    let tx = queue.app.running.db().begin(&caller).await.unwrap();
    let seen: Option<i64> = tx.query_one(&spent, &[]).await.unwrap().get(0);
    assert_eq!(seen, None);
    tx.rollback().await.unwrap();

    // The history was pruned: the key is still spent, and the answer names the job.
    queue
        .owner
        .batch_execute("delete from jobs.history")
        .await
        .unwrap();
    let pruned = queue.enqueue(&queue.ana, body).await;
    assert_eq!(
        (&pruned["is_new"], &pruned["job"]["id"]),
        (&json!(false), &json!(id))
    );
}

/// In supython `anon` could enqueue and claim, because functions were executable by everybody.
#[tokio::test]
async fn weak_point_3_nobody_enqueues_or_claims_around_the_policies() {
    let queue = Queue::new().await;
    queue.id(&queue.service, json!({ "name": "a" })).await;
    for role in ["anon", "authenticated"] {
        for sql in [
            "select jobs.enqueue('a')",
            "select jobs.enqueue(p_name => 'a')",
            "select jobs.enqueue_many('[{\"name\": \"a\"}]')",
            "insert into jobs.pending (name) values ('a')",
            "insert into jobs.pending (name, role) values ('a', 'service_role')",
            "update jobs.pending set status = 'running'",
            "delete from jobs.pending",
            "select jobs.complete(1, 1, null)",
            "select jobs.bury(p, 'failed', null) from jobs.pending p",
            "select jobs.maintain('0 days', '0 days')",
            "select jobs.create_queue('q')",
            "select name from jobs.workers",
            "select job_id from jobs.spent_keys",
        ] {
            let tx = queue
                .app
                .running
                .db()
                .begin(&sb::Caller::with_role(role))
                .await
                .unwrap();
            let error = tx.query(sql, &[]).await.unwrap_err();
            assert_eq!(
                error.code().unwrap().code(),
                "42501",
                "{role}: {sql}: {error}"
            );
        }
    }
    let open = "select string_agg(p.oid::regprocedure::text, ', ')
         from pg_proc p
         where p.pronamespace = 'jobs'::regnamespace
           and (
             has_function_privilege('public', p.oid, 'execute')
             or p.prosecdef and not coalesce('search_path=\"\"' = any (p.proconfig), false)
           )";
    let open: Option<String> = queue.owner.query_one(open, &[]).await.unwrap().get(0);
    assert_eq!(open, None);
}

/// In supython a handler's attempts and backoff were ignored.
#[tokio::test]
async fn weak_point_24_what_a_handler_declares_applies() {
    let kind = Kind::new("declared")
        .max_attempts(2)
        .backoff(Backoff::Constant, Duration::ZERO, Duration::ZERO)
        .timeout(Duration::from_secs(9));
    let app = sb::App::new().job_fn(kind, |context, _| async move {
        Err::<Value, _>(sb::jobs::JobError::Failed(format!(
            "attempt {} of {}",
            context.attempt, context.max_attempts
        )))
    });
    let queue = Queue::build(app).await;
    let _worker = queue.sleepy_worker().await;
    let job = queue
        .enqueue(&queue.service, json!({ "name": "declared" }))
        .await["job"]
        .clone();
    assert_eq!(
        (&job["max_attempts"], &job["backoff"], &job["timeout_s"]),
        (&json!(2), &json!("constant"), &json!(9))
    );
    let job = queue.until(job["id"].as_i64().unwrap(), "failed").await;
    assert_eq!(
        (&job["attempts"], &job["last_error"]),
        (&json!(2), &json!("attempt 2 of 2"))
    );
    // What the enqueue says goes before.
    let own = queue
        .enqueue(
            &queue.service,
            json!({ "name": "declared", "max_attempts": 1 }),
        )
        .await;
    assert_eq!(own["job"]["max_attempts"], json!(1));
}

/// In supython two of six concurrent enqueues with one key failed.
#[tokio::test]
async fn weak_point_24_fifty_enqueues_with_one_key_give_one_job_and_no_error() {
    let queue = Queue::new().await;
    queue.allow_users().await;
    for token in [&queue.service, &queue.ana] {
        let body = json!({ "name": "a", "idempotency_key": "k" });
        let calls = (0..50).map(|_| queue.enqueue(token, body.clone()));
        let answers = futures_util::future::join_all(calls).await;
        let new = answers
            .iter()
            .filter(|answer| answer["is_new"] == json!(true))
            .count();
        assert_eq!(new, 1);
        assert!(
            answers
                .iter()
                .all(|answer| answer["job"]["id"] == answers[0]["job"]["id"])
        );
    }
}

#[tokio::test]
async fn an_enqueue_wakes_the_worker_once_it_is_committed() {
    let queue = Queue::new().await;
    queue.allow_users().await;
    let function = "create function public.who(payload jsonb) returns jsonb language sql
             as $$ select jsonb_build_object('role', current_user, 'sub', auth.uid(), 'payload', payload) $$;
         grant execute on function public.who(jsonb) to authenticated;";
    queue.owner.batch_execute(function).await.unwrap();
    let _worker = queue.sleepy_worker().await;
    let id = queue
        .id(
            &queue.ana,
            json!({ "name": "sql:public.who", "payload": [1] }),
        )
        .await;
    let job = queue.until(id, "succeeded").await;
    assert_eq!(
        job["result"],
        json!({ "role": "authenticated", "sub": job["user_id"], "payload": [1] })
    );
}

#[tokio::test]
async fn switched_off_the_routes_say_so() {
    let app = TestApp::with(&[("jobs.enabled", "false")]).await;
    for path in ["/jobs/v1/jobs", "/jobs/v1/enqueue", "/jobs/v1/anything"] {
        let reply = app.get(path, None).await;
        assert_eq!(
            (reply.status, reply.json()["code"].clone()),
            (StatusCode::NOT_FOUND, json!("feature_disabled")),
            "{path}"
        );
    }
}
