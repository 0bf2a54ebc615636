//! All settings in one value: `sb.toml`, `.env`, the environment and flags, in rising order.
//!
//! The library never reads the environment by itself: the command line (or an embedding program) gathers
//! [`Sources`] and calls [`Config::load`], which is a pure function. Unknown keys are errors that name the
//! nearest valid one. [`Handle`] is what running parts hold: it follows a reload.

mod auth_hooks;
mod check;
pub mod cron;
pub mod external;
mod postgrest;
mod secret;
pub mod section;
mod sections;
mod sources;
pub mod value;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};

pub use auth_hooks::{AuthHooks, HookTarget, SigningKey};
pub use secret::Secret;
use section::{Effective, Field, Origin};
pub use sections::{
    Algorithm, Auth, CaptchaProvider, CronBackend, Database, DefaultGrants, InstantRevocation,
    Jobs, Jwt, Linking, Log, LogFormat, Mail, MailBackend, Outbound, Rest, Security, Server, Stack,
    VerifyGet,
};
pub(crate) use sources::nearest;

/// Every effective setting.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The project folder; relative paths start here.
    pub project_dir: PathBuf,
    /// `[server]`
    pub server: Server,
    /// `[security]`
    pub security: Security,
    /// `[db]`
    pub db: Database,
    /// `[jwt]`
    pub jwt: Jwt,
    /// `[auth]`
    pub auth: Auth,
    /// `[auth.external.NAME]`
    pub external: Vec<external::External>,
    /// `[auth.hook.NAME]`
    pub auth_hooks: AuthHooks,
    /// `[jobs]`
    pub jobs: Jobs,
    /// `[mail]`
    pub mail: Mail,
    /// `[outbound]`
    pub outbound: Outbound,
    /// `[cron.NAME]`; `None` without an `sb.toml`.
    pub cron: Option<Vec<cron::Cron>>,
    /// `[rest]`
    pub rest: Rest,
    /// PostgREST's own settings from `[rest]` and `PGRST_…`, by PostgREST's name.
    pub postgrest: BTreeMap<String, String>,
    /// `[stack]`
    pub stack: Stack,
    /// `[log]`
    pub log: Log,
    /// `sb dev` runs: what people need to see of mails may be shown. No setting.
    pub development: bool,
    effective: Vec<Effective>,
}

/// What [`Config::load`] reads, gathered by the caller.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The project folder.
    pub project_dir: PathBuf,
    /// Text of `sb.toml`.
    pub toml: Option<String>,
    /// Text of `.env`.
    pub dotenv: Option<String>,
    /// The process environment.
    pub env: Vec<(String, String)>,
    /// `section.key` and value, from flags.
    pub flags: Vec<(String, String)>,
}

/// Why settings were refused: every problem at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .problems.join("\n"))]
pub struct ConfigError {
    /// One line per problem.
    pub problems: Vec<String>,
}

