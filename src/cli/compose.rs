//! The project's `docker-compose.yml`: the whole backend in containers.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::error::{CliError, Exit};
use super::project::Project;
use super::state::State;
use crate::clock::random_bytes;
use crate::config::{Config, Secret};

/// An engine that is there answers quickly.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The image of `sb` itself, unless `SB_IMAGE` names another.
const IMAGE: &str = "sb";
/// The profile with the worker.
const WORKER: &str = "worker";
/// Whether `/readyz` asks for one.
const EXPECT_WORKER: &str = "JOBS_EXPECT_WORKER";

/// What `docker compose` is told besides its command.
#[derive(Debug, Clone)]
pub(super) struct Compose {
    dir: PathBuf,
    env_files: Vec<PathBuf>,
    profiles: Vec<&'static str>,
}

impl Compose {
    /// For development: secrets come from `.sb/compose.env`, which is made when there is none.
    pub(super) fn development(project: &Project, config: &Config) -> Result<Self, CliError> {
        let secrets = config.state_dir().join("compose.env");
        if !secrets.exists() {
            super::backend::create_private_dir(&config.state_dir())?;
            write_secrets(&secrets)?;
        }
        let own = project.dir.join(".env");
        // The last file wins; what an author set in .env stands.
        let env_files = std::iter::once(secrets)
            .chain(own.is_file().then_some(own))
            .collect();
        Ok(Self {
            dir: project.dir.clone(),
            env_files,
            profiles: Vec::new(),
        })
    }

    /// For production: everything comes from `.env`.
    pub(super) fn production(project: &Project) -> Result<Self, CliError> {
        let own = project.dir.join(".env");
        if !own.is_file() {
            let message = "there is no .env with the secrets of the deployment";
            let next = "cp .env.example .env && chmod 600 .env   # then fill it in";
            return Err(CliError::new(Exit::Config, message).next(next));
        }
        Ok(Self {
            dir: project.dir.clone(),
            env_files: vec![own],
            profiles: vec!["prod"],
        })
    }

    /// For stopping: whatever runs, in whichever profile.
    pub(super) fn any(project: &Project, config: &Config) -> Self {
        let files = [
            config.state_dir().join("compose.env"),
            project.dir.join(".env"),
        ];
        let env_files = files.into_iter().filter(|file| file.is_file()).collect();
        Self {
            dir: project.dir.clone(),
            env_files,
            profiles: vec!["prod", WORKER],
        }
    }

    /// Also a worker, which `/readyz` then asks for.
    pub(super) fn with_worker(mut self, wanted: bool) -> Self {
        if wanted {
            self.profiles.push(WORKER);
        }
        self
    }

    pub(super) async fn up(&self, timeout: Duration) -> Result<(), CliError> {
        self.run(&[
            "up",
            "-d",
            "--wait",
            "--wait-timeout",
            &timeout.as_secs().to_string(),
        ])
        .await
    }

    pub(super) async fn down(&self) -> Result<(), CliError> {
        self.run(&["down"]).await
    }

    /// Also the volumes, and with them the data.
    pub(super) async fn remove(&self) -> Result<(), CliError> {
        self.run(&["down", "--volumes"]).await
    }

    /// Settings with which this machine reaches the database in the container.
    pub(super) fn config(&self, mut config: Config) -> Result<Config, CliError> {
        let value = |name: &str| {
            let found = self.value(name);
            found.ok_or_else(|| CliError::new(Exit::Config, format!("{name} is not set in .env")))
        };
        let password = percent(&value("POSTGRES_PASSWORD")?);
        let url = format!(
            "postgresql://postgres:{password}@127.0.0.1:{}/postgres",
            config.stack.port
        );
        config.db.url = Some(Secret::new(url));
        config.db.authenticator_password = Some(Secret::new(value("AUTHENTICATOR_PASSWORD")?));
        config.jwt.master_key = Some(Secret::new(value("SB_MASTER_KEY")?));
        Ok(config)
    }

    fn value(&self, name: &str) -> Option<String> {
        let mut texts = self
            .env_files
            .iter()
            .rev()
            .filter_map(|file| std::fs::read_to_string(file).ok());
        texts.find_map(|text| value_of(&text, name))
    }

