//! The page between Apple and us.
//!
//! Apple answers with a POST from its own site, to which browsers add no cookie of ours. The page posts the same once
//! more, from our site. It runs one script, whose hash its policy names.

use std::fmt::Write as _;

use super::callback::Answer;

/// What the page runs.
const SCRIPT: &str = "document.forms[0].submit()";

/// Policy of the page. It names no target of forms: some browsers would apply that to where the answer leads, too.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'sha256-ePniVEkSivX/c7XWBGafqh8tSpiRrKiqYeqbG7N1TOE='; base-uri 'none'; frame-ancestors 'none'";

/// The page that sends `answer` again, to its own address.
pub(super) fn bounce(answer: &Answer) -> String {
    let fields = [
        ("state", &answer.state),
        ("code", &answer.code),
        ("error", &answer.error),
        ("iss", &answer.iss),
        ("user", &answer.user),
    ];
    let mut inputs = String::new();
    for (name, value) in fields {
        if let Some(value) = value {
            let value = escaped(value);
            let _ = write!(
                inputs,
                "<input type=\"hidden\" name=\"{name}\" value=\"{value}\">"
            );
        }
    }
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Signing in</title>\
         <form method=\"post\">{inputs}<input type=\"hidden\" name=\"bounced\" value=\"1\">\
         <button>Continue</button></form><script>{SCRIPT}</script></html>"
    )
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn the_policy_names_the_one_script() {
        let hash = digest::digest(&digest::SHA256, SCRIPT.as_bytes());
        let hash = STANDARD.encode(hash.as_ref());
        assert!(POLICY.contains(&format!("'sha256-{hash}'")), "{hash}");
    }

    #[test]
    fn what_a_provider_sends_stays_text() {
        let answer = Answer {
            state: Some("\"><script>alert(1)</script>".to_owned()),
            user: Some("{\"name\": \"<b>&'\"}".to_owned()),
            ..Answer::default()
        };
        let page = bounce(&answer);
        assert_eq!(page.matches("<script>").count(), 1);
        assert!(page.contains("value=\"&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;\""));
        assert!(!page.contains("<b>"));
    }
}
