//! Entries that wait together, in one piece of memory: each is copied to where the last one ended, and nothing is made
//! for it alone that another thread would have to give back.

use crate::frame;

/// Bytes of room that is kept for those that come next: some thousand of them, more than wait at once on a busy host.
const KEPT_BYTES_MAX: usize = 2 << 20;

/// Rows in their order, framed but for what the writer adds: see [`frame::seal`].
#[derive(Default)]
pub(crate) struct Rows {
    pub(crate) frames: Vec<u8>,
    pub(crate) rows: Vec<Row>,
}

/// One of them. Its frame begins where the one before it ends.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    /// When the entry began, in nanoseconds since the Unix epoch.
    pub(crate) at: i64,
    /// Where its frame ends.
    pub(crate) end: usize,
}

/// What so many rows, in so many bytes of frames, take of the budget.
pub(crate) const fn weight(rows: usize, frame_bytes: usize) -> usize {
    rows * size_of::<Row>() + frame_bytes
}

// === impl Rows ===

impl Rows {
    pub(crate) fn add(&mut self, at: i64, row: &[u8]) {
        frame::append(&mut self.frames, row);
        self.rows.push(Row { at, end: self.frames.len() });
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Makes room for others, and gives back what only a flood takes.
    pub(crate) fn clear(&mut self) {
        if self.frames.capacity() > KEPT_BYTES_MAX {
            *self = Self::default();
        }
        self.frames.clear();
        self.rows.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_kept_for_the_next_unless_it_took_a_flood() {
        for (bytes, kept) in [(1 << 10, true), (KEPT_BYTES_MAX, false)] {
            let mut rows = Rows::default();
            rows.add(1, &vec![b' '; bytes]);
            rows.add(2, b"{}");
            assert_eq!(rows.rows[1].end - rows.rows[0].end, frame::HEADER + 2);
            rows.clear();
            assert!(rows.is_empty() && rows.frames.is_empty());
            assert_eq!(rows.frames.capacity() > 0, kept, "{bytes}");
        }
    }
}
