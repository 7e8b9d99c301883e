//! The one thread that writes: whatever waits goes out as one write, and readers are told after that.
//!
//! It also closes segments, deletes old ones, and syncs once in a while. It never gives up: while the disk refuses,
//! entries are dropped and counted, and each batch tries again.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use keyway_core::ports::Clock;
use keyway_core::transient;
use tokio::sync::oneshot;

use crate::follow::Told;
use crate::frame::{self, Frame, Piece};
use crate::log::Shared;
use crate::metrics::Dropped;
use crate::queue::{Queue, Woken};
use crate::rows::{self, Row, Rows};
use crate::segment::{self, Segment, Summary};

/// What the thread is asked.
pub(crate) enum Task {
    /// Answer once everything before is on the disk.
    Flush(oneshot::Sender<()>),
    /// Answer once retention was looked after.
    Retain(oneshot::Sender<()>),
}

/// Bytes that go out as one write: few enough that readers and the budget do not wait for them.
const BATCH_BYTES: usize = 1 << 20;

/// How often age is looked at; size is looked at with every write. Ages are hours and days.
const RETENTION_INTERVAL: Duration = Duration::from_secs(60);

/// The writer's state.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    /// The newest segment, while it is written to.
    active: Option<Active>,
    /// What the next segment is called by.
    number: u64,
    /// What the next entry is called by.
    id: u64,
    /// Since when something is written and not synced.
    unsynced: Option<Instant>,
    retained: Instant,
    /// Whether the last write failed: said once.
    failing: bool,
    /// Whether an entry of this start is known to be on the disk.
    anchored: bool,
}

struct Active {
    file: File,
    segment: Segment,
}

/// Says that nobody reads any more, also where the writer ends by a panic.
struct Reader<'q>(&'q Queue);

/// Entries that go out together.
struct Batch {
    /// The id of the first.
    first_id: u64,
    /// Where their frames lie.
    frames: Range<usize>,
    summary: Summary,
}

// === impl Writer ===

impl Writer {
    /// A writer behind what a start found: goes on with `open`, or begins a segment of this number.
    pub(crate) fn new(
        shared: Arc<Shared>,
        clock: Arc<dyn Clock>,
        open: Option<Segment>,
        number: u64,
        id: u64,
    ) -> Self {
        let active = open.and_then(|segment| match segment.reopen(&shared.dir) {
            Ok(file) => Some(Active { file, segment }),
            Err(error) => {
                tracing::warn!(%error, log = shared.names.log, segment = segment.number, "segment not written to any more");
                None
            }
        });
        Self {
            shared,
            clock,
            active,
            number,
            id,
            unsynced: None,
            retained: Instant::now(),
            failing: false,
            anchored: false,
        }
    }

    /// Runs until nobody can ask any more and everything asked is done.
    pub(crate) fn run(mut self, queue: &Queue) {
        let _reader = Reader(queue);
        let mut rows = Rows::default();
        loop {
            match queue.wait(self.wait(), &mut rows) {
                Woken::Work(tasks) => {
                    self.keep(&mut rows);
                    rows.clear();
                    tasks.into_iter().for_each(|task| self.see_to(task));
                }
                Woken::Nothing => {}
                Woken::Ended => break,
            }
            if self.unsynced.is_some_and(|since| since.elapsed() >= self.flush_interval()) {
                self.sync();
            }
            if self.retained.elapsed() >= RETENTION_INTERVAL {
                self.retain();
            }
        }
        self.sync();
    }

    /// Until something is due.
    fn wait(&self) -> Duration {
        let retention = RETENTION_INTERVAL.saturating_sub(self.retained.elapsed());
        let sync = self.unsynced.map(|since| self.flush_interval().saturating_sub(since.elapsed()));
        sync.map_or(retention, |sync| sync.min(retention))
    }

    /// Writes what waited, in its order, to segments that have room for it.
    fn keep(&mut self, Rows { frames, rows }: &mut Rows) {
        let mut batch = Batch::behind(0, self.id);
        for row in rows.iter() {
            let place = batch.frames.end..row.end;
            if self.full(&batch, place.len()) {
                self.write_out(&batch, frames);
                self.close();
                batch = Batch::behind(place.start, self.id);
            }
            frame::seal(&mut frames[place], self.id);
            batch.add(self.id, row);
            self.id += 1;
            if batch.frames.len() >= BATCH_BYTES {
                self.write_out(&batch, frames);
                batch = Batch::behind(row.end, self.id);
            }
        }
        self.write_out(&batch, frames);
    }

    fn see_to(&mut self, task: Task) {
        let reply = match task {
            Task::Flush(reply) => {
                self.sync();
                reply
            }
            Task::Retain(reply) => {
                self.retain();
                reply
            }
        };
        // Whoever asked may have gone.
        reply.send(()).ok();
    }

    /// Whether the segment would be larger than it may be. One that is empty takes anything.
    fn full(&self, batch: &Batch, frame_bytes: usize) -> bool {
        let segment = self.active.as_ref().map(|active| &active.segment);
        let written = segment.map_or(segment::HEADER as u64, |segment| segment.bytes);
        let bytes = written + (batch.frames.len() + frame_bytes) as u64;
        let empty = segment.is_none_or(|segment| segment.summary.entries == 0);
        let first = empty && batch.frames.is_empty();
        !first && bytes > self.shared.options.segment_bytes()
    }

