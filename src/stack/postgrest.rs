//! A supervised PostgREST: a private configuration file, two ports, and its own health check as readiness probe.

use std::ffi::OsString;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use super::log_file::LogFile;
use super::options::{PostgrestEndpoint, PostgrestOptions, StackOptions};
use super::process::Launch;
use super::run_as::RunAs;
use super::supervisor::{ChildSpec, Probe, Reports, Supervisor};
use super::{PORT_TRIES, StackError, layout, ports};

const STOP: &[(Signal, Duration)] = &[(Signal::TERM, Duration::from_secs(5))];

/// Starts it on ports that are free.
pub(super) async fn start(
    options: &StackOptions,
    binary: PathBuf,
    wanted: PostgrestOptions,
    reports: Reports,
) -> Result<(Supervisor, PostgrestEndpoint), StackError> {
    let config = layout::places(options).postgrest_config;
    let PostgrestOptions { settings, mut port } = wanted;
    let mut tries = 1;
    loop {
        let endpoint = choose_ports(port, &reports)?;
        write_config(&config, &settings, endpoint)?;
        let spec = ChildSpec {
            name: "postgrest",
            launch: Launch {
                program: binary.clone(),
                args: vec![config.clone().into()],
                env: env(options),
                run_as: RunAs::Same,
                death_signal: Signal::KILL,
            },
            log: LogFile::new(options.log_dir().join("postgrest.log")),
            probe: Probe::Http(SocketAddr::from((Ipv4Addr::LOCALHOST, endpoint.admin_port))),
            start_timeout: options.start_timeout,
            stop: STOP,
            orphans: None,
        };
        match Supervisor::start(spec, reports.clone()).await {
            Ok(supervisor) => return Ok((supervisor, endpoint)),
            Err(error) if tries < PORT_TRIES && ports::was_taken(&error) => {
                tries += 1;
                port = 0;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Its runtime reads paths and settings in the encoding of the locale, and `C` has none but ASCII.
fn env(options: &StackOptions) -> Vec<(OsString, OsString)> {
    let mut env = options.child_env();
    env.push(("LC_ALL".into(), "C.UTF-8".into()));
    env
}

fn choose_ports(port: u16, reports: &Reports) -> Result<PostgrestEndpoint, StackError> {
    let port = ports::choose("postgrest", port, &reports.events)?;
    loop {
        let admin_port = ports::choose("postgrest health check", 0, &reports.events)?;
        if admin_port != port {
            return Ok(PostgrestEndpoint { port, admin_port });
        }
    }
}

/// Readable by its owner only: it holds a database password and keys.
fn write_config(
    path: &Path,
    settings: &[(String, String)],
    endpoint: PostgrestEndpoint,
) -> Result<(), StackError> {
    let text = render(settings, endpoint);
    let directory = path.parent().unwrap_or(Path::new("."));
    // A temporary file has mode 0600 from the start, and a rename is all or nothing.
    tempfile::NamedTempFile::new_in(directory)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.persist(path)?;
            Ok(())
        })
        .map_err(StackError::io("write", path))
}

fn render(settings: &[(String, String)], endpoint: PostgrestEndpoint) -> String {
    let ours = [
        ("server-host", "127.0.0.1".to_owned()),
        ("server-port", endpoint.port.to_string()),
        ("admin-server-port", endpoint.admin_port.to_string()),
    ];
    let theirs = settings
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let theirs = theirs.filter(|(name, _)| ours.iter().all(|(own, _)| own != name));
    let mut text = String::from("# Written by sb before every start.\n");
    for (name, value) in theirs.chain(ours.iter().map(|(name, value)| (*name, value.as_str()))) {
        let value = value
            .replace('\\', r"\\")
            .replace('"', r#"\""#)
            .replace('\n', r"\n");
        text.push_str(name);
        text.push_str(" = \"");
        text.push_str(&value);
        text.push_str("\"\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_and_the_ports_are_ours() {
        let settings = [("jwt-secret", r#"{"keys":[]}"#), ("server-port", "1")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let text = render(
            &settings,
            PostgrestEndpoint {
                port: 2,
                admin_port: 3,
            },
        );
        assert!(
            text.contains("jwt-secret = \"{\\\"keys\\\":[]}\"\n"),
            "{text}"
        );
        assert!(text.contains("server-port = \"2\"\n"), "{text}");
        assert!(!text.contains("\"1\""), "{text}");
    }
}
