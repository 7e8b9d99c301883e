//! Row `swap`, and the torture of that name: pins and reverts while calls keep coming.
//!
//! A swap is timed from sending the pin or the revert until the first call after its answer is answered.
//! Installations are swapped in turn, all of them to the next release and then all of them back, so
//! each time the next release is loaded from disk again, and each time it must be unloaded.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fixtures::Guest;
use harness::{Host, Http};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::machine;
use crate::report::Row;
use crate::rows;
use crate::stats::percentile;
use crate::tenants::{metric, path, pin, publish};

/// Installations that are swapped.
const SWAPPED: usize = 8;

/// Installations that nobody touches, and that must not notice.
const LEFT_ALONE: usize = 8;

/// Callers, by turns on an installation that is swapped and on one that is not.
const CALLERS: usize = 8;

/// Between two calls of a caller: together some hundreds a second, which no machine is busy with.
const PAUSE: Duration = Duration::from_millis(20);

/// Swaps of a round of the row: ten beyond the 99th percentile.
const ROUND: usize = 1_000;

/// Rounds of the row.
const ROUNDS: usize = 3;

/// Swaps of the torture.
const TORTURE: usize = 10_000;

/// How long the last call on the old release may take to let go of it.
const UNLOADING_MAX: Duration = Duration::from_secs(10);

const CONNECTOR: &str = "fixtures/echo";
const FROM: &str = "1.0.0";
const TO: &str = "1.1.0";

/// A host with both releases, everyone on the first, and callers calling.
struct Field {
    operator: Http,
    digests: [String; 2],
    stop: Arc<AtomicBool>,
    callers: JoinSet<Tally>,
    swaps: usize,
    _host: Host,
}

/// What callers saw.
#[derive(Default)]
struct Tally {
    calls: u64,
    failed: u64,
    /// The first of the failures.
    example: Option<String>,
}

/// What became of some swaps.
#[derive(Default)]
struct Swapped {
    times: Vec<Duration>,
    /// First calls that did not run the new release, or failed.
    wrong: u64,
    example: Option<String>,
}

/// Measures the row.
pub(crate) async fn measure() -> anyhow::Result<Vec<Row>> {
    let folder = machine::scratch()?;
    let sync = sync_time(folder.path())?;
    let mut field = Field::start(folder.path()).await?;
    let (mut tails, mut halves, mut wrong) = (Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        let mut swapped = field.swap(ROUND).await?;
        tails.push(percentile(&mut swapped.times, 0.99) / 1e3);
        halves.push(percentile(&mut swapped.times, 0.5) / 1e3);
        wrong += swapped.wrong;
    }
    let (tally, unloaded) = field.end().await;
    let detail = format!(
        "{ROUNDS} rounds of {ROUND} pins and reverts over {SWAPPED} installations, medians {halves:.2?} ms; {} calls \
         beside them, {} failed; {wrong} first calls on another release; old code {}; {sync}",
        tally.calls,
        tally.failed,
        if unloaded { "unloaded" } else { "still loaded" },
    );
    let broken = tally.failed > 0 || wrong > 0 || !unloaded;
    Ok(vec![Row::alone(rows::SWAP, tails, detail).unless(broken)])
}

/// The torture: whether it held, and its figures.
pub(crate) async fn torture() -> anyhow::Result<(bool, String)> {
    let folder = machine::scratch()?;
    let mut field = Field::start(folder.path()).await?;
    let mut swapped = field.swap(TORTURE).await?;
    let (tally, unloaded) = field.end().await;
    let half = percentile(&mut swapped.times, 0.5) / 1e3;
    let tail = percentile(&mut swapped.times, 0.99) / 1e3;
    let last = swapped.times.last().map_or(0.0, Duration::as_secs_f64) * 1e3;
    let budget = rows::spec(rows::SWAP).budget;
    let held = tally.failed == 0 && swapped.wrong == 0 && unloaded && budget.kept(tail, None);
    let example =
        swapped.example.or(tally.example).map_or(String::new(), |e| format!(", such as {e}"));
    let figures = format!(
        "swap: {}: {TORTURE} swaps, p50 {half:.2} ms, p99 {tail:.2} ms (budget {}), longest {last:.2} ms; {} calls beside \
         them, {} failed; {} first calls failed or ran another release{example}; old code {}",
        if held { "held" } else { "did not hold" },
        budget.text("ms"),
        tally.calls,
        tally.failed,
        swapped.wrong,
        if unloaded { "unloaded" } else { "still loaded" },
    );
    Ok((held, figures))
}

// === impl Field ===

