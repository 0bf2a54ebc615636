//! Passwords: hashing and checking.
//!
//! Hashing takes tens of milliseconds of a core and megabytes of memory, so it never runs on the threads that serve
//! requests: a fixed number of hashes run at once, a fixed number wait, and the rest is told to come back. Those that run
//! do so at a lower priority: whatever else is asked meanwhile has the core first.

use std::sync::{Arc, LazyLock};

use argon2::password_hash::phc::{Ident, Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, Version};
use prometheus_client::metrics::counter::Counter;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use super::stored_hash::StoredHash;
use super::{AuthError, password_rules};
use crate::clock::random_bytes;
use crate::config;
use crate::telemetry::Metrics;

/// No password is longer, in bytes.
pub(super) const MAX_BYTES: usize = 1024;

/// The priority of hashing, from 0 (that of all else) to 19: 10 is a tenth of a core that others want, too.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// Threads that do nothing but hash, since one may not raise its priority again. They end when there is nothing to do.
static THREADS: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_current_thread()
        .thread_name("sb-password")
        .on_thread_start(give_way)
        .build()
        .expect("a runtime without timers and sockets needs nothing of the system")
});

/// Makes the calling thread yield to those that serve.
fn give_way() {
    // Elsewhere a priority is that of the whole process.
    #[cfg(target_os = "linux")]
    {
        use rustix::{process, thread};
        let thread = Some(thread::gettid());
        let lowered = process::getpriority_process(thread)
            .and_then(|usual| process::setpriority_process(thread, usual.max(NICE)));
        if let Err(error) = lowered {
            tracing::debug!(%error, "passwords are hashed at the usual priority");
        }
    }
}

/// Hashes and checks passwords.
#[derive(Debug)]
pub(super) struct Passwords {
    argon2: Argon2<'static>,
    /// Checked in place of a hash that does not exist, so that every sign-in costs the same.
    dummy: StoredHash,
    /// Running and waiting.
    admitted: Arc<Semaphore>,
    running: Arc<Semaphore>,
    hashes: Counter,
}

impl Passwords {
    /// Reads the cost settings.
    ///
    /// # Errors
    /// [`AuthError::Internal`] when argon2 does not take them.
    pub(super) fn new(config: &config::Auth, metrics: &Metrics) -> Result<Self, AuthError> {
        let params = Params::new(
            config.argon2_memory_kib,
            config.argon2_iterations,
            config.argon2_parallelism,
            None,
        )
        .map_err(|error| AuthError::Internal(format!("auth.argon2_…: {error}")))?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let at_once = match config.argon2_concurrency {
            0 => cores,
            limit => limit,
        };
        let hashes = Counter::default();
        metrics.register(|registry| {
            let help = "Argon2 computations, of new passwords and of checks";
            registry.register("auth_password_hashes", help, hashes.clone());
        });
        Ok(Self {
            dummy: StoredHash::Argon2(dummy(&params)?),
            argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params),
            admitted: Arc::new(Semaphore::new(at_once.saturating_add(config.argon2_queue))),
            running: Arc::new(Semaphore::new(at_once)),
            hashes,
        })
    }

    /// The PHC text of a new hash.
    pub(super) async fn hash(&self, password: &str) -> Result<String, AuthError> {
        let (argon2, password) = (self.argon2.clone(), password.to_owned());
        let salt: [u8; 16] = random_bytes();
        let hashes = self.hashes.clone();
        let work = move || {
            hashes.inc();
            argon2.hash_password_with_salt(password.as_bytes(), &salt)
        };
        self.run(work)
            .await?
            .map(|hash| hash.to_string())
            .map_err(|error| AuthError::Internal(format!("could not hash a password: {error}")))
    }

    /// Whether `password` is the one of `hash`. Without a usable hash the answer is no, after the same work.
    pub(super) async fn verify(
        &self,
        password: &str,
        hash: Option<&str>,
    ) -> Result<bool, AuthError> {
        if password.len() > MAX_BYTES {
            return Ok(false);
        }
        let known = hash.and_then(|text| StoredHash::parse(text).ok());
        let is_known = known.is_some();
        let hash = known.unwrap_or_else(|| self.dummy.clone());
        let (argon2, password) = (self.argon2.clone(), password.to_owned());
        let hashes = self.hashes.clone();
        let work = move || {
            hashes.inc();
            hash.matches(&argon2, password.as_bytes())
        };
        let matches = self.run(work).await?;
        Ok(is_known && matches)
    }

    /// Whether a password would be hashed in another way today.
    pub(super) fn is_outdated(&self, hash: &str) -> bool {
        StoredHash::parse(hash).is_ok_and(|hash| hash.is_outdated(self.argon2.params()))
    }

    /// How hard a password is to guess, from 0 to 4, where others know what is `known` of its user.
    pub(super) async fn strength(&self, password: &str, known: &[&str]) -> Result<u32, AuthError> {
        let password = password.to_owned();
        let known: Vec<String> = known.iter().map(|text| (*text).to_owned()).collect();
        self.run(move || password_rules::measure(&password, &known))
            .await
    }

    /// Runs `work` on one of [`THREADS`]. The permits go with it: a client that leaves does not free a place before the
    /// work has ended.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AuthError> {
        let admission = Arc::clone(&self.admitted)
            .try_acquire_owned()
            .map_err(|_| AuthError::PasswordQueueFull)?;
        let turn = Arc::clone(&self.running)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        let permits = (admission, turn);
        let task = THREADS.spawn_blocking(move || {
            let result = work();
            drop(permits);
            result
        });
        task.await
            .map_err(|error| AuthError::Internal(format!("password work failed: {error}")))
    }
}

