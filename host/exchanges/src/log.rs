//! The handle of a log: opens it, takes entries, and answers those who read. What an entry is, it does not know.

use std::marker::PhantomData;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use keyway_core::ports::Clock;
use keyway_core::transient;
use tokio::sync::{Semaphore, broadcast, oneshot};

use crate::budget::{Budget, Place};
use crate::error::Error;
use crate::find::{self, Look, Names, Order, Page};
use crate::follow::{Follow, Told};
use crate::frame;
use crate::index::Index;
use crate::kept::Position;
use crate::metrics::{Dropped, Metrics};
use crate::options::Options;
use crate::queue::Queue;
use crate::rows;
use crate::segment::{self, Segment};
use crate::writer::{Task, Writer};

/// Ids that each start skips: more than could have been given within a flush interval, so that none is given
/// twice even if a loss of power took the last of them back.
const IDS_SKIPPED: u64 = 1 << 20;

/// A log of what `F` looks for. Cheap to clone; the last clone writes out what waits.
pub struct Log<F>(Arc<Inner>, PhantomData<fn(F)>);

struct Inner {
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What the writer and readers have in common.
pub(crate) struct Shared {
    pub(crate) names: Names,
    pub(crate) dir: Dir,
    pub(crate) options: Options,
    pub(crate) index: Index,
    pub(crate) budget: Budget,
    pub(crate) metrics: Metrics,
    pub(crate) told: broadcast::Sender<Told>,
    readers: Arc<Semaphore>,
    followers: Arc<Semaphore>,
}

/// Where a start goes on.
struct Start {
    open: Option<Segment>,
    number: u64,
    id: u64,
}

// === impl Log ===

impl<F> Clone for Log<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0), PhantomData)
    }
}

impl<F: Look> Log<F> {
    /// Opens the log in `path`, or makes one. Whoever opens it sees to it that no other process has it.
    pub fn open(path: &Path, clock: Arc<dyn Clock>, options: Options) -> Result<Self, Error> {
        let failed = |source| Error::Open { path: path.to_owned(), source };
        Dir::create_ambient_dir_all(path, ambient_authority()).map_err(failed)?;
        let dir = Dir::open_ambient_dir(path, ambient_authority()).map_err(failed)?;
        let shared = Arc::new(Shared::new(F::NAMES, dir, options));
        let start = shared.start().map_err(failed)?;
        let mut writer =
            Writer::new(Arc::clone(&shared), clock, start.open, start.number, start.id);
        writer.retain();
        let queue = Arc::<Queue>::default();
        let source = Arc::clone(&queue);
        let thread = Builder::new()
            .name(F::NAMES.thread.to_owned())
            .spawn(move || writer.run(&source))
            .map_err(failed)?;
        let writer = Mutex::new(Some(thread));
        Ok(Self(Arc::new(Inner { shared, queue, writer }), PhantomData))
    }

    /// A page of entries that fit, behind `after`; at most `limit`, and at least one if there is one.
    pub async fn find(
        &self,
        filter: F,
        order: Order,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page<F::Found>, Error> {
        let shared = Arc::clone(&self.0.shared);
        let turn = Arc::clone(&shared.readers).acquire_owned().await.map_err(|_| Error::Ended)?;
        let search = move || {
            // Until the search ends: who hangs up does not make room for another.
            let _turn = turn;
            find::page(&shared, &filter, order, after, limit.max(1))
        };
        tokio::task::spawn_blocking(search).await.map_err(|_| Error::Ended)?
    }

    /// New entries that fit, from now on.
    pub fn follow(&self, filter: F) -> Result<Follow<F>, Error> {
        let shared = &self.0.shared;
        let place = Arc::clone(&shared.followers).try_acquire_owned();
        let followers_max = shared.options.followers_max;
        let log = shared.names.log;
        let place = place.map_err(|_| Error::Crowded { log, followers_max })?;
        Ok(Follow::new(shared.told.subscribe(), filter, place))
    }

    /// Answers once everything recorded before is on the disk, or dropped and counted.
    pub async fn flush(&self) {
        self.ask(Task::Flush).await;
    }

    /// Deletes what is too old or too much, as the writer does by itself once in a while.
    pub async fn retain(&self) {
        self.ask(Task::Retain).await;
    }

    /// What the log counts.
    pub fn metrics(&self) -> &Metrics {
        &self.0.shared.metrics
    }

    pub(crate) fn options(&self) -> &Options {
        &self.0.shared.options
    }

    /// A place for an entry that is still to be written down. None where none is free, which is counted.
    pub(crate) fn place(&self) -> Option<Place<'_>> {
        let place = self.0.shared.budget.place();
        if place.is_none() {
            self.count(Err(Dropped::Waiting));
        }
        place
    }

    /// Takes an entry for its place. `at` is when what it tells of began: see [`segment::nanos`].
    pub(crate) fn add(&self, place: Place<'_>, at: i64, row: &[u8]) -> Result<(), Dropped> {
        if !place.keep(rows::weight(1, frame::HEADER + row.len())) {
            return Err(Dropped::WaitingBytes);
        }
        self.0.queue.add(at, row).then_some(()).ok_or(Dropped::Disk)
    }

    /// Counts an entry that is not in the log.
    pub(crate) fn count(&self, added: Result<(), Dropped>) {
        if let Err(why) = added {
            self.0.shared.metrics.count_dropped(why, 1);
        }
    }

    async fn ask(&self, task: impl FnOnce(oneshot::Sender<()>) -> Task) {
        let (reply, done) = oneshot::channel();
        self.0.queue.ask(task(reply));
        // A writer that is gone has nothing left to do.
        drop(done.await);
    }
}

// === impl Inner ===

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.end();
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            tracing::error!(log = self.shared.names.log, "the writer of a log ended by a panic");
        }
    }
}

// === impl Shared ===

impl Shared {
    fn new(names: Names, dir: Dir, options: Options) -> Self {
        let metrics = Metrics::new(names.metrics);
        Self {
            names,
            dir,
            index: Index::new(names.log, metrics.clone()),
            budget: Budget::new(options.waiting_max, options.waiting_bytes_max),
            metrics,
            told: broadcast::Sender::new(options.follower_lag_max.max(1)),
            readers: Arc::new(Semaphore::new(options.readers_max.max(1))),
            followers: Arc::new(Semaphore::new(options.followers_max)),
            options,
        }
    }

    /// Looks at every segment there is.
    fn start(&self) -> std::io::Result<Start> {
        let mut numbers = Vec::new();
        for entry in self.dir.entries()? {
            numbers.extend(segment::number(&entry?.file_name().to_string_lossy()));
        }
        numbers.sort_unstable();
        let (mut open, mut id, mut newest) = (None, 1, 0);
        for number in numbers {
            newest = number;
            open = None;
            let found = match transient::retry(|| segment::look(&self.dir, number)) {
                Ok(found) => found,
                Err(error) => {
                    tracing::warn!(%error, log = self.names.log, segment = number, "segment not read");
                    continue;
                }
            };
            let Segment { first_id, summary, .. } = found.segment;
            id = id.max(first_id.max(summary.last_id).saturating_add(IDS_SKIPPED));
            self.index.put(found.segment.clone());
            self.index.damaged(number, found.damaged);
            open = found.open.then_some(found.segment);
        }
        Ok(Start { open, number: newest.saturating_add(1), id })
    }
}
