//! C65, C69: places that are full, that cannot be written, that are in memory only, or that another process
//! has.
//!
//! Each case is the real thing, not a failpoint: a file system of a few hundred KiB, a read-only mount, a second
//! process. Mounts are made in a namespace of their own, by this binary run again below `unshare`, so they
//! need no rights and end with it. Where a machine does not give that, the case says so and is left out; the
//! steps themselves are made to fail in `src/sled/faults/steps.rs` on every machine.

#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what is left out is said, as is the other process's part"
)]

use std::error::Error as _;
use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use keyway_core::Digest;
use keyway_store::conformance::{HandClock, entry, installation, pin};
use keyway_store::{Error, OpenError, Options, Store};

/// Says what this process is to do, and where.
const PART: &str = "KEYWAY_STORE_PART";
const PLACE: &str = "KEYWAY_STORE_PLACE";

/// How the shell says that it may not mount.
const NO_MOUNT: i32 = 77;

async fn open(dir: &Path) -> Result<Store, OpenError> {
    Store::open(dir, Arc::new(HandClock::default()), Options::default()).await
}

/// A pin for every generation up to this one.
async fn pin_to(store: &Store, generation: u64) {
    for generation in store.seq().await.unwrap() + 1..=generation {
        let change = store.tx().pin(pin("acme", generation, "1.0.0"));
        change.commit(entry("acme")).await.unwrap();
    }
}

async fn generation(store: &Store) -> u64 {
    store.pin(&installation("acme")).await.unwrap().map_or(0, |pin| pin.generation)
}

/// Every file below a directory, with its bytes.
fn snapshot(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(snapshot(&path)),
            false => found.push((path.clone(), fs::read(&path).unwrap())),
        }
    }
    found.sort();
    found
}

/// Nothing is another since then but who tried it last.
#[track_caller]
fn unchanged(dir: &Path, before: &[(PathBuf, Vec<u8>)]) {
    let after = snapshot(dir);
    let mut other = after.iter().filter(|file| !before.contains(file)).map(|(path, _)| path);
    assert!(other.all(|path| path.ends_with("lock")), "in {}", dir.display());
    assert_eq!(after.len(), before.len());
}

/// Refused as what it is, by the file system's own word.
#[track_caller]
fn refused(opened: Result<Store, OpenError>, kind: io::ErrorKind) {
    let Err(OpenError::Io { source, .. }) = &opened else { panic!("{opened:?}") };
    assert_eq!(source.kind(), kind, "{opened:?}");
}

fn this_binary(part: &str, place: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "the_other_process", "--nocapture"]);
    command.env(PART, part).env(PLACE, place);
    command
}

/// Runs a part of this binary behind mounts. False, with the reason on standard error, if there can be none.
fn behind_mounts(mounts: &str, part: &str, place: &Path) -> bool {
    let script = format!("{{ {mounts} ; }} || exit {NO_MOUNT}; exec \"$@\"");
    let this = this_binary(part, place);
    let mut shell = Command::new("unshare");
    shell.args(["--map-root-user", "--mount", "sh", "-c", &script, "sh"]);
    shell.arg(this.get_program()).args(this.get_args()).env(PART, part).env(PLACE, place);
    let output = match shell.output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("left out: {part}: there is no unshare to make a mount with ({error})");
            return false;
        }
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let unshared = !said.starts_with("unshare:");
    if output.status.code() == Some(NO_MOUNT) || !unshared {
        eprintln!("left out: {part}: this machine gives no mounts of one's own ({})", said.trim());
        return false;
    }
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && report.contains("1 passed"), "{part}:\n{report}\n{said}");
    true
}

// === what a full file system does ===

