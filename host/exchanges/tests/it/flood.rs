//! More than the log can take: recording never waits, what is lost is counted, and the log goes on after it.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use keyway_core::exchange::Exchange;
use keyway_core::ports::ExchangeLog as _;
use keyway_exchanges::{Exchanges, Options};
use prometheus_client::registry::Registry;

use crate::support::{HandClock, Place, exchange, numbers, roomy};

/// Names the folder that the child writes in.
const CHILD: &str = "KEYWAY_EXCHANGES_FULL_DISK_CHILD";

/// The writer, standing still: it waits for the time. A test that fails lets it go on too: the log waits for it in the
/// end.
struct Still {
    clock: Arc<HandClock>,
    waiting: tokio::task::JoinHandle<()>,
}

impl Still {
    async fn stand(place: &Place, log: &Exchanges) -> Self {
        place.clock.hold();
        let asked = log.clone();
        let waiting = tokio::spawn(async move { asked.retain().await });
        let still = Self { clock: place.clock.clone(), waiting };
        let clock = place.clock.clone();
        tokio::task::spawn_blocking(move || clock.held()).await.unwrap();
        still
    }

    async fn go_on(mut self) {
        self.clock.release();
        (&mut self.waiting).await.unwrap();
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        self.clock.release();
    }
}

/// As the metrics page shows it.
fn shown(log: &Exchanges) -> String {
    let mut registry = Registry::default();
    log.metrics().register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_writer_stands_still_so_many_wait_and_the_next_is_dropped() {
    let place = Place::new(Options { waiting_max: 100, ..Options::default() });
    let log = place.open();
    let still = Still::stand(&place, &log).await;
    (0..100).for_each(|number| log.record(exchange(number)));
    assert_eq!(log.metrics().dropped(), 0, "as many as may wait");
    (100..10_000).for_each(|number| log.record(exchange(number)));
    assert_eq!(log.metrics().dropped(), 9_900);
    still.go_on().await;
    log.flush().await;
    assert_eq!(numbers(&log).await, (0..100).collect::<Vec<_>>());
    log.record(exchange(100));
    log.flush().await;
    assert_eq!(log.metrics().recorded(), 101, "there is room again");
    let shown = shown(&log);
    assert!(shown.contains(r#"keyway_exchanges_dropped_total{why="waiting"} 9900"#), "{shown}");
    assert!(shown.contains("keyway_exchanges_recorded_total 101"), "{shown}");
    assert!(shown.contains("keyway_exchanges_segments 1"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_writer_stands_still_so_many_bytes_wait() {
    let options =
        Options { waiting_bytes_max: 1 << 20, body_bytes_max: 1 << 20, ..Options::default() };
    let place = Place::new(options);
    let log = place.open();
    let still = Still::stand(&place, &log).await;
    let large =
        || Exchange { response_body: Some(Bytes::from(vec![b'x'; 500_000])), ..exchange(1) };
    log.record(large());
    log.record(large());
    assert_eq!(log.metrics().dropped(), 0);
    log.record(large());
    assert_eq!(log.metrics().dropped(), 1);
    log.record(exchange(2));
    assert_eq!(log.metrics().dropped(), 1, "a small one fits beside them");
    still.go_on().await;
    log.flush().await;
    log.record(large());
    log.flush().await;
    assert_eq!((log.metrics().recorded(), log.metrics().dropped()), (4, 1));
    assert!(shown(&log).contains(r#"dropped_total{why="waiting_bytes"} 1"#));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_flood_from_many_everything_is_either_there_or_counted() {
    let place = Place::new(Options { waiting_max: 500, ..Options::default() });
    let log = place.open();
    let tasks = (0..4).map(|task| {
        let log = log.clone();
        tokio::spawn(
            async move { (0..25_000).for_each(|n| log.record(exchange(task * 25_000 + n))) },
        )
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    log.flush().await;
    let (recorded, dropped) = (log.metrics().recorded(), log.metrics().dropped());
    assert_eq!(recorded + dropped, 100_000);
    let mut there = numbers(&log).await;
    assert_eq!(there.len() as u64, recorded);
    there.sort_unstable();
    there.dedup();
    assert_eq!(there.len() as u64, recorded, "each once");
}

/// The shell's limit on the size of a file stands in for a full disk, so `write` itself fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_costs_exchanges_and_nothing_else() {
    let place = Place::new(roomy());
    let mut child = Command::new("sh");
    // Without the trap, the limit would be a signal and not an error. 64 blocks are 32 KiB.
    child.args(["-c", r#"trap '' XFSZ; ulimit -f 64; exec "$@""#, "sh"]);
    child.arg(std::env::current_exe().unwrap());
    child.args(["--exact", "flood::the_child", "--nocapture"]).env(CHILD, place.folder.path());
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    let line = said.lines().find_map(|line| line.split_once("outcome ")).unwrap().1;
    let mut counts = line.split(' ').map(|count| count.parse::<u64>().unwrap());
    let (recorded, dropped) = (counts.next().unwrap(), counts.next().unwrap());
    assert!(recorded > 10 && dropped > 10, "{said}");
    assert_eq!(recorded + dropped, 400);
    let there = numbers(&place.open()).await;
    assert_eq!(there.len() as u64, recorded, "what was counted as dropped is not there");
    assert!(there.contains(&399), "smaller segments found room again: {there:?}");
}

/// Run by the test above; on its own it checks that a folder that cannot be is an error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_child() {
    let clock = Place::new(roomy()).clock;
    let Some(folder) = std::env::var_os(CHILD) else {
        assert!(Exchanges::open(Path::new("/dev/null/log"), clock, roomy()).is_err());
        return;
    };
    // The first half into one segment, which the limit stops; the second into small ones.
    let (mut recorded, mut dropped) = (0, 0);
    for (numbers, segment_bytes_max) in [(0..200, 1 << 20), (200..400, 8_000)] {
        let options =
            Options { segment_bytes_max, flush_interval: Duration::from_millis(1), ..roomy() };
        let log = Exchanges::open(Path::new(&folder), clock.clone(), options).unwrap();
        for number in numbers {
            log.record(exchange(number));
            log.flush().await;
        }
        recorded += log.metrics().recorded();
        dropped += log.metrics().dropped();
    }
    println!("outcome {recorded} {dropped}");
}