    /// Writes a batch, or drops it and counts.
    fn write_out(&mut self, batch: &Batch, frames: &[u8]) {
        if batch.frames.is_empty() {
            return;
        }
        let frames = &frames[batch.frames.clone()];
        // To the same place each time, so that it may be done again.
        match transient::retry(|| self.write(batch, frames)) {
            Ok(()) => {
                self.unsynced.get_or_insert_with(Instant::now);
                if !std::mem::replace(&mut self.anchored, true) {
                    // The next start counts on from what it finds: without this, a loss of power could take
                    // back every id of this start, and the next would give them again.
                    self.sync();
                }
                self.shared.metrics.count_recorded(batch.summary.entries);
                // After the write: nobody hears of an id that a kill would take back.
                self.tell(frames);
                if std::mem::take(&mut self.failing) {
                    tracing::info!(log = self.log(), "log is written again");
                }
                // What cannot be deleted now is tried again, and told, with what is too old.
                drop(self.delete(i64::MIN));
            }
            Err(error) => {
                let short = transient::is(&error);
                let why = if short { Dropped::Short } else { Dropped::Disk };
                self.shared.metrics.count_dropped(why, batch.summary.entries);
                match std::mem::replace(&mut self.failing, true) {
                    true => {}
                    false if short => {
                        tracing::warn!(%error, log = self.log(), "no descriptor or memory for a log; entries are dropped");
                    }
                    false => {
                        tracing::error!(%error, log = self.log(), "log not written; entries are dropped");
                    }
                }
            }
        }
        // No more than were counted in, so it fits.
        let entries = batch.summary.entries as usize;
        self.shared.budget.give(entries, rows::weight(entries, frames.len()));
    }

    /// Tells whoever follows, if anybody does.
    fn tell(&self, frames: &[u8]) {
        let told = &self.shared.told;
        if told.receiver_count() == 0 {
            return;
        }
        for piece in frame::walk(frames, 0) {
            let Piece::Whole(Frame { id, row, .. }) = piece else { continue };
            // The last one may have gone.
            drop(told.send(Told { id, row: Bytes::copy_from_slice(row) }));
        }
    }

    fn write(&mut self, batch: &Batch, frames: &[u8]) -> io::Result<()> {
        if self.active.is_none() {
            self.begin(batch.first_id)?;
        }
        let Some(Active { file, segment }) = &mut self.active else {
            return Err(io::Error::other("no segment"));
        };
        if let Err(error) = file.write_all_at(frames, segment.bytes) {
            // What was written of it must not be found by a later start.
            if file.set_len(segment.bytes).is_err() {
                self.active = None;
            }
            return Err(error);
        }
        segment.bytes += frames.len() as u64;
        segment.summary.join(&batch.summary);
        self.shared.index.put(segment.clone());
        Ok(())
    }

    /// Begins a segment for entries from this id on.
    fn begin(&mut self, first_id: u64) -> io::Result<()> {
        let segment = Segment::new(self.number, first_id);
        let file = segment.create(&self.shared.dir)?;
        // Its name too: a later start counts on from the ids in it.
        self.shared.dir.open(".")?.sync_all()?;
        self.number += 1;
        self.shared.index.put(segment.clone());
        self.active = Some(Active { file, segment });
        Ok(())
    }

    /// Ends the segment that is written to, if there is one.
    fn close(&mut self) {
        let Some(Active { file, segment }) = self.active.take() else { return };
        // Without its summary, the next start reads it instead.
        if let Err(error) = segment.close(&file) {
            tracing::warn!(%error, log = self.log(), segment = segment.number, "segment without its summary");
        }
        self.unsynced = None;
    }

    fn sync(&mut self) {
        if self.unsynced.take().is_none() {
            return;
        }
        let Some(Active { file, .. }) = &self.active else { return };
        if let Err(error) = transient::retry(|| file.sync_data()) {
            tracing::warn!(%error, log = self.log(), "log not synced");
        }
    }

    /// Deletes what is too old, and sees to it that the newest segment will be.
    pub(crate) fn retain(&mut self) {
        self.retained = Instant::now();
        let now = self.clock.now();
        let before = |time: Duration| {
            let at = time::Duration::try_from(time).ok().and_then(|time| now.checked_sub(time));
            at.map_or(i64::MIN, segment::nanos)
        };
        let long = before(self.shared.options.segment_time());
        let newest = self.shared.index.newest();
        if newest.is_some_and(|newest| newest.summary.entries > 0 && newest.summary.first_at < long)
        {
            self.close();
            // The new one is there before the old one goes: one of them knows which ids were used.
            if let Err(error) = self.begin(self.id) {
                tracing::warn!(%error, log = self.log(), "no new segment");
            }
        }
        if let Err(error) = self.delete(before(self.shared.options.age_max)) {
            tracing::warn!(%error, log = self.log(), "segment not deleted; the log is larger or older than it may be");
        }
    }

    /// Deletes what ended before `horizon`, and what is over the size that the log may have.
    fn delete(&self, horizon: i64) -> io::Result<()> {
        let Shared { index, dir, options, .. } = &*self.shared;
        for number in index.doomed(horizon, options.total_bytes_max) {
            match dir.remove_file(segment::name(number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => index.remove(number),
            }
        }
        Ok(())
    }

    fn flush_interval(&self) -> Duration {
        self.shared.options.flush_interval
    }

    /// What the log is called where something is said of it.
    fn log(&self) -> &'static str {
        self.shared.names.log
    }
}

// === impl Reader ===

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        self.0.orphan();
    }
}

// === impl Batch ===

impl Batch {
    /// None yet: the first will begin here, and be called by this id.
    fn behind(end: usize, first_id: u64) -> Self {
        Self { first_id, frames: end..end, summary: Summary::default() }
    }

    fn add(&mut self, id: u64, row: &Row) {
        self.frames.end = row.end;
        self.summary.add(id, row.at);
    }
}