    async fn run(&self, arguments: &[&str]) -> Result<(), CliError> {
        let mut command = Command::new("docker");
        command
            .arg("compose")
            .arg("--project-directory")
            .arg(&self.dir);
        for file in &self.env_files {
            command.arg("--env-file").arg(file);
        }
        for profile in &self.profiles {
            command.args(["--profile", profile]);
        }
        // What an author set in .env stands.
        if self.profiles.contains(&WORKER) && self.value(EXPECT_WORKER).is_none() {
            command.env(EXPECT_WORKER, "true");
        }
        // Its words go to stderr by themselves; stdout is for our data.
        let status = command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .await?;
        if status.success() {
            return Ok(());
        }
        let message = format!(
            "`docker compose {}` failed ({status}); see above",
            arguments.join(" ")
        );
        Err(CliError::failed(message).next("docker compose logs   # what the containers say"))
    }
}

/// Whether `docker compose` is there and an engine answers it.
pub(super) async fn engine_answers() -> bool {
    let (engine, compose) = tokio::join!(succeeds(&["info"]), succeeds(&["compose", "version"]));
    engine && compose
}

/// Whether the image of `sb` was built here.
pub(super) async fn has_image(project: &Project) -> bool {
    succeeds(&["image", "inspect", project.env("SB_IMAGE").unwrap_or(IMAGE)]).await
}

/// Whether the project has something to give to an engine.
pub(super) fn has_file(project: &Project) -> bool {
    [
        "docker-compose.yml",
        "docker-compose.yaml",
        "compose.yml",
        "compose.yaml",
    ]
    .iter()
    .any(|name| project.dir.join(name).is_file())
}

/// What runs in the containers, as this machine sees it. No process of ours serves it: the pid is 0.
pub(super) fn state(config: &Config, keys: crate::keys::DevKeys) -> State {
    let api_url = config
        .server
        .api_url
        .clone()
        .unwrap_or_else(|| format!("http://localhost:{}", config.server.port));
    State {
        pid: 0,
        started: None,
        db_url: config
            .db
            .url
            .as_ref()
            .map(|url| url.expose().to_owned())
            .unwrap_or_default(),
        rest_url: format!("http://127.0.0.1:{}", config.rest.port),
        jwks_url: format!("{api_url}/.well-known/jwks.json"),
        api_url,
        admin_url: None,
        mail_url: None,
        anon_key: Some(keys.anon_key),
        service_role_key: Some(keys.service_role_key),
        publishable_key: Some(keys.publishable_key),
        secret_key: Some(keys.secret_key),
    }
}

async fn succeeds(arguments: &[&str]) -> bool {
    let mut command = Command::new("docker");
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let run = tokio::time::timeout(ANSWER_WITHIN, command.status()).await;
    run.is_ok_and(|status| status.is_ok_and(|status| status.success()))
}

fn write_secrets(path: &Path) -> Result<(), CliError> {
    let mut file = std::fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    writeln!(
        file,
        "# Secrets of the development containers, made by `sb up`."
    )?;
    for name in [
        "POSTGRES_PASSWORD",
        "AUTHENTICATOR_PASSWORD",
        "SB_MASTER_KEY",
    ] {
        writeln!(file, "{name}={}", hex::encode(random_bytes::<32>()))?;
    }
    Ok(())
}

fn value_of(text: &str, name: &str) -> Option<String> {
    let mut lines = text.lines().rev();
    let value = lines.find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='))?;
    let value = value.trim().trim_matches(['"', '\'']);
    (!value.is_empty()).then(|| value.to_owned())
}

fn percent(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_read_back_as_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("compose.env");
        write_secrets(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(value_of(&text, "SB_MASTER_KEY").unwrap().len(), 64);
        assert_ne!(
            value_of(&text, "POSTGRES_PASSWORD"),
            value_of(&text, "AUTHENTICATOR_PASSWORD")
        );
        assert_eq!(value_of("A=\nA='b c'\n", "A").as_deref(), Some("b c"));
        assert_eq!(value_of("AB=1", "A"), None);
        assert_eq!(percent("p@ss w/"), "p%40ss%20w%2F");
    }
}
