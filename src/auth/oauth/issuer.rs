//! Which issuer a provider's tokens may name. It follows from the settings, never from a token.

use serde_json::{Map, Value};
use url::Url;

/// Apple's two names; which one a token has is up to Apple.
const APPLE: [&str; 2] = ["https://appleid.apple.com", "https://account.apple.com"];

/// How the issuer that is discovered and the one in tokens follow from the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IssuerRule {
    /// All three are one.
    Exact,
    /// Apple has two names.
    Apple,
    /// What is discovered may be a template, to be filled in with the token's tenant.
    Microsoft,
}

impl IssuerRule {
    /// Whether a discovery document may name `discovered`, when `configured` was asked for it.
    pub(super) fn admits_metadata(self, configured: &str, discovered: &str) -> bool {
        if discovered.trim_end_matches('/') == configured {
            return true;
        }
        match self {
            Self::Exact => false,
            Self::Apple => APPLE.contains(&configured) && APPLE.contains(&discovered),
            Self::Microsoft => {
                let parse = |text: &str| Url::parse(text).ok();
                let same_origin = |a: Url, b: Url| a.origin() == b.origin();
                parse(configured)
                    .zip(parse(discovered))
                    .is_some_and(|(a, b)| same_origin(a, b))
                    && discovered.ends_with("/v2.0")
            }
        }
    }

    /// The issuer that a token with these claims must name, or why it is not acceptable.
    pub(super) fn expected(
        self,
        discovered: &str,
        claims: &Map<String, Value>,
        tenants: &[String],
    ) -> Result<String, &'static str> {
        let found = claims.get("iss").and_then(Value::as_str).unwrap_or("");
        match self {
            Self::Apple if APPLE.contains(&found) => Ok(found.to_owned()),
            Self::Exact | Self::Apple => Ok(discovered.to_owned()),
            Self::Microsoft => {
                let tenant = claims.get("tid").and_then(Value::as_str);
                let tenant = tenant
                    .filter(|text| uuid::Uuid::try_parse(text).is_ok())
                    .ok_or("it names no tenant")?;
                if !tenants.is_empty() && !tenants.iter().any(|known| known == tenant) {
                    return Err("its tenant is not admitted");
                }
                Ok(discovered.replace("{tenantid}", tenant))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TENANT: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

    #[expect(
        clippy::needless_pass_by_value,
        reason = "a JSON literal reads better without a borrow"
    )]
    fn expected(
        rule: IssuerRule,
        discovered: &str,
        claims: Value,
        tenants: &[&str],
    ) -> Result<String, &'static str> {
        let tenants: Vec<_> = tenants.iter().map(|it| (*it).to_owned()).collect();
        rule.expected(discovered, claims.as_object().unwrap(), &tenants)
    }

    #[test]
    fn a_microsoft_issuer_is_its_template_with_the_tenant() {
        let rule = IssuerRule::Microsoft;
        let template = "https://login.microsoftonline.com/{tenantid}/v2.0";
        let common = "https://login.microsoftonline.com/common/v2.0";
        assert!(rule.admits_metadata(common, template));
        assert!(!rule.admits_metadata(common, "https://evil.example/{tenantid}/v2.0"));
        let issuer = format!("https://login.microsoftonline.com/{TENANT}/v2.0");
        let token = json!({"tid": TENANT});
        assert_eq!(
            expected(rule, template, token.clone(), &[]),
            Ok(issuer.clone())
        );
        assert_eq!(
            expected(rule, template, token.clone(), &[TENANT]),
            Ok(issuer)
        );
        assert!(expected(rule, template, token, &["other"]).is_err());
        for tid in [json!("../evil"), json!(null), json!(1), json!("")] {
            assert!(expected(rule, template, json!({"tid": tid}), &[]).is_err());
        }
    }

    #[test]
    fn apple_has_two_names_and_nobody_else() {
        let rule = IssuerRule::Apple;
        for name in APPLE {
            let token = json!({"iss": name});
            assert_eq!(expected(rule, APPLE[0], token, &[]).as_deref(), Ok(name));
        }
        let evil = json!({"iss": "https://evil.example"});
        assert_eq!(expected(rule, APPLE[0], evil, &[]).as_deref(), Ok(APPLE[0]));
        assert!(rule.admits_metadata(APPLE[0], APPLE[1]));
        assert!(!rule.admits_metadata(APPLE[0], "https://evil.example"));
    }

    #[test]
    fn others_are_what_was_configured_but_for_a_last_slash() {
        let rule = IssuerRule::Exact;
        assert!(rule.admits_metadata("https://a.example", "https://a.example/"));
        for other in [
            "https://A.example",
            "http://a.example",
            "https://a.example/x",
        ] {
            assert!(!rule.admits_metadata("https://a.example", other));
        }
    }
}
