//! Whether a value is what a schema of the document says, for the words the document uses.

use serde_json::Value;

/// Says where `value` differs. Objects are closed unless the schema opens them, so that a member nobody documented is told.
pub(super) fn differences(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    check(document, schema, value, "")
}

fn check(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(reference.trim_start_matches('#'));
        return check(document, target.ok_or(reference)?, value, at);
    }
    if let Some(options) = schema["anyOf"].as_array() {
        let results = options.iter().map(|one| check(document, one, value, at));
        let errors: Vec<_> = results.filter_map(Result::err).collect();
        return if errors.len() < options.len() {
            Ok(())
        } else {
            Err(errors.join(" | "))
        };
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        return Err(format!("{at}: {value} is none of {words:?}"));
    }
    match schema["type"].as_str() {
        Some("string") => text(schema, value, at),
        Some("integer") => verdict(value.is_i64() || value.is_u64(), value, "an integer", at),
        Some("boolean") => verdict(value.is_boolean(), value, "a boolean", at),
        Some("null") => verdict(value.is_null(), value, "null", at),
        Some("array") => {
            let items = value.as_array().ok_or(format!("{at}: no array"))?;
            let mut items = items.iter().enumerate();
            items.try_for_each(|(index, item)| {
                check(document, &schema["items"], item, &format!("{at}/{index}"))
            })
        }
        Some("object") => object(document, schema, value, at),
        _ => Ok(()),
    }
}

fn verdict(is_so: bool, value: &Value, wanted: &str, at: &str) -> Result<(), String> {
    if is_so {
        Ok(())
    } else {
        Err(format!("{at}: {value} is not {wanted}"))
    }
}

fn text(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let text = value.as_str().ok_or(format!("{at}: {value} is no text"))?;
    match schema["format"].as_str() {
        Some("uuid") => verdict(uuid::Uuid::parse_str(text).is_ok(), value, "an id", at),
        Some("date-time") => {
            let time = chrono::DateTime::parse_from_rfc3339(text);
            verdict(time.is_ok(), value, "a time", at)
        }
        _ => Ok(()),
    }
}

fn object(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let members = value.as_object().ok_or(format!("{at}: no object"))?;
    for name in schema["required"].as_array().into_iter().flatten() {
        let name = name.as_str().unwrap_or_default();
        if !members.contains_key(name) {
            return Err(format!("{at}: {name} is missing"));
        }
    }
    for (name, member) in members {
        let at = format!("{at}/{name}");
        match &schema["properties"][name] {
            Value::Null if schema["additionalProperties"] == true => {}
            Value::Null => return Err(format!("{at} is not documented")),
            known => check(document, known, member, &at)?,
        }
    }
    Ok(())
}

#[test]
fn differences_are_found() {
    use serde_json::json;
    let document =
        json!({ "components": { "schemas": { "Id": { "type": "string", "format": "uuid" } } } });
    let reference = json!({ "$ref": "#/components/schemas/Id" });
    let list = json!({ "type": "array", "items": { "type": "integer" } });
    let closed = json!({ "type": "object", "properties": { "a": list }, "required": ["a"] });
    let either = json!({ "anyOf": [reference, { "type": "null" }, { "enum": ["x"] }] });
    let ok = |schema: &serde_json::Value, value| differences(&document, schema, &value).is_ok();
    assert!(ok(
        &reference,
        json!("00000000-0000-0000-0000-000000000001")
    ));
    assert!(!ok(&reference, json!("1")));
    assert!(ok(&closed, json!({ "a": [1, 2] })));
    for wrong in [
        json!({}),
        json!({ "a": ["1"] }),
        json!({ "a": [], "b": 1 }),
        json!([]),
    ] {
        assert!(!ok(&closed, wrong.clone()), "{wrong}");
    }
    assert!(ok(&either, json!(null)) && ok(&either, json!("x")) && !ok(&either, json!("y")));
}
