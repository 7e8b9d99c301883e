//! How a row's value lies on disk: framed, so that another value, a shortened one or one of another
//! key cannot pass for it.
//!
//! `[format u8][length u32][CRC32C u32][hash of the key u64][revision u64][value]`, big-endian; the
//! checksum covers everything but itself.

use bytes::{Buf, BufMut, Bytes};
use sha2::{Digest as _, Sha256};

use crate::backend::Row;
use crate::error::Error;
use crate::key::Key;

/// The one format there is.
const FORMAT: u8 = 1;

/// Bytes before the value.
const HEADER: usize = 1 + 4 + 4 + 8 + 8;

/// A row as it lies on disk.
pub(super) fn encode(key: &Key, row: &Row) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER + row.value.len());
    frame.put_u8(FORMAT);
    frame.put_u32(row.value.len() as u32);
    frame.put_u32(checksum(key_hash(key), row.revision, &row.value));
    frame.put_u64(key_hash(key));
    frame.put_u64(row.revision);
    frame.put_slice(&row.value);
    frame
}

/// The row, if it is the one that was written under this key.
pub(super) fn decode(key: &Key, frame: &[u8]) -> Result<Row, Error> {
    let Some((mut header, value)) = frame.split_at_checked(HEADER) else {
        return Err(key.corrupt("shorter than a frame"));
    };
    let format = header.get_u8();
    if format != FORMAT {
        return Err(key.corrupt(format_args!("frame format {format} is not known")));
    }
    let (len, crc) = (header.get_u32(), header.get_u32());
    let (hash, revision) = (header.get_u64(), header.get_u64());
    if len as usize != value.len() {
        return Err(key.corrupt(format_args!("{} bytes instead of {len}", value.len())));
    }
    if hash != key_hash(key) {
        return Err(key.corrupt("written under another key"));
    }
    if crc != checksum(hash, revision, value) {
        return Err(key.corrupt("its checksum does not fit"));
    }
    Ok(Row { revision, value: Bytes::copy_from_slice(value) })
}

/// What a row adds to the running sum over all rows.
pub(super) fn digest(key: &Key, row: &Row) -> u128 {
    let mut hasher = Sha256::new();
    hasher.update((key.as_bytes().len() as u64).to_be_bytes());
    hasher.update(key.as_bytes());
    hasher.update(row.revision.to_be_bytes());
    hasher.update(&row.value);
    let hash: [u8; 32] = hasher.finalize().into();
    hash.as_slice().get_u128()
}

fn key_hash(key: &Key) -> u64 {
    let hash: [u8; 32] = Sha256::digest(key.as_bytes()).into();
    hash.as_slice().get_u64()
}

fn checksum(key_hash: u64, revision: u64, value: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&[FORMAT]);
    let crc = crc32c::crc32c_append(crc, &(value.len() as u32).to_be_bytes());
    let crc = crc32c::crc32c_append(crc, &key_hash.to_be_bytes());
    let crc = crc32c::crc32c_append(crc, &revision.to_be_bytes());
    crc32c::crc32c_append(crc, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Space;

    fn key(name: &str) -> Key {
        Key::of(Space::Cell).part(name)
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_noticed() {
        let row = Row { revision: 7, value: Bytes::from_static(b"value") };
        let frame = encode(&key("a"), &row);
        assert_eq!(decode(&key("a"), &frame).unwrap(), row);
        assert!(decode(&key("b"), &frame).is_err(), "another row's place");
        for at in 0..frame.len() {
            assert!(decode(&key("a"), &frame[..at]).is_err(), "cut to {at}");
            for bit in 0..8 {
                let mut flipped = frame.clone();
                flipped[at] ^= 1 << bit;
                assert!(decode(&key("a"), &flipped).is_err(), "bit {bit} of byte {at}");
            }
        }
    }
}
