//! The page behind a mailed link: a button, so that mail scanners, which read links and run their scripts, use nothing
//! up. It needs no script, loads nothing and tells no other site where it is.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use url::{Position, Url};

/// Its own style, named in its policy.
const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;display:grid;place-items:center;min-height:90vh;margin:0}\
main{text-align:center;padding:1rem}\
button{font:inherit;padding:.6rem 1.6rem;border:0;border-radius:.4rem;background:#1f6f54;color:#fff;cursor:pointer}";

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
pub(in crate::auth) fn confirm(
    kind: &str,
    action: &str,
    fields: &[(&str, &str)],
    target: &Url,
) -> Response {
    let (title, button) = words(kind);
    let inputs = fields.iter().map(|(name, value)| {
        let value = escape(value);
        format!("<input type=\"hidden\" name=\"{name}\" value=\"{value}\">")
    });
    let inputs = inputs.collect::<Vec<_>>().concat();
    let body = format!(
        "<h1>{title}</h1>\
         <form method=\"post\" action=\"{action}\">{inputs}<button type=\"submit\">{button}</button></form>",
        action = escape(action),
    );
    answer(title, &body, &form_targets(target))
}

/// Browsers hold the redirect that answers a form against the policy too, so the origin it may lead to is named.
fn form_targets(target: &Url) -> String {
    if target.has_host() && matches!(target.scheme(), "http" | "https") {
        format!("'self' {}", &target[..Position::BeforePath])
    } else {
        format!("'self' {}:", target.scheme())
    }
}

fn answer(title: &str, body: &str, form_action: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><meta name=\"robots\" content=\"noindex\">\
         <title>{title}</title><style>{STYLE}</style></head><body><main>{body}</main></body></html>"
    );
    let policy = format!(
        "default-src 'none'; style-src '{}'; form-action {form_action}; base-uri 'none'; frame-ancestors 'none'",
        style_hash()
    );
    let policy = HeaderValue::from_str(&policy).expect("an origin is a header value");
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        ),
        (header::CONTENT_SECURITY_POLICY, policy),
        (
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (
            HeaderName::from_static("x-robots-tag"),
            HeaderValue::from_static("noindex"),
        ),
    ];
    (headers, html).into_response()
}

fn style_hash() -> String {
    use base64::Engine as _;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, STYLE.as_bytes());
    let text = base64::engine::general_purpose::STANDARD.encode(digest.as_ref());
    format!("sha256-{text}")
}

fn escape(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, c| {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_names_where_the_form_may_end() {
        for (target, expected) in [
            (
                "https://site.example:8443/a?b",
                "'self' https://site.example:8443",
            ),
            ("http://localhost:3000/", "'self' http://localhost:3000"),
            ("myapp://callback", "'self' myapp:"),
        ] {
            assert_eq!(form_targets(&Url::parse(target).unwrap()), expected);
        }
    }

    #[test]
    fn nothing_of_a_link_becomes_markup() {
        assert_eq!(
            escape("\"><script>'&"),
            "&quot;&gt;&lt;script&gt;&#39;&amp;"
        );
    }
}
