//! One run of the template engine, within limits.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};
use serde_json::{Map, Value};

use super::{BUILT_IN, Source, TemplateError, go};

/// Instructions of one rendering: far more than a mail needs, far less than a worker minds.
const FUEL: u64 = 100_000;

/// Largest result, in bytes.
const MAX_OUTPUT: usize = 524_288;

/// What templates may name, besides what a mail brings along. What is missing is empty.
const KNOWN: [&str; 13] = [
    "ConfirmationURL",
    "Data",
    "Email",
    "FactorType",
    "NewEmail",
    "OldEmail",
    "OldPhone",
    "Phone",
    "Provider",
    "RedirectTo",
    "SiteURL",
    "Token",
    "TokenHash",
];

pub(super) struct Engine {
    environment: Environment<'static>,
    values: minijinja::Value,
    known: BTreeSet<String>,
    /// Files that cannot be included.
    broken: BTreeMap<String, String>,
}

impl Engine {
    /// `files` can be included by their names, the built-in ones as `sb/NAME`.
    pub(super) fn new(files: &BTreeMap<String, String>, values: &Map<String, Value>) -> Self {
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        environment.set_undefined_behavior(UndefinedBehavior::Chainable);
        environment.set_auto_escape_callback(|name| {
            let is_html = super::has_ending(name, "html");
            if is_html {
                AutoEscape::Html
            } else {
                AutoEscape::None
            }
        });
        for file in BUILT_IN.files() {
            let name = format!("sb/{}", file.path().display());
            let text = file.contents_utf8().unwrap_or_default();
            environment
                .add_template_owned(name, text)
                .expect("the built-in templates are valid, as a test says");
        }
        let mut broken = BTreeMap::new();
        for (name, text) in files {
            let added = go::translate(text)
                .map_err(|error| format!("line {}: {}", error.line, error.text))
                .and_then(|text| {
                    let added = environment.add_template_owned(name.clone(), text);
                    added.map_err(|error| error.to_string())
                });
            if let Err(error) = added {
                broken.insert(name.clone(), error);
            }
        }
        let words = ["self", "super", "loop", "caller"];
        let known = KNOWN.iter().chain(&words).map(|name| (*name).to_owned());
        let globals = environment.globals().map(|(name, _)| name.to_owned());
        Self {
            known: known.chain(globals).chain(values.keys().cloned()).collect(),
            values: Serde(plain(&Value::Object(values.clone()))).into(),
            environment,
            broken,
        }
    }

    pub(super) fn render(&self, source: &Source) -> Result<String, TemplateError> {
        let wrong = |line: Option<usize>, problem: String, fix: &str| TemplateError {
            place: source.place.clone(),
            line,
            problem,
            fix: fix.to_owned(),
        };
        let text = go::translate(source.text).map_err(|error| {
            let problem = format!("{{{{ {} }}}} cannot be translated from Go", error.text);
            let fix = "of Go's templates only {{ .Name }}, if, else and end are understood: write it as Jinja";
            wrong(Some(error.line), problem, fix)
        })?;
        let template = self
            .environment
            .template_from_named_str(&source.name, &text);
        let template = template.map_err(|error| self.explain(source, &error))?;
        let names = template.undeclared_variables(false);
        if let Some(unknown) = names.iter().find(|name| !self.known.contains(*name)) {
            let line = text
                .lines()
                .position(|line| line.contains(unknown.as_str()));
            let known: Vec<&str> = self.known.iter().map(String::as_str).collect();
            let near = crate::config::nearest(unknown, known.into_iter(), "", "");
            let problem = format!("there is no value {unknown}{near}");
            let fix = format!("the values are {}", KNOWN.join(", "));
            return Err(wrong(line.map(|line| line + 1), problem, &fix));
        }
        let mut out = Limited(Vec::new());
        template
            .render_captured_to(self.values.clone(), &mut out)
            .map_err(|error| self.explain(source, &error))?;
        let text = String::from_utf8(out.0).expect("templates and values are text");
        if text.trim().is_empty() {
            let fix = "write something into it, or remove it".to_owned();
            return Err(wrong(None, "it renders to nothing".to_owned(), &fix));
        }
        Ok(text)
    }

    /// The engine's own words can quote a value, so only those about the source are passed on.
    fn explain(&self, source: &Source, error: &Error) -> TemplateError {
        let detail = error.detail().unwrap_or_default();
        let (problem, fix) = match error.kind() {
            ErrorKind::OutOfFuel => (
                "it takes too many steps".to_owned(),
                "loop over less".to_owned(),
            ),
            ErrorKind::WriteFailure => (
                format!("it renders to more than {MAX_OUTPUT} bytes"),
                "make it smaller".to_owned(),
            ),
            ErrorKind::TemplateNotFound => {
                match self.broken.iter().find(|(name, _)| detail.contains(*name)) {
                    Some((name, why)) => (
                        format!("it includes {name}, which is broken: {why}"),
                        format!("correct {name}"),
                    ),
                    None => (
                        detail.to_owned(),
                        "templates include files of their own folder, and sb/layout.html"
                            .to_owned(),
                    ),
                }
            }
            kind @ (ErrorKind::SyntaxError
            | ErrorKind::UnknownFilter
            | ErrorKind::UnknownFunction
            | ErrorKind::UnknownTest
            | ErrorKind::UnknownMethod
            | ErrorKind::UnknownBlock) => (
                format!("{kind}: {detail}"),
                "correct it; the syntax is that of Jinja".to_owned(),
            ),
            kind => (kind.to_string(), "correct the expression".to_owned()),
        };
        let place = match error.name().filter(|name| *name != source.name) {
            Some(other) => format!("{}, in {other}", source.place),
            None => source.place.clone(),
        };
        TemplateError {
            place,
            line: error.line(),
            problem,
            fix,
        }
    }
}

/// Values without characters that would break lines, or turn the direction in which a line is read.
fn plain(value: &Value) -> Value {
    let is_plain = |c: char| {
        !c.is_control() && !matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    match value {
        Value::String(text) => {
            let text: String = text
                .chars()
                .map(|c| if is_plain(c) { c } else { ' ' })
                .collect();
            Value::String(text)
        }
        Value::Array(values) => values.iter().map(plain).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), plain(value)))
            .collect::<Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

struct Limited(Vec<u8>);

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT {
            return Err(io::Error::other("too large"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
