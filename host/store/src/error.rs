//! What goes wrong in the store, and which stable code a caller sees for it.
//!
//! Two types: [`Error`] for a store that is open, [`OpenError`] for one that could not be opened. Neither
//! names a library underneath.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use keyway_core::ids::Actor;
use keyway_core::{Code, Fault, transient};

/// What a verb of the store may fail with.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// It did not take or answer this; nothing was promised. Trying again may help.
    #[error("the store did not answer: {why}")]
    Unavailable {
        /// What stood in the way.
        why: String,
    },
    /// The machine was short of something that comes back, such as a free descriptor, for longer than the store
    /// waits. Nothing was promised, and nothing is wrong with the disk. Trying again helps.
    #[error("the machine is short of something: {why}")]
    Short {
        /// What it said.
        why: String,
    },
    /// An earlier write could not be made durable, so no commit is acknowledged until a restart. The
    /// commit that is answered with this may or may not have landed.
    #[error("the store takes no more commits: {why}")]
    Poisoned {
        /// The failed step.
        why: Arc<str>,
    },
    /// Somebody else was first. Nothing of this change landed.
    #[error("{what} is not what this change was made for")]
    Conflict {
        /// What they changed.
        what: Collision,
    },
    /// No token has this name.
    #[error("no token is called {name}")]
    UnknownToken {
        /// The name.
        name: Actor,
    },
    /// What was read is not what was written. It is not served.
    #[error("{what} is damaged: {why}")]
    Corrupt {
        /// Which row or blob.
        what: String,
        /// What does not fit.
        why: String,
    },
    /// More than a row or a commit may hold.
    #[error("{what} is {size}, the limit is {size_max}")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// How much, in bytes or rows.
        size: usize,
        /// How much there may be.
        size_max: usize,
    },
}

/// What a conflict is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Collision {
    /// These bytes were published before.
    Release,
    /// This version was published before with other bytes.
    Version,
    /// The pin's generation does not follow the newest.
    Pin,
    /// The environment default's generation does not follow the newest.
    EnvironmentDefault,
    /// The configuration's generation does not follow the newest.
    Config,
    /// The connection's generation does not follow the newest, or is not the one there.
    Connection,
    /// A token of this name or hash exists.
    Token,
    /// The cell's version is another.
    Cell,
    /// The lease is somebody else's now, or its time is over.
    Lease,
    /// The message was settled, or claimed again by somebody else.
    Claim,
    /// One change names the same thing twice, or others kept coming first.
    Contended,
}

/// Why a store could not be opened. None of these starts over with an empty one.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A process has it open.
    #[error("{} is in use by another process ({holder})", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// What that process wrote into the lock file.
        holder: String,
    },
    /// Its contents are not what was acknowledged. They were set aside, untouched by this start but for
    /// what opening them did.
    #[error("the store was set aside as {} and is not served: {why}", path.display())]
    Quarantined {
        /// Where it is now.
        path: PathBuf,
        /// What does not fit.
        why: String,
    },
    /// There has been a store here and its files are gone.
    #[error("the store in {} is missing: {why}", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
        /// How that is known.
        why: String,
    },
    /// A later version of Keyway wrote it. It is left as it is.
    #[error("the store has format {found}, this version reads up to {known}")]
    Newer {
        /// Of the store.
        found: u8,
        /// Of this program.
        known: u8,
    },
    /// The file system refused.
    #[error("{} cannot be used", path.display())]
    Io {
        /// What it was about.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
}

// === impl Error ===

impl Error {
    /// A verb that did not get through.
    pub(crate) fn unavailable(why: impl fmt::Display) -> Self {
        Self::Unavailable { why: why.to_string() }
    }

    /// The machine refused something: in passing, or for good.
    pub(crate) fn machine(what: impl fmt::Display, error: &io::Error) -> Self {
        let why = format!("{what}: {error}");
        if transient::is(error) { Self::Short { why } } else { Self::Unavailable { why } }
    }

    /// Whether the same may be had in a moment.
    pub(crate) fn passes(&self) -> bool {
        matches!(self, Self::Short { .. })
    }

    /// Something that was read and cannot be right.
    pub(crate) fn corrupt(what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self::Corrupt { what: what.into(), why: why.to_string() }
    }

    /// What a caller sees for it.
    fn code(&self) -> Code {
        match self {
            Self::Unavailable { .. } | Self::Short { .. } | Self::Poisoned { .. } => {
                Code::StoreUnavailable
            }
            Self::Conflict { what: Collision::Version } => Code::VersionTaken,
            Self::Conflict { .. } => Code::Conflict,
            Self::UnknownToken { .. } => Code::UnknownToken,
            Self::Corrupt { .. } => Code::Internal,
            Self::TooLarge { .. } => Code::BodyTooLarge,
        }
    }
}

/// Conflicts and limits are the caller's to read; how the store is ailing is the log's.
impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let detail = match &error {
            Error::Unavailable { .. } | Error::Poisoned { .. } => {
                "the store cannot take or answer this now".to_owned()
            }
            Error::Short { .. } => {
                "the host has no free descriptor or memory for this at the moment".to_owned()
            }
            Error::Corrupt { .. } => "something kept by this host is damaged".to_owned(),
            other => other.to_string(),
        };
        Self::new(error.code(), detail).caused_by(error)
    }
}

// === impl Collision ===

impl fmt::Display for Collision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Release => "the release",
            Self::Version => "the version",
            Self::Pin => "the pin",
            Self::EnvironmentDefault => "the environment default",
            Self::Config => "the configuration",
            Self::Connection => "the connection",
            Self::Token => "the token",
            Self::Cell => "the cell",
            Self::Lease => "the lease",
            Self::Claim => "the claim",
            Self::Contended => "what it changes",
        })
    }
}

// === impl OpenError ===

impl OpenError {
    /// The file system refused something about `path`.
    pub(crate) fn io(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_text_says_nothing_of_the_disk() {
        let error = Error::Poisoned { why: "fsync of /var/lib/keyway/sled/db failed".into() };
        let fault = Fault::from(error);
        assert_eq!(fault.code, Code::StoreUnavailable);
        assert!(!fault.to_string().contains("/var"), "{fault}");
        assert!(fault.chain().contains("/var"), "the log has it: {}", fault.chain());
    }

    #[test]
    fn a_taken_version_has_its_own_code() {
        let taken = Fault::from(Error::Conflict { what: Collision::Version });
        assert_eq!(taken.code, Code::VersionTaken);
        let pin = Fault::from(Error::Conflict { what: Collision::Pin });
        assert_eq!(pin.code, Code::Conflict);
    }
}
