//! The search language of Mailpit, as far as tests use it: `to:"ana@example.com" subject:reset word`.

/// Every word must occur, in any case of letters, in its part of the mail.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Search {
    /// Only mails that came later than this one.
    pub(crate) after: Option<i64>,
    pub(crate) to: Vec<String>,
    pub(crate) from: Vec<String>,
    pub(crate) subject: Vec<String>,
    /// Anywhere.
    pub(crate) text: Vec<String>,
}

impl Search {
    pub(crate) fn parse(query: &str) -> Self {
        let mut search = Self::default();
        for term in terms(query) {
            let (into, word) = match term.split_once(':') {
                Some(("to" | "addressed", word)) => (&mut search.to, word),
                Some(("from", word)) => (&mut search.from, word),
                Some(("subject", word)) => (&mut search.subject, word),
                _ => (&mut search.text, term.as_str()),
            };
            // Postgres keeps no zero characters, so no mail holds one.
            let word = word.replace('\0', "\u{fffd}");
            if !word.is_empty() {
                into.push(word);
            }
        }
        search
    }
}

/// Split at spaces outside of quotes; the quotes go.
fn terms(query: &str) -> Vec<String> {
    let mut terms = vec![String::new()];
    let mut quoted = false;
    for c in query.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => terms.push(String::new()),
            c => terms.last_mut().expect("there is always one").push(c),
        }
    }
    terms.retain(|term| !term.is_empty());
    terms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_go_where_they_belong() {
        let search = Search::parse(
            r#"to:"ana@example.com" subject:"reset your" from:app hello "two words""#,
        );
        assert_eq!(search.to, ["ana@example.com"]);
        assert_eq!(search.subject, ["reset your"]);
        assert_eq!(search.from, ["app"]);
        assert_eq!(search.text, ["hello", "two words"]);
        assert_eq!(Search::parse("  to:\"\" \"").text, [""; 0]);
        assert_eq!(Search::parse("http://x").text, ["http://x"]);
    }
}
