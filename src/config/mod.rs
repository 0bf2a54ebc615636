//! All settings in one value: `sb.toml`, `.env`, the environment and flags, in rising order.
//!
//! The library never reads the environment by itself: the command line (or an embedding program) gathers
//! [`Sources`] and calls [`Config::load`], which is a pure function. Unknown keys are errors that name the
//! nearest valid one. [`Handle`] is what running parts hold: it follows a reload.

mod auth_hooks;
pub mod cron;
pub mod external;
mod postgrest;
mod secret;
pub mod section;
mod sections;
pub mod value;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};

pub use auth_hooks::{AuthHooks, HookTarget, SigningKey};
pub use secret::Secret;
use section::{Effective, Field, Layers, Origin, Raw};
pub use sections::{
    Algorithm, Auth, CaptchaProvider, CronBackend, Database, DefaultGrants, InstantRevocation,
    Jobs, Jwt, Linking, Log, LogFormat, Mail, MailBackend, Outbound, Rest, Security, Server, Stack,
    VerifyGet,
};

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
        let (layers, postgrest, cron, raw_external) = layers(&sources, &mut problems);
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

    /// What mailed links and codes depend on.
    fn check_mailed(&self, problems: &mut Vec<String>) {
        if !(6..=10).contains(&self.auth.otp_length) {
            problems.push("auth.otp_length must be from 6 to 10".to_owned());
        }
        let lifetimes = [
            Some(self.auth.otp_ttl),
            self.auth.otp_token_ttl,
            self.auth.recover_token_ttl,
            self.auth.magic_link_token_ttl,
            self.auth.signup_confirm_token_ttl,
            self.auth.email_change_token_ttl,
        ];
        if lifetimes.contains(&Some(0)) {
            problems.push("auth.otp_ttl and auth.…_token_ttl must be at least 1 second".to_owned());
        }
        if url::Url::parse(&self.server.site_url).is_err() {
            problems.push(
                "server.site_url must be an address such as https://app.example.com".to_owned(),
            );
        }
    }

    fn check_auth(&self, problems: &mut Vec<String>) {
        for (name, value) in [
            ("window_seconds", self.auth.rate_limit_window_seconds),
            ("token_per_window", self.auth.rate_limit_token_per_window),
            ("signup_per_window", self.auth.rate_limit_signup_per_window),
            (
                "anonymous_per_hour",
                self.auth.rate_limit_anonymous_per_hour,
            ),
            (
                "refresh_per_window",
                self.auth.rate_limit_refresh_per_window,
            ),
            ("oauth_per_window", self.auth.rate_limit_oauth_per_window),
        ] {
            if value == 0 {
                problems.push(format!(
                    "auth.rate_limit_{name} must be at least 1; auth.rate_limit_enabled = false switches the limits off"
                ));
            }
        }
        self.auth_hooks.check(problems);
        if self.auth.password_min_strength > 4 {
            problems.push("auth.password_min_strength must be from 0 to 4".to_owned());
        }
        if self.auth.captcha_provider.is_some() && self.auth.captcha_secret.is_none() {
            problems.push(
                "auth.captcha_provider needs auth.captcha_secret, which the provider gives"
                    .to_owned(),
            );
        }
        if self.auth.access_token_ttl == 0 || self.auth.refresh_token_ttl == 0 {
            problems.push(
                "auth.access_token_ttl and auth.refresh_token_ttl must be at least 1 second"
                    .to_owned(),
            );
        }
        let role = &self.auth.default_role;
        if role == "service_role" || !self.db.allowed_roles.contains(role) {
            problems.push(
                "auth.default_role must be one of db.allowed_roles and not service_role".to_owned(),
            );
        }
        self.check_mailed(problems);
    }

    fn check(&self, problems: &mut Vec<String>) {
        for (name, url) in [
            ("server.api_url", self.server.api_url.as_deref()),
            ("rest.url", self.rest.url.as_deref()),
            (
                "auth.captcha_verify_url",
                self.auth.captcha_verify_url.as_deref(),
            ),
            (
                "auth.password_hibp_url",
                Some(self.auth.password_hibp_url.as_str())
                    .filter(|_| self.auth.password_hibp_enabled),
            ),
        ] {
            if let Some(text) = url
                && !url::Url::parse(text)
                    .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            {
                problems.push(format!(
                    "{name} must be an http or https address such as https://api.example.com"
                ));
            }
        }
        for (name, networks) in [
            ("server.trusted_proxies", &self.server.trusted_proxies),
            ("outbound.allow", &self.outbound.allow),
        ] {
            for network in networks {
                if crate::net::Network::parse(network).is_none() {
                    problems.push(format!(
                        "{name} holds \"{network}\", which is no address or network such as 10.0.0.0/8"
                    ));
                }
            }
        }
        if self.mail.from.parse::<lettre::message::Mailbox>().is_err() {
            problems.push(
                "mail.from must be an address, or Name <address>, such as App <no-reply@example.com>"
                    .to_owned(),
            );
        }
        if self.mail.smtp_password.is_some() && self.mail.smtp_username.is_none() {
            problems.push("mail.smtp_password needs mail.smtp_username".to_owned());
        }
        self.check_auth(problems);
        if self.jobs.concurrency == 0
            || self.jobs.poll_interval_s < 0.01
            || self.jobs.heartbeat_s < 0.1
            || self.jobs.timeout_s == 0
            || self.jobs.cron_poll_interval_s < 0.01
        {
            problems.push(
                "jobs.concurrency and jobs.timeout_s must be at least 1, jobs.heartbeat_s at least 0.1, \
                 jobs.poll_interval_s and jobs.cron_poll_interval_s at least 0.01"
                    .to_owned(),
            );
        }
        if self.jobs.cron_backend == CronBackend::PgCron {
            let has_seconds =
                |entry: &&cron::Cron| entry.timetable().is_ok_and(|it| it.has_seconds());
            for entry in self.cron.iter().flatten().filter(has_seconds) {
                problems.push(format!(
                    "cron.{} (sb.toml): pg_cron has no seconds: use five fields, or set jobs.cron_backend = \"inproc\"",
                    entry.name
                ));
            }
        }
        if self
            .jwt
            .legacy_secret
            .as_ref()
            .is_some_and(|secret| secret.expose().len() < 32)
        {
            problems.push("jwt.legacy_secret must have at least 32 characters".to_owned());
        }
        if self
            .jwt
            .master_key
            .as_ref()
            .is_some_and(|key| key.expose().len() < 32)
        {
            problems.push(
                "jwt.master_key must have at least 32 characters: `openssl rand -hex 32` makes one"
                    .to_owned(),
            );
        }
    }
}

