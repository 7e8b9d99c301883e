//! The one thread that writes: group commit in the order that `sled` explains.
//!
//! It knows nothing of what rows mean, and it never retries a step.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use keyway_core::ports::Clock;
use keyway_core::transient;
use rustix::fs::Dir;
use tokio::sync::{mpsc, oneshot};

use super::high_water::HighWater;
use super::manifest::Manifest;
use super::open::Opened;
use super::{Shared, frame, get, read_patiently};
use crate::backend::{Commit, Row, Verdict};
use crate::error::Error;
use crate::key::Key;
use crate::metrics::Metrics;
use crate::step::{Step, Steps};

/// A commit that somebody waits for.
pub(super) struct Request {
    pub(super) commit: Commit,
    pub(super) reply: oneshot::Sender<Result<Verdict, Error>>,
}

/// The writer's state.
pub(super) struct Writer {
    db: ::sled::Db,
    /// sled's log, held open so that syncing it does not depend on opening it.
    log: File,
    oversize: Oversize,
    high_water: HighWater,
    manifest: Manifest,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    steps: Steps,
    metrics: Metrics,
}

/// Where sled puts what outgrows a segment. Held open: to look into it takes no descriptor, of which there may be none.
pub(super) struct Oversize(Dir);

/// What a group comes to before it is applied.
struct Draft {
    rows: BTreeMap<Key, Option<Row>>,
    manifest: Manifest,
}

/// Commits in one group, and bytes of values: bound how long the first waits for the last.
const GROUP_COMMITS_MAX: usize = 256;
const GROUP_BYTES_MAX: usize = 1 << 20;

// === impl Writer ===

impl Writer {
    pub(super) fn new(
        opened: Opened,
        shared: Arc<Shared>,
        clock: Arc<dyn Clock>,
        steps: Steps,
        metrics: Metrics,
    ) -> Self {
        let Opened { db, log, oversize, high_water, manifest, lock: _ } = opened;
        Self { db, log, oversize, high_water, manifest, shared, clock, steps, metrics }
    }

