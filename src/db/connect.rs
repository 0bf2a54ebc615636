//! Connection strings and TLS.
//!
//! `sslmode` means what it means to libpq: `require` encrypts, `verify-ca` and `verify-full` also check the
//! certificate, against `sslrootcert` or the system's roots.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres_rustls::MakeRustlsConnect;

/// Where and as whom to connect. Debug shows no password.
#[derive(Clone)]
pub struct Target {
    pub(super) config: tokio_postgres::Config,
    pub(super) tls: MakeRustlsConnect,
    verify: bool,
    root_certificate: Option<PathBuf>,
    renewal: Option<Arc<Renewal>>,
}

/// Asks for the password that is in force, when the one at hand was refused.
pub type AskPassword = Arc<dyn Fn() -> BoxFuture<'static, Option<String>> + Send + Sync>;

struct Renewal {
    ask: AskPassword,
    /// The last answer.
    known: Mutex<Option<String>>,
}

pub(super) type Opened = (
    tokio_postgres::Client,
    tokio_postgres::Connection<
        tokio_postgres::Socket,
        <MakeRustlsConnect as MakeTlsConnect<tokio_postgres::Socket>>::Stream,
    >,
);

/// A connection string that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// Not a connection string.
    #[error(
        "DATABASE_URL is not a Postgres connection string such as postgresql://user:password@host:5432/database: {0}"
    )]
    Malformed(String),
    /// The certificate file cannot be used.
    #[error("sslrootcert: {0}")]
    Certificate(String),
}

impl Target {
    /// Reads `postgresql://user:password@host:port/database?sslmode=…&sslrootcert=…`.
    pub fn parse(url: &str) -> Result<Self, ConnectError> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut kept, mut verify, mut root_certificate) = (Vec::new(), false, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("sslmode", "verify-full" | "verify-ca") => {
                    verify = true;
                    kept.push("sslmode=require".to_owned());
                }
                ("sslmode", "allow") => kept.push("sslmode=prefer".to_owned()),
                ("sslrootcert", path) => root_certificate = Some(decode(path)),
                _ => kept.push(pair.to_owned()),
            }
        }
        let text = if kept.is_empty() {
            base.to_owned()
        } else {
            format!("{base}?{}", kept.join("&"))
        };
        let mut config = tokio_postgres::Config::from_str(&text)
            .map_err(|error| ConnectError::Malformed(root_cause(&error)))?;
        if config.get_hosts().is_empty() {
            return Err(ConnectError::Malformed("no host".to_owned()));
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(std::time::Duration::from_secs(10));
        }
        let root_certificate = root_certificate
            .filter(|path| path != "system")
            .map(PathBuf::from);
        let tls = tls(verify, root_certificate.as_ref())?;
        Ok(Self {
            config,
            tls,
            verify,
            root_certificate,
            renewal: None,
        })
    }

    /// Connections that are refused for their password ask for a newer one: it may be changed while we run.
    pub fn with_renewal(mut self, ask: AskPassword) -> Self {
        let known = Mutex::default();
        self.renewal = Some(Arc::new(Renewal { ask, known }));
        self
    }

    /// Connects with `config`, which is this target's but for settings of the session.
    pub(super) async fn open(
        &self,
        config: &tokio_postgres::Config,
    ) -> Result<Opened, tokio_postgres::Error> {
        let Some(renewal) = &self.renewal else {
            return config.connect(self.tls.clone()).await;
        };
        let known = renewal
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut config = config.clone();
        if let Some(password) = known {
            config.password(password);
        }
        let refused = match config.connect(self.tls.clone()).await {
            Err(error) if error.code() == Some(&SqlState::INVALID_PASSWORD) => error,
            result => return result,
        };
        let Some(password) = (renewal.ask)().await else {
            return Err(refused);
        };
        *renewal.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(password.clone());
        config.password(password);
        config.connect(self.tls.clone()).await
    }

    /// The same server and database as another role.
    pub fn with_user(&self, user: &str, password: &str) -> Self {
        let mut target = self.clone();
        target.config.user(user).password(password);
        target.renewal = None;
        target
    }

    /// The same server and role, another database.
    pub fn with_database(&self, database: &str) -> Self {
        let mut target = self.clone();
        target.config.dbname(database);
        target
    }

    /// The database's name.
    pub fn database(&self) -> &str {
        self.config
            .get_dbname()
            .or(self.config.get_user())
            .unwrap_or("postgres")
    }

    /// The role's name.
    pub fn user(&self) -> &str {
        self.config.get_user().unwrap_or("postgres")
    }

    /// Where it leads, as `host:port`; of several hosts all.
    pub fn address(&self) -> String {
        use tokio_postgres::config::Host;
        let ports = self.config.get_ports();
        let port = |index: usize| ports.get(index).or(ports.first()).copied().unwrap_or(5432);
        let hosts = self.config.get_hosts().iter().enumerate();
        let hosts = hosts.map(|(index, host)| match host {
            Host::Tcp(name) => format!("{name}:{}", port(index)),
            #[cfg(unix)]
            Host::Unix(path) => path.display().to_string(),
        });
        hosts.collect::<Vec<_>>().join(",")
    }

    /// Whether it leads to this machine only.
    pub fn is_local(&self) -> bool {
        use tokio_postgres::config::Host;
        self.config.get_hosts().iter().all(|host| match host {
            Host::Tcp(name) => {
                name == "localhost"
                    || name
                        .parse::<std::net::IpAddr>()
                        .is_ok_and(|address| address.is_loopback())
            }
            #[cfg(unix)]
            Host::Unix(_) => true,
        })
    }

    /// As libpq spells it (for PostgREST and command line tools). **It holds the password.**
    pub fn to_libpq(&self) -> String {
        let password = self.config.get_password().map(String::from_utf8_lossy);
        self.spell(password.map(|password| ("password", password.into_owned())))
    }

    /// The same without the password, which libpq reads from a file at each connection.
    pub fn to_libpq_with_passfile(&self, path: &std::path::Path) -> String {
        self.spell(Some(("passfile", path.display().to_string())))
    }

    fn spell(&self, secret: Option<(&'static str, String)>) -> String {
        use tokio_postgres::config::{Host, SslMode};
        let hosts = self.config.get_hosts().iter().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            #[cfg(unix)]
            Host::Unix(path) => path.display().to_string(),
        });
        let ports = self.config.get_ports().iter().map(u16::to_string);
        let mut pairs = vec![
            ("host", hosts.collect::<Vec<_>>().join(",")),
            ("port", ports.collect::<Vec<_>>().join(",")),
            ("user", self.user().to_owned()),
            ("dbname", self.database().to_owned()),
        ];
        pairs.extend(secret);
        let mode = match self.config.get_ssl_mode() {
            SslMode::Disable => "disable",
            SslMode::Require if self.verify => "verify-full",
            SslMode::Require => "require",
            _ => "prefer",
        };
        pairs.push(("sslmode", mode.to_owned()));
        if let Some(path) = &self.root_certificate {
            pairs.push(("sslrootcert", path.display().to_string()));
        }
        let quote = |value: &str| format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"));
        let given = pairs.iter().filter(|(_, value)| !value.is_empty());
        given
            .map(|(key, value)| format!("{key}={}", quote(value)))
            .collect::<Vec<_>>()
            .join(" ")
    }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target")
            .field("hosts", &self.config.get_hosts())
            .field("ports", &self.config.get_ports())
            .field("user", &self.user())
            .field("database", &self.database())
            .finish_non_exhaustive()
    }
}

