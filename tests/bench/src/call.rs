//! Rows `call-p50` and `call-p99`: a call without HTTP through the call path, beside raw wasmtime.
//!
//! Both sides run in this process, one call after the other, in short batches by turns. The component,
//! the settings of the engine and the input are the same.

mod floor;
mod ours;

use std::time::{Duration, Instant};

use fixtures::Guest;

use crate::machine;
use crate::report::Row;
use crate::stats::percentile;

/// Rounds, each with percentiles of its own.
const ROUNDS: usize = 7;

/// Calls of each side in a round: two hundred beyond the 99th percentile.
const CALLS: usize = 20_000;

/// Calls of one side before it is the other's turn: some 2 ms, so that both meet the same noise.
const BATCH: usize = 100;

/// Calls of each side that are not counted: pools, caches and branch predictors fill.
const WARM_UP: usize = 2_000;

/// What is asked: an object of a few fields, as callers send.
const INPUT: &str = r#"{"id":"1001","properties":{"email":"ada@example.com","firstname":"Ada"}}"#;

/// Measures both rows.
pub(crate) async fn measure() -> anyhow::Result<Vec<Row>> {
    let folder = machine::scratch()?;
    log_as_a_host_does();
    let component = Guest::named("echo").load()?;
    let ours = ours::Ours::new(folder.path(), &component).await?;
    let floor = floor::Floor::new(&component)?;
    let (mut halves, mut tails) = (Vec::new(), Vec::new());
    round(&ours, &floor, WARM_UP).await?;
    for _ in 0..ROUNDS {
        let (mut our_times, mut floor_times) = round(&ours, &floor, CALLS).await?;
        let mut pair =
            |share| (percentile(&mut our_times, share), percentile(&mut floor_times, share));
        halves.push(pair(0.5));
        tails.push(pair(0.99));
    }
    let detail = format!("{ROUNDS} rounds of {CALLS} calls each, by turns of {BATCH}");
    Ok(vec![
        Row::beside("call-p50", &halves, detail.clone()),
        Row::beside("call-p99", &tails, detail),
    ])
}

/// So many calls of each side, by turns.
async fn round(
    ours: &ours::Ours,
    floor: &floor::Floor,
    calls: usize,
) -> anyhow::Result<(Vec<Duration>, Vec<Duration>)> {
    let (mut our_times, mut floor_times) = (Vec::with_capacity(calls), Vec::with_capacity(calls));
    for _ in 0..calls / BATCH {
        for _ in 0..BATCH {
            let start = Instant::now();
            let answer = ours.call(INPUT).await?;
            our_times.push(start.elapsed());
            anyhow::ensure!(answer == INPUT, "echo answered {answer}");
        }
        for _ in 0..BATCH {
            let start = Instant::now();
            let answer = floor.call(INPUT).await?;
            floor_times.push(start.elapsed());
            anyhow::ensure!(answer == INPUT, "echo answered {answer}");
        }
    }
    Ok((our_times, floor_times))
}

/// With the subscriber that `keyway serve` installs, so that what a call logs costs what it costs there.
/// Only where its lines go differs: nowhere.
fn log_as_a_host_does() {
    let lines = tracing_subscriber::fmt().with_env_filter("info").with_writer(std::io::sink);
    // A second one would be this process's own mistake, and only the first counts.
    drop(lines.json().flatten_event(true).try_init());
}
