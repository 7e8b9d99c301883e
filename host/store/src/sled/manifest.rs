//! The manifest: one row, written with every batch, that says what all other rows amount to.
//!
//! Its sum does not depend on the order of rows, so a commit updates it from the rows it changes alone,
//! and a start recomputes it from all of them. A row that is missing, stale or foreign changes the sum.

use bytes::{Buf, BufMut};

use super::frame;
use crate::backend::Row;
use crate::error::Error;
use crate::key::Key;

/// What the store amounts to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Manifest {
    /// Of the store's directory as a whole.
    pub(super) format: u8,
    /// Drawn when the store was made; another store's files have another.
    pub(super) id: u128,
    /// Commits ever made.
    pub(super) seq: u64,
    /// Rows there are, this one not counted.
    pub(super) rows: u64,
    /// Of all rows, this one left out; modulo 2^128.
    pub(super) sum: u128,
}

/// The newest format of a store that this program reads.
pub(super) const FORMAT: u8 = 1;

/// Bytes of a manifest.
pub(super) const BYTES: usize = 1 + 16 + 8 + 8 + 16;

// === impl Manifest ===

impl Manifest {
    /// Of an empty store.
    pub(super) fn new(id: u128) -> Self {
        Self { format: FORMAT, id, seq: 0, rows: 0, sum: 0 }
    }

    /// Where it is: below every space.
    pub(super) fn key() -> Key {
        Key::from_bytes(&[0])
    }

    /// Counts a row.
    pub(super) fn add(&mut self, key: &Key, row: &Row) {
        self.rows = self.rows.wrapping_add(1);
        self.sum = self.sum.wrapping_add(frame::digest(key, row));
    }

    /// Counts a row no more.
    pub(super) fn subtract(&mut self, key: &Key, row: &Row) {
        self.rows = self.rows.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(frame::digest(key, row));
    }

    /// Its bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.put_u8(self.format);
        bytes.put_u128(self.id);
        bytes.put_u64(self.seq);
        bytes.put_u64(self.rows);
        bytes.put_u128(self.sum);
        bytes
    }

    /// From its bytes. A later format may have more of them; its number is still first.
    pub(super) fn decode(mut bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() < BYTES {
            return Err(Error::corrupt("the manifest", format!("it has {} bytes", bytes.len())));
        }
        Ok(Self {
            format: bytes.get_u8(),
            id: bytes.get_u128(),
            seq: bytes.get_u64(),
            rows: bytes.get_u64(),
            sum: bytes.get_u128(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Space;

    #[test]
    fn the_sum_does_not_depend_on_order_and_misses_no_row() {
        let row = |n: u64| Row { revision: n, value: vec![n as u8].into() };
        let key = |n| Key::of(Space::Audit).number(n);
        let (mut up, mut down) = (Manifest::new(1), Manifest::new(1));
        (0..50).for_each(|n| up.add(&key(n), &row(n)));
        (0..50).rev().for_each(|n| down.add(&key(n), &row(n)));
        assert_eq!(up, down);
        assert_eq!(Manifest::decode(&up.encode()).unwrap(), up);

        down.subtract(&key(7), &row(7));
        assert_ne!(up.sum, down.sum);
        down.add(&key(7), &row(8));
        assert_ne!(up.sum, down.sum, "the same number of rows, one of them stale");
    }
}
