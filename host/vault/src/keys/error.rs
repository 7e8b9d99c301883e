//! What goes wrong with keys, and which stable code a caller sees for it.

use keyway_core::{Code, Fault};

use crate::key::CipherError;
use crate::keys::data::{DataKeyId, Owner};
use crate::keys::service::{SealingKeyId, ServiceError};

/// Why there is no key, or not the right one.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The service that holds the sealing keys.
    #[error("sealing keys")]
    Service(#[source] ServiceError),
    /// Data keys are wrapped with sealing keys that the service does not have.
    #[error("{}", missing(.0))]
    SealingKeysMissing(Vec<(SealingKeyId, usize)>),
    /// The service has another key under the name.
    #[error("sealing key {id} is not the one it was: its check value differs")]
    SealingKeyDiffers {
        /// The name.
        id: SealingKeyId,
    },
    /// The store has no such data key.
    #[error("data key {id} is missing")]
    DataKeyMissing {
        /// Its id.
        id: DataKeyId,
    },
    /// What was unwrapped is another key.
    #[error("data key {id} is not the one it was: its check value differs")]
    DataKeyDiffers {
        /// Its id.
        id: DataKeyId,
    },
    /// The row of a data key is not what was written, or is in another's place.
    #[error("data key {id} is damaged: {why}")]
    Damaged {
        /// Its id.
        id: DataKeyId,
        /// What does not fit.
        why: String,
    },
    /// Which data key is current is not readable.
    #[error("the current data key of {owner} is damaged")]
    Pointer {
        /// Whose.
        owner: Owner,
    },
    /// The store did not do it.
    #[error("data keys")]
    Store(#[from] keyway_store::Error),
    /// The operating system gave no random bytes.
    #[error("no random bytes for a key")]
    Random,
}

fn missing(keys: &[(SealingKeyId, usize)]) -> String {
    let each: Vec<String> = keys
        .iter()
        .map(|(id, count)| {
            format!("sealing key {id} is missing, and {count} data keys are wrapped with it")
        })
        .collect();
    each.join("; ")
}

impl Error {
    /// Whether this host lacks a key or has a wrong one, so that nothing will open until somebody puts it right.
    pub fn lost(&self) -> bool {
        match self {
            Self::SealingKeysMissing(_)
            | Self::SealingKeyDiffers { .. }
            | Self::DataKeyMissing { .. }
            | Self::DataKeyDiffers { .. }
            | Self::Service(ServiceError::Unknown { .. }) => true,
            Self::Service(_)
            | Self::Damaged { .. }
            | Self::Pointer { .. }
            | Self::Store(_)
            | Self::Random => false,
        }
    }

    /// What a caller sees for it.
    pub fn code(&self) -> Code {
        match self {
            Self::Service(ServiceError::Unavailable { .. } | ServiceError::Refused { .. }) => {
                Code::KeysUnavailable
            }
            Self::Service(ServiceError::Fixed) => Code::KeysFixed,
            Self::Store(error) => Fault::from(error.clone()).code,
            _ => Code::Internal,
        }
    }
}

impl From<ServiceError> for Error {
    fn from(error: ServiceError) -> Self {
        Self::Service(error)
    }
}

impl From<CipherError> for Error {
    fn from(error: CipherError) -> Self {
        match error {
            CipherError::Random => Self::Random,
            CipherError::Authentication => Self::Service(ServiceError::Authentication),
        }
    }
}

/// Where keys are and what became of them is the log's; a caller learns whether to come again.
impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let detail = match error.code() {
            Code::KeysUnavailable => "the service that holds the sealing keys does not help now",
            Code::KeysFixed => {
                "the sealing keys are given to this host at its start, which cannot make new ones"
            }
            Code::Internal => "a key of this host is missing or damaged",
            _ => {
                return match error {
                    Error::Store(error) => error.into(),
                    error => Self::new(error.code(), "keys").caused_by(error),
                };
            }
        };
        Self::new(error.code(), detail).caused_by(error)
    }
}
