//! Layering, unknown keys, pass-through, masking.

use super::*;

pub(super) fn load(toml: &str, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::load(Sources {
        toml: Some(toml.to_owned()),
        env: env
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        ..Sources::default()
    })
}

#[test]
fn environment_beats_dotenv_beats_file() {
    let config = Config::load(Sources {
        toml: Some(
            "[server]\nport = 1\nhost = \"0.0.0.0\"\n[auth]\naccess_token_ttl = 5".to_owned(),
        ),
        dotenv: Some("SB_PORT=2\n# comment\nexport ACCESS_TOKEN_TTL='60' # trailing".to_owned()),
        env: vec![("SB_PORT".to_owned(), "3".to_owned())],
        ..Sources::default()
    })
    .unwrap();
    assert_eq!((config.server.port, config.auth.access_token_ttl), (3, 60));
    assert_eq!(config.api_url(), "http://0.0.0.0:3");
    let origin = |key: &str| {
        config
            .effective()
            .iter()
            .find(|e| e.key == key)
            .unwrap()
            .origin
            .clone()
    };
    assert_eq!(origin("server.port"), "env SB_PORT");
    assert_eq!(origin("auth.access_token_ttl"), ".env ACCESS_TOKEN_TTL");
    assert_eq!(origin("server.host"), "sb.toml");
    assert_eq!(origin("jwt.alg"), "default");
}

#[test]
fn unknown_keys_name_the_nearest_valid_one() {
    let error = load(
        "[auth]\nacess_token_ttl = 5\n[databse]\nx = 1\n[rest]\ndb-max-row = 5",
        &[],
    )
    .unwrap_err();
    assert_eq!(
        error.problems,
        [
            "sb.toml: unknown key auth.acess_token_ttl; did you mean access_token_ttl?",
            "sb.toml: unknown section [databse]",
            "sb.toml: unknown key rest.db-max-row; did you mean db-max-rows?",
        ]
    );
}

#[test]
fn wrong_types_say_what_is_expected_and_all_at_once() {
    let error = load(
        "[server]\nport = \"x\"\nhost = \"nowhere\"",
        &[("JWT_ALG", "HS256")],
    )
    .unwrap_err();
    assert_eq!(
        error.problems,
        [
            "server.host (sb.toml) must be an IP address such as 127.0.0.1 or 0.0.0.0",
            "server.port (sb.toml) must be a whole number from 0 to 65535",
            "jwt.alg (env JWT_ALG) must be one of RS256, ES256",
        ]
    );
}

#[test]
fn every_postgrest_setting_passes_through() {
    let config = load(
        "[rest]\ndb-max-rows = 1000\ndb_plan_enabled = true\ndb-schemas = [\"public\", \"personal\"]",
        &[("PGRST_DB_TX_END", "commit-allow-override")],
    )
    .unwrap();
    let pairs: Vec<_> = config
        .postgrest
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    assert_eq!(
        pairs,
        [
            ("db-max-rows", "1000"),
            ("db-plan-enabled", "true"),
            ("db-schemas", "public,personal"),
            ("db-tx-end", "commit-allow-override"),
        ]
    );
    assert_eq!(config.exposed_schemas(), ["public", "personal"]);
}

#[test]
fn secrets_are_never_printed() {
    let config = load(
        "",
        &[
            ("DATABASE_URL", "postgres://a:hunter2@h/d"),
            ("SB_MASTER_KEY", &"k".repeat(32)),
        ],
    )
    .unwrap();
    let text = format!(
        "{config:?} {:?}",
        config
            .effective()
            .iter()
            .map(|e| (&e.key, &e.value))
            .collect::<Vec<_>>()
    );
    assert!(text.contains("********"));
    assert_eq!(
        serde_json::to_string(config.effective())
            .unwrap()
            .matches("hunter2")
            .count(),
        0
    );
}

#[test]
fn a_reload_names_what_needs_a_restart() {
    let before = load("[server]\nport = 1\n[auth]\naccess_token_ttl = 5", &[]).unwrap();
    let after = load("[server]\nport = 2\n[auth]\naccess_token_ttl = 6", &[]).unwrap();
    assert_eq!(before.restart_needed(&after), ["server.port"]);
    let taken = before.with_live_of(&after);
    assert_eq!((taken.server.port, taken.auth.access_token_ttl), (1, 6));
    assert_eq!(taken.restart_needed(&after), ["server.port"], "still");
}

#[test]
fn a_hook_is_a_table_within_its_section() {
    let config = load(
        "[auth]\naccess_token_ttl = 5\n[auth.hook.custom_access_token]\nuri = \"pg-functions://postgres/public/claims\"",
        &[("AUTH_HOOK_SEND_SMS_URI", "pg-functions://postgres/public/sms")],
    )
    .unwrap();
    assert_eq!(config.auth.access_token_ttl, 5);
    assert!(config.auth_hooks.custom_access_token.is_set());
    assert!(config.auth_hooks.send_sms.target().is_some());
    assert!(!config.auth_hooks.send_email.is_set());
    let error = load("[auth.hook.custom_acces_token]\nuri = \"x\"", &[]).unwrap_err();
    assert_eq!(
        error.problems,
        [
            "sb.toml: unknown section [auth.hook.custom_acces_token]; did you mean [auth.hook.custom_access_token]?"
        ]
    );
    let error = load("[auth.hook.send_sms]\nurl = \"x\"", &[]).unwrap_err();
    assert_eq!(
        error.problems,
        ["sb.toml: unknown key auth.hook.send_sms.url; did you mean uri?"]
    );
}
