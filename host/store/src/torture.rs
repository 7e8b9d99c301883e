//! The kill test: a child process writes to a sled store and is killed with SIGKILL, again and again.
//!
//! After each kill the store is opened, and everything that the child was told is durable must be there,
//! whole: no acknowledged page, pin or settled message is lost, no page is there in part, no message is
//! missing that nobody settled, no audit number is skipped.
//!
//! ```text
//!  parent ── spawn ──► child: opens the store, then eight workers commit and report
//!    │ ◄── one line for each acknowledged commit ──┘        what was acknowledged
//!    ├── SIGKILL after a random while, now and then during start-up
//!    └── opens the store itself, compares it with the lines, closes it ── next round
//! ```
//!
//! A killed process leaves the kernel's page cache intact: this says nothing about power loss. What reaches
//! the disk, and in which order, is what `tests/order.rs` looks at.
//!
//! `just torture store-kill` kills 200 times, in about two minutes, and ends with a line of [`Figures`].
//! The tests, which `script/test` runs, kill ten times: rounds differ only in where the kill falls, so every
//! run of the tests adds ten to those that were before it.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::conformance::{HandClock, entry, installation, pin};
use crate::{Error, Lease, OpenError, Options, Store};

/// What a run came to. Shown as one line.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Kills survived.
    pub rounds: u32,
    /// Of those, kills before the child had opened the store.
    pub kills_at_start: u32,
    /// Commits that the child was told are durable; all of them were found.
    pub acknowledged: u64,
    /// Commits found that nobody had been told of: the kill fell between.
    pub unacknowledged_kept: u64,
    /// The longest time a store took to be opened and checked.
    pub open_max: Duration,
}

