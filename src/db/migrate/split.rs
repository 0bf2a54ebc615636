//! Splitting SQL text into statements the way psql does: aware of strings, dollar quotes, comments, parentheses and
//! SQL function bodies.

/// One statement of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement<'a> {
    /// Its text, without the comments before it and the semicolon after it.
    pub text: &'a str,
    /// The line it begins on, from 1.
    pub line: usize,
    /// Its first words in lower case, four at most.
    pub words: Vec<String>,
    /// It reads rows from the client (`copy … from stdin`).
    pub copies_from_client: bool,
}

/// Text that cannot be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SplitError {
    pub line: usize,
    pub problem: Problem,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    /// `\…` outside a string.
    MetaCommand,
    /// This never ends.
    Unterminated(&'static str),
}

pub(super) fn split(sql: &str) -> Result<Vec<Statement<'_>>, SplitError> {
    let mut splitter = Splitter::new(sql);
    while splitter.position < splitter.bytes.len() {
        splitter.step()?;
    }
    splitter.end_statement(sql.len());
    Ok(splitter.statements)
}

struct Splitter<'a> {
    sql: &'a str,
    bytes: &'a [u8],
    position: usize,
    start: Option<usize>,
    words: Vec<String>,
    last_word: String,
    copies_from_client: bool,
    parentheses: usize,
    /// Open `begin atomic` and `case` of an SQL function body; a semicolon inside ends nothing.
    body_depth: usize,
    statements: Vec<Statement<'a>>,
}

impl<'a> Splitter<'a> {
    fn new(sql: &'a str) -> Self {
        Self {
            sql,
            bytes: sql.as_bytes(),
            position: 0,
            start: None,
            words: Vec::new(),
            last_word: String::new(),
            copies_from_client: false,
            parentheses: 0,
            body_depth: 0,
            statements: Vec::new(),
        }
    }

    fn step(&mut self) -> Result<(), SplitError> {
        let rest = &self.bytes[self.position..];
        match rest {
            [b'-', b'-', ..] => self.skip_line(),
            [b'/', b'*', ..] => self.skip_comment()?,
            [byte, ..] if byte.is_ascii_whitespace() => self.position += 1,
            [b';', ..] if self.parentheses == 0 && self.body_depth == 0 => {
                self.end_statement(self.position);
                self.position += 1;
            }
            [b'\\', ..] => return Err(self.error(self.position, Problem::MetaCommand)),
            _ => {
                self.start.get_or_insert(self.position);
                self.token()?;
            }
        }
        Ok(())
    }

    fn token(&mut self) -> Result<(), SplitError> {
        let byte = self.bytes[self.position];
        match byte {
            b'\'' => self.skip_quoted(b'\'', false, "string"),
            b'"' => self.skip_quoted(b'"', false, "quoted name"),
            b'$' => self.skip_dollar(),
            _ if is_word_start(byte) => {
                self.word();
                if self.last_word == "e" && self.bytes.get(self.position) == Some(&b'\'') {
                    return self.skip_quoted(b'\'', true, "string");
                }
                Ok(())
            }
            // A number takes its letters along, so that 1e5 is not followed by a word.
            b'0'..=b'9' => {
                self.position += self.word_len();
                Ok(())
            }
            _ => {
                match byte {
                    b'(' => self.parentheses += 1,
                    b')' => self.parentheses = self.parentheses.saturating_sub(1),
                    _ => {}
                }
                self.position += 1;
                Ok(())
            }
        }
    }

    fn word(&mut self) {
        let end = self.position + self.word_len();
        let word = self.sql[self.position..end].to_ascii_lowercase();
        self.position = end;
        match word.as_str() {
            "atomic" if self.last_word == "begin" && self.makes_routine() => self.body_depth = 1,
            "case" if self.body_depth > 0 => self.body_depth += 1,
            "end" => self.body_depth = self.body_depth.saturating_sub(1),
            "stdin" if self.last_word == "from" && self.first_word() == "copy" => {
                self.copies_from_client = true;
            }
            _ => {}
        }
        if self.words.len() < 4 {
            self.words.push(word.clone());
        }
        self.last_word = word;
    }

    fn makes_routine(&self) -> bool {
        self.first_word() == "create"
            && self
                .words
                .iter()
                .any(|word| matches!(word.as_str(), "function" | "procedure"))
    }

