//! From a name and values to subject, HTML and text.
//!
//! Each part of a template stands for itself. It comes from the database (`mail.templates`), else from the project's folder
//! (`templates/recovery.html`, `.txt`, `.subject.txt`), else it is built in. A part that cannot be rendered is reported,
//! with its line, and the built-in one goes out: a typing error must not keep people from their accounts.
//!
//! Values are data, never source: what a user writes into a name is escaped in HTML, and runs nothing anywhere.

mod engine;
mod folder;
mod go;
mod language;

use std::collections::BTreeMap;
use std::path::Path;

use include_dir::{Dir, include_dir};
use serde_json::{Map, Value};

use engine::Engine;

static BUILT_IN: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/src/mail/templates");

/// Longest subject, in characters.
const MAX_SUBJECT: usize = 250;

/// A mail as people read it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Rendered {
    pub(super) subject: String,
    pub(super) html: Option<String>,
    pub(super) text: String,
}

/// What the database has of one template in one language.
#[derive(Debug, Clone, Default)]
pub(super) struct Stored {
    pub(super) language: String,
    pub(super) subject: Option<String>,
    pub(super) html: Option<String>,
    pub(super) text: Option<String>,
}

/// A template that cannot be used: where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}{}: {problem}; {fix}", .line.map(|line| format!(" line {line}")).unwrap_or_default())]
pub(super) struct TemplateError {
    /// A file, or a row of `mail.templates`.
    pub(super) place: String,
    pub(super) line: Option<usize>,
    pub(super) problem: String,
    pub(super) fix: String,
}

/// A part of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Subject,
    Html,
    Text,
}

impl Part {
    fn suffix(self) -> &'static str {
        match self {
            Self::Subject => "subject.txt",
            Self::Html => "html",
            Self::Text => "txt",
        }
    }

    fn column(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Html => "html",
            Self::Text => "text",
        }
    }

    fn of(self, stored: &Stored) -> Option<&String> {
        match self {
            Self::Subject => stored.subject.as_ref(),
            Self::Html => stored.html.as_ref(),
            Self::Text => stored.text.as_ref(),
        }
    }
}

/// One source of a part.
struct Source<'a> {
    /// For people.
    place: String,
    /// For the engine; its ending decides whether values are escaped.
    name: String,
    text: &'a str,
}

/// The languages in which a template is looked for, the best first; the last is the one for everybody.
pub(super) fn languages(values: &Map<String, Value>) -> Vec<String> {
    language::wanted(values)
}

/// The files of the project's folder, by name; none when there is no such folder.
pub(super) fn read_folder(folder: &Path) -> BTreeMap<String, String> {
    folder::read(folder)
}

/// Renders `template`. What had to be replaced by the built-in part is returned beside it.
///
/// # Errors
/// When there is no template of this name, or it is none of the built-in ones and cannot be rendered.
pub(super) fn render(
    template: &str,
    values: &Map<String, Value>,
    stored: &[Stored],
    files: &BTreeMap<String, String>,
) -> Result<(Rendered, Vec<TemplateError>), TemplateError> {
    let mut broken = Vec::new();
    let engine = Engine::new(files, values);
    let mut part = |part: Part| -> Result<Option<String>, TemplateError> {
        let built_in = built_in(template, part);
        match override_of(template, part, &language::wanted(values), stored, files) {
            Some(source) => match engine.render(&source) {
                Ok(text) => Ok(Some(text)),
                Err(error) if built_in.is_some() => {
                    broken.push(error);
                    built_in.map(|source| engine.render(&source)).transpose()
                }
                Err(error) => Err(error),
            },
            None => built_in.map(|source| engine.render(&source)).transpose(),
        }
    };
    let (subject, html, text) = (part(Part::Subject)?, part(Part::Html)?, part(Part::Text)?);
    let missing = |part: Part| TemplateError {
        place: format!("{template}.{}", part.suffix()),
        line: None,
        problem: "there is no such template".to_owned(),
        fix: "add it to the folder of templates, or to mail.templates".to_owned(),
    };
    let subject = subject.ok_or_else(|| missing(Part::Subject))?;
    let text = text.ok_or_else(|| missing(Part::Text))?;
    let rendered = Rendered {
        subject: one_line(&subject),
        html,
        text: without_gaps(&text),
    };
    Ok((rendered, broken))
}

/// The names of the built-in templates.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let files = BUILT_IN.files().filter_map(|file| file.path().to_str());
    files.filter_map(|file| file.strip_suffix(".subject.txt"))
}

fn built_in(template: &str, part: Part) -> Option<Source<'static>> {
    let file = format!("{template}.{}", part.suffix());
    let text = BUILT_IN.get_file(&file)?.contents_utf8()?;
    Some(Source {
        place: format!("the built-in {file}"),
        name: format!("sb/{file}"),
        text,
    })
}

fn override_of<'a>(
    template: &str,
    part: Part,
    languages: &[String],
    stored: &'a [Stored],
    files: &'a BTreeMap<String, String>,
) -> Option<Source<'a>> {
    let suffix = part.suffix();
    languages.iter().find_map(|language| {
        let row = stored.iter().find(|row| row.language == *language);
        let from_database = row.and_then(|row| part.of(row)).map(|text| Source {
            place: format!(
                "mail.templates ({template:?}, {language:?}) {}",
                part.column()
            ),
            name: format!("database/{template}.{suffix}"),
            text,
        });
        let file = match language.as_str() {
            "" => format!("{template}.{suffix}"),
            language => format!("{template}.{language}.{suffix}"),
        };
        from_database.or_else(|| {
            files.get(&file).map(|text| Source {
                place: format!("the template {file}"),
                name: file.clone(),
                text,
            })
        })
    })
}

/// Exactly so: what is called `.HTML` is no template of ours, and is not escaped like one.
fn has_ending(name: &str, ending: &str) -> bool {
    Path::new(name).extension() == Some(ending.as_ref())
}

/// A header is one line: whatever a value brings along becomes a space.
fn one_line(text: &str) -> String {
    let spaced: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let words: Vec<&str> = spaced.split_whitespace().collect();
    words.join(" ").chars().take(MAX_SUBJECT).collect()
}

/// Conditions leave empty lines behind; one between paragraphs is enough.
fn without_gaps(text: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines().map(str::trim_end) {
        if !(line.is_empty() && lines.last().is_none_or(|last| last.is_empty())) {
            lines.push(line);
        }
    }
    lines.join("\n").trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests;
