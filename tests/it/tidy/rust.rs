//! Just enough of a Rust reader for the rules: code without comments and literals, and the paths in it.

use std::collections::BTreeSet;

/// One file, with comments and the content of literals taken out of its code.
pub(super) struct Source {
    pub(super) path: String,
    pub(super) code: String,
    /// Content of string literals by line.
    pub(super) strings: Vec<(usize, String)>,
    pub(super) lines: usize,
    pub(super) first_line: String,
}

impl Source {
    pub(super) fn new(path: &str, text: &str) -> Self {
        let (code, strings) = strip(text);
        Self {
            path: path.to_owned(),
            code,
            strings,
            lines: text.lines().count(),
            first_line: text.lines().next().unwrap_or_default().to_owned(),
        }
    }

    /// The top-level module it belongs to; none for the crate root.
    pub(super) fn module(&self) -> Option<&str> {
        let name = self
            .path
            .strip_prefix("src/")?
            .split('/')
            .next()?
            .trim_end_matches(".rs");
        (name != "lib").then_some(name)
    }

    /// Paths from the crate root, as far as two segments. In a top-level module, `super::` is the crate root too.
    pub(super) fn crate_paths(&self) -> BTreeSet<(usize, Vec<String>)> {
        let top_level = self.path.matches('/').count() == 1
            || (self.path.matches('/').count() == 2 && self.path.ends_with("/mod.rs"));
        let mut found = BTreeSet::new();
        for (prefix, modules_only) in [("crate::", false), ("super::", true)] {
            for (at, _) in self.code.match_indices(prefix) {
                let glued = self.code[..at].ends_with(|c: char| is_word(c) || c == ':');
                if glued || (modules_only && !top_level) {
                    continue;
                }
                let line = self.code[..at].matches('\n').count() + 1;
                let mut paths = Vec::new();
                expand(&self.code[at + prefix.len()..], &mut Vec::new(), &mut paths);
                for mut path in paths {
                    path.truncate(2);
                    if !modules_only || super::layer(&path[0]).is_some() {
                        found.insert((line, path));
                    }
                }
            }
        }
        found
    }

    pub(super) fn declares(&self, module: &str) -> bool {
        let declaration = format!("mod {module};");
        self.code
            .match_indices(&declaration)
            .any(|(at, _)| !self.code[..at].ends_with(is_word))
    }

    pub(super) fn code_lines_with(&self, wanted: &str, reason: &str) -> Vec<String> {
        let whole_word = |line: &str, at: usize| {
            let before = line[..at].chars().next_back();
            let after = line[at + wanted.len()..].chars().next();
            let glued_after = wanted.ends_with(is_word) && after.is_some_and(is_word);
            !(before.is_some_and(is_word) || glued_after)
        };
        let has = |line: &str| {
            line.match_indices(wanted)
                .any(|(at, _)| whole_word(line, at))
        };
        let lines = self.code.lines().enumerate().filter(|(_, line)| has(line));
        lines
            .map(|(index, _)| format!("{}:{}: {reason}", self.path, index + 1))
            .collect()
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The paths a `use` tree or an expression begins with: `a::{b, c::d}` gives `a::b` and `a::c::d`.
pub(super) fn expand(text: &str, before: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> usize {
    let mut at = text.len() - text.trim_start().len();
    if text[at..].starts_with('{') {
        at += 1;
        loop {
            at += expand(&text[at..], before, found);
            let rest = text[at..].trim_start();
            at = text.len() - rest.len();
            match rest.chars().next() {
                Some(',') => at += 1,
                Some('}') => return at + 1,
                _ => return text.len(),
            }
        }
    }
    let word: String = text[at..].chars().take_while(|c| is_word(*c)).collect();
    if word.is_empty() {
        // `*`, or the end of a list after its last comma.
        return at + usize::from(text[at..].starts_with('*'));
    }
    at += word.len();
    before.push(word);
    let next = text[at..].strip_prefix("::").filter(|rest| {
        rest.trim_start()
            .starts_with(|c: char| is_word(c) || matches!(c, '{' | '*'))
    });
    if let Some(rest) = next {
        if rest.trim_start().starts_with('*') {
            found.push(before.clone());
        }
        at += 2 + expand(rest, before, found);
    } else {
        found.push(before.clone());
    }
    before.pop();
    let rest = text[at..].trim_start();
    if let Some(alias) = rest.strip_prefix("as ") {
        let name = alias.trim_start();
        let length = name.chars().take_while(|c| is_word(*c)).count();
        at = text.len() - name.len() + length;
    }
    at
}

/// Code without comments and without what literals hold (line breaks stay), and the string literals by line.
pub(super) fn strip(text: &str) -> (String, Vec<(usize, String)>) {
    let mut code = String::new();
    let mut strings = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let in_word = code.ends_with(is_word);
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some((open, close, raw)) =
            string_start(rest).filter(|(open, ..)| *open == 1 || !in_word)
        {
            let end = string_end(&rest[open..], &close, raw);
            strings.push((
                code.matches('\n').count() + 1,
                rest[open..open + end].to_owned(),
            ));
            code.push_str("\"\"");
            (open + end + close.len()).min(rest.len())
        } else if let Some(length) = char_literal(rest) {
            code.push_str("' '");
            length
        } else {
            code.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        code.extend(rest[..length].chars().filter(|c| *c == '\n'));
        rest = &rest[length..];
    }
    (code, strings)
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Length of the opening, the closing, and whether it is raw.
fn string_start(text: &str) -> Option<(usize, String, bool)> {
    let prefix = text.bytes().take_while(u8::is_ascii_lowercase).count();
    let raw = match &text[..prefix] {
        "" | "b" | "c" => false,
        "r" | "br" | "cr" => true,
        _ => return None,
    };
    let hashes = text[prefix..]
        .bytes()
        .take_while(|byte| *byte == b'#')
        .count();
    let is_string = text[prefix + hashes..].starts_with('"') && (raw || hashes == 0);
    is_string.then(|| {
        (
            prefix + hashes + 1,
            format!("\"{}", "#".repeat(hashes)),
            raw,
        )
    })
}

fn string_end(text: &str, close: &str, raw: bool) -> usize {
    if raw {
        return text.find(close).unwrap_or(text.len());
    }
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at,
            _ => {}
        }
    }
    text.len()
}

/// Length of a character literal; none for a lifetime.
fn char_literal(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('\'')?;
    if let Some(escape) = inner.strip_prefix('\\') {
        // The escaped character may itself be a quote.
        let end = escape.char_indices().skip(1).find(|(_, c)| *c == '\'');
        return Some(2 + end.map_or(escape.len(), |(at, _)| at + 1));
    }
    let first = inner.chars().next()?;
    inner[first.len_utf8()..]
        .starts_with('\'')
        .then(|| 2 + first.len_utf8())
}
