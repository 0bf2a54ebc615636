//! The master key: seals private keys in the database and derives what all nodes must agree on.

use std::io::Write as _;
use std::path::Path;

use aws_lc_rs::{aead, hkdf};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hex::FromHex as _;

use super::KeysError;
use crate::clock::random_bytes;
use crate::config::Secret;

const MIN_TEXT_LEN: usize = 32;
const SEAL_VERSION: u8 = 1;
const NONCE_LEN: usize = aead::NONCE_LEN;

/// 32 secret bytes that never enter the database. Debug shows nothing of them.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey([u8; 32]);

impl MasterKey {
    /// Reads the key: 64 hexadecimal digits are taken as they are, any other text is condensed.
    ///
    /// # Errors
    /// [`KeysError::MasterKey`] when the text has fewer than 32 characters.
    pub fn from_secret(secret: &Secret) -> Result<Self, KeysError> {
        let text = secret.expose().trim();
        if text.chars().count() < MIN_TEXT_LEN {
            let problem = "it must have at least 32 characters; `openssl rand -hex 32` makes one";
            return Err(KeysError::MasterKey(problem.to_owned()));
        }
        Ok(Self(<[u8; 32]>::from_hex(text).unwrap_or_else(|_| {
            expand(text.as_bytes(), "sb master key")
        })))
    }

    /// A key that was derived from another one for a purpose of its own.
    pub fn from_derived(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads the key from `path`, or makes it there with mode 0600. Of two processes that start at once, both get
    /// the key of the first.
    pub fn load_or_create(path: &Path) -> Result<Self, KeysError> {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                restrict(path)?;
                Self::from_secret(&Secret::new(text))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::create(path),
            Err(error) => Err(KeysError::file(path, &error)),
        }
    }