fn decode(text: &str) -> String {
    url::form_urlencoded::parse(format!("p={}", text.replace('+', "%2B")).as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

fn root_cause(error: &tokio_postgres::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

fn tls(
    verify: bool,
    root_certificate: Option<&PathBuf>,
) -> Result<MakeRustlsConnect, ConnectError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default protocol versions");
    let config = if verify {
        let mut roots = RootCertStore::empty();
        if let Some(path) = root_certificate {
            let bad = |error: &dyn std::fmt::Display| {
                ConnectError::Certificate(format!("{}: {error}", path.display()))
            };
            for certificate in CertificateDer::pem_file_iter(path).map_err(|error| bad(&error))? {
                let certificate = certificate.map_err(|error| bad(&error))?;
                roots.add(certificate).map_err(|error| bad(&error))?;
            }
        } else {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        builder.with_root_certificates(roots).with_no_client_auth()
    } else {
        let verifier = Arc::new(EncryptOnly(provider));
        builder
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth()
    };
    Ok(MakeRustlsConnect::new(config))
}

/// `sslmode=require` and `prefer`: whoever answers is taken, as libpq does; the handshake itself is still checked.
#[derive(Debug)]
struct EncryptOnly(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for EncryptOnly {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_never_shows_its_password() {
        let target =
            Target::parse("postgresql://ana:hunter2@db.example.com:5433/app?sslmode=require")
                .unwrap();
        assert!(!format!("{target:?}").contains("hunter2"));
        assert_eq!((target.user(), target.database()), ("ana", "app"));
        assert_eq!(
            target.with_user("bo", "it's").to_libpq(),
            "host='db.example.com' port='5433' user='bo' dbname='app' password='it\\'s' sslmode='require'"
        );
    }

    #[test]
    fn verification_is_passed_on() {
        let target = Target::parse("postgresql://a@h/d?sslmode=verify-full").unwrap();
        assert!(target.to_libpq().contains("sslmode='verify-full'"));
    }

    #[test]
    fn nonsense_is_refused_without_echoing_it() {
        for text in [
            "",
            "mysql://root:hunter2@h/d",
            "postgresql://u:hunter2@h:port/d",
            "postgresql://h/d?sslmode=perhaps",
        ] {
            let error = Target::parse(text).unwrap_err().to_string();
            assert!(
                error.starts_with("DATABASE_URL is not a Postgres connection string"),
                "{error}"
            );
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
