//! Faults: a failing step, damaged and missing files, a second process, files of another time.
//!
//! These look below the port, at rows and files, and are therefore here and not beside the suite. Steps that
//! fail are in [`steps`]; places that are no disk of one's own are in `tests/places.rs`.

mod steps;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;

use super::manifest::{self, Manifest};
use super::{Options, frame};
use crate::backend::Row;
use crate::conformance::{HandClock, entry, installation, pin, release};
use crate::key::Key;
use crate::step::{Failpoint, Step, Steps};
use crate::{Error, OpenError, Store};

/// A failpoint that can be told to wait, and counts.
#[derive(Default)]
struct Switch {
    held: Mutex<Option<Step>>,
    /// How often the held step was reached.
    reached: AtomicUsize,
    moved: Condvar,
    syncs: AtomicUsize,
}

impl Switch {
    fn failpoint(self: &Arc<Self>) -> Failpoint {
        let switch = Arc::clone(self);
        Arc::new(move |step| {
            let held = switch.held.lock().unwrap();
            switch.reached.fetch_add(usize::from(*held == Some(step)), Ordering::SeqCst);
            drop(switch.moved.wait_while(held, |held| *held == Some(step)).unwrap());
            if step == Step::Sync {
                switch.syncs.fetch_add(1, Ordering::SeqCst);
            }
            Ok(())
        })
    }

    fn hold(&self, at: Option<Step>) {
        *self.held.lock().unwrap() = at;
        self.moved.notify_all();
    }
}

async fn open(dir: &Path) -> Result<Store, OpenError> {
    Store::open(dir, Arc::new(HandClock::default()), Options::default()).await
}

async fn open_with(dir: &Path, options: Options, switch: &Arc<Switch>) -> Store {
    let clock = Arc::new(HandClock::default());
    let steps = Steps::watched(switch.failpoint());
    Store::open_with(dir, clock, options, steps).await.unwrap()
}

async fn put(store: &Store, key: &str, value: Vec<u8>) -> Result<(), Error> {
    store.batch().put_cell("s", key.as_bytes(), None, value).commit().await
}

/// Everything in the store, blobs included.
async fn contents(store: &Store) -> Result<BTreeMap<Key, Row>, Error> {
    let rows = store.all(Key::from_bytes(&[])).await?;
    for release in store.releases(None).await? {
        assert!(release.descriptor.summary.bytes().all(|byte| byte == b's'), "a damaged blob");
    }
    Ok(rows.into_iter().collect())
}

/// A store with a bit of everything, closed.
async fn sample(dir: &Path, commits: u64) {
    fill(&open(dir).await.unwrap(), commits).await;
}

async fn fill(store: &Store, commits: u64) {
    for n in store.seq().await.unwrap() + 1..=commits {
        let mut published = release(&format!("1.{n}.0"));
        published.descriptor.summary = "s".repeat(if n % 20 == 0 { 6_000 } else { 20 });
        let change = store.tx().publish(published).pin(pin("acme", n, &format!("1.{n}.0")));
        change.commit(entry("acme")).await.unwrap();
        put(store, &format!("cell-{n}"), vec![n as u8; (n as usize * 97) % 3_000]).await.unwrap();
    }
}

