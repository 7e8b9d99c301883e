//! The sealing key: 32 bytes in a file that only the host's user may read.
//!
//! Made on first start and never again. It is not in the store, so a stolen store or backup opens nothing; losing it
//! loses every credential, which is why a host whose store has sealed values and which finds no key, or another one, refuses to start.

use std::fmt;
use std::path::{Path, PathBuf};

use rand::TryRngCore;
use rand::rngs::OsRng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::private_file::{self, PrivateFileError};

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
    /// The file cannot be read or made, or others may read it.
    #[error("sealing key")]
    File(#[from] PrivateFileError),
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
        let Some(bytes) = private_file::read(path)? else { return Ok(None) };
        let bytes: [u8; KEY_BYTES] =
            bytes.as_slice().try_into().map_err(|_| KeyError::Length { path: path.to_owned() })?;
        Ok(Some(Self::from_bytes(bytes)))
    }

    /// Makes a key and its file, durably. Only for a host that has sealed nothing yet: a credential that
    /// was sealed with a key which is gone is lost.
    pub fn create(path: &Path) -> Result<Self, KeyError> {
        let key = Self::generate()?;
        private_file::write(path, &*key.bytes)?;
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
    fn is_made_once_and_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seal.key");
        assert!(SealingKey::load(&path).unwrap().is_none());
        let made = SealingKey::create(&path).unwrap();
        let read = SealingKey::load(&path).unwrap().unwrap();
        assert_eq!((made.id(), made.expose()), (read.id(), read.expose()));
    }

    #[test]
    fn another_length_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seal.key");
        private_file::write(&path, &[7; 31]).unwrap();
        assert!(matches!(SealingKey::load(&path), Err(KeyError::Length { .. })));
    }

    #[test]
    fn debug_shows_no_key() {
        let key = SealingKey::from_bytes([0xab; KEY_BYTES]);
        assert!(!format!("{key:?}").contains("abab"));
    }
}
