//! The pages of the inbox, made on the server, without a script.

use std::sync::OnceLock;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use minijinja::{Environment, context};

use super::{Mail, Summary};
use crate::http::ApiError;

/// Of the pages themselves.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; \
                           frame-ancestors 'none'";

/// Of an HTML mail: no script, no origin, no form. Links open pages of their own, which are not bound by this.
const MAIL_POLICY: &str = "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; style-src 'unsafe-inline'; \
                           img-src data: http: https:; form-action 'none'; base-uri 'none'; frame-ancestors 'self'";

const STYLE: &str = include_str!("pages/style.css");

fn pages() -> &'static Environment<'static> {
    static PAGES: OnceLock<Environment<'static>> = OnceLock::new();
    PAGES.get_or_init(|| {
        let mut environment = Environment::new();
        for (name, text) in [
            ("base.html", include_str!("pages/base.html")),
            ("list.html", include_str!("pages/list.html")),
            ("mail.html", include_str!("pages/mail.html")),
        ] {
            let added = environment.add_template(name, text);
            added.expect("the pages are valid, as a test says");
        }
        environment
    })
}

pub(super) fn list(mails: &[Summary], total: i64, query: &str) -> Result<Response, ApiError> {
    let rows: Vec<_> = mails
        .iter()
        .map(|mail| {
            context! {
                id => mail.id.to_string(),
                at => mail.created_at.format("%Y-%m-%d %H:%M:%S").to_string(),
                to => &mail.to,
                subject => &mail.subject,
            }
        })
        .collect();
    page("list.html", context! { mails => rows, total, query })
}

pub(super) fn mail(mail: &Mail) -> Result<Response, ApiError> {
    let summary = &mail.summary;
    let parts: Vec<_> = with_links(&mail.text)
        .into_iter()
        .map(|(text, is_link)| context! { text, is_link })
        .collect();
    let values = context! {
        id => summary.id.to_string(),
        at => summary.created_at.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
        from => &summary.from,
        to => &summary.to,
        subject => &summary.subject,
        template => &summary.template,
        has_html => !mail.html.is_empty(),
        parts,
    };
    page("mail.html", values)
}

fn page(name: &str, values: minijinja::Value) -> Result<Response, ApiError> {
    let page = pages()
        .get_template(name)
        .and_then(|template| template.render(values));
    let page = page.map_err(ApiError::internal)?;
    Ok(answer(
        "text/html; charset=utf-8",
        PAGE_POLICY,
        "DENY",
        page,
    ))
}

/// The HTML of a mail, for the frame.
pub(super) fn html(mail: &Mail) -> Response {
    // Inside of a frame a link must say that it leaves it.
    let html = match mail.html.find("<head>") {
        Some(at) => {
            let (start, rest) = mail.html.split_at(at + "<head>".len());
            format!("{start}<base target=\"_blank\">{rest}")
        }
        None => format!("<base target=\"_blank\">{}", mail.html),
    };
    answer("text/html; charset=utf-8", MAIL_POLICY, "SAMEORIGIN", html)
}

pub(super) fn style() -> Response {
    answer(
        "text/css; charset=utf-8",
        PAGE_POLICY,
        "DENY",
        STYLE.to_owned(),
    )
}

fn answer(
    kind: &'static str,
    policy: &'static str,
    frames: &'static str,
    text: String,
) -> Response {
    let headers: [(HeaderName, HeaderValue); 5] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(policy),
        ),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static(frames)),
        (
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (StatusCode::OK, headers, Body::from(text)).into_response()
}

/// The text in parts, of which those that are addresses can be followed.
fn with_links(text: &str) -> Vec<(&str, bool)> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(start) = ["https://", "http://"]
        .iter()
        .filter_map(|scheme| rest.find(scheme))
        .min()
    {
        let (before, link) = rest.split_at(start);
        let end = link
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '<' | '>'))
            .unwrap_or(link.len());
        // What ends a sentence belongs to it.
        let end = link[..end]
            .trim_end_matches(['.', ',', ':', ';', '!', '?', ')'])
            .len();
        let (link, after) = link.split_at(end);
        parts.push((before, false));
        parts.push((link, true));
        rest = after;
    }
    parts.push((rest, false));
    parts.retain(|(text, _)| !text.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_in_the_text_can_be_followed_and_nothing_else() {
        assert_eq!(
            with_links("see https://a.example/x?y=z\nor javascript:alert(1)"),
            [
                ("see ", false),
                ("https://a.example/x?y=z", true),
                ("\nor javascript:alert(1)", false)
            ]
        );
        assert_eq!(
            with_links("at http://a.example:80: now"),
            [
                ("at ", false),
                ("http://a.example:80", true),
                (": now", false)
            ]
        );
        assert_eq!(with_links("none"), [("none", false)]);
    }
}