/// The files as a crash leaves them: copied from under an open store, with nothing closed or tidied.
async fn crashed(commits: u64) -> TempDir {
    let (live, image) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sample(live.path(), commits / 2).await;
    let store = open(live.path()).await.unwrap();
    fill(&store, commits).await;
    copy(live.path(), image.path());
    image
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Every file below `dir`.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// What an opening must come to after damage: refused, or as if nothing had happened.
async fn detected_or_harmless(dir: &Path, intact: &BTreeMap<Key, Row>, what: &str) -> bool {
    match open(dir).await {
        Err(OpenError::Quarantined { path, .. }) => {
            assert!(path.exists(), "{what}: the damaged store is kept");
            true
        }
        Err(_) => true,
        Ok(store) => match contents(&store).await {
            Err(Error::Corrupt { .. }) => true,
            Err(other) => panic!("{what}: {other:?}"),
            Ok(found) => {
                assert_eq!(found.len(), intact.len(), "{what}: rows came or went in silence");
                assert!(found == *intact, "{what}: rows changed in silence");
                // And it goes on from there.
                put(&store, "after", vec![1]).await.unwrap();
                drop(store);
                assert!(open(dir).await.unwrap().cell("s", b"after").await.unwrap().is_some());
                false
            }
        },
    }
}

/// Commits that arrive while a group is written share the next one.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_commits_share_an_fsync() {
    let dir = tempfile::tempdir().unwrap();
    let switch = Arc::new(Switch::default());
    let store = open_with(dir.path(), Options::default(), &switch).await;
    switch.hold(Some(Step::Flush));
    let writes: Vec<_> = (0..60)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                store.batch().enqueue("q", n.to_string()).commit().await.unwrap();
            })
        })
        .collect();
    // Nobody is answered while the first is held, however long it takes.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let early = writes.iter().any(tokio::task::JoinHandle::is_finished);
    switch.hold(None);
    assert!(!early, "answered before the flush");
    for write in writes {
        write.await.unwrap();
    }
    let syncs = switch.syncs.load(Ordering::SeqCst);
    assert!(syncs < 60, "{syncs} fsyncs for 60 commits");
    assert_eq!(store.messages("q").await.unwrap().len(), 60);
}

/// What a read shows survives a crash: until then it waits.
#[tokio::test(flavor = "multi_thread")]
async fn reads_wait_for_what_they_saw_to_be_durable() {
    for step in [Step::Flush, Step::Sync, Step::HighWater] {
        let dir = tempfile::tempdir().unwrap();
        let switch = Arc::new(Switch::default());
        let store = open_with(dir.path(), Options::default(), &switch).await;
        switch.hold(Some(step));
        let write = tokio::spawn({
            let store = store.clone();
            async move { put(&store, "k", vec![1]).await }
        });
        while switch.reached.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // The batch is applied and sled shows it.
        let read = tokio::spawn({
            let store = store.clone();
            async move { store.cell("s", b"k").await.unwrap() }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        let early = read.is_finished() || write.is_finished();
        switch.hold(None);
        assert!(!early, "{step:?}: shown before it was durable");
        assert!(read.await.unwrap().is_some(), "{step:?}");
        write.await.unwrap().unwrap();
    }
}

/// The watchdog: commits wait and none is made.
#[tokio::test(flavor = "multi_thread")]
async fn a_stall_shows_in_health() {
    let dir = tempfile::tempdir().unwrap();
    let switch = Arc::new(Switch::default());
    let options = Options { stall_max: Duration::from_millis(5), ..Options::default() };
    let store = open_with(dir.path(), options, &switch).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    store.healthy().expect("an idle store is well, for however long");
    switch.hold(Some(Step::Sync));
    let write = tokio::spawn({
        let store = store.clone();
        async move { put(&store, "k", vec![1]).await }
    });
    while store.healthy().is_ok() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(matches!(store.healthy(), Err(Error::Unavailable { .. })));
    switch.hold(None);
    write.await.unwrap().unwrap();
    store.healthy().expect("it goes on");
}

/// C67: one bit, at every 4 KiB of every file.
#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_is_detected_or_harmless() {
    let original = crashed(60).await;
    let intact = {
        let dir = tempfile::tempdir().unwrap();
        copy(original.path(), dir.path());
        contents(&open(dir.path()).await.unwrap()).await.unwrap()
    };
    let (mut flips, mut detected) = (0, 0);
    for file in files(original.path()) {
        let bytes = fs::read(&file).unwrap();
        let name = file.strip_prefix(original.path()).unwrap();
        for (n, block) in bytes.chunks(4_096).enumerate() {
            // Where the block's bytes are, if it has any that are not zero; a different one each time.
            let used = block.iter().rposition(|byte| *byte != 0).map_or(block.len(), |at| at + 1);
            let at = n * 4_096 + (n * 641 + 13) % used.max(1);
            let dir = tempfile::tempdir().unwrap();
            copy(original.path(), dir.path());
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (n % 8);
            fs::write(dir.path().join(name), flipped).unwrap();
            let what = format!("bit {} of byte {at} of {}", n % 8, name.display());
            flips += 1;
            detected += usize::from(detected_or_harmless(dir.path(), &intact, &what).await);
        }
    }
    assert!(flips > 50 && detected > 10, "{detected} of {flips} detected: too few to mean much");
}

/// C68: files cut short, emptied, missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_shortened_or_missing_file_is_detected_or_harmless() {
    let original = crashed(60).await;
    let intact = {
        let dir = tempfile::tempdir().unwrap();
        copy(original.path(), dir.path());
        contents(&open(dir.path()).await.unwrap()).await.unwrap()
    };
    for file in files(original.path()) {
        let bytes = fs::read(&file).unwrap();
        let name = file.strip_prefix(original.path()).unwrap();
        let lengths = (0..20).map(|n| bytes.len() - bytes.len() * n / 80).skip(1);
        for len in lengths.chain([0, 1, bytes.len().saturating_sub(1)]).map(Some).chain([None]) {
            let dir = tempfile::tempdir().unwrap();
            copy(original.path(), dir.path());
            let target = dir.path().join(name);
            match len {
                Some(len) => fs::write(target, &bytes[..len]).unwrap(),
                None => fs::remove_file(target).unwrap(),
            }
            let what = format!("{} cut to {len:?}", name.display());
            detected_or_harmless(dir.path(), &intact, &what).await;
        }
    }
}

