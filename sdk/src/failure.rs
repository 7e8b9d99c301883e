//! What went wrong, whose fault it is, and whether trying again can help.
//!
//! How an HTTP status becomes one of these is in [`crate::status`].

use std::fmt;
use std::time::Duration;

use crate::{Extra, backend};

/// Whose fault it is and whether trying again can help. Detail beyond that goes in [`Failure::code`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FailureKind {
    /// The caller asked for something malformed; never retried.
    InvalidInput,
    /// This connector does not offer the operation or the object.
    Unsupported,
    /// The host refused: undeclared host, egress policy, undeclared slot.
    Denied,
    /// The provider rejected the credential.
    Unauthenticated,
    /// The credential is good but lacks a scope or a permission.
    Forbidden,
    /// There is no such thing at the provider.
    NotFound,
    /// The provider holds something that contradicts this.
    Conflict,
    /// The provider asked for a pause; [`Failure::retry_after`] says how long.
    RateLimited,
    /// The provider or the network failed in a way that may pass.
    Transient,
    /// The provider answered something this connector does not understand.
    Contract,
    /// A defect of the connector itself.
    Internal,
}

/// Why an operation did not succeed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Whose fault it is.
    pub kind: FailureKind,
    /// The provider's own error code, where it has one.
    pub code: Option<String>,
    /// One line for a human.
    pub message: String,
    /// How long to wait before trying again.
    pub retry_after: Option<Duration>,
    /// False only when nothing of this call can have reached the provider.
    pub request_sent: bool,
    /// Anything else worth keeping, such as the provider's correlation id.
    pub extra: Extra,
}

// === impl FailureKind ===

impl FailureKind {
    /// The contract's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidInput => "invalid-input",
            Self::Unsupported => "unsupported",
            Self::Denied => "denied",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not-found",
            Self::Conflict => "conflict",
            Self::RateLimited => "rate-limited",
            Self::Transient => "transient",
            Self::Contract => "contract",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Failure ===

impl Failure {
    /// A failure of a kind. `request_sent` says what is true of this call so far: an instance serves
    /// one call, and the SDK remembers whether a request of it may have arrived.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            code: None,
            message: message.into(),
            retry_after: None,
            request_sent: backend::request_sent(),
            extra: Extra::new(),
        }
    }

    /// The caller asked for something malformed.
    pub fn invalid_input(message: impl Into<String>) -> Self {
        Self::new(FailureKind::InvalidInput, message)
    }

    /// This connector does not offer it.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Unsupported, message)
    }

    /// The provider answered something that the connector does not understand.
    pub fn contract(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Contract, message)
    }

    /// The connector itself is wrong.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Internal, message)
    }

    /// With the provider's own code.
    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// With the time to wait before trying again.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// With one more name and value beside the fixed ones.
    #[must_use]
    pub fn detail(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.extra.push((name.into(), value.into()));
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)?;
        if let Some(code) = &self.code {
            write!(f, " ({code})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}
