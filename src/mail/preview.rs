//! What a template looks like, before anybody gets it.

use serde_json::{Map, Value, json};

use super::{queries, template};
use crate::config::Config;
use crate::db::DbError;
use crate::jobs::control::Runs;

/// A template, rendered with made-up values.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Preview {
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) html: Option<String>,
    /// The parts that the built-in ones stand in for: where, what is wrong, what to do.
    pub(crate) broken: Vec<String>,
}

/// Why there is nothing to see.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PreviewError {
    /// There is no such template, or it is broken and nothing could stand in for it.
    #[error("{0}")]
    Template(String),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// The names of the built-in templates.
pub(crate) fn names() -> Vec<&'static str> {
    template::names().collect()
}

/// As a user would get it who has `language` in the metadata.
pub(crate) async fn preview(
    on: &impl Runs,
    config: &Config,
    name: &str,
    language: Option<&str>,
) -> Result<Preview, PreviewError> {
    let values = sample(config, language);
    let stored = queries::templates(on, name, &template::languages(&values)).await?;
    let files = template::read_folder(&config.project_dir.join(&config.mail.templates_dir));
    let (rendered, broken) = template::render(name, &values, &stored, &files)
        .map_err(|error| PreviewError::Template(error.to_string()))?;
    Ok(Preview {
        subject: rendered.subject,
        text: rendered.text,
        html: rendered.html,
        broken: broken.iter().map(ToString::to_string).collect(),
    })
}

fn sample(config: &Config, language: Option<&str>) -> Map<String, Value> {
    let (api, site) = (config.api_url(), &config.server.site_url);
    let values = json!({
        "ConfirmationURL": format!("{api}/auth/v1/verify?token=sample&type=sample&redirect_to={site}"),
        "Token": "123456",
        "TokenHash": "sample",
        "SiteURL": site,
        "RedirectTo": site,
        "Email": "ana@example.com",
        "NewEmail": "ana@example.org",
        "OldEmail": "ana@example.com",
        "Phone": "4915112345678",
        "Provider": "github",
        "FactorType": "totp",
        "Data": { "name": "Ana", "language": language },
    });
    match values {
        Value::Object(values) => values,
        _ => Map::new(),
    }
}
