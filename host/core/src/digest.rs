//! SHA-256 digests of bytes: how a component, a descriptor or a configuration is named.
//!
//! Parsing and printing only; reading files is the business of whoever holds them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Text before the hexadecimal digits.
const PREFIX: &str = "sha256:";

/// Fewest hexadecimal digits that may stand for a whole digest: 48 bits, beyond accident among the
/// releases one host can hold.
pub const PREFIX_DIGITS_MIN: usize = 12;

/// SHA-256 of some bytes, printed as `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

/// Leading digits of a digest, at least [`PREFIX_DIGITS_MIN`] of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DigestPrefix(String);

/// Text that is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a digest is `sha256:` and 64 hexadecimal digits, or a prefix with {PREFIX_DIGITS_MIN} or more"
)]
pub struct InvalidDigest;

// === impl Digest ===

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest that these 32 bytes are.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 digits without `sha256:`, as used in file names.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 64];
        hex::encode_to_slice(self.0, &mut digits).expect("two digits for each byte");
        f.write_str(PREFIX)?;
        f.write_str(std::str::from_utf8(&digits).expect("digits are ASCII"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let digits = text.strip_prefix(PREFIX).ok_or(InvalidDigest)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| InvalidDigest)?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;

    fn try_from(text: String) -> Result<Self, InvalidDigest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

// === impl DigestPrefix ===

impl DigestPrefix {
    /// Whether `digest` begins with these digits.
    pub fn matches(&self, digest: &Digest) -> bool {
        digest.hex().starts_with(&self.0)
    }
}

impl fmt::Display for DigestPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.0)
    }
}

impl FromStr for DigestPrefix {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let digits = text.strip_prefix(PREFIX).ok_or(InvalidDigest)?.to_ascii_lowercase();
        let long_enough = (PREFIX_DIGITS_MIN..=64).contains(&digits.len());
        if long_enough && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            Ok(Self(digits))
        } else {
            Err(InvalidDigest)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_it_parses() {
        let digest = Digest::of(b"keyway");
        assert_eq!(digest.to_string().parse(), Ok(digest));
    }

    #[test]
    fn prefix_needs_twelve_digits() {
        let digest = Digest::of(b"keyway");
        let text = digest.to_string();
        assert!(text[..7 + 11].parse::<DigestPrefix>().is_err());
        assert!(text[..7 + 12].parse::<DigestPrefix>().unwrap().matches(&digest));
        assert!(text.parse::<DigestPrefix>().unwrap().matches(&digest));
        assert!("sha256:zzzzzzzzzzzz".parse::<DigestPrefix>().is_err());
    }
}
