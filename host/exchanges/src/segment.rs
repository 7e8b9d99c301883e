//! One file of the log: a header, then frames.
//!
//! ```text
//! [mark 4][format u8][0 × 3][first id u64][CRC32C u32][0 × 4]                           written first
//! [entries u64][last id u64][first at i64][last at i64][bytes u64][CRC32C u32][0 × 4]  written when it is closed
//! [frame] [frame] …
//! ```
//!
//! The second line spares a start from reading what was closed in order. Where it does not fit the file, the file is
//! read instead. The first line is the same in every format, so that a segment of a later version is left
//! alone and its ids are not used again.

use std::fs::File;
use std::io::{self, Read as _};
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt as _;

use bytes::{Buf as _, BufMut as _};
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};
use keyway_core::transient;
use time::OffsetDateTime;

use crate::frame::{self, Piece};
use crate::row;

const MARK: [u8; 4] = *b"kxlg";

/// The one format there is.
const FORMAT: u8 = 1;

/// Bytes of the first line, and of both.
const OPENING: usize = 24;
pub(crate) const HEADER: usize = OPENING + 48;

/// What is known of one file.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    /// What it is called by.
    pub(crate) number: u64,
    /// Not above the id of any entry in it.
    pub(crate) first_id: u64,
    /// Up to the end of the last whole frame.
    pub(crate) bytes: u64,
    pub(crate) summary: Summary,
}

/// What is in a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Summary {
    pub(crate) entries: u64,
    pub(crate) last_id: u64,
    /// When the first of them began, and the last, in nanoseconds since the Unix epoch.
    pub(crate) first_at: i64,
    pub(crate) last_at: i64,
}

/// A segment as a start finds it.
pub(crate) struct Found {
    pub(crate) segment: Segment,
    /// Whether entries can be added behind its `bytes`.
    pub(crate) open: bool,
    /// Places where frames are damaged.
    pub(crate) damaged: Vec<u64>,
}

/// The first line of a header.
struct Opening {
    format: u8,
    first_id: u64,
}

// === impl Segment ===

impl Segment {
    /// A segment without entries.
    pub(crate) fn new(number: u64, first_id: u64) -> Self {
        Self { number, first_id, bytes: HEADER as u64, summary: Summary::default() }
    }

    /// Makes its file.
    pub(crate) fn create(&self, dir: &Dir) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let file = dir.open_with(name(self.number), &options)?.into_std();
        let mut header = opening(self.first_id);
        header.resize(HEADER, 0);
        file.write_all_at(&header, 0)?;
        Ok(file)
    }

    /// Opens its file to add to it, without what lies behind its `bytes`.
    pub(crate) fn reopen(&self, dir: &Dir) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let file = dir.open_with(name(self.number), &options)?.into_std();
        file.set_len(self.bytes)?;
        // What it was closed with, if it ever was, is no longer so.
        file.write_all_at(&[0; HEADER - OPENING], OPENING as u64)?;
        Ok(file)
    }

    /// Writes down what is in it: nothing is added any more.
    pub(crate) fn close(&self, file: &File) -> io::Result<()> {
        let Summary { entries, last_id, first_at, last_at } = self.summary;
        let mut line = Vec::with_capacity(HEADER - OPENING);
        line.put_u64(entries);
        line.put_u64(last_id);
        line.put_i64(first_at);
        line.put_i64(last_at);
        line.put_u64(self.bytes);
        line.put_u32(crc32c::crc32c_append(crc32c::crc32c(&opening(self.first_id)), &line));
        file.write_all_at(&line, OPENING as u64)?;
        file.sync_data()
    }

    /// Its bytes up to the end of the last frame that was whole when it was looked at; none if retention
    /// has deleted it since.
    pub(crate) fn read(&self, dir: &Dir) -> io::Result<Option<Vec<u8>>> {
        transient::retry(|| {
            let file = match dir.open(name(self.number)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                file => file?,
            };
            let mut bytes = Vec::with_capacity(usize::try_from(self.bytes).unwrap_or_default());
            file.take(self.bytes).read_to_end(&mut bytes)?;
            Ok(Some(bytes))
        })
    }

    /// Whether an entry in it may have begun within these times.
    pub(crate) fn touches(&self, times: &RangeInclusive<i64>) -> bool {
        self.summary.last_at >= *times.start() && self.summary.first_at <= *times.end()
    }
}