impl Config {
    /// The settings of all sections, in the order of the documentation.
    pub fn fields() -> impl Iterator<Item = &'static Field> {
        [
            Server::FIELDS,
            Security::FIELDS,
            Database::FIELDS,
            Jwt::FIELDS,
            Auth::FIELDS,
            Jobs::FIELDS,
            Mail::FIELDS,
            Outbound::FIELDS,
            Rest::FIELDS,
            Stack::FIELDS,
            Log::FIELDS,
        ]
        .into_iter()
        .flatten()
        .chain(AuthHooks::fields())
    }

    /// Layers `sources` (defaults < `sb.toml` < `.env` < environment < flags) and checks every value.
    pub fn load(sources: Sources) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let (layers, postgrest, cron, raw_external) = sources::layers(&sources, &mut problems);
        let mut effective = Vec::new();
        let external = external::load(&raw_external, &mut effective, &mut problems);
        let config = Self {
            project_dir: sources.project_dir,
            server: Server::load(&layers, &mut effective, &mut problems),
            security: Security::load(&layers, &mut effective, &mut problems),
            db: Database::load(&layers, &mut effective, &mut problems),
            jwt: Jwt::load(&layers, &mut effective, &mut problems),
            auth: Auth::load(&layers, &mut effective, &mut problems),
            external,
            auth_hooks: AuthHooks::load(&layers, &mut effective, &mut problems),
            jobs: Jobs::load(&layers, &mut effective, &mut problems),
            mail: Mail::load(&layers, &mut effective, &mut problems),
            outbound: Outbound::load(&layers, &mut effective, &mut problems),
            cron,
            rest: Rest::load(&layers, &mut effective, &mut problems),
            postgrest: postgrest
                .iter()
                .map(|(name, (value, _))| (name.clone(), value.clone()))
                .collect(),
            stack: Stack::load(&layers, &mut effective, &mut problems),
            log: Log::load(&layers, &mut effective, &mut problems),
            development: false,
            effective,
        };
        let config = config
            .with_postgrest_effective(&postgrest)
            .with_cron_effective();
        config.check(&mut problems);
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError { problems })
        }
    }

    /// Every effective setting with its origin, secrets masked.
    pub fn effective(&self) -> &[Effective] {
        &self.effective
    }

    /// Whether nobody set `key` (`section.key`).
    pub fn is_default(&self, key: &str) -> bool {
        self.effective
            .iter()
            .any(|e| e.key == key && e.origin == Origin::Default.to_string())
    }

    /// `.sb/` in the project folder, or `stack.state_dir`: the development cluster, its keys, the process' records.
    pub fn state_dir(&self) -> PathBuf {
        self.project_dir.join(&self.stack.state_dir)
    }

    /// The address clients reach `sb` under, without a trailing slash.
    pub fn api_url(&self) -> String {
        self.server.api_url.as_ref().map_or_else(
            || {
                format!(
                    "http://{}",
                    std::net::SocketAddr::new(self.server.host, self.server.port)
                )
            },
            |url| url.trim_end_matches('/').to_owned(),
        )
    }

    /// The `iss` of access tokens.
    pub fn issuer(&self) -> String {
        self.jwt
            .issuer
            .clone()
            .unwrap_or_else(|| format!("{}/auth/v1", self.api_url()))
    }

    /// Schemas PostgREST serves, the default one first.
    pub fn exposed_schemas(&self) -> Vec<String> {
        let text = self
            .postgrest
            .get("db-schemas")
            .map_or("public", String::as_str);
        text.split(',')
            .map(|schema| schema.trim().to_owned())
            .filter(|schema| !schema.is_empty())
            .collect()
    }

    /// Settings whose change from `self` to `next` needs a restart.
    pub fn restart_needed(&self, next: &Self) -> Vec<String> {
        let changed = |e: &&Effective| {
            !e.live
                && next
                    .effective
                    .iter()
                    .all(|n| n.key != e.key || n.exact != e.exact)
        };
        self.effective
            .iter()
            .filter(changed)
            .map(|e| e.key.clone())
            .collect()
    }

    /// These settings with what of `next` takes effect without a restart. The rest stays as it is, because parts that
    /// were told of it at their start would disagree with those that look it up.
    pub fn with_live_of(&self, next: &Self) -> Self {
        Self {
            server: self.server.with_live_of(&next.server),
            security: self.security.with_live_of(&next.security),
            db: self.db.with_live_of(&next.db),
            jwt: self.jwt.with_live_of(&next.jwt),
            auth: self.auth.with_live_of(&next.auth),
            external: next.external.clone(),
            auth_hooks: self.auth_hooks.with_live_of(&next.auth_hooks),
            jobs: self.jobs.with_live_of(&next.jobs),
            mail: self.mail.with_live_of(&next.mail),
            outbound: self.outbound.with_live_of(&next.outbound),
            rest: self.rest.with_live_of(&next.rest),
            stack: self.stack.with_live_of(&next.stack),
            log: self.log.with_live_of(&next.log),
            ..self.clone()
        }
    }

    fn with_postgrest_effective(mut self, postgrest: &postgrest::Settings) -> Self {
        self.effective
            .extend(postgrest.iter().map(|(name, (value, origin))| Effective {
                key: format!("rest.{name}"),
                value: if postgrest::is_secret(name) {
                    "********".to_owned()
                } else {
                    value.clone()
                },
                origin: origin.to_string(),
                exact: section::fingerprint(value),
                live: false,
            }));
        self
    }

    fn with_cron_effective(mut self) -> Self {
        for entry in self.cron.iter().flatten() {
            self.effective.push(Effective {
                key: format!("cron.{}", entry.name),
                value: format!("{} {}", entry.schedule, entry.job),
                origin: Origin::File.to_string(),
                exact: section::fingerprint(&format!("{entry:?}")),
                live: false,
            });
        }
        self
    }
}

/// The current settings, shared by the running parts and replaced whole by a reload.
#[derive(Debug, Clone, Default)]
pub struct Handle(Arc<RwLock<Arc<Config>>>);

impl Handle {
    /// Wraps `config`.
    pub fn new(config: Config) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(config))))
    }

    /// The settings as they are now.
    pub fn current(&self) -> Arc<Config> {
        Arc::clone(
            &self
                .0
                .read()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }

    /// Replaces them; running parts see it at their next look.
    pub fn replace(&self, config: Config) {
        *self
            .0
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(config);
    }
}

#[cfg(test)]
mod tests;