/// C68: the log shortened and the high-water file gone must never look like a new store.
#[tokio::test(flavor = "multi_thread")]
async fn missing_parts_never_begin_an_empty_store() {
    let remove: [(&str, &[&str]); 4] = [
        ("sled", &["sled"]),
        ("high-water", &["high-water"]),
        ("sled/db", &["sled/db"]),
        ("sled/db and high-water", &["sled/db", "high-water"]),
    ];
    for (what, paths) in remove {
        let dir = tempfile::tempdir().unwrap();
        sample(dir.path(), 3).await;
        for path in paths {
            let path = dir.path().join(path);
            if path.is_dir() {
                fs::remove_dir_all(path).unwrap();
            } else {
                fs::remove_file(path).unwrap();
            }
        }
        // Not at once, and not at the next start either.
        for _ in 0..2 {
            let opened = open(dir.path()).await;
            assert!(
                matches!(opened, Err(OpenError::Quarantined { .. } | OpenError::Missing { .. })),
                "{what}: {opened:?}"
            );
        }
    }
}

/// C68: files that do not belong there are left alone, but for pages that are not synced.
#[tokio::test(flavor = "multi_thread")]
async fn extra_files_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path(), 10).await;
    let intact = contents(&open(dir.path()).await.unwrap()).await.unwrap();
    let half = "sled/snap.00000000000FFFFF.generating";
    for name in ["sled/extra", "extra", "blobs/extra", "sled/db.bak", "high-water.new", half] {
        fs::write(dir.path().join(name), b"extra").unwrap();
    }
    assert!(!detected_or_harmless(dir.path(), &intact, "extra files").await);
    fs::write(dir.path().join("sled/blobs/7"), b"a page").unwrap();
    assert!(matches!(open(dir.path()).await, Err(OpenError::Quarantined { .. })));
}

