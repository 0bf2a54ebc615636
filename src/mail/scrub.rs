//! What a server says of a mail is kept with the job, and servers quote: the words of a mail that must not be read.

use serde_json::{Map, Value};

const MARK: &str = "[removed]";

/// Shorter values are words.
const SHORTEST: usize = 4;

/// Longest text that is kept.
const MAX_CHARS: usize = 400;

/// `text` without the values of a mail, without links, and without what looks like a code or a token.
pub(super) fn scrub(text: &str, values: &Map<String, Value>) -> String {
    let mut secrets = Vec::new();
    for value in values.values() {
        collect(value, &mut secrets);
    }
    // The longest first: a link holds its token.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    let mut out = text.to_owned();
    for secret in secrets {
        out = out.replace(secret, MARK);
    }
    let words: Vec<String> = out.split_whitespace().map(word).collect();
    let text = words.join(" ");
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn collect<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
    match value {
        Value::String(text) if text.len() >= SHORTEST => into.push(text),
        Value::Array(values) => values.iter().for_each(|value| collect(value, into)),
        Value::Object(members) => members.values().for_each(|value| collect(value, into)),
        _ => {}
    }
}

/// A link in whole, and within other words every run of six digits or 24 letters and digits.
fn word(word: &str) -> String {
    let word: String = word.chars().filter(|c| !c.is_control()).collect();
    if word.contains("://") {
        return MARK.to_owned();
    }
    let is_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '=' | '+' | '%');
    let mut out = String::new();
    let mut run = String::new();
    let end = |run: &mut String, out: &mut String| {
        let is_code = run.len() >= 6 && run.bytes().all(|byte| byte.is_ascii_digit());
        out.push_str(if is_code || run.len() >= 24 {
            MARK
        } else {
            run.as_str()
        });
        run.clear();
    };
    for c in word.chars() {
        if is_token(c) {
            run.push(c);
        } else {
            end(&mut run, &mut out);
            out.push(c);
        }
    }
    end(&mut run, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn servers_that_quote_the_mail_reveal_nothing() {
        let values = json!({
            "Token": "483920",
            "ConfirmationURL": "https://api.example.com/verify?token=abc",
            "Data": { "names": ["Ana Maria"] },
        });
        let text = "554 5.7.1 spam: https://api.example.com/verify?token=abc and www.example.com/verify%3Ftoken \
                    code 483920, 999999; for Ana Maria; id 0123456789abcdef0123456789abcdef\r\n";
        assert_eq!(
            scrub(text, values.as_object().unwrap()),
            "554 5.7.1 spam: [removed] and www.example.com/verify%3Ftoken code [removed], [removed]; for \
             [removed]; id [removed]"
        );
    }

    #[test]
    fn what_helps_stays() {
        let text =
            "550 5.1.1 <ana@example.com>: Recipient address rejected: User unknown in table 12345";
        assert_eq!(scrub(text, &Map::new()), text);
        assert_eq!(
            scrub(&"no ".repeat(1_000), &Map::new()).chars().count(),
            MAX_CHARS + 1
        );
    }
}
