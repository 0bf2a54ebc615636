//! Templates that come from Supabase are written in Go's language. Its plain uses are translated:
//!
//! | Go | here |
//! |---|---|
//! | `{{ .Token }}`, `{{ .Data.name }}` | `{{ Token }}`, `{{ Data.name }}` |
//! | `{{ if .Data.name }}`, `{{ if not .X }}`, `{{ if eq .X "y" }}`, `ne` | `{% if … %}` |
//! | `{{ else }}`, `{{ else if .X }}`, `{{ end }}` | `{% else %}`, `{% elif … %}`, `{% endif %}` |
//!
//! What is not Go's is left as it is, so both languages may stand in one template.

/// What cannot be translated, and its line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Untranslatable {
    pub(super) line: usize,
    pub(super) text: String,
}

/// Go's words that have no translation here.
const OTHERS: [&str; 9] = [
    "range", "with", "define", "template", "block", "printf", "break", "continue", "html",
];

pub(super) fn translate(source: &str) -> Result<String, Untranslatable> {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{{") {
        let after = &rest[start + 2..];
        let Some(length) = after.find("}}") else {
            break;
        };
        let (inner, line) = (&after[..length], line_at(source, rest, start));
        out.push_str(&rest[..start]);
        out.push_str(&action(inner).map_err(|text| Untranslatable { line, text })?);
        rest = &after[length + 2..];
    }
    out.push_str(rest);
    Ok(out)
}

fn line_at(source: &str, rest: &str, start: usize) -> usize {
    let at = source.len() - rest.len() + start;
    source[..at].matches('\n').count() + 1
}

/// What stands between the braces, with the braces it gets.
fn action(inner: &str) -> Result<String, String> {
    let (left, body) = match inner.strip_prefix('-') {
        Some(body) => ("-", body),
        None => ("", inner),
    };
    let (body, right) = match body.strip_suffix('-') {
        Some(body) => (body, "-"),
        None => (body, ""),
    };
    let words = words(body);
    let statement = |text: &str| Ok(format!("{{%{left} {text} {right}%}}"));
    match words
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["if", condition @ ..] => statement(&format!("if {}", expression(condition)?)),
        ["else", "if", condition @ ..] => statement(&format!("elif {}", expression(condition)?)),
        ["else"] => statement("else"),
        ["end"] => statement("endif"),
        [path, filters @ ..]
            if path.starts_with('.') && filters.first().is_none_or(|word| *word == "|") =>
        {
            let filters = filters.join(" ");
            let space = if filters.is_empty() { "" } else { " " };
            Ok(format!(
                "{{{{{left} {}{space}{filters} {right}}}}}",
                name(path)?
            ))
        }
        [word, ..] if word.starts_with('.') || word.starts_with('$') || OTHERS.contains(word) => {
            Err(body.trim().to_owned())
        }
        _ => Ok(format!("{{{{{inner}}}}}")),
    }
}

/// Split at spaces; a text in quotes is one word.
fn words(body: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in body.chars() {
        if c == '"' {
            quoted = !quoted;
        }
        let last = words.last_mut().expect("there is always one");
        if c.is_whitespace() && !quoted {
            words.push(String::new());
        } else {
            last.push(c);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn expression(words: &[&str]) -> Result<String, String> {
    match words {
        [value] => operand(value),
        ["not", value] => Ok(format!("not {}", operand(value)?)),
        ["eq", one, other] => Ok(format!("{} == {}", operand(one)?, operand(other)?)),
        ["ne", one, other] => Ok(format!("{} != {}", operand(one)?, operand(other)?)),
        _ => Err(format!("if {}", words.join(" "))),
    }
}

fn operand(word: &str) -> Result<String, String> {
    let is_text = word.len() >= 2 && word.starts_with('"') && word.ends_with('"');
    let is_number = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    if is_text || is_number || matches!(word, "true" | "false") {
        return Ok(word.to_owned());
    }
    name(word)
}

/// `.Data.name` without its first dot.
fn name(path: &str) -> Result<String, String> {
    let is_name = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    match path.strip_prefix('.') {
        Some(name) if name.split('.').all(is_name) => Ok(name.to_owned()),
        _ => Err(path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(source: &str) -> String {
        translate(source).unwrap()
    }

    #[test]
    fn names_and_conditions_of_supabase_templates_are_translated() {
        assert_eq!(
            translated(r#"<a href="{{ .ConfirmationURL }}">{{.Token}}</a>"#),
            r#"<a href="{{ ConfirmationURL }}">{{ Token }}</a>"#
        );
        assert_eq!(
            translated("{{ if .Data.name }}Dear {{ .Data.name }}{{ else }}Hello{{ end }}"),
            "{% if Data.name %}Dear {{ Data.name }}{% else %}Hello{% endif %}"
        );
        assert_eq!(
            translated(
                r#"{{- if eq .Data.Domain "https://a b" -}}x{{ else if not .Token }}y{{- end }}"#
            ),
            r#"{%- if Data.Domain == "https://a b" -%}x{% elif not Token %}y{%- endif %}"#
        );
        assert_eq!(translated("{{ .Email | upper }}"), "{{ Email | upper }}");
    }

    #[test]
    fn our_own_language_is_left_alone() {
        for own in [
            "{{ Token }}",
            "{% if Token %}{{ Data.name | upper }}{% endif %}",
            "{{ 'a' ~ \"b\" }} {# {{ #} {{",
            "no braces",
        ] {
            assert_eq!(translated(own), own);
        }
    }

    #[test]
    fn what_has_no_translation_is_named_with_its_line() {
        for (source, line, text) in [
            (
                "a\n{{ range .Data.items }}x{{ end }}",
                2,
                "range .Data.items",
            ),
            ("{{ . }}", 1, "."),
            ("\n\n{{ if and .A .B }}{{ end }}", 3, "if and .A .B"),
            ("{{ $x }}", 1, "$x"),
            ("{{ printf \"%s\" .A }}", 1, "printf \"%s\" .A"),
        ] {
            let text = text.to_owned();
            assert_eq!(translate(source), Err(Untranslatable { line, text }));
        }
    }
}
