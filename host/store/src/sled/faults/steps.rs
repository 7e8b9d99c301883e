//! C64, C65 at every step there is: of a commit, of a blob, of a new store, of an opening. Each is made to
//! fail and to panic; then nothing acknowledged may be lost, nothing half may be there, and the store must go
//! on, at once or at the next start. And the steps themselves, in order: one that is left out is missed here.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use keyway_core::Digest;
use rustix::io::Errno;

use super::{HandClock, Options, fill, open, put};
use crate::step::{Step, Steps};
use crate::{Error, OpenError, Store};

/// How a step ends badly.
#[derive(Clone, Copy, Debug)]
enum How {
    Fails(ErrorKind),
    /// So many times, with an error that passes.
    Passes(Errno, usize),
    Panics,
}

const HOW: [How; 4] = [
    How::Fails(ErrorKind::Other),
    How::Fails(ErrorKind::StorageFull),
    How::Fails(ErrorKind::ReadOnlyFilesystem),
    How::Panics,
];

/// In the order in which they are taken.
const OF_A_COMMIT: [Step; 5] = [Step::Read, Step::Apply, Step::Flush, Step::Sync, Step::HighWater];
const OF_A_NEW_STORE: [Step; 5] =
    [Step::FreshSync, Step::MarkSync, Step::MarkRename, Step::FreshRename, Step::Directory];
const OF_A_BLOB: [Step; 4] =
    [Step::BlobWrite, Step::BlobSync, Step::BlobRename, Step::BlobDirectory];

/// Writes down every step, and makes one end badly.
#[derive(Clone, Default)]
struct Saboteur(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    taken: Vec<Step>,
    armed: Option<(Step, How)>,
}

impl State {
    /// What is armed, as far as it is not used up.
    fn next(&mut self, step: Step) -> Option<(Step, How)> {
        let armed = self.armed;
        if let Some((at, How::Passes(_, times))) = &mut self.armed
            && *at == step
        {
            *times = times.saturating_sub(1);
        }
        armed.filter(|(_, how)| !matches!(how, How::Passes(_, 0)))
    }
}

impl Saboteur {
    fn steps(&self) -> Steps {
        let state = Arc::clone(&self.0);
        Steps::watched(Arc::new(move |step| {
            let armed = {
                let mut state = state.lock().unwrap();
                state.taken.push(step);
                state.next(step)
            };
            match armed {
                Some((at, How::Passes(errno, _))) if at == step => Err(errno.into()),
                Some((at, How::Fails(kind))) if at == step => Err(kind.into()),
                Some((at, How::Panics)) if at == step => panic!("told to panic"),
                _ => Ok(()),
            }
        }))
    }

    fn arm(&self, at: Option<(Step, How)>) {
        self.0.lock().unwrap().armed = at;
    }

    /// The steps since it was asked last.
    fn taken(&self) -> Vec<Step> {
        std::mem::take(&mut self.0.lock().unwrap().taken)
    }
}

