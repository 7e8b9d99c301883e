//! The embedded backend: sled 0.34, made to keep promises that it does not make itself.
//!
//! # What sled does not promise, and what is done about it
//!
//! sled orders and recovers well: a batch on one tree is applied and recovered as a whole. But its
//! `flush` is a `pwrite` and a `sync_file_range`, which reaches the page cache, not the disk; values too
//! large for a segment go to files that are never synced; its background flusher stops for good at the
//! first error and only logs it; and a damaged log is mostly read as a shorter one, so the store comes
//! back in an earlier state and says nothing. A crash while it writes a snapshot makes it refuse a healthy
//! store. Hence six rules:
//!
//! 1. **One thread writes** ([`writer`]). It takes everything that waits, checks the guards of each
//!    commit in order, and applies all that pass as one batch on one tree, manifest included.
//! 2. **Then, and in this order**: `flush` (the batch is in the log and in the page cache) → `fsync` of
//!    the log file (it is on the disk) → the high-water file (what must be there at the next start is
//!    written down where sled cannot lose it) → the waiters are answered.
//!    The mark is written after the log is safe, because a mark that is ahead of the log would condemn a
//!    healthy store; and before the answer, because an answer that no mark knows of could be lost
//!    unnoticed.
//! 3. **A failed step poisons.** After a failed `fsync` the kernel may have dropped the pages and
//!    called them clean, so trying again proves nothing. No commit is acknowledged any more, and reads
//!    are refused too: what they see may be what was not made durable. A read that the machine fails
//!    is such a step too: sled writes while it reads, and in threads of its own, and once one of these could not,
//!    little of what is asked of it succeeds any more. What passes by itself, such as having no descriptor free, is not
//!    taken for such a step: a read is tried again for a moment and then refused, and reads that are refused like that
//!    for longer than `stall_max` make the store unwell. No commit needs a descriptor that it does not have already.
//! 4. **Rows are small** ([`Commit::VALUE_BYTES_MAX`], [`Key::BYTES_MAX`]) so that no node outgrows a
//!    quarter of a segment, beyond which sled would put it in a file of its own. That there is no such
//!    file is checked before every answer.
//! 5. **Every start reads all of it** ([`open`]): frames, their sum against the manifest, the
//!    manifest against the high-water file. What does not fit is set aside, not served, not replaced.
//! 6. **Half-written snapshots are removed before sled looks** ([`open`]): a process that is killed
//!    while it starts leaves one, and sled takes it for damage.
//!
//! ```text
//!  commit ─► queue ─► guards ─► apply_batch ─► flush ─► fsync ─► high-water ─► answer
//!                      │ refused: answered with the group           │
//!                      └────────────────────────────────────────────┘
//! ```
//!
//! # Reads
//!
//! sled shows a batch to readers as soon as it is applied. A read that may have seen one waits until
//! it is durable, so nobody can act on what a crash would take back.
//!
//! # What this does not do
//!
//! It does not mend, and it does not detect that the whole data directory was replaced by an earlier copy
//! of itself: only a mark kept elsewhere can. It does not shrink: the log keeps about the size of its
//! busiest time.
//!
//! It is made for a disk of the machine. On tmpfs it works, and ends with the machine's power, as all there
//! does. NFS is not supported, and a start does not notice it: Linux makes of the lock a lock of the server's,
//! which keeps other machines out only if each of them mounts without `nolock` and `local_lock`, and which
//! is gone, with the store still open, once the network was away for longer than the server waits. Two hosts
//! on one store are then found out at the next start, when it is too late. No test has an NFS server, so
//! nothing is promised there.

#[cfg(test)]
mod faults;
mod frame;
mod high_water;
mod manifest;
mod open;
mod writer;

use std::fs::File;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use keyway_core::ports::Clock;
use keyway_core::transient;
use serde::Deserialize;
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot, watch};

