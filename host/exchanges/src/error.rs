//! What goes wrong with the exchange log, and which stable code a caller sees for it.

use std::io;
use std::path::PathBuf;

use keyway_core::{Code, Fault, transient};

/// What the log may fail with. Recording never fails: it drops and counts.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its folder cannot be used.
    #[error("exchange log {}", path.display())]
    Open {
        /// Which folder.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// A segment cannot be read.
    #[error("segment {name} of the exchange log")]
    Read {
        /// Its file name.
        name: String,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// As many follow as may.
    #[error("{followers_max} follow the exchange log already")]
    Crowded {
        /// How many may.
        followers_max: usize,
    },
    /// The log has ended, or a reader of it did early.
    #[error("the exchange log has ended")]
    Ended,
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match &error {
            Error::Crowded { .. } => {
                Self::new(Code::Overloaded, "too many follow the exchange log at once")
            }
            Error::Read { source, .. } if transient::is(source) => Self::new(
                Code::Overloaded,
                "the host has no free descriptor or memory for this at the moment",
            ),
            Error::Open { .. } | Error::Read { .. } | Error::Ended => {
                Self::new(Code::Internal, "the exchange log cannot be read")
            }
        }
        .caused_by(error)
    }
}