/// The current settings, shared by the running parts and replaced whole by a reload.
#[derive(Debug, Clone, Default)]
pub struct Handle(Arc<RwLock<Arc<Config>>>);

impl Auth {
    /// Seconds that the longest-lived of the mailed links is good for.
    pub fn longest_link_ttl(&self) -> u64 {
        let all = [
            self.signup_confirm_token_ttl,
            self.magic_link_token_ttl,
            self.recover_token_ttl,
            self.email_change_token_ttl,
            Some(self.otp_ttl),
        ];
        all.into_iter().flatten().max().unwrap_or_default()
    }
}

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

fn layers(
    sources: &Sources,
    problems: &mut Vec<String>,
) -> (
    Layers,
    postgrest::Settings,
    Option<Vec<cron::Cron>>,
    external::RawExternal,
) {
    let mut layers = Layers::new();
    let mut external = external::RawExternal::new();
    let mut cron = None;
    let mut postgrest = postgrest::Settings::new();
    if let Some(text) = &sources.toml {
        let read = (&mut layers, &mut postgrest, &mut external);
        cron = Some(read_toml(text, read, problems));
    }
    let dotenv = sources
        .dotenv
        .as_deref()
        .map(|text| parse_dotenv(text, problems))
        .unwrap_or_default();
    for (name, value) in dotenv {
        let origin = Origin::DotEnv(name.clone());
        external::read_env(&name, &value, &origin, &mut external);
        read_env(&name, value, origin, &mut layers, &mut postgrest);
    }
    for (name, value) in &sources.env {
        let origin = Origin::Env(name.clone());
        external::read_env(name, value, &origin, &mut external);
        read_env(name, value.clone(), origin, &mut layers, &mut postgrest);
    }
    for (path, value) in &sources.flags {
        if !external::read_flag(path, value, &mut external) {
            layers.insert(path.clone(), (Raw::Text(value.clone()), Origin::Flag));
        }
    }
    (layers, postgrest, cron, external)
}