/// The file name of a segment.
pub(crate) fn name(number: u64) -> String {
    format!("{number:08}.log")
}

/// The number of a segment, from its file name.
pub(crate) fn number(file: &str) -> Option<u64> {
    let digits = file.strip_suffix(".log")?;
    let number = digits.parse().ok()?;
    (name(number) == file).then_some(number)
}

/// A time as segments know it.
pub(crate) fn nanos(at: OffsetDateTime) -> i64 {
    let nanos = at.unix_timestamp_nanos();
    i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
}

/// From one time to another, as segments know them; none is without end.
pub(crate) fn times(
    since: Option<OffsetDateTime>,
    until: Option<OffsetDateTime>,
) -> RangeInclusive<i64> {
    since.map_or(i64::MIN, nanos)..=until.map_or(i64::MAX, nanos)
}

/// What a start finds in a file. Only the file system can make it fail.
pub(crate) fn look(dir: &Dir, number: u64) -> io::Result<Found> {
    let mut file = dir.open(name(number))?;
    let metadata = file.metadata()?;
    let mut header = Vec::with_capacity(HEADER);
    file.by_ref().take(HEADER as u64).read_to_end(&mut header)?;
    let opening = Opening::read(&header);
    if let Some(opening) = &opening {
        if opening.format != FORMAT {
            return Ok(unread(number, opening.first_id, &metadata));
        }
        if let Some(segment) = closed(number, &header, opening, metadata.len()) {
            return Ok(Found { segment, open: false, damaged: Vec::new() });
        }
    }
    let mut bytes = header;
    file.read_to_end(&mut bytes)?;
    Ok(scan(number, &bytes, opening).unwrap_or_else(|| unread(number, 0, &metadata)))
}

/// What is in a file by its frames; none if nothing of it can be read.
fn scan(number: u64, bytes: &[u8], opening: Option<Opening>) -> Option<Found> {
    let mut segment = Segment::new(number, 0);
    let (mut first, mut damaged) = (None, Vec::new());
    for piece in frame::walk(bytes, HEADER) {
        match piece {
            Piece::Damaged { at } => damaged.push(at as u64),
            Piece::Whole(found) => {
                // A row of a later version has an id and a place all the same.
                let at = row::at(found.row).map(nanos);
                segment.summary.add(found.id, at.unwrap_or(segment.summary.last_at));
                segment.bytes = found.end as u64;
                first.get_or_insert(found.id);
            }
        }
    }
    segment.first_id = opening.as_ref().map(|opening| opening.first_id).or(first)?;
    // What lies behind the last frame was torn off, and is no damage.
    damaged.retain(|at| *at < segment.bytes);
    let open = opening.is_some() && bytes.len() >= HEADER;
    Some(Found { segment, open, damaged })
}

/// The segment, if its header says what is in it and the file is as long as it should be.
fn closed(number: u64, header: &[u8], opening: &Opening, length: u64) -> Option<Segment> {
    let (before, mut line) = header.split_at_checked(OPENING)?;
    let crc = crc32c::crc32c_append(crc32c::crc32c(before), line.get(..40)?);
    if line.len() < HEADER - OPENING {
        return None;
    }
    let summary = Summary {
        entries: line.get_u64(),
        last_id: line.get_u64(),
        first_at: line.get_i64(),
        last_at: line.get_i64(),
    };
    let bytes = line.get_u64();
    let whole = line.get_u32() == crc && bytes == length;
    whole.then_some(Segment { number, first_id: opening.first_id, bytes, summary })
}

/// A file of which nothing is read: of a later version, or damaged all over. It stays until its time is over.
fn unread(number: u64, first_id: u64, metadata: &cap_std::fs::Metadata) -> Found {
    let at = metadata.modified().map_or(0, |at| nanos(OffsetDateTime::from(at.into_std())));
    let summary = Summary { entries: 0, last_id: 0, first_at: at, last_at: at };
    let segment = Segment { number, first_id, bytes: metadata.len(), summary };
    Found { segment, open: false, damaged: Vec::new() }
}

