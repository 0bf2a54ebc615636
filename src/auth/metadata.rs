//! Metadata objects: what may be stored, and the shallow merge of an update.

use serde_json::{Map, Value};

use super::AuthError;
use crate::db::holds_nul;

/// How large the metadata of one user may be, as JSON text: every request about the user reads it, and each update
/// adds to it.
const MAX_BYTES: usize = 1024 * 1024;

/// Checks what an update of the user's own has led to.
///
/// # Errors
/// [`AuthError::Invalid`] when it is more than 1 MiB.
pub(super) fn check_size(metadata: &Map<String, Value>) -> Result<(), AuthError> {
    let size = serde_json::to_vec(metadata).map_or(usize::MAX, |text| text.len());
    if size > MAX_BYTES {
        return Err(AuthError::Invalid("Metadata must not exceed 1 MiB"));
    }
    Ok(())
}

/// Members to store; a member that is null removes the stored one.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct MetadataPatch(Map<String, Value>);

impl MetadataPatch {
    /// Takes an object or null.
    ///
    /// # Errors
    /// [`AuthError::Invalid`] for other JSON, and for text with a NUL, which Postgres cannot keep.
    pub(super) fn parse(value: Option<Value>) -> Result<Self, AuthError> {
        let has_nul = value.as_ref().is_some_and(holds_nul);
        let members = match value {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(members)) => members,
            Some(_) => return Err(AuthError::Invalid("Metadata must be a JSON object")),
        };
        if has_nul {
            return Err(AuthError::Invalid(
                "Metadata must not contain NUL characters",
            ));
        }
        Ok(Self(members))
    }

    /// The object to merge and the names to remove, for an update.
    pub(super) fn split(self) -> (Value, Vec<String>) {
        let (removed, set): (Map<_, _>, Map<_, _>) =
            self.0.into_iter().partition(|(_, value)| value.is_null());
        (
            Value::Object(set),
            removed.into_iter().map(|(name, _)| name).collect(),
        )
    }

    /// The object of a new user, on top of `base`.
    pub(super) fn over(self, mut base: Map<String, Value>) -> Value {
        for (name, value) in self.0 {
            if value.is_null() {
                base.remove(&name);
            } else {
                base.insert(name, value);
            }
        }
        Value::Object(base)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn null_removes_and_the_rest_replaces() {
        let patch = MetadataPatch::parse(Some(json!({"a": null, "b": {"c": null}}))).unwrap();
        let base = json!({"a": 1, "b": 2, "d": 3})
            .as_object()
            .cloned()
            .unwrap();
        assert_eq!(patch.clone().over(base), json!({"b": {"c": null}, "d": 3}));
        assert_eq!(
            patch.split(),
            (json!({"b": {"c": null}}), vec!["a".to_owned()])
        );
    }

    #[test]
    fn only_objects_that_postgres_can_keep_are_taken() {
        for none in [None, Some(Value::Null)] {
            assert_eq!(
                MetadataPatch::parse(none).unwrap(),
                MetadataPatch::default()
            );
        }
        for value in [
            json!([]),
            json!("x"),
            json!(1),
            json!({"a": ["\0"]}),
            json!({"a": {"\0": 1}}),
        ] {
            assert!(MetadataPatch::parse(Some(value)).is_err());
        }
    }
}
