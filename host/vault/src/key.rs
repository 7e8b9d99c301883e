//! The sealing key: 32 bytes in a file that only the host's user may read.
//!
//! Made on first start and never again. It is not in the store, so a stolen store or backup opens nothing; losing it
//! loses every credential, which is why a host whose store has sealed values and which finds no key, or another one, refuses to start.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rand::TryRngCore;
use rand::rngs::OsRng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Bytes of a key of XChaCha20-Poly1305.
const KEY_BYTES: usize = 32;

/// Distinguishes the identifier's hash from any other use of the key.
const ID_DOMAIN: &[u8] = b"keyway sealing key id v1\0";

/// A key and the identifier by which sealed values name it.
#[derive(Clone)]
pub struct SealingKey {
    id: [u8; 8],
    bytes: Zeroizing<[u8; KEY_BYTES]>,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or made.
    #[error("sealing key {path}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others than the owner may read it.
    #[error("sealing key {path} has mode {mode:o}; it must be 600")]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not 32 bytes.
    #[error("sealing key {path} is not {KEY_BYTES} bytes long")]
    Length {
        /// Which file.
        path: PathBuf,
    },
    /// The operating system gave no random bytes.
    #[error("no random bytes for a sealing key")]
    Random,
}

// === impl SealingKey ===

impl SealingKey {
    /// Reads the key; none if there is no such file.
    pub fn load(path: &Path) -> Result<Option<Self>, KeyError> {
        match File::open(path) {
            Ok(file) => Self::read(path, file).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(KeyError::Io { path: path.to_owned(), source }),
        }
    }

    /// Makes a key and its file, durably. Only for a host that has sealed nothing yet.
    pub fn create(path: &Path) -> Result<Self, KeyError> {
        let key = Self::generate()?;
        key.write(path).map_err(|source| KeyError::Io { path: path.to_owned(), source })?;
        Ok(key)
    }

    /// A key of these bytes.
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        let hash = Sha256::new().chain_update(ID_DOMAIN).chain_update(bytes).finalize();
        let mut id = [0; 8];
        id.copy_from_slice(&hash[..8]);
        Self { id, bytes: Zeroizing::new(bytes) }
    }

    /// What sealed values call it.
    pub const fn id(&self) -> [u8; 8] {
        self.id
    }

    pub(crate) fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.bytes
    }

    fn generate() -> Result<Self, KeyError> {
        let mut bytes = [0; KEY_BYTES];
        OsRng.try_fill_bytes(&mut bytes).map_err(|_| KeyError::Random)?;
        Ok(Self::from_bytes(bytes))
    }

    fn read(path: &Path, mut file: File) -> Result<Self, KeyError> {
        let failed = |source| KeyError::Io { path: path.to_owned(), source };
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed { path: path.to_owned(), mode });
        }
        let mut bytes = Zeroizing::new(Vec::new());
        file.read_to_end(&mut bytes).map_err(failed)?;
        let bytes: [u8; KEY_BYTES] =
            bytes.as_slice().try_into().map_err(|_| KeyError::Length { path: path.to_owned() })?;
        Ok(Self::from_bytes(bytes))
    }

    /// Durable before it is used: a credential sealed with a key that a crash forgot is lost.
    fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(&*self.bytes)?;
        file.sync_all()?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingKey({})", hex::encode(self.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_made_once_and_readable_by_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seal.key");
        assert!(SealingKey::load(&path).unwrap().is_none());
        let made = SealingKey::create(&path).unwrap();
        let read = SealingKey::load(&path).unwrap().unwrap();
        assert!(SealingKey::create(&path).is_err(), "a key is never replaced");
        assert_eq!(made.id(), read.id());
        assert_eq!(made.expose(), read.expose());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn odd_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seal.key");
        std::fs::write(&path, [7; 31]).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(SealingKey::load(&path), Err(KeyError::Length { .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(SealingKey::load(&path), Err(KeyError::Exposed { .. })));
    }

    #[test]
    fn debug_shows_no_key() {
        let key = SealingKey::from_bytes([0xab; KEY_BYTES]);
        assert!(!format!("{key:?}").contains("abab"));
    }
}
