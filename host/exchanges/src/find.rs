//! Reading a log: pages of the entries that fit a filter, oldest or newest first.
//!
//! A page is an answer to "which of those behind this id": it can be asked for again, and what is added or deleted
//! meanwhile neither repeats nor hides what is there. Each page looks through a bounded part of the log.

use std::cmp::Reverse;
use std::ops::RangeInclusive;

use crate::error::Error;
use crate::frame::{self, Frame, Piece};
use crate::kept::{Kept, Position};
use crate::log::Shared;
use crate::segment::{self, Segment};

/// Which entries of a log are looked for, and what they are read as.
pub trait Look: Send + 'static {
    /// An entry, read back.
    type Found: Send + 'static;

    /// What the log is called.
    const NAMES: Names;

    /// When what is looked for began, in nanoseconds since the Unix epoch.
    fn times(&self) -> RangeInclusive<i64>;

    /// The entry with this id, if it is one that is looked for. One that a later version wrote is none.
    fn look(&self, id: u64, row: &[u8]) -> Option<Self::Found>;
}

/// What a log is called, wherever something is said of it.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// For people.
    pub(crate) log: &'static str,
    /// Its writer's thread; 15 bytes at most.
    pub(crate) thread: &'static str,
    /// Before its metrics.
    pub(crate) metrics: &'static str,
}

/// Which way to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Order {
    /// Upwards.
    OldestFirst,
    /// Downwards.
    #[default]
    NewestFirst,
}

/// A page of a log.
#[derive(Clone, Debug)]
pub struct Page<T = Kept> {
    /// In the order asked for.
    pub entries: Vec<T>,
    /// Behind which the next page begins; none when nothing more was there. A page may be short, or empty,
    /// and yet not be the last.
    pub next: Option<Position>,
}

/// A page in the making.
struct Search<'a, F: Look> {
    shared: &'a Shared,
    filter: &'a F,
    order: Order,
    limit: usize,
    page: Page<F::Found>,
    page_bytes: usize,
    scanned: u64,
}

/// Whether a page is whole.
#[derive(PartialEq)]
enum Step {
    Done,
    More,
}

// === impl Order ===

impl Order {
    /// Whether `id` comes behind `after`.
    fn behind(self, id: u64, after: Option<Position>) -> bool {
        match (self, after) {
            (_, None) => true,
            (Self::OldestFirst, Some(after)) => id > after.0,
            (Self::NewestFirst, Some(after)) => id < after.0,
        }
    }

    /// Whether anything in the segment can come behind `after`.
    fn reaches(self, segment: &Segment, after: Option<Position>) -> bool {
        match self {
            Self::OldestFirst => self.behind(segment.summary.last_id, after),
            Self::NewestFirst => self.behind(segment.first_id, after),
        }
    }
}

// === impl Search ===

/// One page. Blocks.
pub(crate) fn page<F: Look>(
    shared: &Shared,
    filter: &F,
    order: Order,
    after: Option<Position>,
    limit: usize,
) -> Result<Page<F::Found>, Error> {
    let mut segments = shared.index.snapshot();
    if order == Order::NewestFirst {
        segments.sort_by_key(|segment| Reverse(segment.number));
    }
    let (times, page) = (filter.times(), Page { entries: Vec::new(), next: None });
    let mut search = Search { shared, filter, order, limit, page, page_bytes: 0, scanned: 0 };
    for segment in &segments {
        let readable = segment.summary.entries > 0;
        if !readable || !order.reaches(segment, after) || !segment.touches(&times) {
            continue;
        }
        let read = segment.read(&shared.dir);
        let (log, name) = (shared.names.log, segment::name(segment.number));
        let read = read.map_err(|source| Error::Read { log, name, source });
        let Some(bytes) = read? else { continue };
        if search.segment(segment.number, &bytes, after) == Step::Done {
            return Ok(search.page);
        }
    }
    // To the end.
    Ok(Page { next: None, ..search.page })
}

impl<F: Look> Search<'_, F> {
    fn segment(&mut self, number: u64, bytes: &[u8], after: Option<Position>) -> Step {
        let (mut frames, mut damaged) = (Vec::new(), Vec::new());
        for piece in frame::walk(bytes, segment::HEADER) {
            match piece {
                Piece::Whole(frame) => frames.push(frame),
                Piece::Damaged { at } => damaged.push(at as u64),
            }
        }
        self.shared.index.damaged(number, damaged);
        frames.retain(|frame| self.order.behind(frame.id, after));
        if self.order == Order::NewestFirst {
            frames.reverse();
        }
        let done = frames.iter().any(|frame| self.frame(frame) == Step::Done);
        if done { Step::Done } else { Step::More }
    }

    /// Looks at one. Where the page ends before it, `next` is the one looked at last.
    fn frame(&mut self, frame: &Frame<'_>) -> Step {
        if self.page.next.is_some() && self.scanned >= self.shared.options.scan_bytes_max {
            return Step::Done;
        }
        self.scanned += frame.row.len() as u64;
        if let Some(found) = self.filter.look(frame.id, frame.row) {
            let bytes = self.page_bytes + frame.row.len();
            let first = self.page.entries.is_empty();
            if self.page.entries.len() >= self.limit
                || (!first && bytes > self.shared.options.page_bytes_max)
            {
                return Step::Done;
            }
            self.page_bytes = bytes;
            self.page.entries.push(found);
        }
        self.page.next = Some(Position(frame.id));
        Step::More
    }
}
