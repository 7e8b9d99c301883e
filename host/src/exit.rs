//! Exit codes: part of the command line's contract.
//!
//! | code | meaning |
//! | --- | --- |
//! | 0 | done |
//! | 1 | Keyway failed in a way it did not expect |
//! | 2 | the command line is wrong |
//! | 3 | the host refused: the request, what it names, or what it would change |
//! | 4 | the token is missing, wrong, or may not do this |
//! | 5 | no host answered |
//! | 6 | the call reached the connector or the provider and failed there, or the host is unwell |
//! | 7 | `keyway serve` could not start or go on: configuration, data directory, or a store that failed or does not verify |

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    /// Done.
    Success,
    /// Unexpected.
    Failure,
    /// The host refused.
    Refused,
    /// The token does not do.
    Unauthorised,
    /// No host answered.
    Unreachable,
    /// The call failed.
    CallFailed,
    /// The host could not start or go on.
    NotStarted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Success => 0,
            Exit::Failure => 1,
            Exit::Refused => 3,
            Exit::Unauthorised => 4,
            Exit::Unreachable => 5,
            Exit::CallFailed => 6,
            Exit::NotStarted => 7,
        })
    }
}
