//! The parameters of an OAuth request: from a query, a form or a JSON object.

use std::collections::BTreeMap;

use serde_json::Value;

/// Parameters by name. One that is empty counts as absent (RFC 6749, section 3.1).
#[derive(Default, Clone)]
pub(super) struct Parameters(BTreeMap<String, String>);

/// Why parameters cannot be read, as text for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable(pub(super) &'static str);

impl Parameters {
    /// Reads a query or a form.
    ///
    /// # Errors
    /// One stands there twice, so that two readers could take different ones, or holds a control character.
    pub(super) fn from_form(form: &[u8]) -> Result<Self, Unreadable> {
        let mut read = Self::default();
        for (name, value) in url::form_urlencoded::parse(form) {
            read.add(&name, &value)?;
        }
        Ok(read)
    }

    /// Reads a JSON object; members that are no text are ignored.
    ///
    /// # Errors
    /// As for [`Parameters::from_form`]; it is no object.
    pub(super) fn from_json(json: &[u8]) -> Result<Self, Unreadable> {
        let members: serde_json::Map<String, Value> =
            serde_json::from_slice(json).map_err(|_| Unreadable("The body is no JSON object"))?;
        let mut read = Self::default();
        for (name, value) in &members {
            if let Value::String(value) = value {
                read.add(name, value)?;
            }
        }
        Ok(read)
    }

    fn add(&mut self, name: &str, value: &str) -> Result<(), Unreadable> {
        if value.chars().any(char::is_control) {
            return Err(Unreadable("A parameter holds a control character"));
        }
        if self.0.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(Unreadable("A parameter stands there twice"));
        }
        Ok(())
    }

    /// The parameter `name`, unless it is absent or empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let value = self.0.get(name).map(String::as_str);
        value.filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_is_absent_and_twice_is_refused() {
        let read = Parameters::from_form(b"a=1&b=&c=x+y%26").ok().unwrap();
        assert_eq!(
            (read.get("a"), read.get("b"), read.get("c"), read.get("d")),
            (Some("1"), None, Some("x y&"), None)
        );
        assert!(Parameters::from_form(b"a=1&a=1").is_err());
        assert!(Parameters::from_form(b"a=&a=1").is_err());
        assert!(Parameters::from_form(b"a=%00").is_err());
    }

    #[test]
    fn json_is_read_alike() {
        let read = Parameters::from_json(br#"{"a":"1","b":2}"#).ok().unwrap();
        assert_eq!((read.get("a"), read.get("b")), (Some("1"), None));
        assert!(Parameters::from_json(b"[]").is_err());
        assert!(Parameters::from_json(br#"{"a":"\u0000"}"#).is_err());
    }
}
