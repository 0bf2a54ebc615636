//! What a client may ask for.

/// All scopes there are.
pub(super) const SUPPORTED: [&str; 5] = ["openid", "profile", "email", "phone", "offline_access"];

/// What is asked for when nothing is named, as Supabase does.
const DEFAULT: &str = "email";

/// A set of scopes in the order of [`SUPPORTED`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scopes(Vec<&'static str>);

impl Scopes {
    /// Reads a request's scopes; `None` when one is unknown.
    pub(super) fn parse(text: Option<&str>) -> Option<Self> {
        let text = text.filter(|text| !text.trim().is_empty());
        let asked: Vec<&str> = text.unwrap_or(DEFAULT).split_ascii_whitespace().collect();
        let all_known = asked.iter().all(|scope| SUPPORTED.contains(scope));
        all_known.then(|| Self::among(&asked))
    }

    /// Reads stored scopes.
    pub(super) fn stored(text: &str) -> Self {
        Self::among(&text.split_ascii_whitespace().collect::<Vec<_>>())
    }

    fn among(asked: &[&str]) -> Self {
        let known = SUPPORTED.into_iter();
        Self(known.filter(|scope| asked.contains(scope)).collect())
    }

    /// Whether `scope` is one of them.
    pub(super) fn has(&self, scope: &str) -> bool {
        self.0.contains(&scope)
    }

    /// Whether all of `others` are among them.
    pub(super) fn cover(&self, others: &Self) -> bool {
        others.0.iter().all(|scope| self.has(scope))
    }

    /// These and those.
    pub(super) fn with(&self, others: &Self) -> Self {
        Self::among(&[self.0.as_slice(), others.0.as_slice()].concat())
    }

    /// One by one.
    pub(super) fn as_slice(&self) -> &[&'static str] {
        &self.0
    }
}

impl std::fmt::Display for Scopes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_a_set_of_known_words() {
        let text = |asked| Scopes::parse(asked).map(|scopes| scopes.to_string());
        assert_eq!(text(None).as_deref(), Some("email"));
        assert_eq!(text(Some(" ")).as_deref(), Some("email"));
        assert_eq!(
            text(Some("email openid  email")).as_deref(),
            Some("openid email")
        );
        assert_eq!(text(Some("openid admin")), None);
        assert_eq!(text(Some("OPENID")), None);
        assert_eq!(Scopes::stored("gone email").to_string(), "email");
    }

    #[test]
    fn a_consent_covers_no_more_than_it_says() {
        let consent = Scopes::stored("openid email");
        assert!(consent.cover(&Scopes::stored("email")));
        assert!(!consent.cover(&Scopes::stored("email phone")));
        let more = consent.with(&Scopes::stored("phone"));
        assert_eq!(more.to_string(), "openid email phone");
    }
}
