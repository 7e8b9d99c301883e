//! The promise at the bottom: what the kernel is told, and in which order.
//!
//! A failpoint can say that a step was taken and not that it did anything; only the system calls can. This
//! binary runs itself again below `strace` and reads what it did. Where there is no `strace`, or tracing is not
//! permitted, it says so and is left out.

#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]
#![expect(clippy::print_stderr, reason = "what is left out is said")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use keyway_store::conformance::{HandClock, entry, pin};
use keyway_store::{Options, Store};

/// Names the directory of the store, and makes this process the traced one.
const TRACED: &str = "KEYWAY_STORE_TRACED";

/// Makes, fills and closes a store.
#[tokio::test]
async fn the_traced_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = std::env::var_os(TRACED).map_or(dir.path().join("data"), Into::into);
    let clock = Arc::new(HandClock::default());
    let store = Store::open(&path, clock, Options::default()).await.unwrap();
    store.tx().pin(pin("acme", 1, "1.0.0")).commit(entry("acme")).await.unwrap();
    store.blobs().put(Bytes::from_static(b"component")).await.unwrap();
    assert!(path.join("sled/db").exists() && path.join("high-water").exists());
}

/// The lines that tell of a file reaching the disk or getting a name, shortened to that and in order.
fn calls(dir: &Path) -> Option<Vec<String>> {
    let (trace, data) = (dir.join("trace"), dir.join("data"));
    let mut strace = Command::new("strace");
    strace.args(["-f", "-q", "-y", "-e", "trace=fsync,fdatasync,rename,renameat,renameat2", "-o"]);
    strace.arg(&trace).arg(std::env::current_exe().unwrap());
    strace.args(["--exact", "the_traced_process"]).env(TRACED, &data);
    match strace.output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            eprintln!("left out: strace: {}", String::from_utf8_lossy(&output.stderr));
            return None;
        }
        Err(error) => {
            eprintln!("left out: there is no strace: {error}");
            return None;
        }
    }
    let text = std::fs::read_to_string(&trace).unwrap();
    let data = data.to_str().unwrap();
    let told = text.lines().filter(|line| line.contains(data) && !line.contains("resumed"));
    Some(told.map(|line| line.replace(data, "DATA")).collect())
}

#[test]
fn files_reach_the_disk_before_their_names_and_both_before_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    let Some(calls) = calls(dir.path()) else { return };
    let mut rest = calls.iter();
    for (call, of) in [
        // A new store.
        ("fsync", "DATA/sled.new/db>"),
        ("fsync", "DATA/sled.new>"),
        ("fsync", "DATA/high-water.new>"),
        ("rename", "DATA/high-water.new\""),
        ("rename", "DATA/sled.new\""),
        // The first opening.
        ("fsync", "DATA/sled/db>"),
        ("sync", "DATA/high-water>"),
        ("fsync", "DATA>"),
        // A commit.
        ("fsync", "DATA/sled/db>"),
        ("sync", "DATA/high-water>"),
        // A blob.
        ("fsync", "DATA/blobs/.tmp-"),
        ("rename", "\".tmp-"),
        ("fsync", "DATA/blobs>"),
    ] {
        let found = rest.any(|line| line.contains(call) && line.contains(of));
        assert!(found, "{call} of {of} is missing, or too early, in\n{}", calls.join("\n"));
    }
}
