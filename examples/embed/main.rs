//! A backend with routes, rules and a command of its own, built on the same builder as `sb` itself.
//!
//! `cargo run --example embed -- dev` in a project folder serves everything `sb dev` does, and `GET /hello` too.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderValue;
use axum::routing::get;
use axum::{Json, Router};
use include_dir::{Dir, include_dir};
use sb::auth::{ClaimsContext, HookContext, HookRejection, User};
use sb::{ApiError, App, Caller, Command, Context};
use serde_json::{Map, Value, json};

static MIGRATIONS: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/examples/embed/migrations");

fn main() -> std::process::ExitCode {
    app().main()
}

/// What this program adds to `sb`.
pub(crate) fn app() -> App {
    App::new()
        .routes("/hello", hello_router)
        .layer(axum::middleware::map_response(sign_answers))
        .migrations(MIGRATIONS.clone())
        .claims(plan_claim)
        .hook(|on| on.before_user_created(refuse_blocked_domain))
        .command(Command::new(
            "greetings",
            "Print how often somebody was greeted",
            greetings,
        ))
}

/// Every access token names the user's plan, which policies can read as `auth.jwt() ->> 'plan'`.
async fn plan_claim(context: ClaimsContext) -> Result<Map<String, Value>, String> {
    let plan = context
        .user
        .app_metadata
        .get("plan")
        .cloned()
        .unwrap_or("free".into());
    Ok(Map::from_iter([("plan".to_owned(), plan)]))
}

async fn refuse_blocked_domain(_: HookContext, user: Arc<User>) -> Result<(), HookRejection> {
    if user.email.ends_with("@blocked.example") {
        return Err(HookRejection("This domain may not sign up".to_owned()));
    }
    Ok(())
}

fn hello_router(context: Context) -> Router {
    Router::new().route("/", get(hello)).with_state(context)
}

/// Runs as the caller: row level security decides what the count sees.
async fn hello(caller: Caller, State(context): State<Context>) -> Result<Json<Value>, ApiError> {
    let tx = context.db.begin(&caller).await?;
    let row = tx
        .query_one("select current_user::text, embed.greet()", &[])
        .await?;
    tx.commit().await?;
    Ok(Json(
        json!({ "role": row.get::<_, String>(0), "greetings": row.get::<_, i64>(1) }),
    ))
}

async fn sign_answers(mut response: axum::response::Response) -> axum::response::Response {
    response
        .headers_mut()
        .insert("x-embedded", HeaderValue::from_static("yes"));
    response
}

#[expect(clippy::print_stdout, reason = "the command's result")]
async fn greetings(context: Context, _arguments: Vec<String>) -> sb::CommandResult {
    let count: i64 = context
        .db
        .owner()
        .await?
        .query_one("select last_value from embed.greetings", &[])
        .await?
        .get(0);
    println!("{count}");
    Ok(())
}
