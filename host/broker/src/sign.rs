//! Signs requests with a key that never leaves the host: over the parts that a descriptor declares, or as AWS does.
//!
//! A signature is of the request as it is sent, so it is made last, for each attempt anew.

mod parts;
mod sigv4;

use bytes::Bytes;
use hmac::{Hmac, Mac as _};
use http::header::HeaderMap;
use http::{HeaderName, HeaderValue, Method};
use keyway_core::descriptor::{Hmac as Parts, MacHash, Scheme, Sigv4};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256, Sha512};
use time::OffsetDateTime;

use crate::reason::{Reason, Stop};
use crate::target::Target;

/// A key, and what is signed with it.
pub(crate) struct Signer {
    rules: Rules,
    key_id: String,
    key: SecretString,
}

enum Rules {
    Parts(Box<Parts>),
    Sigv4(Box<Sigv4>),
}

/// A request that is about to be sent.
pub(crate) struct Unsigned<'a> {
    pub(crate) method: &'a Method,
    pub(crate) target: &'a Target,
    pub(crate) headers: &'a HeaderMap,
    /// None where it goes out as it comes, and its signature is not over it.
    pub(crate) body: Option<&'a Bytes>,
    pub(crate) at: OffsetDateTime,
}

/// Headers to set.
type Signed = Vec<(HeaderName, HeaderValue)>;

// === impl Signer ===

impl Signer {
    /// None for a scheme that signs nothing.
    pub(crate) fn new(scheme: &Scheme, key_id: &str, key: &str) -> Option<Self> {
        let rules = match scheme {
            Scheme::Hmac(rules) => Rules::Parts(rules.clone()),
            Scheme::AwsSigv4(rules) => Rules::Sigv4(rules.clone()),
            _ => return None,
        };
        Some(Self { rules, key_id: key_id.to_owned(), key: key.to_owned().into() })
    }

    /// Whether the body is signed, and so has to be there before anything is sent.
    pub(crate) fn signs_body(&self) -> bool {
        match &self.rules {
            Rules::Parts(rules) => rules.signs_body(),
            Rules::Sigv4(rules) => !rules.unsigned_payload,
        }
    }

    /// The headers that a request is signed with.
    pub(crate) fn sign(&self, request: &Unsigned<'_>) -> Result<Signed, Stop> {
        let key = self.key.expose_secret();
        let made = match &self.rules {
            Rules::Parts(rules) => parts::sign(rules, &self.key_id, key, request),
            Rules::Sigv4(rules) => sigv4::sign(rules, &self.key_id, key, request),
        };
        made.ok_or_else(|| {
            Stop::new(Reason::CredentialUnfit, "the request cannot be signed with this key")
        })
    }
}

/// RFC 2104.
fn mac(digest: MacHash, key: &[u8], text: &[u8]) -> Vec<u8> {
    const ANY: &str = "a key of any length will do";
    match digest {
        MacHash::Sha256 => Hmac::<Sha256>::new_from_slice(key)
            .expect(ANY)
            .chain_update(text)
            .finalize()
            .into_bytes()
            .to_vec(),
        MacHash::Sha512 => Hmac::<Sha512>::new_from_slice(key)
            .expect(ANY)
            .chain_update(text)
            .finalize()
            .into_bytes()
            .to_vec(),
    }
}

fn hash(digest: MacHash, text: &[u8]) -> Vec<u8> {
    match digest {
        MacHash::Sha256 => Sha256::digest(text).to_vec(),
        MacHash::Sha512 => Sha512::digest(text).to_vec(),
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}

fn header(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some((name, value))
}
