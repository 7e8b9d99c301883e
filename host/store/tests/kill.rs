//! The kill test in its short form: this binary, run again, is the child. Ten rounds here, 200 by
//! `just torture store-kill`.

use std::path::Path;
use std::process::Command;

use keyway_store::torture;

/// Names the directory that the child writes in.
const CHILD: &str = "KEYWAY_STORE_KILL_CHILD";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_commit_is_lost_to_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let child = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "the_child", "--nocapture"]).env(CHILD, dir.path());
        command
    };
    let figures = torture::run(dir.path(), 10, child).await.unwrap();
    assert_eq!(figures.rounds, 10);
    // Rounds 2, 4, 6 and 8, whatever the disk can do.
    let least = 4 * torture::BUSY_COMMITS as u64;
    assert!(figures.acknowledged >= least, "the children did next to nothing: {figures}");
    // The torture's last line, which is read by programs: one line, and `lost` is in it.
    let line = figures.to_string();
    assert!(line.starts_with("kills=10 at-start=2 acknowledged="), "{line}");
    assert!(line.contains(" lost=0 torn=0 ") && !line.contains('\n'), "{line}");
}

/// C65 with a real refusal: the shell's limit on the size of a file stands in for a full disk, so `write`
/// itself fails, in sled's own threads too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_commit_is_lost_to_a_full_disk() {
    for blocks in [1_100, 2_500, 6_000] {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new("sh");
        // Without the trap, the limit would be a signal and not an error.
        child.args(["-c", r#"trap '' XFSZ; ulimit -f "$0"; exec "$@""#, &blocks.to_string()]);
        child.arg(std::env::current_exe().unwrap());
        child.args(["--exact", "the_child", "--nocapture"]).env(CHILD, dir.path());
        let figures = torture::run_until_writing_fails(dir.path(), child).await.unwrap();
        assert!(figures.acknowledged > 0, "{blocks} blocks: {figures}");
    }
}

/// Run by the tests above, which kill it; on its own it checks that a writer which cannot open its store
/// says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_child() {
    match std::env::var_os(CHILD) {
        Some(dir) => torture::write_until_killed(Path::new(&dir)).await.unwrap(),
        None => {
            let nowhere = torture::write_until_killed(Path::new("/dev/null/store")).await;
            assert!(matches!(nowhere, Err(torture::Broken::Open { .. })), "{nowhere:?}");
        }
    }
}
