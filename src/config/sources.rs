//! Reading `sb.toml`, `.env`, the environment and flags into layers, the later over the earlier.

use super::section::{Layers, Origin, Raw};
use super::{Config, Sources, cron, external, postgrest};

pub(super) fn layers(
    sources: &Sources,
    problems: &mut Vec<String>,
) -> (
    Layers,
    postgrest::Settings,
    Option<Vec<cron::Cron>>,
    external::RawExternal,
) {
    let mut layers = Layers::new();
    let mut external = external::RawExternal::new();
    let mut cron = None;
    let mut postgrest = postgrest::Settings::new();
    if let Some(text) = &sources.toml {
        let read = (&mut layers, &mut postgrest, &mut external);
        cron = Some(read_toml(text, read, problems));
    }
    let dotenv = sources
        .dotenv
        .as_deref()
        .map(|text| parse_dotenv(text, problems))
        .unwrap_or_default();
    for (name, value) in dotenv {
        let origin = Origin::DotEnv(name.clone());
        external::read_env(&name, &value, &origin, &mut external);
        read_env(&name, value, origin, &mut layers, &mut postgrest);
    }
    for (name, value) in &sources.env {
        let origin = Origin::Env(name.clone());
        external::read_env(name, value, &origin, &mut external);
        read_env(name, value.clone(), origin, &mut layers, &mut postgrest);
    }
    for (path, value) in &sources.flags {
        if !external::read_flag(path, value, &mut external) {
            layers.insert(path.clone(), (Raw::Text(value.clone()), Origin::Flag));
        }
    }
    (layers, postgrest, cron, external)
}

fn read_toml(
    text: &str,
    (layers, postgrest, external): (
        &mut Layers,
        &mut postgrest::Settings,
        &mut external::RawExternal,
    ),
    problems: &mut Vec<String>,
) -> Vec<cron::Cron> {
    let mut schedules = Vec::new();
    let table: toml::Table = match text.parse() {
        Ok(table) => table,
        Err(error) => {
            problems.push(format!(
                "sb.toml is not valid TOML: {}",
                error.to_string().trim_end()
            ));
            return schedules;
        }
    };
    for (section, content) in table {
        if section == "cron" {
            schedules = cron::read(&content, problems);
            continue;
        }
        let read = (&mut *layers, &mut *postgrest, &mut *external);
        read_section(&section, &content, read, problems);
    }
    schedules
}

/// The keys of one section. A section whose name begins with that of another one, such as `auth.hook.send_sms`, is a
/// table within it.
fn read_section(
    section: &str,
    content: &toml::Value,
    (layers, postgrest, external): (
        &mut Layers,
        &mut postgrest::Settings,
        &mut external::RawExternal,
    ),
    problems: &mut Vec<String>,
) {
    let fields: Vec<_> = Config::fields()
        .filter(|field| field.section == section)
        .collect();
    let Some(content) = content
        .as_table()
        .filter(|_| !fields.is_empty() || holds_sections(section))
    else {
        let sections = Config::fields().map(|field| field.section).chain(["cron"]);
        problems.push(format!(
            "sb.toml: unknown section [{section}]{}",
            nearest(section, sections, "[", "]")
        ));
        return;
    };
    for (key, value) in content {
        let inner = format!("{section}.{key}");
        if fields.iter().any(|field| field.key == key) {
            layers.insert(inner, (Raw::Toml(value.clone()), Origin::File));
        } else if inner == "auth.external" {
            external::read_toml(value, external, problems);
        } else if value.is_table() && (holds_sections(&inner) || holds_sections(section)) {
            let read = (&mut *layers, &mut *postgrest, &mut *external);
            read_section(&inner, value, read, problems);
        } else if let Some(name) = postgrest::name(key).filter(|_| section == "rest") {
            match postgrest::text(value) {
                Some(text) => drop(postgrest.insert(name.to_owned(), (text, Origin::File))),
                None => problems.push(format!(
                    "sb.toml: rest.{key} must be a string, number, boolean or list"
                )),
            }
        } else {
            let known = fields.iter().map(|field| field.key);
            let known: Vec<&str> = if section == "rest" {
                known.chain(postgrest::NAMES.iter().copied()).collect()
            } else {
                known.collect()
            };
            problems.push(format!(
                "sb.toml: unknown key {section}.{key}{}",
                nearest(key, known.into_iter(), "", "")
            ));
        }
    }
}

/// Whether there are sections within this one.
fn holds_sections(section: &str) -> bool {
    Config::fields().any(|field| {
        let rest = field.section.strip_prefix(section);
        rest.is_some_and(|rest| rest.starts_with('.'))
    })
}

fn read_env(
    name: &str,
    value: String,
    origin: Origin,
    layers: &mut Layers,
    postgrest: &mut postgrest::Settings,
) {
    if let Some(field) = Config::fields().find(|field| field.env.eq_ignore_ascii_case(name)) {
        layers.insert(field.path(), (Raw::Text(value), origin));
    } else if let Some(rest) = name.strip_prefix("PGRST_") {
        let wanted = rest.to_ascii_lowercase().replace('_', "-");
        if let Some(known) = postgrest::name(&wanted) {
            postgrest.insert(known.to_owned(), (value, origin));
        }
    }
}

/// `KEY=value` lines; `#` comments; single or double quotes around a value; `export` before a name.
fn parse_dotenv(text: &str, problems: &mut Vec<String>) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=') else {
            problems.push(format!(".env line {} is not NAME=value", number + 1));
            continue;
        };
        let value = value.trim();
        let quoted = |quote: char| {
            value
                .strip_prefix(quote)
                .and_then(|rest| rest.split_once(quote))
                .map(|(inner, _)| inner)
        };
        let value = quoted('"').or_else(|| quoted('\'')).unwrap_or_else(|| {
            value
                .split_once(" #")
                .map_or(value, |(before, _)| before.trim_end())
        });
        pairs.push((name.trim().to_owned(), value.to_owned()));
    }
    pairs
}

pub(crate) fn nearest<'a>(
    word: &str,
    known: impl Iterator<Item = &'a str>,
    before: &str,
    after: &str,
) -> String {
    known
        .map(|name| (strsim::jaro_winkler(word, name), name))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(score, _)| *score > 0.7)
        .map(|(_, name)| format!("; did you mean {before}{name}{after}?"))
        .unwrap_or_default()
}