use self::open::Opened;
use self::writer::{Request, Writer};
use crate::backend::{Backend, Commit, Range, Row, Verdict};
use crate::blobs::Blobs;
use crate::error::{Error, OpenError};
use crate::key::Key;
use crate::metrics::Metrics;
use crate::step::{Step, Steps};
use crate::store::{Limits, Store};

/// How an embedded store is opened.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Options {
    /// Bytes of pages that sled keeps in memory, 64 MiB unless told: the rows of 10,000 installations
    /// several times over. sled's own default is 1 GiB.
    pub cache_bytes_max: u64,
    /// How long commits may wait without any being made before the store calls itself unwell, 10 s
    /// unless told: far above the slowest disk, far below an operator's patience.
    #[serde(with = "keyway_core::humane")]
    pub stall_max: Duration,
    /// Limits of what is kept in it.
    pub limits: Limits,
}

/// Rows in sled.
pub(crate) struct Embedded {
    clock: Arc<dyn Clock>,
    db: ::sled::Db,
    steps: Steps,
    shared: Arc<Shared>,
    stall_max: Duration,
    id: u128,
    /// None only while it is being dropped.
    requests: Option<mpsc::Sender<Request>>,
    writer: Option<std::thread::JoinHandle<()>>,
    /// Locked until the store is closed.
    _lock: File,
}

/// What the writer tells everybody else.
struct Shared {
    /// Newest commit that readers may have seen.
    applied: AtomicU64,
    durable: watch::Sender<Durable>,
    /// Commits that wait for an answer.
    queued: AtomicUsize,
    /// When the writer last got something done, or got something to do.
    progress_at: Mutex<Instant>,
    /// Since when every read failed in a way that should have passed.
    short_since: Mutex<Option<Instant>>,
    /// Whether there is such a time: looked at by each read.
    short: AtomicBool,
}

/// How far the disk is.
#[derive(Clone, Debug)]
struct Durable {
    /// Newest commit that will survive.
    seq: u64,
    /// Why there will be no more.
    poison: Option<Arc<str>>,
}

/// Commits that wait in the queue; more wait before it.
const QUEUE_COMMITS_MAX: usize = 1_024;

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes_max: 64 << 20,
            stall_max: Duration::from_secs(10),
            limits: Limits::default(),
        }
    }
}

// === impl Store ===