/// Checks a hash that an admin brings along.
///
/// # Errors
/// [`AuthError::Invalid`] for anything but a known format with affordable parameters.
pub(super) fn check_imported(hash: &str) -> Result<(), AuthError> {
    StoredHash::parse(hash).map(drop)
}

/// A well-formed hash that no password has: its output is random.
fn dummy(params: &Params) -> Result<PasswordHash, AuthError> {
    let bad = |error: &dyn std::fmt::Display| AuthError::Internal(format!("argon2: {error}"));
    Ok(PasswordHash {
        algorithm: Ident::new("argon2id").map_err(|error| bad(&error))?,
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(params).map_err(|error| bad(&error))?,
        salt: Some(Salt::new(&random_bytes::<16>()).map_err(|error| bad(&error))?),
        hash: Some(Output::new(&random_bytes::<32>()).map_err(|error| bad(&error))?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> config::Auth {
        config::Auth {
            argon2_memory_kib: 64,
            argon2_iterations: 1,
            argon2_concurrency: 1,
            argon2_queue: 1,
            ..config::Auth::default()
        }
    }

    #[tokio::test]
    async fn unknown_users_cost_one_hash_like_known_ones() {
        let passwords = Passwords::new(&config(), &Metrics::default()).unwrap();
        let hash = passwords.hash("correct horse").await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{hash}");
        for (password, stored, expected) in [
            ("correct horse", Some(hash.as_str()), true),
            ("wrong horse", Some(hash.as_str()), false),
            ("correct horse", None, false),
            (
                "correct horse",
                Some("$2a$10$abcdefghijklmnopqrstuv"),
                false,
            ),
        ] {
            let before = passwords.hashes.get();
            assert_eq!(passwords.verify(password, stored).await.unwrap(), expected);
            assert_eq!(passwords.hashes.get(), before + 1);
        }
    }

    /// Attack 44. Fails without `give_way`.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn hashing_comes_after_everything_else() {
        let passwords = Passwords::new(&config(), &Metrics::default()).unwrap();
        let nice = || rustix::process::getpriority_process(Some(rustix::thread::gettid()));
        let usual = nice().unwrap();
        assert_eq!(passwords.run(nice).await.unwrap(), Ok(usual.max(NICE)));
        assert_eq!(
            nice().unwrap(),
            usual,
            "the thread that serves is as before"
        );
    }

    #[tokio::test]
    async fn what_does_not_fit_in_the_queue_is_refused() {
        let passwords = Arc::new(Passwords::new(&config(), &Metrics::default()).unwrap());
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let running = passwords.run(move || wait.recv());
        let waiting = passwords.run(|| ());
        let refused = async {
            tokio::task::yield_now().await;
            passwords.run(|| ()).await
        };
        let refused = async {
            let refused = refused.await;
            release.send(()).unwrap();
            refused
        };
        let (first, second, third) = tokio::join!(running, waiting, refused);
        assert!(first.is_ok() && second.is_ok());
        assert!(
            matches!(third, Err(AuthError::PasswordQueueFull)),
            "{third:?}"
        );
    }
}