fn opening(first_id: u64) -> Vec<u8> {
    let mut line = Vec::with_capacity(HEADER);
    line.put_slice(&MARK);
    line.put_slice(&[FORMAT, 0, 0, 0]);
    line.put_u64(first_id);
    line.put_u32(crc32c::crc32c(&line));
    line.put_u32(0);
    line
}

// === impl Opening ===

impl Opening {
    fn read(header: &[u8]) -> Option<Self> {
        let (mut line, mut rest) = header.get(..OPENING)?.split_at_checked(16)?;
        let whole = line.starts_with(&MARK) && rest.get_u32() == crc32c::crc32c(line);
        line.advance(MARK.len());
        let format = line.get_u8();
        line.advance(3);
        whole.then(|| Self { format, first_id: line.get_u64() })
    }
}

// === impl Summary ===

impl Summary {
    /// One more entry.
    pub(crate) fn add(&mut self, id: u64, at: i64) {
        let empty = self.entries == 0;
        self.first_at = if empty { at } else { self.first_at.min(at) };
        self.last_at = if empty { at } else { self.last_at.max(at) };
        self.last_id = self.last_id.max(id);
        self.entries += 1;
    }

    /// All that another has.
    pub(crate) fn join(&mut self, other: &Self) {
        if other.entries == 0 {
            return;
        }
        if self.entries == 0 {
            *self = *other;
            return;
        }
        self.first_at = self.first_at.min(other.first_at);
        self.last_at = self.last_at.max(other.last_at);
        self.last_id = self.last_id.max(other.last_id);
        self.entries += other.entries;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir() -> (tempfile::TempDir, Dir) {
        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(folder.path(), cap_std::ambient_authority()).unwrap();
        (folder, dir)
    }

    #[test]
    fn a_name_is_its_number_and_nothing_else_is_a_segment() {
        for at in [0, 7, 99_999_999, 100_000_000, u64::MAX] {
            assert_eq!(number(&name(at)), Some(at));
        }
        for other in ["7.log", "000000007.log", "+0000007.log", "00000007", "lock", ".log"] {
            assert_eq!(number(other), None, "{other}");
        }
    }

    #[test]
    fn a_closed_segment_is_known_by_its_header_and_a_changed_one_by_its_frames() {
        let (_folder, dir) = dir();
        let mut segment = Segment::new(3, 40);
        let file = segment.create(&dir).unwrap();
        segment.summary = Summary { entries: 9, last_id: 48, first_at: -5, last_at: 5 };
        segment.close(&file).unwrap();
        let found = look(&dir, 3).unwrap();
        assert!(!found.open);
        assert_eq!((found.segment.summary, found.segment.first_id), (segment.summary, 40));
        // One byte more than it was closed with: the frames are looked at, and there are none.
        file.write_all_at(b"x", segment.bytes).unwrap();
        let found = look(&dir, 3).unwrap();
        assert_eq!((found.segment.summary, found.segment.first_id), (Summary::default(), 40));
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        let (_folder, dir) = dir();
        let mut segment = Segment::new(3, 40);
        let file = segment.create(&dir).unwrap();
        segment.summary = Summary { entries: 9, last_id: 48, first_at: -5, last_at: 5 };
        segment.close(&file).unwrap();
        let mut header = [0; HEADER];
        file.read_exact_at(&mut header, 0).unwrap();
        // The last four bytes of each line are room, and covered by nothing.
        for at in (0..20).chain(24..HEADER - 4) {
            for bit in 0..8 {
                let mut flipped = header;
                flipped[at] ^= 1 << bit;
                file.write_all_at(&flipped, 0).unwrap();
                let found = look(&dir, 3).unwrap().segment;
                assert_eq!(found.summary.entries, 0, "bit {bit} of byte {at} was believed");
                assert!([0, 40].contains(&found.first_id), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn a_segment_of_a_later_version_is_left_alone_and_its_ids_too() {
        let (_folder, dir) = dir();
        let segment = Segment::new(3, 40);
        let file = segment.create(&dir).unwrap();
        let mut line = opening(40);
        line[4] = FORMAT + 1;
        let crc = crc32c::crc32c(&line[..16]);
        line[16..20].copy_from_slice(&crc.to_be_bytes());
        file.write_all_at(&line, 0).unwrap();
        let found = look(&dir, 3).unwrap();
        assert!(!found.open);
        assert_eq!((found.segment.first_id, found.segment.summary.entries), (40, 0));
    }
}
