//! The high-water file: how far the store had come when it last answered somebody.
//!
//! It lies beside sled's directory and holds a copy of the manifest in two places, written in turn, each
//! with its own checksum. A crash can tear the one being written; the other is then the commit group
//! before, which was answered earlier, so the worst case is a mark that is one group too low.
//!
//! A file that is missing or has no good place is not judged here.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::manifest::{self, Manifest};
use crate::step::{Step, Steps};

/// The open file.
pub(super) struct HighWater {
    file: File,
    /// Which place is written next.
    next: u64,
}

/// Bytes from one place to the other: a sector of any disk, so that one write cannot tear both.
const PLACE: u64 = 4_096;

/// Bytes written in a place.
const BYTES: usize = manifest::BYTES + 4;

// === impl HighWater ===

impl HighWater {
    /// Makes the file, whole or not at all. The caller syncs the directory.
    pub(super) fn create(path: &Path, mark: &Manifest, steps: &Steps) -> io::Result<()> {
        let temporary = path.with_extension("new");
        let mut file = File::create(&temporary)?;
        file.write_all(&encode(mark))?;
        file.set_len(PLACE + BYTES as u64)?;
        steps.take(Step::MarkSync, || file.sync_all())?;
        steps.take(Step::MarkRename, || std::fs::rename(&temporary, path))
    }

    /// Opens the file. None for the mark means that neither place is good; that a place cannot be read is an error, and
    /// says nothing of what is in it.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Option<Manifest>)> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let marks = [read(&file, 0)?, read(&file, 1)?];
        let seq = |place: usize| marks[place].as_ref().map(|mark: &Manifest| mark.seq);
        // An absent mark counts as lower than any.
        let newest = usize::from(seq(1) > seq(0));
        let [first, second] = marks;
        let mark = if newest == 0 { first } else { second };
        Ok((Self { file, next: 1 - newest as u64 }, mark))
    }

    /// Writes a mark and makes it durable. May be done again after any failure: it writes all of the place.
    pub(super) fn write(&mut self, mark: &Manifest) -> io::Result<()> {
        self.file.write_all_at(&encode(mark), self.next * PLACE)?;
        self.file.sync_data()?;
        self.next = 1 - self.next;
        Ok(())
    }
}

fn encode(mark: &Manifest) -> Vec<u8> {
    let mut bytes = mark.encode();
    let crc = crc32c::crc32c(&bytes);
    bytes.extend(crc.to_be_bytes());
    bytes
}

/// The mark in a place, if it is whole.
fn read(file: &File, place: u64) -> io::Result<Option<Manifest>> {
    let mut bytes = [0; BYTES];
    match file.read_exact_at(&mut bytes, place * PLACE) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let (mark, crc) = bytes.split_at(manifest::BYTES);
    let whole = crc32c::crc32c(mark).to_be_bytes() == crc;
    Ok(whole.then(|| Manifest::decode(mark).ok()).flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(seq: u64) -> Manifest {
        Manifest { seq, ..Manifest::new(9) }
    }

    #[test]
    fn a_torn_mark_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("high-water");
        HighWater::create(&path, &mark(0), &Steps::default()).unwrap();
        for seq in 1..=6 {
            let (mut file, before) = HighWater::open(&path).unwrap();
            assert_eq!(before, Some(mark(seq - 1)));
            let place = file.next;
            file.write(&mark(seq)).unwrap();
            assert_eq!(HighWater::open(&path).unwrap().1, Some(mark(seq)));

            let bytes = std::fs::read(&path).unwrap();
            let mut torn = bytes.clone();
            torn[(place * PLACE) as usize + 20] ^= 0x10;
            std::fs::write(&path, &torn).unwrap();
            let (mut file, fallback) = HighWater::open(&path).unwrap();
            assert_eq!(fallback, Some(mark(seq - 1)));
            assert_eq!(file.next, place, "the torn place is written next");
            file.write(&mark(seq)).unwrap();
        }
    }

    #[test]
    fn no_good_place_is_no_mark() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("high-water");
        for bytes in [&b""[..], &[0; 20], &[0; 5_000], &[0xff; 5_000]] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(HighWater::open(&path).unwrap().1, None);
        }
    }
}
