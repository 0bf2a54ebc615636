//! The pages that people see. What comes from elsewhere is written into them as text, never as markup; each brings its
//! style along and names it, and whatever else it may do, in its policy.

use std::sync::LazyLock;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::{AutoEscape, Environment, Value, context};

use super::AuthError;

/// The script of `consent.html`, a file of its own.
pub(super) const CONSENT_SCRIPT: &str = include_str!("consent.js");

const STYLE: &str = include_str!("style.css");

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut templates = Environment::new();
    templates.set_auto_escape_callback(|_| AutoEscape::Html);
    for (name, text) in [
        ("base.html", include_str!("base.html")),
        ("bounce.html", include_str!("bounce.html")),
        ("confirm.html", include_str!("confirm.html")),
        ("consent.html", include_str!("consent.html")),
    ] {
        templates
            .add_template(name, text)
            .expect("the template is part of the program");
    }
    templates
});

/// A page, and what a browser is to allow it (`Content-Security-Policy`).
#[derive(Debug)]
pub(super) struct Page {
    pub(super) html: String,
    pub(super) policy: String,
}

/// Writes `values` into a template. Without further `directives` a page loads nothing and runs nothing.
///
/// # Errors
/// [`AuthError::Internal`] if the template cannot be filled in.
pub(super) fn page(template: &str, values: Value, directives: &str) -> Result<Page, AuthError> {
    let values = context! { style => STYLE, ..values };
    let html = TEMPLATES
        .get_template(template)
        .and_then(|template| template.render(values))
        .map_err(|error| AuthError::Internal(format!("page {template}: {error}")))?;
    let style = source(STYLE);
    let policy = format!(
        "default-src 'none'; style-src {style}; base-uri 'none'; frame-ancestors 'none'; {directives}"
    );
    Ok(Page { html, policy })
}

/// How a policy names a style or script that stands in the page.
pub(super) fn source(text: &str) -> String {
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    format!("'sha256-{}'", STANDARD.encode(hash))
}