#[test]
fn a_blob_that_finds_no_room_is_refused_and_fits_later() {
    let dir = tempfile::tempdir().unwrap();
    let mounts =
        format!(r#"mkdir "${PLACE}/blobs" && mount -t tmpfs -o size=256k t "${PLACE}/blobs""#);
    behind_mounts(&mounts, "no-room-for-a-blob", dir.path());
}

async fn no_room_for_a_blob(dir: &Path) {
    let store = open(dir).await.unwrap();
    let blobs = dir.join("blobs");
    let kept = store.blobs().put(vec![1; 60 << 10].into()).await.unwrap();
    let ballast = blobs.join("ballast");
    fs::write(&ballast, vec![0; 100 << 10]).unwrap();
    for size in [120 << 10, 1 << 20] {
        let new = Bytes::from(vec![2; size]);
        let failed = store.blobs().put(new.clone()).await;
        let Err(Error::Unavailable { why }) = &failed else { panic!("{failed:?}") };
        assert!(why.contains("No space left"), "{why}");
        assert_eq!(store.blobs().get(&Digest::of(&new)).await.unwrap(), None);
        assert_eq!(fs::read_dir(&blobs).unwrap().count(), 2, "nothing half is left");
    }
    // Neither what was there nor what needs no room there is touched by it.
    assert_eq!(store.blobs().get(&kept).await.unwrap().unwrap().len(), 60 << 10);
    store.healthy().unwrap();
    pin_to(&store, 1).await;
    fs::remove_file(&ballast).unwrap();
    let new = Bytes::from(vec![2; 120 << 10]);
    let digest = store.blobs().put(new.clone()).await.unwrap();
    assert_eq!(store.blobs().get(&digest).await.unwrap(), Some(new));
}

#[test]
fn a_store_that_runs_full_keeps_what_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mounts = format!(r#"mount -t tmpfs -o size=8m t "${PLACE}""#);
    behind_mounts(&mounts, "no-room-for-rows", dir.path());
}

async fn no_room_for_rows(dir: &Path) {
    let store = open(dir).await.unwrap();
    let ballast = dir.join("ballast");
    fs::write(&ballast, vec![0; 4 << 20]).unwrap();
    let mut acknowledged = 0_u32;
    let failed = loop {
        let key = acknowledged.to_be_bytes();
        let change = store.batch().put_cell("s", &key, None, vec![7; 3_000]);
        match change.commit().await {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 100_000, "8 MiB hold more than they can");
    };
    assert!(matches!(failed, Error::Poisoned { .. }), "{failed:?}");
    assert!(acknowledged > 100, "{acknowledged}: full before it began");
    drop(store);
    // As long as it is full it may or may not open; it is not taken for damage.
    let opened = open(dir).await;
    assert!(matches!(opened, Ok(_) | Err(OpenError::Io { .. })), "{opened:?}");
    drop(opened);
    fs::remove_file(&ballast).unwrap();
    let store = open(dir).await.unwrap();
    for key in 0..acknowledged {
        let found = store.cell("s", &key.to_be_bytes()).await.unwrap();
        assert!(found.is_some(), "{key} of {acknowledged} is lost");
    }
    pin_to(&store, 1).await;
}

// === where nothing may be written ===

#[tokio::test]
async fn a_directory_without_permission_is_refused_and_left_alone() {
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let (new, old) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    pin_to(&open(old.path()).await.unwrap(), 2).await;
    let before = snapshot(old.path());
    mode(new.path(), 0o500);
    if fs::write(new.path().join("probe"), b"").is_ok() {
        eprintln!("left out: this process may write whatever a mode says");
        return;
    }
    refused(open(new.path()).await, io::ErrorKind::PermissionDenied);
    refused(open(&new.path().join("below")).await, io::ErrorKind::PermissionDenied);
    mode(new.path(), 0o700);
    assert_eq!(snapshot(new.path()), []);

    // A store that is there, and sled's part of it alone: no damage, so it is not set aside.
    let (sled, log) = (old.path().join("sled"), old.path().join("sled/db"));
    mode(&log, 0o400);
    mode(&sled, 0o500);
    refused(open(old.path()).await, io::ErrorKind::PermissionDenied);
    mode(&sled, 0o700);
    mode(&log, 0o600);
    unchanged(old.path(), &before);
    assert_eq!(generation(&open(old.path()).await.unwrap()).await, 2);
}

#[tokio::test]
async fn a_read_only_file_system_is_refused_and_left_alone() {
    for (below, part) in [
        ("", "read-only"),
        ("/sled", "read-only"),
        // Rows can be written; a component cannot.
        ("/blobs", "read-only-blobs"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).await.unwrap();
        store.blobs().put(Bytes::from_static(b"old component")).await.unwrap();
        pin_to(&store, 2).await;
        drop(store);
        let before = snapshot(dir.path());
        let at = format!(r#""${PLACE}{below}""#);
        let mounts = format!("mount --bind {at} {at} && mount -o remount,bind,ro {at}");
        if !behind_mounts(&mounts, part, dir.path()) {
            return;
        }
        if part == "read-only" {
            unchanged(dir.path(), &before);
        }
        let store = open(dir.path()).await.unwrap();
        let expected = if part == "read-only" { 2 } else { 3 };
        assert_eq!(generation(&store).await, expected, "{below}");
    }
}

async fn read_only_blobs(dir: &Path) {
    let store = open(dir).await.unwrap();
    let failed = store.blobs().put(Bytes::from_static(b"new component")).await;
    let Err(Error::Unavailable { why }) = &failed else { panic!("{failed:?}") };
    assert!(why.contains("Read-only"), "{why}");
    let old = store.blobs().get(&Digest::of(b"old component")).await.unwrap();
    assert_eq!(old, Some(Bytes::from_static(b"old component")));
    pin_to(&store, 3).await;
}

// === memory ===

#[tokio::test]
async fn a_store_in_memory_is_a_store_like_any_other() {
    let shared = Path::new("/dev/shm");
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    if !mounts.lines().any(|line| line.contains(" /dev/shm tmpfs ")) {
        eprintln!("left out: /dev/shm is no tmpfs here");
        return;
    }
    let dir = tempfile::tempdir_in(shared).unwrap();
    let mut holder = Holder::start(dir.path());
    holder.refuses_others().await;
    holder.pin();
    holder.kill();
    let store = open(dir.path()).await.unwrap();
    assert_eq!(generation(&store).await, 1, "a killed process leaves what it acknowledged");
    let digest = store.blobs().put(Bytes::from_static(b"component")).await.unwrap();
    pin_to(&store, 2).await;
    drop(store);
    let store = open(dir.path()).await.unwrap();
    assert_eq!(generation(&store).await, 2);
    assert!(store.blobs().get(&digest).await.unwrap().is_some());
}

// === another process ===

#[tokio::test]
async fn what_another_process_has_is_refused_until_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut holder = Holder::start(dir.path());
    holder.refuses_others().await;
    holder.pin();
    holder.refuses_others().await;
    // A process that is killed tidies nothing up, and is no longer in the way all the same.
    holder.kill();
    let store = open(dir.path()).await.unwrap();
    assert_eq!(generation(&store).await, 1);

    // And the other way round.
    let output = this_binary("try", dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let expected = format!("in use by another process (process {})", std::process::id());
    assert!(said.contains(&expected), "{said}");
    pin_to(&store, 2).await;
}

/// Another process that has a store open.
struct Holder {
    child: Child,
    lines: io::Lines<BufReader<std::process::ChildStdout>>,
    dir: PathBuf,
}

impl Holder {
    fn start(dir: &Path) -> Self {
        let mut command = this_binary("hold", dir);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut holder = Self { child, lines, dir: dir.to_owned() };
        holder.wait_for("ready");
        holder
    }

    /// The harness of the other process writes on its lines too.
    fn wait_for(&mut self, word: &str) {
        let found = self.lines.by_ref().map(Result::unwrap).find(|line| line.ends_with(word));
        assert!(found.is_some(), "it ended before it said {word}");
    }

    /// Has it commit.
    fn pin(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"pin\n").unwrap();
        self.wait_for("pinned");
    }

    async fn refuses_others(&self) {
        let opened = open(&self.dir).await;
        let Err(OpenError::InUse { path, holder }) = &opened else { panic!("{opened:?}") };
        assert_eq!((path, holder), (&self.dir, &format!("process {}", self.child.id())));
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

async fn hold(dir: &Path) {
    let store = open(dir).await.unwrap();
    println!("ready");
    for _line in io::stdin().lines() {
        pin_to(&store, generation(&store).await + 1).await;
        println!("pinned");
    }
}

async fn try_to_open(dir: &Path) {
    let error = open(dir).await.unwrap_err();
    println!("{error}");
    assert!(error.source().is_none());
}

/// What the tests above have another process do. On its own it checks that a place below a file is none.
#[tokio::test]
async fn the_other_process() {
    let Ok(part) = std::env::var(PART) else {
        return refused(open(Path::new("/dev/null/store")).await, io::ErrorKind::NotADirectory);
    };
    let dir = PathBuf::from(std::env::var_os(PLACE).unwrap());
    match part.as_str() {
        "hold" => hold(&dir).await,
        "try" => try_to_open(&dir).await,
        "read-only" => refused(open(&dir).await, io::ErrorKind::ReadOnlyFilesystem),
        "read-only-blobs" => read_only_blobs(&dir).await,
        "no-room-for-a-blob" => no_room_for_a_blob(&dir).await,
        "no-room-for-rows" => no_room_for_rows(&dir).await,
        other => panic!("no part is called {other}"),
    }
}