/// C68: an older copy of sled's directory, and one of another store.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_put_back_is_set_aside() {
    let (dir, older) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sample(dir.path(), 5).await;
    copy(dir.path(), older.path());
    sample(dir.path(), 6).await;

    let newer = dir.path().join("newer");
    fs::rename(dir.path().join("sled"), &newer).unwrap();
    copy(&older.path().join("sled"), &dir.path().join("sled"));
    match open(dir.path()).await {
        Err(OpenError::Quarantined { path, why }) => {
            assert!(why.contains("went back"), "{why}");
            assert_eq!(path.file_name().unwrap(), "sled.quarantined-1");
        }
        other => panic!("{other:?}"),
    }
    // The operator finds the right one and puts it back.
    fs::rename(newer, dir.path().join("sled")).unwrap();
    assert_eq!(open(dir.path()).await.unwrap().seq().await.unwrap(), 6);

    let foreign = tempfile::tempdir().unwrap();
    sample(foreign.path(), 7).await;
    fs::remove_dir_all(dir.path().join("sled")).unwrap();
    copy(&foreign.path().join("sled"), &dir.path().join("sled"));
    let opened = open(dir.path()).await;
    assert!(matches!(opened, Err(OpenError::Quarantined { .. })), "{opened:?}");

    // The limit of what one machine can know: the whole directory from a backup is a store.
    assert_eq!(open(older.path()).await.unwrap().seq().await.unwrap(), 5);
}

/// A row that sled gives back whole, but that is not what was written last.
#[tokio::test(flavor = "multi_thread")]
async fn a_stale_missing_or_foreign_row_is_noticed() {
    let rows = |db: &::sled::Db| {
        db.iter().map(Result::unwrap).filter(|(key, _)| key[0] != 0).collect::<Vec<_>>()
    };
    type Damage<'a> = &'a dyn Fn(&::sled::Db);
    let damages: [(&str, Damage<'_>); 4] = [
        ("a hole", &|db| drop(db.remove(&rows(db)[7].0).unwrap())),
        ("one more", &|db| {
            let (key, row) =
                (Key::from_bytes(b"\x0cnew"), Row { revision: 1, value: Bytes::new() });
            db.insert(key.as_bytes(), frame::encode(&key, &row)).unwrap();
        }),
        ("stale", &|db| {
            let (key, value) = rows(db)[7].clone();
            let key = Key::from_bytes(&key);
            let mut row = frame::decode(&key, &value).unwrap();
            row.revision -= 1;
            db.insert(key.as_bytes(), frame::encode(&key, &row)).unwrap();
        }),
        ("swapped", &|db| {
            let (a, b) = (rows(db)[7].clone(), rows(db)[8].clone());
            db.insert(a.0, b.1).unwrap();
            db.insert(b.0, a.1).unwrap();
        }),
    ];
    for (what, damage) in damages {
        let dir = tempfile::tempdir().unwrap();
        sample(dir.path(), 10).await;
        let db = ::sled::open(dir.path().join("sled")).unwrap();
        damage(&db);
        drop(db);
        let opened = open(dir.path()).await;
        assert!(matches!(opened, Err(OpenError::Quarantined { .. })), "{what}: {opened:?}");
    }
}

/// C69: a lock file that was left behind, a second opening by the same process, a place that is none.
#[tokio::test(flavor = "multi_thread")]
async fn one_opening_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("lock"), "process 1\n").unwrap();
    let store = open(dir.path()).await.expect("a file that nobody locks is no lock");
    let second = open(dir.path()).await;
    match &second {
        Err(error @ OpenError::InUse { .. }) => {
            let text = error.to_string();
            assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
        }
        other => panic!("{other:?}"),
    }
    put(&store, "k", vec![1]).await.expect("the first is not disturbed");
    drop(store);
    open(dir.path()).await.expect("closed means free");

    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    for place in [file.clone(), file.join("below"), PathBuf::from("/dev/null/store")] {
        let opened = open(&place).await;
        assert!(matches!(opened, Err(OpenError::Io { .. })), "{}: {opened:?}", place.display());
    }
}

