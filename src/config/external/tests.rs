//! Providers from `sb.toml`, the environment and flags.

use super::*;
use crate::config::tests::load;

fn problem(toml: &str, env: &[(&str, &str)]) -> String {
    load(toml, env).unwrap_err().problems.join("; ")
}

#[test]
fn a_provider_is_a_table_and_variables_fill_it_in() {
    let toml = "[auth]\ndisable_signup = true\n[auth.external.my-idp]\nclient_id = [\"web\", \"ios\"]\nissuer = \"https://id.example.com/\"";
    let env = [
        ("SB_AUTH_EXTERNAL_MY_IDP_SECRET", "s3cret"),
        (
            "SB_AUTH_EXTERNAL_APPLE_CLIENT_ID",
            "com.example.web,com.example.app",
        ),
        ("SB_AUTH_EXTERNAL_APPLE_ENABLED", "false"),
    ];
    let config = load(toml, &env).unwrap();
    assert!(config.auth.disable_signup);
    let [apple, mine] = config.external.as_slice() else {
        panic!("two providers: {:?}", config.external);
    };
    assert_eq!((mine.name.as_str(), mine.enabled), ("my-idp", true));
    assert_eq!(mine.client_ids, ["web", "ios"]);
    assert_eq!(mine.secret, Some(Secret::new("s3cret")));
    assert_eq!(mine.url.as_deref(), Some("https://id.example.com"));
    assert_eq!(apple.client_ids, ["com.example.web", "com.example.app"]);
    assert!(!apple.enabled);
}

#[test]
fn a_secret_is_never_printed() {
    let toml = "[auth.external.google]\nclient_id = \"id\"\nsecret = \"s3cret\"";
    let config = load(toml, &[]).unwrap();
    let shown = format!("{:?}", config.effective());
    assert!(shown.contains("auth.external.google.client_id"), "{shown}");
    assert!(!format!("{config:?}").contains("s3cret"));
    let problem = problem(
        "[auth.external.acme]\nclient_id = \"id\"\nsecret = \"s3cret\"",
        &[],
    );
    assert!(!problem.contains("s3cret") && problem.contains("url"));
}

#[test]
fn the_variables_of_other_systems_count_as_a_pair() {
    let id = ("GOOGLE_CLIENT_ID", "id");
    let pair = [id, ("GOOGLE_CLIENT_SECRET", "secret")];
    assert!(load("", &pair).unwrap().external[0].enabled);
    assert!(load("", &[id]).unwrap().external.is_empty());
}

#[test]
fn what_cannot_work_is_refused_with_its_name() {
    for (toml, part) in [
        ("[auth.external.acme]\nenabled = true", "no client_id"),
        ("[auth.external.acme]\nclient_id = \"x\"", "has no url"),
        ("[auth.external.gogle]\nclient_id = \"x\"", "google"),
        ("[auth.external.keycloak]\nclient_id = \"x\"", "has no url"),
        (
            "[auth.external.acme]\nclient_id = \"x\"\nurl = \"http://id.example.com\"",
            "https",
        ),
        (
            "[auth.external.acme]\nclient_id = \"x\"\nurl = \"https://a:b@id.example.com\"",
            "https",
        ),
        (
            "[auth.external.google]\nclientid = \"x\"",
            "unknown key auth.external.google.clientid; did you mean client_id?",
        ),
        ("[auth.external.email]\nclient_id = \"x\"", "name"),
        ("[auth.external.\"A B\"]\nclient_id = \"x\"", "name"),
        ("[auth]\nexternal = 1", "tables"),
        ("[auth.external.google]\nenabled = \"x\"", "true or false"),
    ] {
        let problem = problem(toml, &[]);
        assert!(problem.contains(part), "{toml}: {problem}");
    }
}
