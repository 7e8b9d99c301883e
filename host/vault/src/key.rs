//! A key: 32 random bytes that cannot be printed and are wiped when dropped, with all that is done with them.
//!
//! The cipher is XChaCha20-Poly1305 with a random nonce: at 192 bits, collisions are out of reach
//! (draft-irtf-cfrg-xchacha section 3.1). It does not commit to its key: somebody who knows two keys can make a
//! text that opens under both. Whoever keeps something under a key therefore keeps the key's [`CheckValue`] too.
//!
//! What a key is for, where it is kept and which one is used is decided in [`keys`](crate::keys).

use std::fmt;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use rand::TryRngCore;
use rand::rngs::OsRng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Bytes of a key of XChaCha20-Poly1305.
pub(crate) const KEY_BYTES: usize = 32;

const NONCE_BYTES: usize = 24;

/// Distinguishes a check value from any other use of the key.
const CHECK_DOMAIN: &[u8] = b"keyway/key-check/v1";

/// A key. Has no text form at all; boxed, so that moving it leaves no copy behind.
pub struct SecretKey(Box<Zeroizing<[u8; KEY_BYTES]>>);

/// What a key is recognised by: a hash of it and of its name, from which the key cannot be found.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CheckValue([u8; 32]);

/// Why the cipher did not do it. Says nothing about what was in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CipherError {
    /// Changed, moved from another place, or of another key.
    #[error("sealed bytes do not authenticate")]
    Authentication,
    /// The operating system gave no random bytes.
    #[error("no random bytes")]
    Random,
}

/// Not the form of a check value.
#[derive(Debug, thiserror::Error)]
#[error("a check value is 64 hexadecimal digits")]
pub struct InvalidCheckValue;

/// Parts with their lengths in front, so that no two lists of parts make the same bytes.
pub(crate) fn joined(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| 4 + part.len()).sum());
    for part in parts {
        // Parts are names and numbers, far below 4 GiB.
        bytes.extend((part.len() as u32).to_be_bytes());
        bytes.extend(*part);
    }
    bytes
}

/// From the operating system each time: a generator of our own could be copied with the process, or run twice.
fn nonce() -> Result<[u8; NONCE_BYTES], CipherError> {
    let mut nonce = [0; NONCE_BYTES];
    OsRng.try_fill_bytes(&mut nonce).map_err(|_| CipherError::Random)?;
    Ok(nonce)
}

// === impl SecretKey ===

impl SecretKey {
    /// A new one.
    pub fn generate() -> Result<Self, CipherError> {
        let mut bytes = Box::new(Zeroizing::new([0; KEY_BYTES]));
        OsRng.try_fill_bytes(&mut **bytes).map_err(|_| CipherError::Random)?;
        Ok(Self(bytes))
    }

    /// From bytes, if there are as many as a key has.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut key = Box::new(Zeroizing::new([0; KEY_BYTES]));
        if bytes.len() != KEY_BYTES {
            return None;
        }
        key.copy_from_slice(bytes);
        Some(Self(key))
    }

    /// What the key is recognised by under this name.
    pub fn check_value(&self, name: &[u8]) -> CheckValue {
        let named = joined(&[CHECK_DOMAIN, name]);
        CheckValue(Sha256::new().chain_update(named).chain_update(self.expose()).finalize().into())
    }

    /// Seals: nonce, ciphertext, tag.
    pub(crate) fn seal(&self, associated: &[u8], plain: &[u8]) -> Result<Vec<u8>, CipherError> {
        let nonce = nonce()?;
        let payload = Payload { msg: plain, aad: associated };
        let sealed = self.cipher().encrypt(XNonce::from_slice(&nonce), payload);
        // The cipher's only limit is 256 GiB.
        let sealed = sealed.map_err(|_| CipherError::Authentication)?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Opens what was sealed with the same associated data.
    pub(crate) fn open(
        &self,
        associated: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, CipherError> {
        let (nonce, sealed) =
            sealed.split_at_checked(NONCE_BYTES).ok_or(CipherError::Authentication)?;
        let payload = Payload { msg: sealed, aad: associated };
        let opened = self.cipher().decrypt(XNonce::from_slice(nonce), payload);
        opened.map(Zeroizing::new).map_err(|_| CipherError::Authentication)
    }

    /// The bytes, for wrapping them and for nothing else.
    pub(crate) fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// Wipes its own copy of the key when it is dropped.
    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(Key::from_slice(self.expose()))
    }
}

/// For types that hold one and derive theirs.
impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey")
    }
}

// === impl CheckValue ===

impl fmt::Debug for CheckValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl From<CheckValue> for String {
    fn from(check: CheckValue) -> Self {
        hex::encode(check.0)
    }
}

impl TryFrom<String> for CheckValue {
    type Error = InvalidCheckValue;

    fn try_from(text: String) -> Result<Self, InvalidCheckValue> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| InvalidCheckValue)?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn key(byte: u8) -> SecretKey {
        SecretKey::from_bytes(&[byte; KEY_BYTES]).unwrap()
    }

    #[test]
    fn opens_with_its_key_and_associated_data_only() {
        let sealed = key(1).seal(b"here", b"s3cret").unwrap();
        assert_eq!(key(1).open(b"here", &sealed).unwrap().as_slice(), b"s3cret");
        assert!(key(2).open(b"here", &sealed).is_err());
        assert!(key(1).open(b"there", &sealed).is_err());
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_seen() {
        let sealed = key(1).seal(b"here", b"s3cret").unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut bad = sealed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(key(1).open(b"here", &bad).is_err(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(key(1).open(b"here", &sealed[..length]).is_err(), "length {length}");
        }
    }

    #[test]
    fn a_million_nonces_are_a_million() {
        let mut seen = HashSet::with_capacity(1 << 20);
        for _ in 0..1_000_000 {
            assert!(seen.insert(nonce().unwrap()), "a nonce came twice");
        }
        // The same, as they are really used.
        for _ in 0..1_000 {
            let sealed = key(1).seal(b"", b"").unwrap();
            let nonce = sealed[..NONCE_BYTES].try_into().unwrap();
            assert!(seen.insert(nonce), "a nonce came twice");
        }
    }

    #[test]
    fn parts_cannot_be_shifted_into_each_other() {
        assert_ne!(joined(&[b"ab", b"c"]), joined(&[b"a", b"bc"]));
        assert_ne!(joined(&[b"ab", b""]), joined(&[b"", b"ab"]));
        assert_ne!(joined(&[b"ab"]), joined(&[b"ab", b""]));
    }

    #[test]
    fn a_check_value_is_of_one_key_and_one_name() {
        let check = key(1).check_value(b"a");
        assert_eq!(check, key(1).check_value(b"a"));
        assert_ne!(check, key(2).check_value(b"a"));
        assert_ne!(check, key(1).check_value(b"b"));
        let text = String::from(check);
        assert_eq!(CheckValue::try_from(text.clone()).unwrap(), check);
        for bad in ["", &text[1..], &format!("{text}00"), &text.replace(&text[..1], "g")] {
            assert!(CheckValue::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_has_its_length() {
        for length in [0, 31, 33] {
            assert!(SecretKey::from_bytes(&vec![7; length]).is_none(), "{length}");
        }
        assert_ne!(
            SecretKey::generate().unwrap().expose(),
            SecretKey::generate().unwrap().expose()
        );
    }
}
