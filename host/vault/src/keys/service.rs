//! The port to whoever holds the sealing keys: a file of this host's, its environment, or a key management service.
//!
//! A service wraps data keys and unwraps them again. It knows nothing of tenants: what a data key is for reaches it as
//! the context, bytes that must be the same both times. It keeps no data keys and decides nothing about them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::key::{CheckValue, CipherError, SecretKey};
use crate::keys::ring::RingError;

/// Holds the sealing keys.
#[async_trait]
pub trait KeyService: fmt::Debug + Send + Sync {
    /// Where the keys are, in a word for people.
    fn kind(&self) -> &'static str;

    /// Which keys there are. It is the service that is asked, so an answer also means that it is there.
    async fn known(&self) -> Result<Known, ServiceError>;

    /// Wraps a data key with the current sealing key.
    async fn wrap(&self, key: &SecretKey, context: &[u8]) -> Result<Wrapped, ServiceError>;

    /// Unwraps a data key that was wrapped with the same context.
    async fn unwrap(&self, wrapped: &Wrapped, context: &[u8]) -> Result<SecretKey, ServiceError>;

    /// The same data key, wrapped with the current sealing key. A service that can do it by itself lets no data key
    /// out for it.
    async fn rewrap(&self, wrapped: &Wrapped, context: &[u8]) -> Result<Wrapped, ServiceError> {
        let key = self.unwrap(wrapped, context).await?;
        self.wrap(&key, context).await
    }

    /// Makes a new sealing key, durably, which is the current one from then on. The older ones stay.
    async fn rotate(&self) -> Result<SealingKeyId, ServiceError>;

    /// Whether it is there.
    async fn health(&self) -> Result<(), ServiceError> {
        self.known().await.map(drop)
    }
}

/// What a sealing key is called. Chosen by whoever made the key, and never given to another.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SealingKeyId(Arc<str>);

/// The keys of a service.
#[derive(Clone, Debug)]
pub struct Known {
    /// With which data keys are wrapped now.
    pub current: SealingKeyId,
    /// All of them, the current one too.
    pub keys: Vec<KnownKey>,
}

/// A key of a service.
#[derive(Clone, Debug)]
pub struct KnownKey {
    /// Its name.
    pub id: SealingKeyId,
    /// What it is recognised by; none where the service shows nothing that depends on the key. Then the check values
    /// of the data keys have to do.
    pub check: Option<CheckValue>,
}

/// A data key as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Wrapped {
    /// With which sealing key.
    pub sealing_key: SealingKeyId,
    /// What only the service can read.
    pub bytes: Vec<u8>,
}

/// Why a service did not do it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ServiceError {
    /// It did not answer, or could not. It may pass.
    #[error("the key service does not answer: {why}")]
    Unavailable {
        /// What stood in the way.
        why: String,
    },
    /// It answered, and refused this host. It passes when somebody changes something there.
    #[error("the key service refuses: {why}")]
    Refused {
        /// What it said.
        why: String,
    },
    /// It has no key of this name, or no longer.
    #[error("sealing key {id} is missing")]
    Unknown {
        /// The name.
        id: SealingKeyId,
    },
    /// What is to be unwrapped was changed, or is of another place.
    #[error("wrapped data key does not authenticate")]
    Authentication,
    /// Its keys are given to this host, which cannot change them.
    #[error("the sealing keys are not this host's to change")]
    Fixed,
    /// The operating system gave no random bytes.
    #[error("no random bytes for a key")]
    Random,
    /// The file with the keys.
    #[error("sealing keys")]
    Ring(#[source] Arc<RingError>),
}

/// Text that is no name of a sealing key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a sealing key is called by 1 to 128 letters, digits, `.`, `_`, `:`, `/` and `-`, the first a letter or a digit"
)]
pub struct InvalidSealingKeyId;

// === impl SealingKeyId ===

impl SealingKeyId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SealingKeyId {
    type Err = InvalidSealingKeyId;

    fn from_str(text: &str) -> Result<Self, InvalidSealingKeyId> {
        let valid = (1..=128).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:/-".contains(&b))
            && text.as_bytes()[0].is_ascii_alphanumeric();
        if valid { Ok(Self(text.into())) } else { Err(InvalidSealingKeyId) }
    }
}

impl TryFrom<String> for SealingKeyId {
    type Error = InvalidSealingKeyId;

    fn try_from(text: String) -> Result<Self, InvalidSealingKeyId> {
        text.parse()
    }
}

impl From<SealingKeyId> for String {
    fn from(id: SealingKeyId) -> Self {
        id.as_str().to_owned()
    }
}

impl fmt::Display for SealingKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SealingKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl Wrapped ===

impl fmt::Debug for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wrapped({}, {} bytes)", self.sealing_key, self.bytes.len())
    }
}

// === impl ServiceError ===

impl ServiceError {
    /// A service that did not answer.
    pub fn unavailable(why: impl fmt::Display) -> Self {
        Self::Unavailable { why: why.to_string() }
    }
}

impl From<CipherError> for ServiceError {
    fn from(error: CipherError) -> Self {
        match error {
            CipherError::Authentication => Self::Authentication,
            CipherError::Random => Self::Random,
        }
    }
}

impl From<RingError> for ServiceError {
    fn from(error: RingError) -> Self {
        Self::Ring(Arc::new(error))
    }
}
