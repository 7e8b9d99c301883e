//! Signs requests with a key that never leaves the host: over the parts that a descriptor declares, or as AWS does.
//!
//! A signature is of the request as it is sent, so it is made last, for each attempt anew.

mod parts;
mod sigv4;

use bytes::Bytes;
use hmac::{Hmac, Mac as _};
use http::header::HeaderMap;
use http::{HeaderName, HeaderValue, Method};
use keyway_core::credential::Credential;
use keyway_core::descriptor::{Hmac as Parts, MacHash, Scheme, Sigv4};
use secrecy::ExposeSecret as _;
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::reason::{Reason, Stop};
use crate::target::Target;

/// A key, and what is signed with it.
pub(crate) enum Signer {
    /// An HMAC over parts.
    Parts { rules: Box<Parts>, key_id: String, key: Zeroizing<Vec<u8>> },
    /// As AWS does.
    Sigv4 { rules: Box<Sigv4>, key: sigv4::Key },
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

/// What a request is signed with.
#[derive(Default)]
pub(crate) struct Signed {
    /// Headers to set.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// Path and query to send, where something was added to them.
    pub(crate) path_and_query: Option<String>,
}

// === impl Signer ===

impl Signer {
    /// None for a scheme that signs nothing, and for a credential that it cannot sign with.
    pub(crate) fn new(scheme: &Scheme, credential: &Credential) -> Option<Self> {
        let (key_id, key, session) = match credential {
            Credential::Basic { user, password } => (user.expose_secret(), password, None),
            Credential::Session { id, key, token } => (id.expose_secret(), key, Some(token)),
            Credential::Token(key) => ("", key, None),
            Credential::None => return None,
        };
        if scheme.takes_pair() == key_id.is_empty()
            || (session.is_some() && !scheme.takes_session())
        {
            return None;
        }
        let key_id = key_id.to_owned();
        match scheme {
            Scheme::Hmac(rules) => {
                let key = rules.key_encoding.bytes(key.expose_secret())?.into();
                Some(Self::Parts { rules: rules.clone(), key_id, key })
            }
            Scheme::AwsSigv4(rules) => {
                let key = sigv4::Key { id: key_id, secret: key.clone(), session: session.cloned() };
                Some(Self::Sigv4 { rules: rules.clone(), key })
            }
            _ => None,
        }
    }

    /// Whether the body is signed, and so has to be there before anything is sent.
    pub(crate) fn signs_body(&self) -> bool {
        match self {
            Self::Parts { rules, .. } => rules.signs_body(),
            Self::Sigv4 { rules, .. } => !rules.unsigned_payload,
        }
    }

    /// The query parameters that it sets.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = &str> {
        let rules = match self {
            Self::Parts { rules, .. } => Some(rules),
            Self::Sigv4 { .. } => None,
        };
        rules.into_iter().flat_map(|rules| rules.parameters()).map(|(_, name)| name)
    }

    /// Signs a request.
    pub(crate) fn sign(&self, request: &Unsigned<'_>) -> Result<Signed, Stop> {
        let made = match self {
            Self::Parts { rules, key_id, key } => parts::sign(rules, (key_id, key), request),
            Self::Sigv4 { rules, key } => sigv4::sign(rules, key, request),
        };
        made.ok_or_else(|| {
            Stop::new(Reason::CredentialUnfit, "the request cannot be signed with this key")
        })
    }
}

/// RFC 2104.
fn mac(digest: MacHash, key: &[u8], text: &[u8]) -> Vec<u8> {
    macro_rules! of {
        ($hash:ty) => {
            Hmac::<$hash>::new_from_slice(key)
                .expect("a key of any length will do")
                .chain_update(text)
                .finalize()
                .into_bytes()
                .to_vec()
        };
    }
    match digest {
        MacHash::Sha1 => of!(Sha1),
        MacHash::Sha256 => of!(Sha256),
        MacHash::Sha384 => of!(Sha384),
        MacHash::Sha512 => of!(Sha512),
    }
}

fn hash(digest: MacHash, text: &[u8]) -> Vec<u8> {
    match digest {
        MacHash::Sha1 => Sha1::digest(text).to_vec(),
        MacHash::Sha256 => Sha256::digest(text).to_vec(),
        MacHash::Sha384 => Sha384::digest(text).to_vec(),
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
