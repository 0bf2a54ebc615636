//! From settings to handles: which role connects how, and what each feature is given.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Context, StartError};
use crate::auth::{self, AuditKey, Auth, TokenIssuer};
use crate::config::{Config, Secret};
use crate::db::migrate::framework::RolePasswords;
use crate::db::{Connection, Db, DbOptions, Target};
use crate::http::Outbound;
use crate::jobs::cron::CronOptions;
use crate::jobs::{Schedule, WorkerOptions, retention};
use crate::keys::{self, Keys, MasterKey};
use crate::net::Network;
use crate::rest::{self, Exchange, KeyExchange, Purpose, Rest};

/// The master key: `jwt.master_key`, else the one in `.sb/master.key`, which is made when there is none.
pub(crate) fn master_key(config: &Config) -> Result<MasterKey, StartError> {
    Ok(match &config.jwt.master_key {
        Some(secret) => MasterKey::from_secret(secret)?,
        None => MasterKey::load_or_create(&config.state_dir().join("master.key"))?,
    })
}

/// The owner's target.
pub(crate) fn owner(config: &Config) -> Result<Target, StartError> {
    let url = config.db.url.as_ref().ok_or(StartError::NoDatabase)?;
    Ok(Target::parse(url.expose())?)
}

/// How PostgREST connects, and with which password.
pub(crate) async fn authenticator(config: &Config) -> Result<(Target, Secret), StartError> {
    let owner = owner(config)?;
    let connection = Connection::open(&owner).await?;
    let passwords = role_passwords(&connection, config, &master_key(config)?).await?;
    let password = passwords.authenticator;
    Ok((
        owner.with_user("authenticator", password.expose()),
        password,
    ))
}

/// Writes the password of authenticator into a file as libpq reads it.
pub(super) async fn write_passfile(
    db: &Db,
    master: &MasterKey,
    path: &Path,
) -> Result<(), StartError> {
    let connection = db.owner().await?;
    let password = keys::role_passwords::current(&connection, master, "authenticator").await?;
    passfile(path, &password)
}

/// The same with a password that is known. The file appears whole, and only its owner can read it.
pub(crate) fn passfile(path: &Path, password: &Secret) -> Result<(), StartError> {
    let escaped = password.expose().replace('\\', "\\\\").replace(':', "\\:");
    let folder = path.parent().unwrap_or(Path::new("."));
    let written = tempfile::NamedTempFile::new_in(folder).and_then(|mut file| {
        writeln!(file, "*:*:*:authenticator:{escaped}")?;
        file.persist(path)?;
        Ok(())
    });
    written.map_err(|error| {
        let message = format!("{}: {error}", path.display());
        keys::KeysError::File(message).into()
    })
}

/// The passwords of `sb`'s login roles that are in force. That of authenticator is `db.authenticator_password`, else
/// derived, so that all nodes agree.
pub(super) async fn role_passwords(
    connection: &Connection,
    config: &Config,
    master: &MasterKey,
) -> Result<RolePasswords, StartError> {
    let current = async |role| keys::role_passwords::current(connection, master, role).await;
    let authenticator = match &config.db.authenticator_password {
        Some(password) => password.clone(),
        None => current("authenticator").await?,
    };
    Ok(RolePasswords {
        authenticator,
        auth: current("sb_auth").await?,
        jobs: current("sb_jobs").await?,
        hooks: current("sb_hooks").await?,
    })
}

pub(super) async fn db(config: &Config, master: &MasterKey) -> Result<Db, StartError> {
    let owner = owner(config)?;
    let passwords = {
        let connection = Connection::open(&owner).await?;
        role_passwords(&connection, config, master).await?
    };
    let target = |role, password: &Secret| {
        let ask = keys::role_passwords::ask(owner.clone(), master.clone(), role);
        owner.with_user(role, password.expose()).with_renewal(ask)
    };
    // One that was configured is not ours to change.
    let authenticator = match &config.db.authenticator_password {
        Some(password) => owner.with_user("authenticator", password.expose()),
        None => target("authenticator", &passwords.authenticator),
    };
    Ok(Db::new(DbOptions {
        authenticator,
        auth: target("sb_auth", &passwords.auth),
        jobs: target("sb_jobs", &passwords.jobs),
        hooks: target("sb_hooks", &passwords.hooks),
        // A job holds one while its SQL runs.
        jobs_pool_max_size: config.jobs.concurrency.clamp(2, 200),
        owner,
        pool_max_size: config.db.pool_max_size,
        pool_timeout: Duration::from_millis(config.db.pool_timeout_ms),
        statement_timeout: Duration::from_millis(config.db.statement_timeout_ms),
        allowed_roles: config.db.allowed_roles.clone(),
    }))
}

