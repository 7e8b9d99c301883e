//! What the two sides of admission say to each other: a head of JSON with its length before it, then
//! raw bytes to the end. One message each way.

use std::io::{self, Read};

use keyway_core::ports::Admitted;
use keyway_core::{Code, Descriptor, Digest, Fault};
use semver::Version;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::limits::Limits;

/// Bytes of the length before a head.
const LENGTH_BYTES: usize = 4;

/// What the process is asked. The component follows.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) task: Task,
    pub(crate) limits: Limits,
}

/// How much of admission is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Task {
    /// All of it, the descriptor included.
    Admit,
    /// Only the code, of a component that was admitted before.
    Compile,
}

/// What the process answers. Compiled code follows if it passed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Refused { code: String, detail: String },
    Passed(Box<Passed>),
}

/// What is known of a component that passed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Passed {
    /// Only of an admission.
    pub(crate) descriptor: Option<Descriptor>,
    pub(crate) exports: Vec<String>,
    pub(crate) contract: Version,
    /// What the code was compiled for.
    pub(crate) compatibility: String,
    /// Bytes of code that follow.
    pub(crate) code_bytes: usize,
}

impl Passed {
    /// What an admission says of the component with this digest.
    pub(crate) fn admitted(self, digest: Digest) -> Result<Admitted, Fault> {
        let descriptor = self
            .descriptor
            .ok_or_else(|| Fault::new(Code::Internal, "the checking process said nothing"))?;
        Ok(Admitted { digest, descriptor, exports: self.exports, contract: self.contract })
    }
}

/// A head, with its length before it.
pub(crate) fn head(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(value)?;
    let length = u32::try_from(json.len()).map_err(io::Error::other)?;
    Ok([&length.to_le_bytes(), json.as_slice()].concat())
}

/// Reads a head, and leaves the reader at what follows.
pub(crate) fn read<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<T> {
    let mut length = [0; LENGTH_BYTES];
    from.read_exact(&mut length)?;
    let mut json = Vec::new();
    from.take(u32::from_le_bytes(length).into()).read_to_end(&mut json)?;
    Ok(serde_json::from_slice(&json)?)
}

/// The head of a whole message, and where what follows begins.
pub(crate) fn split<T: DeserializeOwned>(message: &[u8]) -> Option<(T, usize)> {
    let (length, rest) = message.split_first_chunk::<LENGTH_BYTES>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let head = serde_json::from_slice(rest.get(..length)?).ok()?;
    Some((head, LENGTH_BYTES + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_what_was_put_together() {
        let job = Job { task: Task::Compile, limits: Limits::default() };
        let mut message = head(&job).unwrap();
        message.extend_from_slice(b"component");
        let (back, offset) = split::<Job>(&message).unwrap();
        assert_eq!(back.task, Task::Compile);
        assert_eq!(&message[offset..], b"component");
        let mut reader = message.as_slice();
        assert_eq!(read::<Job>(&mut reader).unwrap().limits, Limits::default());
        assert_eq!(reader, b"component");
    }

    #[test]
    fn cut_messages_are_no_messages() {
        let job = Job { task: Task::Admit, limits: Limits::default() };
        let message = head(&job).unwrap();
        for length in 0..message.len() {
            assert!(split::<Job>(&message[..length]).is_none(), "{length}");
        }
    }
}