    fn first_word(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    fn word_len(&self) -> usize {
        self.bytes[self.position..]
            .iter()
            .take_while(|byte| is_word_start(**byte) || byte.is_ascii_digit() || **byte == b'$')
            .count()
    }

    fn skip_line(&mut self) {
        let rest = &self.bytes[self.position..];
        self.position += rest
            .iter()
            .position(|byte| *byte == b'\n')
            .unwrap_or(rest.len());
    }

    /// Comments nest.
    fn skip_comment(&mut self) -> Result<(), SplitError> {
        let start = self.position;
        let mut depth = 0;
        loop {
            match &self.bytes[self.position..] {
                [b'/', b'*', ..] => {
                    depth += 1;
                    self.position += 2;
                }
                [b'*', b'/', ..] => {
                    depth -= 1;
                    self.position += 2;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                [_, ..] => self.position += 1,
                [] => return Err(self.error(start, Problem::Unterminated("comment"))),
            }
        }
    }

    /// A doubled quote is one quote, and needs no care: it ends one string and begins the next.
    fn skip_quoted(
        &mut self,
        quote: u8,
        escapes: bool,
        what: &'static str,
    ) -> Result<(), SplitError> {
        let start = self.position;
        self.position += 1;
        loop {
            match self.bytes.get(self.position) {
                None => return Err(self.error(start, Problem::Unterminated(what))),
                Some(b'\\') if escapes => self.position += 2,
                Some(byte) => {
                    self.position += 1;
                    if *byte != quote {
                        continue;
                    }
                    if escapes && self.bytes.get(self.position) == Some(&quote) {
                        self.position += 1;
                        continue;
                    }
                    return Ok(());
                }
            }
        }
    }

    fn skip_dollar(&mut self) -> Result<(), SplitError> {
        let start = self.position;
        let rest = &self.sql[start + 1..];
        let name_len = rest
            .bytes()
            .take_while(|byte| is_word_start(*byte) || byte.is_ascii_digit())
            .count();
        let is_tag = rest[name_len..].starts_with('$')
            && !rest
                .bytes()
                .next()
                .is_some_and(|byte| byte.is_ascii_digit());
        if !is_tag {
            self.position += 1;
            return Ok(());
        }
        let tag = &self.sql[start..start + name_len + 2];
        let body = start + tag.len();
        match self.sql[body..].find(tag) {
            Some(length) => {
                self.position = body + length + tag.len();
                Ok(())
            }
            None => Err(self.error(start, Problem::Unterminated("dollar-quoted string"))),
        }
    }

    fn end_statement(&mut self, end: usize) {
        if let Some(start) = self.start.take() {
            let line = self.line_of(start);
            self.statements.push(Statement {
                text: self.sql[start..end].trim_end(),
                line,
                words: std::mem::take(&mut self.words),
                copies_from_client: self.copies_from_client,
            });
        }
        self.words.clear();
        self.last_word.clear();
        self.copies_from_client = false;
        self.parentheses = 0;
        self.body_depth = 0;
    }

    fn line_of(&self, position: usize) -> usize {
        self.bytes[..position].split(|byte| *byte == b'\n').count()
    }

    fn error(&self, position: usize, problem: Problem) -> SplitError {
        SplitError {
            line: self.line_of(position),
            problem,
        }
    }
}

fn is_word_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || !byte.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sql: &str) -> Vec<String> {
        let statements = split(sql).unwrap();
        statements.iter().map(|s| s.text.to_owned()).collect()
    }

    #[test]
    fn a_semicolon_ends_a_statement_only_outside_everything() {
        let whole = [
            "select ';', 'it''s;', \"a;\"\"b\"",
            r"select E'\';', e'a''\\', 'back\'",
            "select $$;$$, $body$ ; $$ ; $other$ $body$",
            "select 1 /* ; /* ; */ ; */ + 2 -- ;\n + 3",
            "create rule r as on insert to t do also (insert into a default values; insert into b default values)",
            "create function f(x int) returns int language sql begin atomic select case when x > 0 then 1 else 2 end; select 2; end",
            "create or replace procedure p() begin atomic insert into t values (1); end",
            "select $1, a$b$c, 1e5",
            "select U&'d\\0061t;a'",
        ];
        for sql in whole {
            assert_eq!(
                texts(&format!("{sql};\nselect 'next'")),
                [sql, "select 'next'"]
            );
        }
    }

    #[test]
    fn a_word_named_begin_or_end_hides_no_semicolon() {
        assert_eq!(
            texts("begin; select case when true then 1 end; end; create table atomic (begin int); select 1").len(),
            5
        );
    }

    #[test]
    fn lines_and_words_are_those_of_the_statement_not_of_the_comment_before() {
        let sql = "-- one\n/* two\n */\n\nCreate  TABLE a (b int)\n;;\n  drop table a;\n-- end\n";
        let statements = split(sql).unwrap();
        let seen: Vec<_> = statements
            .iter()
            .map(|s| (s.line, s.words.join(" ")))
            .collect();
        assert_eq!(
            seen,
            [
                (5, "create table a b".to_owned()),
                (7, "drop table a".to_owned())
            ]
        );
    }

    #[test]
    fn only_comments_are_no_statement() {
        assert!(texts("  -- nothing\n/* here */ ;; \n").is_empty());
    }

    #[test]
    fn what_never_ends_is_named_where_it_begins() {
        let cases = [
            ("select 1;\nselect 'a\n\n", "string"),
            ("select 1;\nselect \"a", "quoted name"),
            ("select 1;\nselect $x$ $y$", "dollar-quoted string"),
            ("select 1;\n/* /* */", "comment"),
        ];
        for (sql, what) in cases {
            let expected = SplitError {
                line: 2,
                problem: Problem::Unterminated(what),
            };
            assert_eq!(split(sql), Err(expected), "{sql}");
        }
    }

    #[test]
    fn commands_of_psql_and_rows_for_copy_are_seen() {
        let error = split("select 1;\n\\restrict abc\n").unwrap_err();
        assert_eq!((error.line, error.problem), (2, Problem::MetaCommand));
        assert!(split("select '\n\\d'").is_ok());
        let copies = |sql| split(sql).unwrap()[0].copies_from_client;
        assert!(copies("COPY public.t (a, b) FROM stdin;"));
        assert!(!copies("copy t from '/tmp/x'"));
    }

    #[test]
    fn any_text_is_split_without_a_panic() {
        let pieces = [
            "'", "\"", "$", "$a$", "$$", "/*", "*/", "--", "\n", ";", "\\", "é", "E'", "(", ")",
            "begin", " ",
        ];
        let mut state = 1_usize;
        for _ in 0..20_000 {
            let mut sql = String::new();
            for _ in 0..12 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                sql.push_str(pieces[(state >> 33) % pieces.len()]);
            }
            if let Ok(statements) = split(&sql) {
                assert!(statements.iter().all(|s| sql.contains(s.text)));
            }
        }
    }
}