pub(super) fn auth(
    context: &Context,
    keys: &Keys,
    master: &MasterKey,
    extensions: auth::Extensions,
) -> Result<Auth, StartError> {
    let (signer, verifier, publisher) = (keys.clone(), keys.clone(), keys.clone());
    let issuer = TokenIssuer {
        sign: Arc::new(move |claims| signer.sign(claims).map_err(|error| error.to_string())),
        verify: Arc::new(move |token| verifier.verify_for_anybody(token).ok()),
        jwks: Arc::new(move || publisher.jwks()),
    };
    let secret = master.derive("sb/refresh-token");
    let (db, clock, config) = (
        context.db.clone(),
        context.clock.clone(),
        context.config.clone(),
    );
    Ok(Auth::new(
        db,
        issuer,
        clock,
        config,
        &secret,
        keys.secrets().clone(),
        context.mail.clone(),
        context.outbound.clone(),
        extensions,
        &context.metrics,
    )?)
}

/// What the audit log is sealed with.
pub(crate) fn audit_key(master: &MasterKey) -> AuditKey {
    AuditKey::new(&master.derive("sb/audit-log"))
}

/// The one client for addresses that somebody chose.
pub(super) fn outbound(config: &Config) -> Outbound {
    let networks = config.outbound.allow.iter();
    Outbound::new(networks.filter_map(|text| Network::parse(text)).collect())
}

/// How this process works on jobs.
pub(super) fn worker(config: &Config) -> WorkerOptions {
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    WorkerOptions {
        name: format!("{host}:{}", std::process::id()),
        queues: config.jobs.queues.clone(),
        concurrency: config.jobs.concurrency,
        poll_interval: Duration::from_secs_f64(config.jobs.poll_interval_s),
        heartbeat: Duration::from_secs_f64(config.jobs.heartbeat_s),
        drain_timeout: Duration::from_secs(config.jobs.drain_timeout_s),
        timeout: Duration::from_secs(config.jobs.timeout_s),
        history_days: config.jobs.history_days,
        dead_days: config.jobs.dead_days,
    }
}

/// How this process fires schedules: those of the program, unless `sb.toml` has one of the same name, and its own.
pub(super) fn cron(config: &Config, authors: &[Schedule]) -> CronOptions {
    let entries = config.cron.clone();
    let ours = Some(retention::schedule())
        .filter(|ours| authors.iter().all(|theirs| theirs.name() != ours.name()));
    let replaced = |name: &str| entries.iter().flatten().any(|entry| entry.name == name);
    let app = ours.iter().chain(authors).filter(|it| !replaced(it.name()));
    CronOptions {
        backend: config.jobs.cron_backend,
        poll_interval: Duration::from_secs_f64(config.jobs.cron_poll_interval_s),
        app: app.cloned().collect(),
        config: entries.map(|entries| entries.into_iter().map(Schedule::from).collect()),
    }
}

pub(super) fn rest(context: &Context, keys: &Keys) -> Result<Rest, StartError> {
    let url = context.config.current().rest.url.clone();
    let target = url.map(|url| rest::Target::parse(&url)).transpose()?;
    let keys = keys.clone();
    let exchange: KeyExchange =
        Arc::new(move |credential, purpose| exchange(&keys, credential, purpose));
    Ok(Rest::new(
        &context.config,
        &context.metrics,
        exchange,
        target,
    ))
}

/// What PostgREST gets to see: it knows nothing of opaque keys and of a legacy secret.
fn exchange(keys: &Keys, credential: &str, purpose: Purpose) -> Exchange {
    if keys::is_opaque(credential) {
        let token = keys
            .api_key_role(credential)
            .map(|role| keys.role_token(&role));
        return match token {
            Some(Ok(token)) => Exchange::Token(token),
            _ => Exchange::Refused,
        };
    }
    if purpose == Purpose::Key {
        return match keys.verify(credential) {
            Ok(_) => Exchange::Keep,
            Err(_) => Exchange::Refused,
        };
    }
    match keys.sign_legacy_anew(credential) {
        None => Exchange::Keep,
        Some(Ok(token)) => Exchange::Token(token.into()),
        Some(Err(_)) => Exchange::Refused,
    }
}