/// How the test failed.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The child could not be run.
    #[error("the child process failed")]
    Child(#[source] io::Error),
    /// The store did not open after a kill.
    #[error("round {round}: the store did not open")]
    Open {
        /// Which round.
        round: u32,
        /// Why.
        #[source]
        source: OpenError,
    },
    /// The store did not answer.
    #[error("the store failed")]
    Store(#[from] Error),
    /// Something acknowledged is missing, or something is there in part.
    #[error("round {round}: {what}")]
    Lost {
        /// Which round.
        round: u32,
        /// What.
        what: String,
    },
}

/// What one worker was told, and what was found of it.
#[derive(Default)]
struct Ledger {
    /// Pages acknowledged.
    pages: u64,
    /// Pins acknowledged.
    pins: u64,
    /// Messages whose end was acknowledged.
    settled: BTreeSet<u64>,
    /// Messages whose end was begun.
    settling: BTreeSet<u64>,
    /// Pages compared in an earlier round.
    compared: u64,
}

/// Writers in the child: enough that groups of commits form.
const WORKERS: usize = 8;

/// A lease outlives every round: the child's clock stands still.
const TTL: Duration = Duration::from_secs(60);

/// One round in this many kills the child while it opens the store.
const KILL_AT_START_EVERY: u32 = 5;

/// How long the child may write before it is killed, at most, from what its kill waits for.
const WRITE_MAX: Duration = Duration::from_millis(250);

/// One round in this many has acknowledged commits, however slow the disk is. Others may be killed before the first.
const BUSY_EVERY: u32 = 2;

/// So many of them are reported before the random while begins.
pub const BUSY_COMMITS: usize = 25;

/// When a child is killed: a random while after something.
#[derive(Clone, Copy)]
enum Kill {
    /// After it was started.
    AtStart,
    /// After it said that it is ready.
    Ready,
    /// After [`BUSY_COMMITS`].
    Busy,
}

/// Runs `rounds` kills on a store in `dir`, which should be empty. `child` must start a process that
/// calls [`write_until_killed`] on that directory.
pub async fn run(dir: &Path, rounds: u32, child: impl Fn() -> Command) -> Result<Figures, Broken> {
    let mut figures = Figures::default();
    let mut ledgers: Vec<Ledger> = (0..WORKERS).map(|_| Ledger::default()).collect();
    for round in 1..=rounds {
        let at_start = round % KILL_AT_START_EVERY == 0;
        let kill = match round % BUSY_EVERY {
            _ if at_start => Kill::AtStart,
            0 => Kill::Busy,
            _ => Kill::Ready,
        };
        let lines = kill_one(child(), kill).map_err(Broken::Child)?;
        for line in lines {
            figures.acknowledged += u64::from(note(&mut ledgers, &line));
        }
        let started_at = Instant::now();
        let opened = Store::open(dir, Arc::new(HandClock::default()), Options::default()).await;
        let store = opened.map_err(|source| Broken::Open { round, source })?;
        figures.open_max = figures.open_max.max(started_at.elapsed());
        if round == rounds {
            // Everything, once.
            ledgers.iter_mut().for_each(|ledger| ledger.compared = 0);
        }
        let kept = compare(&store, &mut ledgers).await?;
        let kept = kept.map_err(|what| Broken::Lost { round, what })?;
        figures.unacknowledged_kept += kept;
        figures.kills_at_start += u32::from(at_start);
        figures.rounds = round;
    }
    Ok(figures)
}

/// Runs one child until writing fails under it, as on a full disk, and compares what is there with what
/// was acknowledged. The caller sees to it that writing will fail.
pub async fn run_until_writing_fails(dir: &Path, mut child: Command) -> Result<Figures, Broken> {
    let output = child.stdin(Stdio::null()).output().map_err(Broken::Child)?;
    if output.status.success() || output.status.code().is_none() {
        let how = format!("it ended with {} and not with an error", output.status);
        return Err(Broken::Child(io::Error::other(how)));
    }
    let mut ledgers: Vec<Ledger> = (0..WORKERS).map(|_| Ledger::default()).collect();
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let acknowledged = lines.lines().filter(|line| note(&mut ledgers, line)).count() as u64;
    let started_at = Instant::now();
    let opened = Store::open(dir, Arc::new(HandClock::default()), Options::default()).await;
    let store = opened.map_err(|source| Broken::Open { round: 1, source })?;
    let open_max = started_at.elapsed();
    let kept = compare(&store, &mut ledgers).await?;
    let unacknowledged_kept = kept.map_err(|what| Broken::Lost { round: 1, what })?;
    Ok(Figures { acknowledged, unacknowledged_kept, open_max, ..Figures::default() })
}

/// The child's part: commits until it is killed, and reports what was acknowledged on standard output.
/// Ends on its own only if something fails.
pub async fn write_until_killed(dir: &Path) -> Result<(), Broken> {
    let opened = Store::open(dir, Arc::new(HandClock::default()), Options::default()).await;
    let store = opened.map_err(|source| Broken::Open { round: 0, source })?;
    report("ready").map_err(Broken::Child)?;
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        workers.spawn(work(store.clone(), worker));
    }
    while let Some(ended) = workers.join_next().await {
        ended.map_err(|error| Broken::Child(error.into()))??;
    }
    Ok(())
}

/// One worker: a page, a pin, a message; over and over.
async fn work(store: Store, worker: usize) -> Result<(), Broken> {
    let (tenant, queue) = (format!("tenant-{worker}"), queue(worker));
    let stream = format!("stream-{worker}");
    let lease = store.acquire_lease(&stream, "torture", TTL).await?;
    let lease = lease.ok_or(Error::Conflict { what: crate::Collision::Lease })?;
    let mut pages = cursor(&store, worker).await?;
    let pinned = store.pin(&installation(&tenant)).await?;
    let mut generation = pinned.map_or(0, |pin| pin.generation);
    loop {
        pages += 1;
        write_page(&store, worker, pages, &lease).await?;
        report(&format!("page {worker} {pages}")).map_err(Broken::Child)?;

        generation += 1;
        let change = store.tx().pin(pin(&tenant, generation, "1.0.0"));
        change.commit(entry(&tenant)).await?;
        report(&format!("pin {worker} {generation}")).map_err(Broken::Child)?;

        if let Some(claim) = store.claim(&queue, Duration::ZERO).await? {
            report(&format!("settling {worker} {}", claim.seq)).map_err(Broken::Child)?;
            store.settle(&claim).await?;
            report(&format!("settled {worker} {}", claim.seq)).map_err(Broken::Child)?;
        }
    }
}