fn read_toml(
    text: &str,
    (layers, postgrest, external): (
        &mut Layers,
        &mut postgrest::Settings,
        &mut external::RawExternal,
    ),
    problems: &mut Vec<String>,
) -> Vec<cron::Cron> {
    let mut schedules = Vec::new();
    let table: toml::Table = match text.parse() {
        Ok(table) => table,
        Err(error) => {
            problems.push(format!(
                "sb.toml is not valid TOML: {}",
                error.to_string().trim_end()
            ));
            return schedules;
        }
    };
    for (section, content) in table {
        if section == "cron" {
            schedules = cron::read(&content, problems);
            continue;
        }
        let read = (&mut *layers, &mut *postgrest, &mut *external);
        read_section(&section, &content, read, problems);
    }
    schedules
}

/// The keys of one section. A section whose name begins with that of another one, such as `auth.hook.send_sms`, is a
/// table within it.
fn read_section(
    section: &str,
    content: &toml::Value,
    (layers, postgrest, external): (
        &mut Layers,
        &mut postgrest::Settings,
        &mut external::RawExternal,
    ),
    problems: &mut Vec<String>,
) {
    let fields: Vec<_> = Config::fields()
        .filter(|field| field.section == section)
        .collect();
    let Some(content) = content
        .as_table()
        .filter(|_| !fields.is_empty() || holds_sections(section))
    else {
        let sections = Config::fields().map(|field| field.section).chain(["cron"]);
        problems.push(format!(
            "sb.toml: unknown section [{section}]{}",
            nearest(section, sections, "[", "]")
        ));
        return;
    };
    for (key, value) in content {
        let inner = format!("{section}.{key}");
        if fields.iter().any(|field| field.key == key) {
            layers.insert(inner, (Raw::Toml(value.clone()), Origin::File));
        } else if inner == "auth.external" {
            external::read_toml(value, external, problems);
        } else if value.is_table() && (holds_sections(&inner) || holds_sections(section)) {
            let read = (&mut *layers, &mut *postgrest, &mut *external);
            read_section(&inner, value, read, problems);
        } else if let Some(name) = postgrest::name(key).filter(|_| section == "rest") {
            match postgrest::text(value) {
                Some(text) => drop(postgrest.insert(name.to_owned(), (text, Origin::File))),
                None => problems.push(format!(
                    "sb.toml: rest.{key} must be a string, number, boolean or list"
                )),
            }
        } else {
            let known = fields.iter().map(|field| field.key);
            let known: Vec<&str> = if section == "rest" {
                known.chain(postgrest::NAMES.iter().copied()).collect()
            } else {
                known.collect()
            };
            problems.push(format!(
                "sb.toml: unknown key {section}.{key}{}",
                nearest(key, known.into_iter(), "", "")
            ));
        }
    }
}

/// Whether there are sections within this one.
fn holds_sections(section: &str) -> bool {
    Config::fields().any(|field| {
        let rest = field.section.strip_prefix(section);
        rest.is_some_and(|rest| rest.starts_with('.'))
    })
}

fn read_env(
    name: &str,
    value: String,
    origin: Origin,
    layers: &mut Layers,
    postgrest: &mut postgrest::Settings,
) {
    if let Some(field) = Config::fields().find(|field| field.env.eq_ignore_ascii_case(name)) {
        layers.insert(field.path(), (Raw::Text(value), origin));
    } else if let Some(rest) = name.strip_prefix("PGRST_") {
        let wanted = rest.to_ascii_lowercase().replace('_', "-");
        if let Some(known) = postgrest::name(&wanted) {
            postgrest.insert(known.to_owned(), (value, origin));
        }
    }
}

/// `KEY=value` lines; `#` comments; single or double quotes around a value; `export` before a name.
fn parse_dotenv(text: &str, problems: &mut Vec<String>) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=') else {
            problems.push(format!(".env line {} is not NAME=value", number + 1));
            continue;
        };
        let value = value.trim();
        let quoted = |quote: char| {
            value
                .strip_prefix(quote)
                .and_then(|rest| rest.split_once(quote))
                .map(|(inner, _)| inner)
        };
        let value = quoted('"').or_else(|| quoted('\'')).unwrap_or_else(|| {
            value
                .split_once(" #")
                .map_or(value, |(before, _)| before.trim_end())
        });
        pairs.push((name.trim().to_owned(), value.to_owned()));
    }
    pairs
}

pub(crate) fn nearest<'a>(
    word: &str,
    known: impl Iterator<Item = &'a str>,
    before: &str,
    after: &str,
) -> String {
    known
        .map(|name| (strsim::jaro_winkler(word, name), name))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(score, _)| *score > 0.7)
        .map(|(_, name)| format!("; did you mean {before}{name}{after}?"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
