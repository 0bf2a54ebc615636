//! Hashes as they stand in `auth.users`: our own, and those that accounts bring along from elsewhere.
//!
//! What a hash costs to check is written in the hash itself. So its parameters are bounded before any work is done,
//! when it is imported and again when it is read: SQL may have written it.

use argon2::password_hash::PasswordVerifier as _;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params};
use aws_lc_rs::cipher::{
    AES_256, AES_256_KEY_LEN, EncryptingKey, EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::constant_time;
use aws_lc_rs::iv::FixedLength;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::AuthError;

/// Bounds on the parameters of a stored hash: an imported one must not stop the machine.
const MAX_MEMORY_KIB: u32 = 256 * 1024;
const MAX_ITERATIONS: u32 = 10;
const MAX_LANES: u32 = 16;
/// About a second; each further step doubles it.
const MAX_BCRYPT_COST: u32 = 14;
/// Doublings of 128 bytes times `r`, that is 128 MiB with the usual `r` of 8.
const MAX_SCRYPT_LOG_N: u8 = 17;
const MAX_SCRYPT_R: u32 = 16;

/// The column's width.
const MAX_LEN: usize = 255;

/// A hash that can be checked with bounded work.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is nearly always the one"
)]
#[derive(Debug, Clone)]
pub(super) enum StoredHash {
    /// Argon2 in PHC format: what we make.
    Argon2(PasswordHash),
    /// `$2a$`, `$2b$`, `$2y$`: Supabase, `PocketBase` and many others. It reads 72 bytes of a password.
    Bcrypt(String),
    /// `$fbscrypt$`: Firebase's variant of scrypt.
    FirebaseScrypt(Box<FirebaseScrypt>),
}

/// The parts of `$fbscrypt$v=1,n=14,r=8,p=1,ss=<separator>,sk=<key>$<salt>$<hash>`.
#[derive(Debug, Clone)]
pub(super) struct FirebaseScrypt {
    params: scrypt::Params,
    /// The user's salt and the project's separator.
    salt: Vec<u8>,
    signer_key: Vec<u8>,
    hash: Vec<u8>,
}

impl StoredHash {
    /// Reads a hash.
    ///
    /// # Errors
    /// [`AuthError::Invalid`] for unknown formats and for parameters that ask for too much work.
    pub(super) fn parse(text: &str) -> Result<Self, AuthError> {
        const INVALID: AuthError = AuthError::Invalid(
            "password_hash must be an argon2 hash in PHC format, a bcrypt hash or one of Firebase scrypt",
        );
        if text.len() > MAX_LEN {
            return Err(INVALID);
        }
        if text.starts_with("$2") {
            bcrypt_hash(text).ok_or(INVALID)?
        } else if let Some(rest) = text.strip_prefix("$fbscrypt$v=1,") {
            firebase_hash(rest).ok_or(INVALID)?
        } else {
            argon2_hash(text).ok_or(INVALID)?
        }
        .ok_or(AuthError::Invalid(
            "password_hash asks for more work than this server does",
        ))
    }

    /// Whether it is the hash of `password`. This takes a while.
    pub(super) fn matches(&self, argon2: &Argon2<'_>, password: &[u8]) -> bool {
        match self {
            Self::Argon2(hash) => argon2.verify_password(password, hash).is_ok(),
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Self::FirebaseScrypt(hash) => hash.matches(password),
        }
    }

    /// Whether a new hash would be made in another way.
    pub(super) fn is_outdated(&self, params: &Params) -> bool {
        let Self::Argon2(hash) = self else {
            return true;
        };
        let stored = Params::try_from(hash).ok();
        hash.algorithm.as_str() != Algorithm::Argon2id.as_str()
            || stored.is_none_or(|stored| {
                (stored.m_cost(), stored.t_cost(), stored.p_cost())
                    != (params.m_cost(), params.t_cost(), params.p_cost())
            })
    }
}

/// `Some(None)`: it is one, and asks for too much.
type Bounded = Option<Option<StoredHash>>;

fn argon2_hash(text: &str) -> Bounded {
    let hash = PasswordHash::new(text).ok()?;
    Algorithm::new(hash.algorithm.as_str()).ok()?;
    if hash.salt.is_none() || hash.hash.is_none() {
        return None;
    }
    let params = Params::try_from(&hash).ok()?;
    let fits = params.m_cost() <= MAX_MEMORY_KIB
        && params.t_cost() <= MAX_ITERATIONS
        && params.p_cost() <= MAX_LANES;
    Some(fits.then_some(StoredHash::Argon2(hash)))
}

fn bcrypt_hash(text: &str) -> Bounded {
    let parts: bcrypt::HashParts = text.parse().ok()?;
    // The crate takes `$2x$` too, which marks hashes of a faulty implementation.
    let known = ["$2a$", "$2b$", "$2y$"]
        .iter()
        .any(|prefix| text.starts_with(prefix));
    if !known || text.len() != 60 {
        return None;
    }
    let fits = (4..=MAX_BCRYPT_COST).contains(&parts.get_cost());
    Some(fits.then(|| StoredHash::Bcrypt(text.to_owned())))
}

