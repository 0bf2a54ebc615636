//! The page behind a mailed link: a button, so that mail scanners, which read links and run their scripts, use nothing
//! up. It needs no script, loads nothing and tells no other site where it is.

use minijinja::context;
use url::{Position, Url};

use crate::auth::AuthError;
use crate::auth::pages::{self, Page};

/// What a button is for.
fn words(kind: &str) -> (&'static str, &'static str) {
    match kind {
        "signup" => ("Confirm your email address", "Confirm"),
        "invite" => ("Accept the invitation", "Accept"),
        "recovery" => ("Reset your password", "Continue"),
        "email_change" => ("Confirm the change of your email address", "Confirm"),
        _ => ("Sign in", "Sign in"),
    }
}

/// The page. `fields` are what its form sends to `action`; the answer to that may lead to `target`.
///
/// # Errors
/// [`AuthError::Internal`].
pub(in crate::auth) fn confirm(
    kind: &str,
    action: &str,
    fields: &[(&'static str, &str)],
    target: &Url,
) -> Result<Page, AuthError> {
    let (title, button) = words(kind);
    let fields = fields
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()));
    let values = context! { title, button, action, fields => fields.collect::<Vec<_>>() };
    pages::page("confirm.html", values, &form_action(target))
}

/// Browsers hold the redirect that answers a form against the policy too, so the origin it may lead to is named.
fn form_action(target: &Url) -> String {
    if target.has_host() && matches!(target.scheme(), "http" | "https") {
        format!("form-action 'self' {}", &target[..Position::BeforePath])
    } else {
        format!("form-action 'self' {}:", target.scheme())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_names_where_the_form_may_end() {
        for (target, expected) in [
            (
                "https://site.example:8443/a?b",
                "form-action 'self' https://site.example:8443",
            ),
            (
                "http://localhost:3000/",
                "form-action 'self' http://localhost:3000",
            ),
            ("myapp://callback", "form-action 'self' myapp:"),
        ] {
            assert_eq!(form_action(&Url::parse(target).unwrap()), expected);
        }
    }

    #[test]
    fn nothing_of_a_link_becomes_markup() {
        let target = Url::parse("https://site.example").unwrap();
        let fields = [("token", "\"><script>'&")];
        let page = confirm("signup", "/auth/v1/verify/link", &fields, &target).unwrap();
        assert!(!page.html.contains("<script"), "{}", page.html);
        assert!(
            page.html
                .contains("value=\"&quot;&gt;&lt;script&gt;&#x27;&amp;\""),
            "{}",
            page.html
        );
    }
}
