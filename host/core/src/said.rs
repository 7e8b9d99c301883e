//! What a guest says of a call, line by line, and what the call log keeps of it.
//!
//! Lines are a guest's words: cut and made harmless by whoever ran the guest, masked by whoever knows the names of secrets.

use std::time::Duration;

use time::OffsetDateTime;

use crate::code::Code;
use crate::fault::Whose;
use crate::ids::{CallId, Installation, User};
use crate::release::ReleaseRef;

/// One line, as it is said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line<'a> {
    /// Where it came from.
    pub source: Source,
    /// How loud it is.
    pub level: LogLevel,
    /// The line.
    pub message: &'a str,
    /// A JSON object, or empty.
    pub fields: &'a str,
}

/// Where a line came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// The contract's `log`.
    Log,
    /// The guest's standard output.
    Stdout,
    /// The guest's standard error: a panic's message, a traceback.
    Stderr,
    /// The host, about the lines.
    Host,
}

/// How loud a line is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LogLevel {
    /// For the author.
    Debug,
    /// For whoever watches.
    Info,
    /// Something is odd.
    Warn,
    /// Something failed.
    Error,
}

/// A line that was kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptLine {
    /// How long after the call began.
    pub after: Duration,
    /// Where it came from.
    pub source: Source,
    /// How loud it is.
    pub level: LogLevel,
    /// The line.
    pub message: Box<str>,
    /// A JSON object, or empty.
    pub fields: Box<str>,
}

/// A call that has ended, as the call log keeps it: one that said something, or that failed.
#[derive(Clone, PartialEq, Debug)]
pub struct SaidCall {
    /// When it began.
    pub at: OffsetDateTime,
    /// Which.
    pub call: CallId,
    /// For whom.
    pub installation: Installation,
    /// For which user.
    pub user: Option<User>,
    /// What ran.
    pub release: ReleaseRef,
    /// What was asked: `invoke`, `discover`, `read` or `write`.
    pub verb: &'static str,
    /// From beginning to end.
    pub elapsed: Duration,
    /// Why it failed; none if it did not.
    pub failure: Option<CallFailure>,
    /// What the guest said, oldest first.
    pub lines: Vec<KeptLine>,
    /// How many lines came before these, and are not kept.
    pub lines_dropped: u64,
}

/// Why a call failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallFailure {
    /// The stable code.
    pub code: Code,
    /// Whose fault it is.
    pub whose: Whose,
    /// What the caller was told.
    pub detail: String,
}

// === impl Source ===

impl Source {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Host => "host",
        }
    }
}

// === impl LogLevel ===

impl LogLevel {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}
