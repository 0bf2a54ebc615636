//! The built-in page on which people sign in and consent. What a client says of itself is written into it as text, never
//! as markup; all that acts is in its script, which holds nothing of the request.

use minijinja::context;
use url::Url;

use crate::auth::pages::{self, Page};
use crate::auth::queries::oauth_grants::{self, Authorization};
use crate::auth::{Auth, AuthError};

/// Its own script, which talks to us; and nowhere to send a form, should that not run.
const DIRECTIVES: &str =
    "script-src 'self'; connect-src 'self'; img-src https:; form-action 'none'";

/// The page for a request, or the one that says that it is over (`false`).
///
/// # Errors
/// [`AuthError::Db`].
pub(super) async fn consent(
    auth: &Auth,
    authorization_id: Option<&str>,
) -> Result<(Page, bool), AuthError> {
    let found = match authorization_id {
        Some(id) => {
            let connection = auth.db().auth().connection().await?;
            oauth_grants::find_authorization(&connection, id).await?
        }
        None => None,
    };
    let now = auth.clock().now();
    let pending = found.filter(|found| found.status == "pending" && found.expires_at > now);
    Ok((page(pending.as_ref())?, pending.is_some()))
}

fn page(pending: Option<&Authorization>) -> Result<Page, AuthError> {
    let request = pending.map(|asked| {
        // Whoever registers itself learns nothing of people who only look.
        let is_dynamic = asked.registration_type == "dynamic";
        let logo = asked.logo_uri.clone();
        let unnamed = || "An application without a name".to_owned();
        let scopes = asked
            .scope
            .split(' ')
            .map(|scope| meaning(scope).to_owned());
        context! {
            id => asked.authorization_id.clone(),
            name => asked.client_name.clone().unwrap_or_else(unnamed),
            logo => logo.filter(|logo| !is_dynamic && logo.starts_with("https://")),
            is_dynamic => is_dynamic,
            scopes => scopes.collect::<Vec<_>>(),
            destination => destination(&asked.redirect_uri),
        }
    });
    pages::page("consent.html", context! { request }, DIRECTIVES)
}

/// What a scope lets a client do, in words.
fn meaning(scope: &str) -> &str {
    match scope {
        "openid" => "know who you are",
        "profile" => "see your name and picture",
        "email" => "see your email address",
        "phone" => "see your phone number",
        "offline_access" => "stay connected when you are away",
        other => other,
    }
}

/// The part of an address that says whose it is; letters that look like others are written out.
fn destination(uri: &str) -> String {
    match Url::parse(uri) {
        Ok(url) if url.origin().is_tuple() => url.origin().ascii_serialization(),
        Ok(url) => format!("{}:", url.scheme()),
        Err(_) => uri.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use uuid::Uuid;

    use super::*;

    fn asked() -> Authorization {
        Authorization {
            id: Uuid::nil(),
            authorization_id: "abc".to_owned(),
            client_id: Uuid::nil(),
            user_id: None,
            redirect_uri: "https://app.example/cb?x=1".to_owned(),
            scope: "openid email".to_owned(),
            state: None,
            nonce: None,
            resource: None,
            code_challenge: String::new(),
            needs_consent: false,
            status: "pending".to_owned(),
            auth_time: None,
            session_id: None,
            expires_at: DateTime::UNIX_EPOCH,
            client_name: Some("<script>alert(1)</script>\" onload=\"x".to_owned()),
            client_uri: None,
            logo_uri: Some("https://app.example/'\"><script>".to_owned()),
            client_type: "confidential".to_owned(),
            registration_type: "manual".to_owned(),
        }
    }

    /// Attack 30. Set `AutoEscape::None` and this fails.
    #[test]
    fn what_a_client_says_of_itself_is_text() {
        let html = page(Some(&asked())).unwrap().html;
        assert!(html.contains("&lt;script&gt;alert(1)"), "{html}");
        assert!(html.contains("app.example"), "{html}");
        assert_eq!(html.matches("<script").count(), 1, "{html}");
        assert!(!html.contains("onload=\""), "{html}");
        assert!(html.contains("know who you are"), "{html}");
    }

    #[test]
    fn a_client_that_registered_itself_is_named_as_such_and_loads_nothing() {
        let mut asked = asked();
        asked.registration_type = "dynamic".to_owned();
        let html = page(Some(&asked)).unwrap().html;
        assert!(html.contains("registered itself"), "{html}");
        assert!(!html.contains("<img"), "{html}");
    }

    #[test]
    fn without_a_request_there_is_nothing_to_fill_in() {
        let html = page(None).unwrap().html;
        assert!(
            html.contains("is over") && !html.contains("<form"),
            "{html}"
        );
    }
}
