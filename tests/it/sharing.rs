//! What one tenant's calls leave to another's: time on the processors.
//!
//! Held against what the other would wait for without turns, from the same run: nothing here depends on how fast the machine
//! is. The full form, with the figures that the documents promise, is the torture `bounds`.

use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use harness::Http;
use serde_json::json;
use tokio::task::JoinSet;

use crate::setup::{Setup, path};

/// How long a guest that computes holds its worker before others have a turn.
const TICK: Duration = Duration::from_millis(10);

/// Calls that compute, of one tenant.
const SPINNING: u32 = 60;

/// Calls of its neighbour.
const CALLS: usize = 60;

/// How long calls of a small action take, each.
async fn times(http: &mut Http) -> Vec<Duration> {
    let path = path("neighbour", "fixtures/echo", "/actions/echo");
    let mut times = Vec::new();
    for _ in 0..CALLS {
        let asked = Instant::now();
        http.post(&path, json!([1])).await.ok();
        times.push(asked.elapsed());
    }
    times.sort_unstable();
    times
}

#[tokio::test]
async fn calls_that_compute_do_not_stand_before_a_neighbours() {
    let mut setup = Setup::new("");
    setup.publish("echo").await.ok();
    setup.publish("hostile").await.ok();
    setup.pin("neighbour", "fixtures/echo", "1.0.0").await;
    setup.pin("hog", "fixtures/hostile", "1.0.0").await;
    let alone = times(&mut setup.http).await;

    let mut spinning = JoinSet::new();
    for _ in 0..SPINNING {
        let mut http = setup.host.http();
        spinning.spawn(async move {
            let path = path("hog", "fixtures/hostile", "/actions/spin");
            loop {
                let reply = http.post(&path, json!(null)).await;
                assert!(["guest-cpu", "deadline-exceeded"].contains(&reply.code().as_str()));
            }
        });
    }
    while setup.metric("keyway_calls_running", &[]).await < f64::from(SPINNING) {
        tokio::time::sleep(TICK).await;
    }
    let beside = times(&mut setup.http).await;
    let processors = u32::try_from(available_parallelism().map_or(1, usize::from)).unwrap();
    let without_turns = TICK * SPINNING / processors;
    // All but a few, so that a moment in which the machine does something else is none of a call.
    let most = CALLS * 9 / 10;
    let more = beside[most].saturating_sub(alone[most]);
    assert!(more < without_turns / 3, "{more:?} more, of {without_turns:?}: {beside:?}");
    spinning.shutdown().await;
}