/// A page: a record, the cursor, two messages, under a lease.
async fn write_page(store: &Store, worker: usize, page: u64, lease: &Lease) -> Result<(), Error> {
    let cursor = store.cell("cursors", &[worker as u8]).await?.map(|cell| cell.version);
    let batch = store
        .batch()
        .holding(lease)
        .put_cell("records", &record_key(worker, page), None, record(worker, page))
        .put_cell("cursors", &[worker as u8], cursor, page.to_be_bytes().to_vec());
    let queue = queue(worker);
    let batch = batch.enqueue(&queue, message(page, 0)).enqueue(&queue, message(page, 1));
    batch.commit().await
}

/// Starts a child, kills it after a while, and answers the whole lines that it wrote.
fn kill_one(mut command: Command, kill: Kill) -> io::Result<Vec<String>> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().ok_or_else(|| io::Error::other("no pipe"))?;
    // That it is ready, and the commits that it reported.
    let awaited = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let seen = Arc::clone(&awaited);
    let reader = std::thread::spawn(move || {
        let mut lines = Vec::new();
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        // A line without its end was cut by the kill; it acknowledges nothing.
        while stdout.read_line(&mut line)? > 0 && line.ends_with('\n') {
            let [ready, commits] = &*seen;
            ready.fetch_add(usize::from(line.trim_end().ends_with("ready")), Ordering::SeqCst);
            commits.fetch_add(usize::from(acknowledges(&line)), Ordering::SeqCst);
            lines.push(line.trim_end().to_owned());
            line.clear();
        }
        io::Result::Ok(lines)
    });
    let [ready, commits] = &*awaited;
    let (count, enough, wait_max) = match kill {
        Kill::AtStart => (ready, 0, Duration::from_millis(60)),
        Kill::Ready => (ready, 1, WRITE_MAX),
        Kill::Busy => (commits, BUSY_COMMITS, WRITE_MAX),
    };
    while count.load(Ordering::SeqCst) < enough {
        if let Some(status) = child.try_wait()? {
            return Err(io::Error::other(format!("it ended by itself: {status}")));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(random_wait(wait_max));
    if let Some(status) = child.try_wait()? {
        return Err(io::Error::other(format!("it ended by itself: {status}")));
    }
    child.kill()?;
    child.wait()?;
    reader.join().map_err(|_| io::Error::other("the reader panicked"))?
}

/// Whether a line of the child's is of a commit that it was told is durable.
fn acknowledges(line: &str) -> bool {
    ["page ", "pin ", "settled "].iter().any(|what| line.starts_with(what))
}

/// Writes down one line of the child's; whether it acknowledges something.
fn note(ledgers: &mut [Ledger], line: &str) -> bool {
    let mut words = line.split(' ');
    let (Some(what), Some(worker), Some(number)) = (words.next(), words.next(), words.next())
    else {
        return false;
    };
    let (Ok(worker), Ok(number)) = (worker.parse::<usize>(), number.parse()) else { return false };
    let Some(ledger) = ledgers.get_mut(worker) else { return false };
    match what {
        "page" => ledger.pages = number,
        "pin" => ledger.pins = number,
        "settled" => {
            ledger.settled.insert(number);
        }
        "settling" => {
            ledger.settling.insert(number);
            return false;
        }
        _ => return false,
    }
    true
}

/// Compares the store with what was acknowledged. How much more is there, or what is wrong.
async fn compare(store: &Store, ledgers: &mut [Ledger]) -> Result<Result<u64, String>, Error> {
    let (mut kept, mut changes) = (0, 0);
    for (worker, ledger) in ledgers.iter_mut().enumerate() {
        let found = match compare_worker(store, worker, ledger).await? {
            Ok(found) => found,
            Err(what) => return Ok(Err(format!("worker {worker}: {what}"))),
        };
        kept += found.pages - ledger.pages + found.pins - ledger.pins;
        changes += found.pins;
        (ledger.pages, ledger.pins, ledger.compared) = (found.pages, found.pins, found.pages);
    }
    let seq = store.seq().await?;
    if seq != changes {
        return Ok(Err(format!("{changes} changes have {seq} audit entries")));
    }
    let mut after = 0;
    while after < seq {
        let page = store.audit(after, 1_000).await?;
        if page.is_empty() || page.iter().zip(after + 1..).any(|(entry, seq)| entry.seq != seq) {
            return Ok(Err(format!("the audit has a gap behind {after}")));
        }
        after += page.len() as u64;
    }
    Ok(Ok(kept))
}

/// What is there of one worker's, or what is wrong with it.
async fn compare_worker(
    store: &Store,
    worker: usize,
    ledger: &Ledger,
) -> Result<Result<Ledger, String>, Error> {
    macro_rules! check {
        ($holds:expr, $($what:tt)+) => {
            if !$holds {
                return Ok(Err(format!($($what)+)));
            }
        };
    }
    let pages = cursor(store, worker).await?;
    // A worker has one commit at a time under way.
    let expected = ledger.pages..=ledger.pages + 1;
    check!(expected.contains(&pages), "cursor {pages}, acknowledged {}", ledger.pages);
    for page in ledger.compared + 1..=pages {
        let found = store.cell("records", &record_key(worker, page)).await?;
        let whole = found.is_some_and(|cell| cell.value == record(worker, page));
        check!(whole, "the record of page {page} of {pages} is missing or another");
    }
    let beyond = store.cell("records", &record_key(worker, pages + 1)).await?;
    check!(beyond.is_none(), "a record beyond the cursor {pages}: a torn page");

    let waiting = store.messages(&queue(worker)).await?;
    for (seq, body) in &waiting {
        let (page, half) = (seq.div_ceil(2), (seq + 1) % 2);
        check!(page <= pages, "message {seq} beyond the cursor {pages}: a torn page");
        check!(*body == message(page, half), "message {seq} has another body");
        check!(!ledger.settled.contains(seq), "message {seq} is back after it was settled");
    }
    let waiting: BTreeSet<u64> = waiting.into_iter().map(|(seq, _)| seq).collect();
    let lost = (1..=pages * 2).find(|seq| !waiting.contains(seq) && !ledger.settling.contains(seq));
    check!(lost.is_none(), "message {lost:?} is gone and was never settled");

    let tenant = installation(&format!("tenant-{worker}"));
    let pins = store.pin(&tenant).await?.map_or(0, |pin| pin.generation);
    let expected = ledger.pins..=ledger.pins + 1;
    check!(expected.contains(&pins), "pin {pins}, acknowledged {}", ledger.pins);
    let history = store.history(&tenant).await?;
    let whole = history.iter().map(|pin| pin.number).eq(1..=pins);
    check!(whole, "the history of {pins} pins has gaps");
    Ok(Ok(Ledger { pages, pins, ..Ledger::default() }))
}

async fn cursor(store: &Store, worker: usize) -> Result<u64, Error> {
    let found = store.cell("cursors", &[worker as u8]).await?;
    Ok(found
        .map_or(0, |cell| cell.value.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))))
}