impl Field {
    async fn start(folder: &Path) -> anyhow::Result<Self> {
        let host = Host::start(&folder.join("data"), "");
        let mut operator = host.http();
        let mut digests = [const { String::new() }; 2];
        for (digest, guest) in digests.iter_mut().zip(["echo", "echo-next"]) {
            let release = publish(&mut operator, Guest::named(guest).load()?).await;
            *digest = text(&release["digest"]);
        }
        for tenant in 0..SWAPPED + LEFT_ALONE {
            pin(&mut operator, &name(tenant), CONNECTOR, FROM).await;
        }
        let stop = Arc::<AtomicBool>::default();
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            // The first half of the tenants are swapped, the second half are left alone.
            let tenant = caller / 2 + if caller % 2 == 0 { 0 } else { SWAPPED };
            callers.spawn(call(host.http(), tenant, Arc::clone(&stop)));
        }
        Ok(Self { operator, digests, stop, callers, swaps: 0, _host: host })
    }

    /// So many swaps, one after the other.
    async fn swap(&mut self, count: usize) -> anyhow::Result<Swapped> {
        let mut swapped = Swapped::default();
        for _ in 0..count {
            let tenant = name(self.swaps % SWAPPED);
            let forth = (self.swaps / SWAPPED).is_multiple_of(2);
            self.swaps += 1;
            let first = path(&tenant, CONNECTOR, "/actions/version");
            let start = Instant::now();
            if forth {
                pin(&mut self.operator, &tenant, CONNECTOR, TO).await;
            } else {
                let reason = json!({"reason": "a benchmark goes back"});
                self.operator.post(&path(&tenant, CONNECTOR, "/revert"), reason).await.ok();
            }
            let reply = self.operator.post(&first, json!(null)).await;
            swapped.times.push(start.elapsed());
            let (version, digest) =
                if forth { (TO, &self.digests[1]) } else { (FROM, &self.digests[0]) };
            let right = reply.status.is_success()
                && reply.json() == version
                && reply.header("keyway-digest") == digest;
            if !right {
                swapped.wrong += 1;
                swapped.example.get_or_insert(format!("{}: {}", reply.status, reply.json()));
            }
        }
        Ok(swapped)
    }

    /// Lets the callers end, takes everyone back, and says whether the old code went.
    async fn end(mut self) -> (Tally, bool) {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        while let Some(ended) = self.callers.join_next().await {
            all.add(ended.expect("a caller counts failures and does not panic"));
        }
        for tenant in 0..SWAPPED {
            pin(&mut self.operator, &name(tenant), CONNECTOR, FROM).await;
        }
        let asked = Instant::now();
        loop {
            let label = format!("{CONNECTOR}@{TO}");
            let old = metric(&mut self.operator, "keyway_runtime_live_stores", &label).await;
            let loaded = metric(&mut self.operator, "keyway_runtime_loaded_releases", "").await;
            let unloaded = old.is_none() && loaded == Some(1.0);
            if unloaded || asked.elapsed() > UNLOADING_MAX {
                return (all, unloaded);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Calls until told to stop.
async fn call(mut http: Http, tenant: usize, stop: Arc<AtomicBool>) -> Tally {
    let path = path(&name(tenant), CONNECTOR, "/actions/version");
    let expected = if tenant < SWAPPED { &[FROM, TO][..] } else { &[FROM][..] };
    let mut tally = Tally::default();
    while !stop.load(Ordering::Relaxed) {
        let reply = http.post(&path, json!(null)).await;
        tally.calls += 1;
        let version = reply.json();
        let right = reply.status.is_success() && expected.iter().any(|one| version == **one);
        if !right {
            tally.failed += 1;
            tally.example.get_or_insert(format!("{}: {version}", reply.status));
        }
        tokio::time::sleep(PAUSE).await;
    }
    tally
}

/// What the disk takes for the least that a durable change needs, for comparison: a page written over and
/// synced, in a file that does not grow.
fn sync_time(folder: &Path) -> anyhow::Result<String> {
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::File::create(folder.join("sync"))?;
    let write = |byte: u8| file.write_all_at(&[byte; 4 << 10], 0).and_then(|()| file.sync_data());
    write(0)?;
    let mut times = Vec::with_capacity(ROUND);
    for n in 0..ROUND {
        let start = Instant::now();
        // Truncation is fine: it only has to differ from the byte before.
        write(n as u8)?;
        times.push(start.elapsed());
    }
    let (half, tail) = (percentile(&mut times, 0.5) / 1e3, percentile(&mut times, 0.99) / 1e3);
    Ok(format!("writing over 4 KiB and syncing it takes this disk {half:.2} ms, p99 {tail:.2} ms"))
}

fn name(tenant: usize) -> String {
    format!("tenant-{tenant:02}")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

// === impl Tally ===

impl Tally {
    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.failed += other.failed;
        self.example = self.example.take().or(other.example);
    }
}
