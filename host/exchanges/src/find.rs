//! Reading the log: pages of the exchanges that fit a filter, oldest or newest first.
//!
//! A page is an answer to "which of those behind this id": it can be asked for again, and what is added or deleted
//! meanwhile neither repeats nor hides what is there. Each page looks through a bounded part of the log.

use std::cmp::Reverse;
use std::ops::RangeInclusive;

use keyway_core::Digest;
use keyway_core::digest::DigestPrefix;
use keyway_core::ids::{CallId, Connector, Environment, Tenant};
use semver::Version;
use time::OffsetDateTime;

use crate::error::Error;
use crate::exchanges::Shared;
use crate::frame::{self, Frame, Piece};
use crate::kept::{Kept, Position};
use crate::row::{self, Row};
use crate::segment::{self, Segment};

/// Which exchanges are looked for. What is not set fits all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this environment.
    pub environment: Option<Environment>,
    /// Of this tenant.
    pub tenant: Option<Tenant>,
    /// Of this connector.
    pub connector: Option<Connector>,
    /// Of this call.
    pub call: Option<CallId>,
    /// Of this release.
    pub release: Option<ReleaseFilter>,
    /// With this host.
    pub host: Option<String>,
    /// With this status.
    pub status: Option<StatusFilter>,
    /// Only those of which no response was handed on.
    pub stopped: bool,
    /// Only those, and responses with a status from 400 on.
    pub failed: bool,
    /// For this purpose: `call`, `proxy`, or one of the host's own.
    pub purpose: Option<String>,
    /// That began then or later.
    pub since: Option<OffsetDateTime>,
    /// That began then or earlier.
    pub until: Option<OffsetDateTime>,
}

/// Which release.
#[derive(Clone, PartialEq, Debug)]
pub enum ReleaseFilter {
    /// Of this version.
    Version(Version),
    /// With this digest.
    Digest(Digest),
    /// With a digest that begins like this.
    Prefix(DigestPrefix),
}

/// Which status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StatusFilter {
    /// Exactly this one.
    Exactly(u16),
    /// Those that begin with this digit.
    Class(u16),
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

/// A page of exchanges.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// In the order asked for.
    pub exchanges: Vec<Kept>,
    /// Behind which the next page begins; none when nothing more was there. A page may be short, or empty,
    /// and yet not be the last.
    pub next: Option<Position>,
}

/// A page in the making.
struct Search<'a> {
    shared: &'a Shared,
    filter: &'a Filter,
    order: Order,
    limit: usize,
    page: Page,
    page_bytes: usize,
    scanned: u64,
}

/// Whether a page is whole.
#[derive(PartialEq)]
enum Step {
    Done,
    More,
}

// === impl Filter ===

impl Filter {
    /// Whether a row is one that is looked for.
    pub(crate) fn fits(&self, row: &Row<'_>) -> bool {
        let is = |wanted: Option<&str>, text: Option<&row::Text<'_>>| {
            wanted.is_none_or(|wanted| text.is_some_and(|text| text.is(wanted)))
        };
        let call = || self.call.map(|call| call.to_string());
        let host = |host: &str| host_of(&row.url.0).is_some_and(|it| it.eq_ignore_ascii_case(host));
        let failed = row.stopped.is_some() || row.status.is_none_or(|status| status >= 400);
        is(self.environment.as_ref().map(Environment::as_str), row.environment.as_ref())
            && is(self.tenant.as_ref().map(Tenant::as_str), row.tenant.as_ref())
            && is(self.connector.as_ref().map(Connector::as_str), row.connector.as_ref())
            && self.since.is_none_or(|since| row.at >= since)
            && self.until.is_none_or(|until| row.at <= until)
            && self.status.is_none_or(|wanted| row.status.is_some_and(|it| wanted.fits(it)))
            && (!self.stopped || row.stopped.is_some())
            && (!self.failed || failed)
            && is(self.purpose.as_deref(), Some(&row.purpose))
            && self.host.as_deref().is_none_or(host)
            && self.release.as_ref().is_none_or(|wanted| wanted.fits(row))
            && is(call().as_deref(), row.call.as_ref())
    }

    /// When what is looked for began.
    fn times(&self) -> RangeInclusive<i64> {
        let since = self.since.map_or(i64::MIN, segment::nanos);
        since..=self.until.map_or(i64::MAX, segment::nanos)
    }
}

/// The host of an absolute URL, without its port.
fn host_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    match host.strip_prefix('[') {
        Some(address) => address.split(']').next(),
        None => host.split(':').next(),
    }
}

// === impl ReleaseFilter ===

impl ReleaseFilter {
    fn fits(&self, row: &Row<'_>) -> bool {
        let Some(release) = &row.release else { return false };
        match self {
            Self::Version(version) => release.version.is(&version.to_string()),
            Self::Digest(digest) => release.digest.is(&digest.to_string()),
            Self::Prefix(prefix) => release.digest.0.starts_with(&prefix.to_string()),
        }
    }
}

// === impl StatusFilter ===

impl StatusFilter {
    fn fits(self, status: u16) -> bool {
        match self {
            Self::Exactly(wanted) => status == wanted,
            Self::Class(digit) => status / 100 == digit,
        }
    }
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
pub(crate) fn page(
    shared: &Shared,
    filter: &Filter,
    order: Order,
    after: Option<Position>,
    limit: usize,
) -> Result<Page, Error> {
    let mut segments = shared.index.snapshot();
    if order == Order::NewestFirst {
        segments.sort_by_key(|segment| Reverse(segment.number));
    }
    let (times, page) = (filter.times(), Page::default());
    let mut search = Search { shared, filter, order, limit, page, page_bytes: 0, scanned: 0 };
    for segment in &segments {
        let readable = segment.summary.exchanges > 0;
        if !readable || !order.reaches(segment, after) || !segment.touches(&times) {
            continue;
        }
        let read = segment.read(&shared.dir);
        let read =
            read.map_err(|source| Error::Read { name: segment::name(segment.number), source });
        let Some(bytes) = read? else { continue };
        if search.segment(segment.number, &bytes, after) == Step::Done {
            return Ok(search.page);
        }
    }
    // To the end.
    Ok(Page { next: None, ..search.page })
}

impl Search<'_> {
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
        let kept = match row::read(frame.row) {
            Ok(row) if !self.filter.fits(&row) => None,
            Ok(row) => row.kept(frame.id).ok(),
            // Of a later version.
            Err(_) => None,
        };
        if let Some(kept) = kept {
            let bytes = self.page_bytes + frame.row.len();
            let first = self.page.exchanges.is_empty();
            if self.page.exchanges.len() >= self.limit
                || (!first && bytes > self.shared.options.page_bytes_max)
            {
                return Step::Done;
            }
            self.page_bytes = bytes;
            self.page.exchanges.push(kept);
        }
        self.page.next = Some(Position(frame.id));
        Step::More
    }
}
