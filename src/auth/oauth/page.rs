//! The page between Apple and us.
//!
//! Apple answers with a POST from its own site, to which browsers add no cookie of ours. The page posts the same once
//! more, from our site. It runs one script, whose hash its policy names.

use minijinja::context;

use super::callback::Answer;
use crate::auth::AuthError;
use crate::auth::pages::{self, Page};

/// What the page runs.
const SCRIPT: &str = "document.forms[0].submit()";

/// The page that sends `answer` again, to its own address. It names no target of forms: some browsers would apply that to
/// where the answer leads, too.
///
/// # Errors
/// [`AuthError::Internal`].
pub(super) fn bounce(answer: &Answer) -> Result<Page, AuthError> {
    let fields = [
        ("state", &answer.state),
        ("code", &answer.code),
        ("error", &answer.error),
        ("iss", &answer.iss),
        ("user", &answer.user),
    ];
    let fields = fields
        .iter()
        .filter_map(|(name, value)| Some((*name, Option::clone(value)?)));
    let values = context! { fields => fields.collect::<Vec<_>>(), script => SCRIPT };
    let script = format!("script-src {}", pages::source(SCRIPT));
    pages::page("bounce.html", values, &script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_provider_sends_stays_text() {
        let answer = Answer {
            state: Some("\"><script>alert(1)</script>".to_owned()),
            user: Some("{\"name\": \"<b>&'\"}".to_owned()),
            ..Answer::default()
        };
        let page = bounce(&answer).unwrap().html;
        assert_eq!(page.matches("<script>").count(), 1, "{page}");
        assert!(
            page.contains("value=\"&quot;&gt;&lt;script&gt;alert(1)"),
            "{page}"
        );
        assert!(!page.contains("<b>"), "{page}");
    }
}
