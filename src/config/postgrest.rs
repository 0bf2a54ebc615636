//! The names of PostgREST's own settings (versions 12 to 16), which `[rest]` passes on.

use std::collections::BTreeMap;

use super::section::Origin;

/// Value and origin by PostgREST's name.
pub(super) type Settings = BTreeMap<String, (String, Origin)>;

/// Settings a project may set. Those that `sb` owns (`db-uri`, `jwt-secret`, ports and sockets of a PostgREST it runs) are left out.
pub(super) const NAMES: &[&str] = &[
    "app.settings",
    "client-error-verbosity",
    "db-aggregates-enabled",
    "db-anon-role",
    "db-channel",
    "db-channel-enabled",
    "db-config",
    "db-extra-search-path",
    "db-hoisted-tx-settings",
    "db-max-rows",
    "db-plan-enabled",
    "db-pool",
    "db-pool-acquisition-timeout",
    "db-pool-automatic-recovery",
    "db-pool-max-idletime",
    "db-pool-max-lifetime",
    "db-pre-config",
    "db-pre-request",
    "db-prepared-statements",
    "db-root-spec",
    "db-schemas",
    "db-timezone-enabled",
    "db-tx-end",
    "jwt-aud",
    "jwt-cache-max-entries",
    "jwt-cache-max-lifetime",
    "jwt-role-claim-key",
    "jwt-secret-is-base64",
    "log-level",
    "log-query",
    "openapi-mode",
    "openapi-security-active",
    "openapi-server-proxy-uri",
    "server-cors-allowed-origins",
    "server-host",
    "server-timing-enabled",
    "server-trace-header",
];

/// PostgREST's spelling of `key` (underscores for dashes are accepted), if it is one of its settings.
pub(super) fn name(key: &str) -> Option<&str> {
    let dashed = key.replace('_', "-");
    if key.starts_with("app.settings.") {
        return Some(key);
    }
    NAMES.iter().copied().find(|name| *name == dashed)
}

/// Values that may hold something private.
pub(super) fn is_secret(name: &str) -> bool {
    name.starts_with("app.settings.")
}

/// A TOML value as PostgREST's configuration spells it.
pub(super) fn text(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        toml::Value::Array(list) => list
            .iter()
            .map(text)
            .collect::<Option<Vec<_>>>()
            .map(|parts| parts.join(",")),
        _ => None,
    }
}
