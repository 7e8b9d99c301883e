//! A child that writes is killed with SIGKILL, again and again: what was flushed is there, in order, once.
//!
//! A killed process leaves the kernel's page cache as it is: this says nothing about a loss of power.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use keyway_core::ports::ExchangeLog as _;
use keyway_exchanges::{Exchanges, Options};

use crate::support::{Place, exchange, numbers, roomy};

/// Names the folder that the child writes in.
const CHILD: &str = "KEYWAY_EXCHANGES_KILL_CHILD";

/// Kills: each falls somewhere else.
const ROUNDS: usize = 12;

/// How long a child may write before it is killed, at most.
const WRITE_MAX: Duration = Duration::from_millis(100);

fn options() -> Options {
    Options { segment_bytes_max: 64 << 10, ..roomy() }
}

/// Starts a child, lets it write a while, kills it, and answers the last number that it said was flushed.
fn kill_one(folder: &Path) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::the_child", "--nocapture"])
        .env(CHILD, folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let mut lines = stdout.lines().map_while(Result::ok);
    let number =
        |line: String| line.split_once("flushed ").map(|(_, number)| number.parse().unwrap());
    let mut flushed = lines.by_ref().find_map(number).expect("it writes");
    std::thread::sleep(WRITE_MAX.mul_f64(rand::random()));
    child.kill().unwrap();
    child.wait().unwrap();
    // What it said before it was killed, and no line without its end.
    for line in lines {
        flushed = number(line).unwrap_or(flushed);
    }
    flushed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_flushed_is_lost_to_kill_9_and_nothing_is_there_in_part() {
    let place = Place::new(options());
    for round in 1..=ROUNDS {
        let flushed = kill_one(place.folder.path());
        let log = place.open();
        let there = numbers(&log).await;
        let last = *there.last().unwrap();
        assert!(last >= flushed, "round {round}: {last} is there, {flushed} was flushed");
        assert!(there.into_iter().eq(0..=last), "round {round}: gaps, repeats or disorder");
        assert_eq!(log.metrics().damaged(), 0, "round {round}");
    }
    assert!(place.files().len() > 2, "the kills fell around ends of segments too");
}

/// Run by the test above, which kills it; on its own it checks that a log begins where it ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_child() {
    let own = Place::new(options());
    let folder = std::env::var_os(CHILD);
    let path = folder.as_deref().map_or(own.folder.path(), Path::new);
    let log = Exchanges::open(path, own.clock.clone(), options()).unwrap();
    let mut next = numbers(&log).await.last().map_or(0, |last| last + 1);
    while folder.is_some() || next < 50 {
        for _ in 0..25 {
            log.record(exchange(next));
            next += 1;
        }
        log.flush().await;
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(format!("flushed {}\n", next - 1).as_bytes()).unwrap();
        stdout.flush().unwrap();
    }
    assert_eq!(numbers(&log).await.len(), 50);
}