fn queue(worker: usize) -> String {
    format!("queue-{worker}")
}

fn record_key(worker: usize, page: u64) -> Vec<u8> {
    [&[worker as u8][..], &page.to_be_bytes()].concat()
}

/// Bytes that only this page has; all sizes up to the largest come by.
fn record(worker: usize, page: u64) -> Bytes {
    let len = (page as usize * 331 + worker * 7) % crate::PAYLOAD_BYTES_MAX + 1;
    let byte = |at: usize| (at as u64 ^ page.wrapping_mul(0x9e37_79b9) ^ worker as u64) as u8;
    (0..len).map(byte).collect()
}

fn message(page: u64, half: u64) -> Bytes {
    format!("page {page}, half {half}").into()
}

fn random_wait(wait_max: Duration) -> Duration {
    wait_max.mul_f64(rand::random::<f64>())
}

/// One line, written as one piece.
fn report(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(format!("{line}\n").as_bytes())?;
    stdout.flush()
}

// === impl Figures ===

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, kills_at_start, acknowledged, unacknowledged_kept, open_max } = self;
        write!(
            f,
            "kills={rounds} at-start={kills_at_start} acknowledged={acknowledged} lost=0 torn=0 \
             unacknowledged-kept={unacknowledged_kept} open-max={open_max:.0?}"
        )
    }
}
