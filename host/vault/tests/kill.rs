//! The kill test of the refresh in its short form: this binary, run again, is the child. A dozen rounds here, 200 by
//! `just torture refresh-kill`.

use std::path::Path;
use std::process::Command;

#[path = "kill/server.rs"]
mod server;
#[path = "kill/torture.rs"]
mod torture;

/// Would fail if the intent were not durable before the request, if tokens were handed out before they are, or if a
/// refresh that was cut off were simply begun again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_is_presented_twice_and_none_is_lost_to_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let child = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "the_child", "--nocapture"]);
        command
    };
    let figures = torture::run(dir.path(), 12, child).await.unwrap();
    // The torture's last line, which is read by programs.
    let line = figures.to_string();
    let begins =
        "kills=12 at-answered=2 at-intended=2 at-kept=2 at-written=2 anywhere=4 refreshes=";
    assert!(line.starts_with(begins), "{line}");
    assert!(line.ends_with(" presented-twice=0 lost=0"), "{line}");
}

/// Run by the test above, which kills it; on its own it checks that a child which was told nothing says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_child() {
    match std::env::var_os(torture::CHILD) {
        Some(dir) => torture::refresh_until_killed(Path::new(&dir)).await.unwrap(),
        None => {
            let nowhere = torture::refresh_until_killed(Path::new("/dev/null/store")).await;
            assert!(nowhere.is_err());
        }
    }
}
