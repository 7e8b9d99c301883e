//! What goes wrong with a log, and which stable code a caller sees for it.

use std::io;
use std::path::PathBuf;

use keyway_core::{Code, Fault, transient};

/// What the log may fail with. Recording never fails: it drops and counts.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its folder cannot be used.
    #[error("log {}", path.display())]
    Open {
        /// Which folder.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// A segment cannot be read.
    #[error("segment {name} of the {log}")]
    Read {
        /// What the log is called.
        log: &'static str,
        /// Its file name.
        name: String,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// As many follow as may.
    #[error("{followers_max} follow the {log} already")]
    Crowded {
        /// What the log is called.
        log: &'static str,
        /// How many may.
        followers_max: usize,
    },
    /// The log has ended, or a reader of it did early.
    #[error("the log has ended")]
    Ended,
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match &error {
            Error::Crowded { log, .. } => {
                Self::new(Code::Overloaded, format!("too many follow the {log} at once"))
            }
            Error::Read { source, .. } if transient::is(source) => Self::new(
                Code::Overloaded,
                "the host has no free descriptor or memory for this at the moment",
            ),
            Error::Open { .. } | Error::Read { .. } | Error::Ended => {
                Self::new(Code::Internal, "the log cannot be read")
            }
        }
        .caused_by(error)
    }
}
