//! Every mount point, in one place.

use axum::Router;
use axum::http::header;
use axum::routing::get;

use crate::app::Context;
use crate::auth::{self, Auth};
use crate::http::middleware;
use crate::jobs;
use crate::keys::Keys;
use crate::mail::inbox;
use crate::ops;
use crate::rest::{self, Rest};

/// All of `sb`'s own routes and the embedding author's.
pub(crate) fn router(
    context: Context,
    keys: &Keys,
    auth: Auth,
    rest: Rest,
    authors: Router,
) -> Router {
    let jobs = jobs::router(context.jobs.clone(), context.config.current().jobs.enabled);
    let inbox = if context.mail.has_inbox() {
        Router::new().nest("/inbox", inbox::router(context.mail.clone()))
    } else {
        Router::new()
    };
    Router::new()
        .merge(authors)
        .merge(inbox)
        .merge(ops::router(context, Some(rest.clone())))
        .merge(jwks(keys))
        .nest("/auth/v1", auth::router(auth))
        .nest("/jobs/v1", jobs)
        .merge(rest::router(rest))
        .fallback(middleware::not_found)
        .method_not_allowed_fallback(middleware::method_not_allowed)
}

/// The public keys, for whoever verifies tokens by themselves.
fn jwks(keys: &Keys) -> Router {
    let keys = keys.clone();
    let answer = move || {
        let body = keys.jwks().to_string();
        async {
            (
                [
                    (header::CONTENT_TYPE, "application/json"),
                    (header::CACHE_CONTROL, "public, max-age=600"),
                ],
                body,
            )
        }
    };
    Router::new().route("/.well-known/jwks.json", get(answer))
}
