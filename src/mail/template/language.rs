//! In which language somebody is written to.

use serde_json::{Map, Value};

/// Members of a user's metadata that name it, as applications write them.
const MEMBERS: [&str; 3] = ["language", "locale", "lang"];

/// From the metadata: `pt-BR`, then `pt`, then the one for everybody, which has no name.
pub(super) fn wanted(values: &Map<String, Value>) -> Vec<String> {
    let data = values.get("Data").and_then(Value::as_object);
    let named = MEMBERS
        .iter()
        .find_map(|member| data?.get(*member)?.as_str())
        .and_then(tag);
    let mut languages = Vec::new();
    if let Some(language) = named {
        let primary = language.split('-').next().map(str::to_owned);
        languages.push(language);
        languages.extend(primary.filter(|primary| *primary != languages[0]));
    }
    languages.push(String::new());
    languages
}

/// A language tag in its usual form. Users choose it, and it becomes part of a file's name, so nothing else passes.
fn tag(text: &str) -> Option<String> {
    let mut parts = text.split(['-', '_']);
    let primary = parts.next()?.to_ascii_lowercase();
    let is_primary =
        (2..=3).contains(&primary.len()) && primary.bytes().all(|b| b.is_ascii_lowercase());
    let rest: Vec<&str> = parts.collect();
    let is_rest = rest.len() <= 3
        && rest.iter().all(|part| {
            (2..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
        });
    if !is_primary || !is_rest {
        return None;
    }
    let shaped = rest.iter().map(|part| match part.len() {
        2 => part.to_ascii_uppercase(),
        _ => (*part).to_owned(),
    });
    Some(
        std::iter::once(primary)
            .chain(shaped)
            .collect::<Vec<_>>()
            .join("-"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(data: &Value) -> Vec<String> {
        let values = json!({ "Data": data });
        wanted(values.as_object().unwrap())
    }

    #[test]
    fn the_metadata_says() {
        assert_eq!(of(&json!({ "language": "de" })), ["de", ""]);
        assert_eq!(of(&json!({ "locale": "pt_br" })), ["pt-BR", "pt", ""]);
        assert_eq!(
            of(&json!({ "lang": "zh-Hant-TW" })),
            ["zh-Hant-TW", "zh", ""]
        );
        assert_eq!(of(&json!({})), [""]);
        assert_eq!(wanted(&Map::new()), [""]);
    }

    #[test]
    fn nothing_else_becomes_part_of_a_file_name() {
        for hostile in [
            "../../etc",
            "de/../x",
            "d",
            "de.",
            "de-\0\0",
            "e n",
            "deutsch-und-mehr-als-das",
        ] {
            assert_eq!(of(&json!({ "language": hostile })), [""], "{hostile:?}");
        }
        assert_eq!(of(&json!({ "language": ["de"] })), [""]);
    }
}
