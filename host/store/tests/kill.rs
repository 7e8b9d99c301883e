//! The kill test in its short form: this binary, run again, is the child.

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
    assert!(figures.acknowledged > 100, "the children did next to nothing: {figures}");
}

/// Run by the test above, which kills it; on its own it checks that a writer which cannot open its store
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