    fn create(path: &Path) -> Result<Self, KeysError> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let written = create_private_dir(folder).and_then(|()| {
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            writeln!(file, "{}", hex::encode(random_bytes::<32>()))?;
            file.as_file().sync_all()?;
            // The name appears with its whole content, and only if nobody else was first.
            match file.persist_noclobber(path) {
                Err(error) if error.error.kind() != std::io::ErrorKind::AlreadyExists => {
                    Err(error.error)
                }
                _ => std::fs::read_to_string(path),
            }
        });
        let text = written.map_err(|error| KeysError::file(path, &error))?;
        Self::from_secret(&Secret::new(text))
    }

    /// 32 bytes for one purpose; knowing them tells nothing of the key or of other purposes.
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        expand(&self.0, purpose)
    }

    /// A key of its own for one purpose: what it seals, this one and those of other purposes cannot open.
    pub fn child(&self, purpose: &str) -> Self {
        Self(self.derive(purpose))
    }

    /// The password of one of `sb`'s database roles: the same on all nodes.
    pub fn role_password(&self, role: &str) -> Secret {
        let bytes = self.derive(&format!("database role {role}"));
        Secret::new(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The password after it was changed `version` times.
    pub fn changed_role_password(&self, role: &str, version: i32) -> Secret {
        if version == 0 {
            return self.role_password(role);
        }
        let bytes = self.derive(&format!("database role {role} {version}"));
        Secret::new(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Encrypts `plaintext` (AES-256-GCM); `aad` is what it belongs to and must be given again to open it.
    pub fn seal(&self, plaintext: &[u8], aad: &[u8]) -> Vec<u8> {
        let nonce = random_bytes::<NONCE_LEN>();
        let mut body = plaintext.to_vec();
        self.cipher()
            .seal_in_place_append_tag(
                aead::Nonce::assume_unique_for_key(nonce),
                aead::Aad::from(aad),
                &mut body,
            )
            .expect("a key file is far below the cipher's limit");
        [&[SEAL_VERSION], &nonce[..], &body].concat()
    }

    /// Decrypts what [`MasterKey::seal`] made.
    ///
    /// # Errors
    /// [`KeysError::Sealed`] when it was sealed with another key, for something else, or was changed.
    pub fn open(&self, sealed: &[u8], aad: &[u8]) -> Result<Vec<u8>, KeysError> {
        let (nonce, body) = sealed
            .strip_prefix(&[SEAL_VERSION])
            .and_then(|rest| rest.split_first_chunk::<NONCE_LEN>())
            .ok_or(KeysError::Sealed)?;
        let mut body = body.to_vec();
        let nonce = aead::Nonce::assume_unique_for_key(*nonce);
        let plaintext = self
            .cipher()
            .open_in_place(nonce, aead::Aad::from(aad), &mut body)
            .map_err(|_| KeysError::Sealed)?;
        Ok(plaintext.to_vec())
    }

    fn cipher(&self) -> aead::LessSafeKey {
        let key = aead::UnboundKey::new(&aead::AES_256_GCM, &self.derive("seal"))
            .expect("the derived key has the cipher's length");
        aead::LessSafeKey::new(key)
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[master key]")
    }
}

fn expand(secret: &[u8], purpose: &str) -> [u8; 32] {
    let mut out = [0; 32];
    hkdf::Salt::new(hkdf::HKDF_SHA256, b"sb")
        .extract(secret)
        .expand(&[purpose.as_bytes()], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut out))
        .expect("32 bytes are within the limit of HKDF");
    out
}

/// Makes a folder that only its owner can enter, unless it is there: more than keys will be kept in it.
pub(super) fn create_private_dir(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

/// A key that others could read is closed to them rather than refused: the project may come from an archive.
fn restrict(path: &Path) -> Result<(), KeysError> {
    use std::os::unix::fs::PermissionsExt as _;
    let close = || {
        let mode = std::fs::metadata(path)?.permissions().mode();
        if mode & 0o077 != 0 {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        }
        Ok(())
    };
    close().map_err(|error: std::io::Error| KeysError::file(path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> MasterKey {
        MasterKey::from_secret(&Secret::new(text)).unwrap()
    }

    #[test]
    fn what_was_sealed_opens_only_whole_with_its_key_and_purpose() {
        let (one, other) = (key(&"a".repeat(32)), key(&"b".repeat(32)));
        let sealed = one.seal(b"private", b"kid-1");
        assert_eq!(one.open(&sealed, b"kid-1").unwrap(), b"private");
        assert!(matches!(
            other.open(&sealed, b"kid-1"),
            Err(KeysError::Sealed)
        ));
        assert!(matches!(
            one.open(&sealed, b"kid-2"),
            Err(KeysError::Sealed)
        ));
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(one.open(&changed, b"kid-1").is_err(), "byte {index}");
            assert!(
                one.open(&sealed[..index], b"kid-1").is_err(),
                "cut at {index}"
            );
        }
        assert_ne!(sealed, one.seal(b"private", b"kid-1"), "nonces are random");
    }

    #[test]
    fn hex_is_taken_as_it_is_and_short_text_is_refused() {
        let hex = "00".repeat(31) + "ff";
        assert_eq!(key(&hex).0[31], 255);
        assert_eq!(key(&format!("{hex}\n")), key(&hex));
        assert_ne!(key(&"x".repeat(32)), key(&"y".repeat(32)));
        assert!(MasterKey::from_secret(&Secret::new("x".repeat(31))).is_err());
    }

    #[test]
    fn derived_values_differ_by_purpose_and_agree_between_nodes() {
        let text = "correct horse battery staple, twice";
        let (one, same) = (key(text), key(text));
        assert_eq!(one.role_password("sb_auth"), same.role_password("sb_auth"));
        assert_ne!(
            one.role_password("sb_auth"),
            one.role_password("authenticator")
        );
        assert_ne!(one.derive("a"), one.derive("b"));
        assert!(one.role_password("sb_auth").expose().len() >= 43);
    }

    #[test]
    fn a_made_key_is_kept_and_closed_to_others() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state").join("master.key");
        let first = MasterKey::load_or_create(&path).unwrap();
        let mode_of = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let mode = || mode_of(&path);
        assert_eq!(mode(), 0o600);
        assert_eq!(mode_of(path.parent().unwrap()), 0o700);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(MasterKey::load_or_create(&path).unwrap(), first);
        assert_eq!(mode(), 0o600);
    }

    #[test]
    fn processes_that_start_at_once_agree_on_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        let keys: Vec<MasterKey> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| MasterKey::load_or_create(&path).unwrap()))
                .collect();
            starts
                .into_iter()
                .map(|start| start.join().unwrap())
                .collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", key(&"s".repeat(40))), "[master key]");
    }
}