    /// Runs until nobody can send any more and everything sent is answered.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        while let Some(first) = queue.blocking_recv() {
            let mut bytes = first.commit.bytes();
            let mut group = vec![first];
            while group.len() < GROUP_COMMITS_MAX && bytes < GROUP_BYTES_MAX {
                let Ok(next) = queue.try_recv() else { break };
                bytes += next.commit.bytes();
                group.push(next);
            }
            self.turn(group);
        }
    }

    /// Commits a group and answers it.
    fn turn(&mut self, group: Vec<Request>) {
        let (commits, replies): (Vec<_>, Vec<_>) =
            group.into_iter().map(|request| (request.commit, request.reply)).unzip();
        self.metrics.group(commits.len());
        let answers = match self.shared.poison() {
            Some(why) => Err(why),
            // sled answers some damage with a panic; it must not end as a silent writer.
            None => match catch_unwind(AssertUnwindSafe(|| self.commit(commits))) {
                Ok(Ok(answers)) => Ok(answers),
                Ok(Err(why)) => Err(self.shared.fail(&why)),
                Err(panic) => Err(self.shared.fail(&panic_text(panic.as_ref()))),
            },
        };
        self.shared.answered(replies.len());
        match answers {
            Ok(answers) => replies.into_iter().zip(answers).for_each(|(r, answer)| send(r, answer)),
            Err(why) => replies.into_iter().for_each(|reply| {
                send(reply, Err(Error::Poisoned { why: Arc::clone(&why) }));
            }),
        }
    }

    /// Makes a group durable. An answer for each commit, or why there can be none any more.
    fn commit(&mut self, commits: Vec<Commit>) -> Result<Vec<Result<Verdict, Error>>, String> {
        let mut draft = Draft { rows: BTreeMap::new(), manifest: self.manifest.clone() };
        let mut answers = Vec::with_capacity(commits.len());
        for commit in commits {
            match self.evaluate(&mut draft, commit) {
                // sled writes while it reads, and in threads of its own: this is one of their failures.
                // One that passes is no such thing, and its commit has touched nothing.
                Err(Error::Unavailable { why }) => return Err(format!("read: {why}")),
                answer => answers.push(answer),
            }
        }
        if draft.manifest.seq > self.manifest.seq {
            self.persist(&draft)?;
            self.manifest = draft.manifest;
        }
        Ok(answers)
    }

    /// Adds a commit to the draft if its guards hold against the rows and the draft so far.
    fn evaluate(&self, draft: &mut Draft, commit: Commit) -> Result<Verdict, Error> {
        let revision = draft.manifest.seq + 1;
        let read = |key: &Key| match draft.rows.get(key) {
            Some(row) => Ok(row.clone()),
            None => self.read(key),
        };
        let Some(effect) = commit.evaluate(revision, self.clock.now(), read)? else {
            return Ok(Verdict::Refused);
        };
        let mut manifest = draft.manifest.clone();
        for (key, row) in &effect.rows {
            if let Some(old) = read(key)? {
                manifest.subtract(key, &old);
            }
            if let Some(new) = row {
                manifest.add(key, new);
            }
        }
        manifest.seq = revision;
        draft.manifest = manifest;
        draft.rows.extend(effect.rows);
        Ok(Verdict::Committed { appended: effect.appended })
    }

    /// A row as it is before this group.
    fn read(&self, key: &Key) -> Result<Option<Row>, Error> {
        self.shared.note(read_patiently(&self.steps, || get(&self.db, key)))
    }

    /// Applies a draft, step by step. The order is the module's promise.
    ///
    /// Only two steps are taken again when the machine fails them in passing. An `fsync` that a signal cut off did not
    /// look at the pages; one that fails in any other way may have dropped them. The mark is written anew each time. What
    /// sled reports of its own writing it reports for ever after.
    fn persist(&mut self, draft: &Draft) -> Result<(), String> {
        let mut batch = ::sled::Batch::default();
        for (key, row) in &draft.rows {
            match row {
                Some(row) => batch.insert(key.as_bytes(), frame::encode(key, row)),
                None => batch.remove(key.as_bytes()),
            }
        }
        let seq = draft.manifest.seq;
        let row = Row { revision: seq, value: draft.manifest.encode().into() };
        let key = Manifest::key();
        batch.insert(key.as_bytes(), frame::encode(&key, &row));

        let failed = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
        let apply = || {
            // Before the batch can be seen: a reader that sees it then also sees that it must wait.
            self.shared.applied.store(seq, Ordering::SeqCst);
            self.db.apply_batch(batch).map_err(io::Error::from)
        };
        self.steps.take(Step::Apply, apply).map_err(failed("apply"))?;
        let flush = || self.db.flush().map_err(io::Error::from);
        self.steps.take(Step::Flush, flush).map_err(failed("flush"))?;
        let sync = || self.steps.take(Step::Sync, || self.log.sync_all());
        let interrupted = |error: &io::Error| error.kind() == io::ErrorKind::Interrupted;
        transient::retry_while(sync, interrupted).map_err(failed("fsync of the log"))?;
        if self.oversize.is_used().map_err(failed("sled's blobs"))? {
            return Err(OUTGROWN.to_owned());
        }
        let (steps, file) = (&self.steps, &mut self.high_water);
        let mark = || steps.take(Step::HighWater, || file.write(&draft.manifest));
        transient::retry(mark).map_err(failed("high-water file"))?;
        self.shared.durable.send_modify(|durable| durable.seq = seq);
        Ok(())
    }
}

/// Why a store is refused in which something is that `flush` and `fsync` of the log do not cover.
pub(super) const OUTGROWN: &str = "a page outgrew the log and is not synced";

// === impl Oversize ===

impl Oversize {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(Dir::new(File::open(path)?)?))
    }

    /// Whether sled has put anything there.
    pub(super) fn is_used(&mut self) -> io::Result<bool> {
        transient::retry(|| {
            self.0.rewind();
            while let Some(entry) = self.0.read() {
                if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panic: {}", text.unwrap_or("without a text"))
}

/// Answers somebody who may have stopped waiting.
fn send(reply: oneshot::Sender<Result<Verdict, Error>>, answer: Result<Verdict, Error>) {
    drop(reply.send(answer));
}
