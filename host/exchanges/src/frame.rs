//! How an entry lies in a segment: framed, so that a damaged one is noticed, and the next one is found
//! however much of it is damaged.
//!
//! `[mark 4][length u32][CRC32C u32][id u64][row]`, big-endian; the checksum covers the length, the id and
//! the row. The mark has bytes that no UTF-8 has, so no row can contain it.

use bytes::{Buf as _, BufMut as _};
use memchr::memmem;

/// How every frame begins.
const MARK: [u8; 4] = [0xff, b'K', b'x', 0xfe];

/// Bytes before the row.
pub(crate) const HEADER: usize = 4 + 4 + 4 + 8;

/// One entry as it was found.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) id: u64,
    pub(crate) row: &'a [u8],
    /// Where the next one begins.
    pub(crate) end: usize,
}

/// What lies at a place.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Piece<'a> {
    /// A frame, whole.
    Whole(Frame<'a>),
    /// Bytes from here to the next frame that is whole, or to the end.
    Damaged {
        /// Where they begin.
        at: usize,
    },
}

/// Pieces in their order.
pub(crate) struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Appends a frame that is none before it is sealed: what stands before the row has no id yet.
pub(crate) fn append(to: &mut Vec<u8>, row: &[u8]) {
    to.reserve(HEADER + row.len());
    to.put_bytes(0, HEADER);
    to.put_slice(row);
}

/// Makes a frame of what [`append`] left. The row is shorter than 4 GiB: see [`crate::Options::exchange_bytes_max`].
pub(crate) fn seal(frame: &mut [u8], id: u64) {
    let (mut header, row) = frame.split_at_mut(HEADER);
    let length = row.len() as u32;
    header.put_slice(&MARK);
    header.put_u32(length);
    header.put_u32(checksum(length, id, row));
    header.put_u64(id);
}

/// What lies in `bytes` from `at` on.
pub(crate) fn walk(bytes: &[u8], at: usize) -> Walk<'_> {
    Walk { bytes, at }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let at = self.at;
        if at >= self.bytes.len() {
            return None;
        }
        if let Some(frame) = read(self.bytes, at) {
            self.at = frame.end;
            return Some(Piece::Whole(frame));
        }
        self.at = next_whole(self.bytes, at + 1);
        Some(Piece::Damaged { at })
    }
}

/// The frame at `at`, if it is whole.
fn read(bytes: &[u8], at: usize) -> Option<Frame<'_>> {
    let (mut header, rest) = bytes.get(at..)?.split_at_checked(HEADER)?;
    if !header.starts_with(&MARK) {
        return None;
    }
    header.advance(MARK.len());
    let (length, crc, id) = (header.get_u32(), header.get_u32(), header.get_u64());
    let row = rest.get(..length as usize)?;
    let end = at + HEADER + row.len();
    (crc == checksum(length, id, row)).then_some(Frame { id, row, end })
}

/// Where the next whole frame begins, or the end.
fn next_whole(bytes: &[u8], from: usize) -> usize {
    let marks = memmem::find_iter(bytes.get(from..).unwrap_or_default(), &MARK);
    let mut places = marks.map(|place| from + place);
    places.find(|place| read(bytes, *place).is_some()).unwrap_or(bytes.len())
}

fn checksum(length: u32, id: u64, row: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&length.to_be_bytes());
    let crc = crc32c::crc32c_append(crc, &id.to_be_bytes());
    crc32c::crc32c_append(crc, row)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> (Vec<u8>, [usize; 3]) {
        let mut bytes = Vec::new();
        let ends = ["{\"a\":1}", "{}", "{\"b\":\"\u{fffd}\"}"].map(|row| {
            let start = bytes.len();
            append(&mut bytes, row.as_bytes());
            seal(&mut bytes[start..], row.len() as u64);
            bytes.len()
        });
        (bytes, ends)
    }

    fn ids(bytes: &[u8]) -> (Vec<u64>, usize) {
        let (mut whole, mut damaged) = (Vec::new(), 0);
        for piece in walk(bytes, 0) {
            match piece {
                Piece::Whole(frame) => whole.push(frame.id),
                Piece::Damaged { .. } => damaged += 1,
            }
        }
        (whole, damaged)
    }

    #[test]
    fn a_flipped_bit_costs_the_frame_that_it_is_in_and_no_other() {
        let (bytes, ends) = three();
        assert_eq!(ids(&bytes), (vec![7, 2, 11], 0));
        for at in 0..bytes.len() {
            let hit = ends.iter().position(|end| at < *end).unwrap();
            let mut left = vec![7, 2, 11];
            left.remove(hit);
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert_eq!(ids(&flipped), (left.clone(), 1), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn a_cut_costs_what_is_behind_it() {
        let (bytes, ends) = three();
        for cut in 0..bytes.len() {
            let whole = ends.iter().filter(|end| **end <= cut).count();
            let torn = usize::from(cut > 0 && !ends.contains(&cut));
            let (found, damaged) = ids(&bytes[..cut]);
            assert_eq!((found.len(), damaged), (whole, torn), "cut to {cut}");
        }
    }

    #[test]
    fn neighbouring_damage_is_one_stretch() {
        let (mut bytes, ends) = three();
        bytes[..ends[1]].fill(0xff);
        assert_eq!(ids(&bytes), (vec![11], 1));
    }

    #[test]
    fn a_length_beyond_memory_is_damage() {
        let (mut bytes, _) = three();
        bytes[4..8].fill(0xff);
        assert_eq!(ids(&bytes), (vec![2, 11], 1));
    }
}