impl Store {
    /// Opens the store in `dir`, or makes one if there never was one. Reads and checks all of it.
    ///
    /// `dir` holds `sled/`, `high-water`, `blobs/` and `lock`. A backup is a copy of all of it, taken
    /// while no process has it open; `sled/` alone put back from one is noticed and refused.
    pub async fn open(
        dir: &Path,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Result<Self, OpenError> {
        Self::open_with(dir, clock, options, Steps::default()).await
    }

    /// Like [`open`](Self::open), and calls `written` in each commit once it is written and before it reaches the disk. For
    /// tests that end the process there: it may block, and then nothing is acknowledged.
    pub async fn open_watched(
        dir: &Path,
        clock: Arc<dyn Clock>,
        options: Options,
        written: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, OpenError> {
        let failpoint = move |step| {
            if step == Step::Sync {
                written();
            }
            Ok(())
        };
        Self::open_with(dir, clock, options, Steps::watched(Arc::new(failpoint))).await
    }

    pub(crate) async fn open_with(
        dir: &Path,
        clock: Arc<dyn Clock>,
        options: Options,
        steps: Steps,
    ) -> Result<Self, OpenError> {
        let path = dir.to_owned();
        let opening = tokio::task::spawn_blocking(move || {
            let opened = open::open(&path, &options, &steps)?;
            let blobs_path = path.join("blobs");
            let blobs = Blobs::open(&blobs_path, steps.clone());
            let blobs = blobs.map_err(|e| OpenError::io(blobs_path, e))?;
            // The names of all that was opened, also of what a start before this one made and did not get
            // to sync: nothing is acknowledged in a file that could be without its name.
            let names = || steps.take(Step::Directory, || File::open(&path)?.sync_all());
            transient::retry(names).map_err(|e| OpenError::io(&path, e))?;
            let metrics = Metrics::default();
            let backend =
                Embedded::start(opened, Arc::clone(&clock), &options, steps, metrics.clone())
                    .map_err(|e| OpenError::io(path, e))?;
            Ok(Self::over(Box::new(backend), blobs, clock, options.limits, metrics))
        });
        let path = dir.to_owned();
        opening.await.map_err(|error| OpenError::io(path, std::io::Error::other(error)))?
    }
}

// === impl Embedded ===

impl Embedded {
    fn start(
        opened: Opened,
        clock: Arc<dyn Clock>,
        options: &Options,
        steps: Steps,
        metrics: Metrics,
    ) -> std::io::Result<Self> {
        let Opened { lock, db, .. } = &opened;
        let (lock, db) = (lock.try_clone()?, db.clone());
        let (seq, id) = (opened.manifest.seq, opened.manifest.id);
        let shared = Arc::new(Shared {
            applied: AtomicU64::new(seq),
            durable: watch::Sender::new(Durable { seq, poison: None }),
            queued: AtomicUsize::new(0),
            progress_at: Mutex::new(Instant::now()),
            short_since: Mutex::default(),
            short: AtomicBool::new(false),
        });
        let (requests, queue) = mpsc::channel(QUEUE_COMMITS_MAX);
        let writer =
            Writer::new(opened, Arc::clone(&shared), Arc::clone(&clock), steps.clone(), metrics);
        let writer = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(queue))?;
        let (requests, writer) = (Some(requests), Some(writer));
        let stall_max = options.stall_max;
        Ok(Self { clock, db, steps, shared, stall_max, id, requests, writer, _lock: lock })
    }

    /// Reads off the async threads, and answers once what it may have seen is durable.
    async fn read<T: Send + 'static>(
        &self,
        read: impl Fn(&::sled::Db) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (db, steps) = (self.db.clone(), self.steps.clone());
        let work = move || read_patiently(&steps, || read(&db));
        let value = match tokio::task::spawn_blocking(work).await {
            Ok(value) => value,
            // The runtime is ending, which is no fault of the store's.
            Err(ended) if ended.is_cancelled() => return Err(Error::unavailable(ended)),
            Err(panicked) => Err(Error::unavailable(panicked)),
        };
        let value = self.shared.note(value);
        if let Err(Error::Unavailable { why }) = &value {
            self.shared.fail(&format!("read: {why}"));
        }
        let seen = self.shared.applied.load(Ordering::SeqCst);
        let mut durable = self.shared.durable.subscribe();
        let reached = durable.wait_for(|durable| durable.poison.is_some() || durable.seq >= seen);
        // The sender lives in `shared`, so waiting cannot fail.
        let poison = reached.await.map_err(Error::unavailable)?.poison.clone();
        match poison {
            Some(why) => Err(Error::Poisoned { why }),
            None => value,
        }
    }
}

#[async_trait]
impl Backend for Embedded {
    async fn get(&self, key: &Key) -> Result<Option<Row>, Error> {
        let key = key.clone();
        self.read(move |db| get(db, &key)).await
    }

    async fn scan(&self, range: Range) -> Result<Vec<(Key, Row)>, Error> {
        self.read(move |db| {
            let start = match &range.after {
                Some(after) => Bound::Excluded(after.as_bytes()),
                None => Bound::Included(range.prefix.as_bytes()),
            };
            let mut rows = Vec::new();
            for found in db.range::<&[u8], _>((start, Bound::Unbounded)).take(range.limit) {
                let (key, value) = found.map_err(failed)?;
                let key = Key::from_bytes(&key);
                if !key.starts_with(&range.prefix) {
                    break;
                }
                let row = frame::decode(&key, &value)?;
                rows.push((key, row));
            }
            Ok(rows)
        })
        .await
    }

    async fn commit(&self, commit: Commit) -> Result<Verdict, Error> {
        let (reply, answer) = oneshot::channel();
        let closed = || Error::unavailable("the store is closed");
        let requests = self.requests.as_ref().ok_or_else(closed)?;
        let permit = requests.reserve().await.map_err(|_| closed())?;
        self.shared.queued();
        permit.send(Request { commit, reply });
        answer.await.map_err(|_| closed())?
    }