async fn open_by(dir: &Path, saboteur: &Saboteur) -> Result<Store, OpenError> {
    let clock = Arc::new(HandClock::default());
    Store::open_with(dir, clock, Options::default(), saboteur.steps()).await
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

async fn has(store: &Store, key: &str) -> bool {
    store.cell("s", key.as_bytes()).await.unwrap().is_some()
}

#[track_caller]
fn poisoned<T: fmt::Debug>(result: Result<T, Error>, what: &dyn fmt::Debug) {
    assert!(matches!(result, Err(Error::Poisoned { .. })), "{what:?}: {result:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_went_through_every_step() {
    let dir = tempfile::tempdir().unwrap();
    let saboteur = Saboteur::default();
    let store = open_by(dir.path(), &saboteur).await.unwrap();
    assert_eq!(saboteur.taken(), OF_A_NEW_STORE);
    put(&store, "k", vec![1]).await.unwrap();
    let mut taken = saboteur.taken();
    taken.dedup();
    assert_eq!(taken, OF_A_COMMIT);
    store.blobs().put(Bytes::from_static(b"component")).await.unwrap();
    assert_eq!(saboteur.taken(), OF_A_BLOB);
    // It may be a copy that somebody named and then crashed.
    store.blobs().put(Bytes::from_static(b"component")).await.unwrap();
    assert_eq!(saboteur.taken(), [Step::BlobDirectory]);
    drop(store);
    // What is there may have been named by a start that was killed before it could sync the names.
    open_by(dir.path(), &saboteur).await.unwrap();
    assert_eq!(saboteur.taken(), [Step::Directory]);
}

/// What is on the disk when each step of a blob begins: no reader can meet it under its name before it is
/// whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_blob_has_its_name_only_when_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = dir.path().join("blobs");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (place, noted) = (blobs.clone(), Arc::clone(&seen));
    let steps = Steps::watched(Arc::new(move |step| {
        if OF_A_BLOB.contains(&step) {
            let found = names(&place).pop().unwrap();
            let bytes = fs::read(place.join(&found)).unwrap();
            noted.lock().unwrap().push((step, found.starts_with(".tmp-"), bytes.len()));
        }
        Ok(())
    }));
    let clock = Arc::new(HandClock::default());
    let store = Store::open_with(dir.path(), clock, Options::default(), steps).await.unwrap();
    let digest = store.blobs().put(Bytes::from_static(b"component")).await.unwrap();
    assert_eq!(names(&blobs), [digest.hex()]);
    let expected = [
        (Step::BlobWrite, true, 0),
        (Step::BlobSync, true, 9),
        (Step::BlobRename, true, 9),
        (Step::BlobDirectory, false, 9),
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
}

/// A panic is no exception: sled answers some damage with one.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_cut_off_at_any_step_poisons_and_loses_nothing() {
    for (step, how) in OF_A_COMMIT.iter().flat_map(|step| HOW.map(|how| (*step, how))) {
        let what = (step, how);
        let dir = tempfile::tempdir().unwrap();
        let saboteur = Saboteur::default();
        let store = open_by(dir.path(), &saboteur).await.unwrap();
        fill(&store, 3).await;
        put(&store, "before", vec![1]).await.unwrap();
        saboteur.arm(Some(what));
        poisoned(put(&store, "during", vec![1]).await, &what);
        // The cause may pass; a store that missed a step does not come back by itself.
        saboteur.arm(None);
        poisoned(put(&store, "after", vec![1]).await, &what);
        poisoned(store.cell("s", b"before").await, &what);
        poisoned(store.healthy(), &what);
        drop(store);

        let store = open(dir.path()).await.unwrap();
        store.healthy().unwrap();
        assert_eq!(store.seq().await.unwrap(), 3, "{what:?}");
        assert!(has(&store, "before").await, "{what:?}");
        assert!(!has(&store, "after").await, "{what:?}");
        put(&store, "again", vec![1]).await.unwrap();
        drop(store);
        assert!(has(&open(dir.path()).await.unwrap(), "again").await, "{what:?}");
    }
}

/// Nobody commits, and sled is broken all the same: it must not look well.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_the_machine_fails_poisons_as_well() {
    for how in HOW {
        let dir = tempfile::tempdir().unwrap();
        let saboteur = Saboteur::default();
        let store = open_by(dir.path(), &saboteur).await.unwrap();
        put(&store, "before", vec![1]).await.unwrap();
        saboteur.arm(Some((Step::Read, how)));
        poisoned(store.cell("s", b"before").await, &how);
        saboteur.arm(None);
        poisoned(store.cell("s", b"before").await, &how);
        poisoned(store.healthy(), &how);
        poisoned(put(&store, "after", vec![1]).await, &how);
        drop(store);
        assert!(has(&open(dir.path()).await.unwrap(), "before").await, "{how:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn making_a_store_cut_off_at_any_step_is_done_again_by_the_next_start() {
    for (step, how) in OF_A_NEW_STORE.iter().flat_map(|step| HOW.map(|how| (*step, how))) {
        let what = (step, how);
        let dir = tempfile::tempdir().unwrap();
        let saboteur = Saboteur::default();
        saboteur.arm(Some(what));
        let opened = open_by(dir.path(), &saboteur).await;
        assert!(matches!(opened, Err(OpenError::Io { .. })), "{what:?}: {opened:?}");
        assert_eq!(saboteur.taken().pop(), Some(step), "nothing is done after it");
        // Twice in a row is no worse.
        assert!(open_by(dir.path(), &saboteur).await.is_err(), "{what:?}");
        saboteur.arm(None);

        let store = open_by(dir.path(), &saboteur).await.unwrap();
        assert_eq!(store.seq().await.unwrap(), 0);
        fill(&store, 2).await;
        drop(store);
        assert_eq!(open(dir.path()).await.unwrap().seq().await.unwrap(), 2, "{what:?}");
        let here = ["blobs", "high-water", "lock", "sled"];
        assert_eq!(names(dir.path()), here, "{what:?}: nothing is left over or set aside");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_names_cannot_be_synced_is_not_opened_and_is_kept() {
    for how in HOW {
        let dir = tempfile::tempdir().unwrap();
        let saboteur = Saboteur::default();
        fill(&open(dir.path()).await.unwrap(), 2).await;
        saboteur.arm(Some((Step::Directory, how)));
        let opened = open_by(dir.path(), &saboteur).await;
        assert!(matches!(opened, Err(OpenError::Io { .. })), "{how:?}: {opened:?}");
        saboteur.arm(None);
        assert_eq!(open_by(dir.path(), &saboteur).await.unwrap().seq().await.unwrap(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_cut_off_at_any_step_is_refused_and_can_be_put_again() {
    let (old, new) = (Bytes::from_static(b"old component"), Bytes::from_static(b"new component"));
    for (step, how) in OF_A_BLOB.iter().flat_map(|step| HOW.map(|how| (*step, how))) {
        let what = (step, how);
        let dir = tempfile::tempdir().unwrap();
        let saboteur = Saboteur::default();
        let store = open_by(dir.path(), &saboteur).await.unwrap();
        let kept = store.blobs().put(old.clone()).await.unwrap();
        saboteur.arm(Some(what));
        let failed = store.blobs().put(new.clone()).await;
        let Err(Error::Unavailable { why }) = &failed else { panic!("{what:?}: {failed:?}") };
        if let How::Fails(kind) = how {
            let said = io::Error::from(kind).to_string();
            assert!(why.starts_with("blob ") && why.contains(&said), "{what:?}: {why}");
            assert!(!names(&dir.path().join("blobs")).iter().any(|name| name.starts_with('.')));
        }
        // Whole or not there at all, and nothing else is touched by it.
        let found = store.blobs().get(&Digest::of(&new)).await.unwrap();
        assert!(found.is_none_or(|found| found == new), "{what:?}");
        assert_eq!(store.blobs().get(&kept).await.unwrap(), Some(old.clone()), "{what:?}");
        store.healthy().unwrap();
        put(&store, "k", vec![1]).await.unwrap();

        saboteur.arm(None);
        let digest = store.blobs().put(new.clone()).await.unwrap();
        drop(store);
        let store = open(dir.path()).await.unwrap();
        assert_eq!(store.blobs().get(&digest).await.unwrap(), Some(new.clone()), "{what:?}");
        assert_eq!(store.blobs().get(&kept).await.unwrap(), Some(old.clone()), "{what:?}");
        assert_eq!(names(&dir.path().join("blobs")).len(), 2, "{what:?}: nothing half is left");
    }
}

/// No descriptor free, no memory for a moment, a signal: the disk is well, and so is the store.
#[tokio::test(flavor = "multi_thread")]
async fn what_passes_is_waited_out_at_every_step_that_can_be_taken_again() {
    let steps = [Step::Read, Step::HighWater, Step::BlobWrite, Step::BlobSync]
        .into_iter()
        .chain([Step::BlobRename, Step::BlobDirectory]);
    let errors = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::INTR, Errno::AGAIN];
    let mut cases: Vec<_> = steps.flat_map(|step| errors.map(|errno| (step, errno))).collect();
    // A signal says nothing of the pages; every other failure of an `fsync` may have dropped them.
    cases.push((Step::Sync, Errno::INTR));
    for (step, errno) in cases {
        let what = (step, How::Passes(errno, 3));
        let dir = tempfile::tempdir().unwrap();
        let saboteur = Saboteur::default();
        let store = open_by(dir.path(), &saboteur).await.unwrap();
        put(&store, "before", vec![1]).await.unwrap();
        saboteur.arm(Some(what));
        put(&store, "during", vec![1]).await.unwrap();
        assert!(has(&store, "before").await, "{what:?}");
        let digest = store.blobs().put(Bytes::from_static(b"component")).await.unwrap();
        assert!(store.blobs().get(&digest).await.unwrap().is_some(), "{what:?}");
        store.healthy().unwrap();
        drop(store);
        assert!(has(&open(dir.path()).await.unwrap(), "during").await, "{what:?}");
        let left = names(&dir.path().join("blobs"));
        assert_eq!(left, [digest.hex()], "{what:?}: nothing half is left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_pass_in_time_is_refused_and_poisons_nothing() {
    for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN] {
        let dir = tempfile::tempdir().unwrap();
        let saboteur = Saboteur::default();
        let store = open_by(dir.path(), &saboteur).await.unwrap();
        put(&store, "before", vec![1]).await.unwrap();
        saboteur.arm(Some((Step::Read, How::Passes(errno, usize::MAX))));
        let read = store.cell("s", b"before").await;
        assert!(matches!(read, Err(Error::Short { .. })), "{errno:?}: {read:?}");
        let written = put(&store, "during", vec![1]).await;
        assert!(matches!(written, Err(Error::Short { .. })), "{errno:?}: {written:?}");
        store.healthy().unwrap();
        saboteur.arm(None);
        assert!(has(&store, "before").await, "{errno:?}");
        assert!(!has(&store, "during").await, "{errno:?}: what was refused did not happen");
        put(&store, "after", vec![1]).await.unwrap();
        drop(store);
        assert!(has(&open(dir.path()).await.unwrap(), "after").await, "{errno:?}");
    }
}

/// sled repeats its first failure for ever, whatever that was: such a store must not look well.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_stays_short_of_something_is_unwell_until_a_read_succeeds() {
    let dir = tempfile::tempdir().unwrap();
    let saboteur = Saboteur::default();
    let options = Options { stall_max: Duration::ZERO, ..Options::default() };
    let clock = Arc::new(HandClock::default());
    let store = Store::open_with(dir.path(), clock, options, saboteur.steps()).await.unwrap();
    put(&store, "before", vec![1]).await.unwrap();
    saboteur.arm(Some((Step::Read, How::Passes(Errno::NOMEM, usize::MAX))));
    assert!(store.cell("s", b"before").await.is_err());
    let unwell = store.healthy().unwrap_err();
    assert!(matches!(unwell, Error::Unavailable { .. }), "{unwell:?}");
    saboteur.arm(None);
    assert!(has(&store, "before").await);
    store.healthy().unwrap();
}

/// An `fsync` that fails for want of memory may have dropped what it was to write.
#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_fails_poisons_whatever_it_says() {
    for errno in [Errno::NOMEM, Errno::AGAIN, Errno::IO] {
        let what = (Step::Sync, How::Passes(errno, 1));
        let dir = tempfile::tempdir().unwrap();
        let saboteur = Saboteur::default();
        let store = open_by(dir.path(), &saboteur).await.unwrap();
        saboteur.arm(Some(what));
        poisoned(put(&store, "during", vec![1]).await, &what);
    }
}