fn firebase_hash(text: &str) -> Bounded {
    let mut parts = text.split('$');
    let (settings, salt, hash) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let (mut log_n, mut r, mut p) = (None, None, None);
    let (mut separator, mut signer_key) = (Vec::new(), None);
    for setting in settings.split(',') {
        match setting.split_once('=')? {
            ("n", number) => log_n = Some(number.parse::<u8>().ok()?),
            ("r", number) => r = Some(number.parse::<u32>().ok()?),
            ("p", number) => p = Some(number.parse::<u32>().ok()?),
            ("ss", text) => separator = STANDARD.decode(text).ok()?,
            ("sk", text) => signer_key = Some(STANDARD.decode(text).ok()?),
            _ => return None,
        }
    }
    let (log_n, r, p) = (log_n?, r?, p?);
    let (mut salt, hash) = (STANDARD.decode(salt).ok()?, STANDARD.decode(hash).ok()?);
    salt.extend(separator);
    let signer_key = signer_key.filter(|key| key.len() >= 16 && key.len() == hash.len())?;
    if log_n == 0 || r == 0 || p == 0 {
        return None;
    }
    if log_n > MAX_SCRYPT_LOG_N || r > MAX_SCRYPT_R || p > 1 {
        return Some(None);
    }
    let params = scrypt::Params::new(log_n, r, p).ok()?;
    Some(Some(StoredHash::FirebaseScrypt(Box::new(FirebaseScrypt {
        params,
        salt,
        signer_key,
        hash,
    }))))
}

impl FirebaseScrypt {
    /// The password makes a key, the key encrypts the project's own key, and the outcome is the hash.
    fn matches(&self, password: &[u8]) -> bool {
        let mut key = [0; AES_256_KEY_LEN];
        if scrypt::scrypt(password, &self.salt, &self.params, &mut key).is_err() {
            return false;
        }
        let mut text = self.signer_key.clone();
        let encrypted = UnboundCipherKey::new(&AES_256, &key)
            .and_then(EncryptingKey::ctr)
            .and_then(|key| {
                let start = EncryptionContext::Iv128(FixedLength::from([0_u8; 16]));
                key.less_safe_encrypt(&mut text, start)
            });
        encrypted.is_ok() && constant_time::verify_slices_are_equal(&text, &self.hash).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Firebase's own documentation.
    const FIREBASE: &str = "$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,sk=jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==$42xEC+ixf3L2lw==$lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ==";

    fn matches(hash: &str, password: &str) -> bool {
        let hash = StoredHash::parse(hash).unwrap();
        hash.matches(&Argon2::default(), password.as_bytes())
    }

    #[test]
    fn hashes_of_others_are_checked() {
        let bcrypt = bcrypt::hash("user1password", 4).unwrap();
        for hash in [FIREBASE, &bcrypt, &bcrypt.replace("$2b$", "$2a$")] {
            assert!(matches(hash, "user1password"), "{hash}");
            assert!(!matches(hash, "user2password"), "{hash}");
        }
    }

    #[test]
    fn what_asks_for_too_much_work_is_refused() {
        let bcrypt = "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
        let tail = "$c29tZXNhbHRzb21lc2FsdA$c29tZWhhc2hzb21laGFzaHNvbWVoYXNoc29tZWhhc2g";
        let argon2 = |head: &str| format!("{head}{tail}");
        for (hash, ok) in [
            (argon2("$argon2id$v=19$m=19456,t=2,p=1"), true),
            (argon2("$argon2i$v=19$m=4096,t=3,p=1"), true),
            (argon2("$argon2id$v=19$m=4194304,t=2,p=1"), false),
            (argon2("$argon2id$v=19$m=65536,t=1000,p=1"), false),
            (argon2("$argon2id$v=19$m=65536,t=1,p=255"), false),
            (argon2("$scrypt$ln=15,r=8,p=1"), false),
            ("$argon2id$v=19$m=4096,t=3,p=1".to_owned(), false),
            (bcrypt.to_owned(), true),
            (bcrypt.replace("$10$", "$31$"), false),
            (bcrypt.replace("$2a$", "$2x$"), false),
            (bcrypt[..59].to_owned(), false),
            (FIREBASE.to_owned(), true),
            (FIREBASE.replace("n=14", "n=30"), false),
            (FIREBASE.replace("n=14", "n=0"), false),
            (FIREBASE.replace("r=8", "r=4096"), false),
            (FIREBASE.replace("p=1", "p=64"), false),
            (FIREBASE.replace("v=1,", "v=2,"), false),
            (FIREBASE.replace("Bw==", "!"), false),
            (format!("{FIREBASE}$"), false),
            (String::new(), false),
            ("a".repeat(300), false),
        ] {
            assert_eq!(StoredHash::parse(&hash).is_ok(), ok, "{hash}");
        }
    }

    #[test]
    fn only_what_would_be_made_today_is_up_to_date() {
        let params = Params::new(64, 1, 1, None).unwrap();
        let tail = "$c29tZXNhbHRzb21lc2FsdA$c29tZWhhc2hzb21laGFzaHNvbWVoYXNoc29tZWhhc2g";
        for (hash, outdated) in [
            (format!("$argon2id$v=19$m=64,t=1,p=1{tail}"), false),
            (format!("$argon2id$v=19$m=64,t=2,p=1{tail}"), true),
            (format!("$argon2i$v=19$m=64,t=1,p=1{tail}"), true),
            (FIREBASE.to_owned(), true),
        ] {
            let hash = StoredHash::parse(&hash).unwrap();
            assert_eq!(hash.is_outdated(&params), outdated);
        }
    }
}