/// C71: rows as large as they get, next to each other and under keys as long as they get: no page leaves
/// the log for a file that nobody syncs. The writer checks before each answer; this checks the writer.
#[tokio::test(flavor = "multi_thread")]
async fn the_largest_rows_and_keys_stay_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    let long = |n: u64| {
        // A different first byte each, so that no two share a prefix.
        let mut key = n.to_le_bytes().to_vec();
        key.extend(std::iter::repeat_n(0xff, 300));
        key
    };
    for page in 0..20 {
        let mut batch = store.batch();
        for n in page * 200..(page + 1) * 200 {
            let bytes = if n % 2 == 0 { 3_072 } else { 1 };
            batch = batch.put_cell("s", &long(n * 0x9e37_79b9), None, vec![n as u8; bytes]);
        }
        batch.commit().await.unwrap();
    }
    let oversize = dir.path().join("sled/blobs");
    assert_eq!(fs::read_dir(&oversize).unwrap().count(), 0);
    drop(store);
    let store = open(dir.path()).await.unwrap();
    fs::write(oversize.join("1"), b"a page").unwrap();
    let refused = put(&store, "k", vec![1]).await;
    assert!(matches!(refused, Err(Error::Poisoned { .. })), "{refused:?}");
}

/// C72: a store of a later version is left as it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_later_format_is_refused_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path(), 3).await;
    let db = ::sled::open(dir.path().join("sled")).unwrap();
    let key = Manifest::key();
    let row = frame::decode(&key, &db.get(key.as_bytes()).unwrap().unwrap()).unwrap();
    let mut later = Manifest::decode(&row.value).unwrap();
    later.format = manifest::FORMAT + 1;
    let row = Row { value: later.encode().into(), ..row };
    db.insert(key.as_bytes(), frame::encode(&key, &row)).unwrap();
    drop(db);
    let opened = open(dir.path()).await;
    assert!(matches!(opened, Err(OpenError::Newer { found: 2, known: 1 })), "{opened:?}");
    assert!(dir.path().join("sled").exists());
}

/// A start that was cut off at any point of making the store goes on at the next.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_half_made_is_made_anew() {
    let whole = tempfile::tempdir().unwrap();
    drop(open(whole.path()).await.unwrap());
    let cut: [fn(&TempDir, &Path); 3] = [
        |dir, _| fs::create_dir(dir.path().join("sled.new")).unwrap(),
        |dir, whole| copy(&whole.join("sled"), &dir.path().join("sled.new")),
        |dir, whole| {
            copy(&whole.join("sled"), &dir.path().join("sled.new"));
            fs::copy(whole.join("high-water"), dir.path().join("high-water")).unwrap();
        },
    ];
    for cut in cut {
        let dir = tempfile::tempdir().unwrap();
        cut(&dir, whole.path());
        let store = open(dir.path()).await.unwrap();
        put(&store, "k", vec![1]).await.unwrap();
        drop(store);
        assert!(open(dir.path()).await.unwrap().cell("s", b"k").await.unwrap().is_some());
    }
}

/// What was accepted before the store was closed is made.
#[tokio::test(flavor = "multi_thread")]
async fn closing_finishes_what_was_begun() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    store.tx().pin(pin("acme", 1, "1.0.0")).commit(entry("acme")).await.unwrap();
    let metrics = {
        let mut registry = prometheus_client::registry::Registry::default();
        store.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    };
    for line in [
        "keyway_store_commits_total{verdict=\"committed\"} 1",
        "keyway_store_commit_duration_seconds_count 1",
        "keyway_store_group_commits_count 1",
        "keyway_store_healthy 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    drop(store);
    let store = open(dir.path()).await.unwrap();
    assert_eq!(store.pin(&installation("acme")).await.unwrap(), Some(pin("acme", 1, "1.0.0")));
}