    async fn now(&self) -> Result<OffsetDateTime, Error> {
        Ok(self.clock.now())
    }

    fn id(&self) -> u128 {
        self.id
    }

    fn healthy(&self) -> Result<(), Error> {
        if let Some(why) = self.shared.poison() {
            return Err(Error::Poisoned { why });
        }
        let queued = self.shared.queued.load(Ordering::SeqCst);
        let stalled = self.shared.progress_at().elapsed();
        if queued > 0 && stalled > self.stall_max {
            let why = format!("{queued} commits wait and none was made for {stalled:.0?}");
            return Err(Error::Unavailable { why });
        }
        match self.shared.short_for() {
            Some(short) if short > self.stall_max => {
                let why = format!("the machine has been short of something for {short:.0?}");
                Err(Error::Unavailable { why })
            }
            _ => Ok(()),
        }
    }
}

/// Closes the store: commits that were accepted are still made. Blocks for about one `fsync`.
impl Drop for Embedded {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(writer) = self.writer.take() {
            // The writer catches its own panics; there is nothing left to learn from its end.
            drop(writer.join());
        }
    }
}

// === impl Shared ===

impl Shared {
    /// One more commit waits.
    fn queued(&self) {
        if self.queued.fetch_add(1, Ordering::SeqCst) == 0 {
            *self.progress_at() = Instant::now();
        }
    }

    /// These many were answered.
    fn answered(&self, commits: usize) {
        self.queued.fetch_sub(commits, Ordering::SeqCst);
        *self.progress_at() = Instant::now();
    }

    fn progress_at(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.progress_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes whether a read failed in passing, and hands it on.
    fn note<T>(&self, read: Result<T, Error>) -> Result<T, Error> {
        let short = read.as_ref().is_err_and(Error::passes);
        if short || self.short.load(Ordering::Relaxed) {
            let mut since = self.short_since.lock().unwrap_or_else(PoisonError::into_inner);
            *since = short.then(|| since.unwrap_or_else(Instant::now));
            self.short.store(short, Ordering::Relaxed);
        }
        read
    }

    fn short_for(&self) -> Option<Duration> {
        let since = self.short_since.lock().unwrap_or_else(PoisonError::into_inner);
        since.map(|since| since.elapsed())
    }

    /// No commit is acknowledged after this, and nothing is read.
    fn fail(&self, why: &str) -> Arc<str> {
        let mut first = Arc::from(why);
        self.durable.send_if_modified(|durable| match &durable.poison {
            Some(earlier) => {
                first = Arc::clone(earlier);
                false
            }
            None => {
                tracing::error!(why, "store takes no more commits; restart the host");
                durable.poison = Some(Arc::clone(&first));
                true
            }
        });
        first
    }

    fn poison(&self) -> Option<Arc<str>> {
        self.durable.borrow().poison.clone()
    }
}

/// Reads, and again for a moment while the machine is short of something.
fn read_patiently<T>(steps: &Steps, read: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
    let step = || {
        let taken = steps.take(Step::Read, || Ok(read()));
        taken.map_err(|error| Error::machine("read", &error))?
    };
    transient::retry_while(step, Error::passes)
}

/// One row, read and checked.
fn get(db: &::sled::Db, key: &Key) -> Result<Option<Row>, Error> {
    let value = db.get(key.as_bytes()).map_err(failed)?;
    value.map(|value| frame::decode(key, &value)).transpose()
}

/// What a failure of sled's means to a caller.
fn failed(error: ::sled::Error) -> Error {
    match error {
        ::sled::Error::Io(error) if open::of_the_machine(&error) => Error::machine("sled", &error),
        error @ (::sled::Error::Corruption { .. } | ::sled::Error::Io(_)) => {
            Error::corrupt("a page", error)
        }
        error => Error::unavailable(error),
    }
}
