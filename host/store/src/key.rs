//! Keys of rows: a space, then parts, in an encoding whose byte order is the order of the parts.
//!
//! Parts may hold any bytes. Each ends in `00 01`, and a `00` inside is written `00 ff`, so no part is
//! a prefix of another by accident and a scan of one tenant cannot run into the next. Numbers are
//! eight bytes, big-endian, and only ever last.

use std::fmt;

use keyway_core::Digest;
use keyway_core::ids::{Connector, Environment, Installation};

use crate::error::Error;

/// What a row is about. The byte is on disk: never renumber, only add. Zero belongs to the backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Space {
    /// Last number given out in a sequence.
    Counter = 1,
    /// (connector, version): a release.
    Release = 2,
    /// Digest: which release it is.
    Digest = 3,
    /// Installation, then what of it: newest pin, newest configuration, connections. One scan reads it all.
    Installation = 4,
    /// (installation, generation): every pin there ever was.
    History = 5,
    /// (environment, connector): what runs without a pin.
    EnvironmentDefault = 6,
    /// Hash: a token.
    Token = 7,
    /// Name: a token's hash.
    TokenName = 8,
    /// Sequence number: an audit entry.
    Audit = 9,
    /// Lease name: who has it, with which fence.
    Holder = 10,
    /// Lease name: until when. Apart from the holder, so that a renewal does not disturb its commits.
    Expiry = 11,
    /// (cell space, key): a cell.
    Cell = 12,
    /// (queue, number): a message.
    Message = 13,
    /// (queue, number): a message that was given up.
    Dead = 14,
    /// (installation, slot, user): a connection of one of the tenant's users.
    UserConnection = 15,
    /// (installation, generation): every configuration there ever was.
    ConfigHistory = 16,
}

/// Where a row is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(Vec<u8>);

/// Ends a part.
const END: [u8; 2] = [0, 1];

/// What a zero byte inside a part becomes.
const ZERO: [u8; 2] = [0, 0xff];

// === impl Key ===

impl Key {
    /// Bytes of a key. The longest that names can make is 440. An inner node of sled's holds up to 257
    /// keys, and has to stay below the 128 KiB that its flush covers.
    pub(crate) const BYTES_MAX: usize = 448;

    /// All of a space.
    pub(crate) fn of(space: Space) -> Self {
        Self(vec![space as u8])
    }

    /// From the backend's own bytes.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// With one more part.
    pub(crate) fn part(mut self, part: impl AsRef<[u8]>) -> Self {
        for &byte in part.as_ref() {
            match byte {
                0 => self.0.extend(ZERO),
                byte => self.0.push(byte),
            }
        }
        self.0.extend(END);
        self
    }

    /// With the beginning of one more part, to find those that go on in any way. It has no zero.
    pub(crate) fn beginning(mut self, part: impl AsRef<[u8]>) -> Self {
        self.0.extend_from_slice(part.as_ref());
        self
    }

    /// With a number as its end.
    pub(crate) fn number(mut self, number: u64) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    /// The same parts in another space.
    pub(crate) fn moved(&self, space: Space) -> Self {
        let mut moved = self.clone();
        moved.0[0] = space as u8;
        moved
    }

    /// (environment, tenant, connector) in `space`.
    pub(crate) fn installation(space: Space, installation: &Installation) -> Self {
        Self::of(space)
            .part(installation.environment.as_str())
            .part(installation.tenant.as_str())
            .part(installation.connector.as_str())
    }

    /// (environment, connector).
    pub(crate) fn environment_default(environment: &Environment, connector: &Connector) -> Self {
        Self::of(Space::EnvironmentDefault).part(environment.as_str()).part(connector.as_str())
    }

    /// A digest in `space`.
    pub(crate) fn digest(space: Space, digest: &Digest) -> Self {
        Self::of(space).part(digest.as_bytes())
    }

    /// The bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it is of this space.
    pub(crate) fn is_in(&self, space: Space) -> bool {
        self.0.first() == Some(&(space as u8))
    }

    /// Whether it lies below `prefix`.
    pub(crate) fn starts_with(&self, prefix: &Self) -> bool {
        self.0.starts_with(&prefix.0)
    }

    /// The number it ends in.
    pub(crate) fn last_number(&self) -> Result<u64, Error> {
        let tail = self.0.len().checked_sub(8).and_then(|at| self.0[at..].try_into().ok());
        tail.map(u64::from_be_bytes).ok_or_else(|| self.corrupt("no number at its end"))
    }

    /// Its parts, which must all be text. For keys without a number.
    pub(crate) fn texts(&self) -> Result<Vec<String>, Error> {
        let text = |part| String::from_utf8(part).map_err(|_| self.corrupt("a part is not text"));
        self.parts()?.into_iter().map(text).collect()
    }

    /// Its last part. For keys without a number.
    pub(crate) fn last_part(&self) -> Result<Vec<u8>, Error> {
        self.parts()?.pop().ok_or_else(|| self.corrupt("has no part"))
    }

    fn parts(&self) -> Result<Vec<Vec<u8>>, Error> {
        let mut parts = Vec::new();
        let mut part = Vec::new();
        let mut bytes = self.0.iter().skip(1);
        while let Some(&byte) = bytes.next() {
            match (byte, if byte == 0 { bytes.next() } else { None }) {
                (0, Some(0xff)) => part.push(0),
                (0, Some(1)) => parts.push(std::mem::take(&mut part)),
                (0, _) => return Err(self.corrupt("not a sequence of parts")),
                (byte, _) => part.push(byte),
            }
        }
        Ok(parts)
    }

    /// Something about this row cannot be right.
    pub(crate) fn corrupt(&self, why: impl fmt::Display) -> Error {
        Error::corrupt(format!("row {self:?}"), why)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (space, rest) = self.0.split_first().map_or((0, &[][..]), |(s, rest)| (*s, rest));
        write!(f, "{space}:{}", rest.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn byte_order_is_the_order_of_parts(
            a in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4), 0..4),
            b in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4), 0..4),
        ) {
            let key = |parts: &[Vec<u8>]| parts.iter().fold(Key::of(Space::Cell), Key::part);
            prop_assert_eq!(a.cmp(&b), key(&a).cmp(&key(&b)));
            prop_assert_eq!(key(&b).starts_with(&key(&a)), b.starts_with(&a));
        }

        #[test]
        fn texts_come_back(parts in prop::collection::vec(any::<String>(), 0..4)) {
            let key = parts.iter().fold(Key::of(Space::Cell), Key::part);
            prop_assert_eq!(key.texts().unwrap(), parts);
        }
    }

    #[test]
    fn numbers_sort_as_numbers() {
        let at = |n| Key::of(Space::Audit).number(n);
        assert!(at(9) < at(10) && at(255) < at(256) && at(10).last_number().unwrap() == 10);
    }
}
