//! Signing keys, and whether PostgREST believes them.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use tower::ServiceExt as _;

use super::Report;
use crate::app::{App, Running, StartError};
use crate::config::Config;
use crate::db::Connection;
use crate::keys::{KeyStatus, KeysError, manage};

/// Exactly one key signs; `false` when none does.
pub(super) async fn signing(connection: &Connection, report: &mut Report) -> bool {
    let keys = match manage::list(connection).await {
        Ok(keys) => keys,
        Err(error) => {
            report.fail("signing keys", error, "sb migrate");
            return false;
        }
    };
    let Some(active) = keys.iter().find(|key| key.status == KeyStatus::Active) else {
        report.fail("signing keys", "no key signs", "sb keygen init");
        return false;
    };
    let waiting = keys
        .iter()
        .filter(|key| key.status == KeyStatus::Standby)
        .count();
    let note = if waiting == 0 {
        String::new()
    } else {
        format!(", {waiting} in reserve")
    };
    report.ok(
        "signing keys",
        format_args!("{} ({}) signs{note}", active.kid, active.algorithm),
    );
    true
}

/// Opens the keys, signs a token and shows it to PostgREST through the gateway, as a client would.
pub(super) async fn postgrest(app: App, mut config: Config, report: &mut Report) {
    config.db.migrate_on_start = false;
    let has_postgrest = config.rest.url.is_some();
    let running = match app.build(config).await {
        Ok(running) => running,
        Err(StartError::Keys(error @ KeysError::Sealed)) => {
            return report.fail(
                "master key",
                error,
                "export SB_MASTER_KEY=…   # the one the keys were made with",
            );
        }
        Err(error) => {
            return report.fail(
                "start",
                error,
                "sb migrate   # sets the passwords of sb's roles too",
            );
        }
    };
    report.ok("master key", "opens the signing keys");
    if has_postgrest {
        ask(&running, report).await;
    } else {
        report.ok(
            "PostgREST",
            "none is configured and none runs; `sb serve` starts its own",
        );
    }
    running.shutdown().await;
}

async fn ask(running: &Running, report: &mut Report) {
    let token = match running.role_token("service_role") {
        Ok(token) => token,
        Err(error) => return report.fail("PostgREST", error, "sb keygen list"),
    };
    let request = Request::get("/rest/v1/").header("authorization", format!("Bearer {token}"));
    let request = request.body(Body::empty()).expect("the parts are valid");
    let Ok(response) = running.router().oneshot(request).await;
    match response.status() {
        status if status.is_success() => {
            report.ok("PostgREST", "answers and believes a token signed just now");
        }
        StatusCode::UNAUTHORIZED => {
            let remedy = "restart PostgREST, or set its db-pre-config to \"sb.pgrst_pre_config\"";
            report.fail(
                "PostgREST",
                "answers, but refuses a token signed just now",
                remedy,
            );
        }
        status => {
            let remedy = "sb up   # or check POSTGREST_URL; its log says more";
            report.fail(
                "PostgREST",
                format_args!("does not serve (status {status})"),
                remedy,
            );
        }
    }
}
