//! Steady traffic: one task a tenant, each asking for a contact, pausing, and asking again.
//!
//! A connection that breaks is a failed call, but while the host is known to be gone: then the task asks
//! again until it is back, as any caller would, and the call is counted as interrupted.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use harness::Http;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::plan::{TENANTS, path};

/// The mock provider's first contact; the next ones follow.
const FIRST_CONTACT: usize = 1_001;

/// Between two calls of a tenant: twenty tenants make a few hundred calls a second.
const PAUSE: Duration = Duration::from_millis(50);

/// Between two tries while the host is gone.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Tries before a call counts as failed: half a minute.
const RETRIES_MAX: u32 = 600;

/// Traffic under way.
pub(crate) struct Traffic {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<Ledger>>,
}

/// What the tasks and whoever started them know of each other.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    outage: AtomicBool,
    calls: AtomicU64,
}

/// What traffic saw.
pub(crate) struct Tally(Vec<Ledger>);

/// Counts of one tenant on one release.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    /// Calls that this release answered.
    pub(crate) calls: u64,
    /// Those that it answered with an error.
    pub(crate) failures: u64,
    /// Those whose first try the kill cut off.
    pub(crate) interrupted: u64,
    /// Whether it answered last.
    pub(crate) last: bool,
}

/// What one tenant saw.
#[derive(Default)]
struct Ledger {
    by_release: BTreeMap<String, Counts>,
    last: Option<(String, String)>,
    failures: Vec<String>,
}

// === impl Traffic ===

impl Traffic {
    /// Starts a task for each tenant.
    pub(crate) fn start(address: SocketAddr, token: &str) -> Self {
        let shared = Arc::<Shared>::default();
        let task =
            |tenant| tokio::spawn(ask(Http::new(address, token), tenant, Arc::clone(&shared)));
        let tasks = (0..TENANTS).map(task).collect();
        Self { shared, tasks }
    }

    /// Calls answered so far.
    pub(crate) fn calls(&self) -> u64 {
        self.shared.calls.load(Ordering::Relaxed)
    }

    /// Says that the host is about to be gone, or is back.
    pub(crate) fn expect_outage(&self, outage: bool) {
        self.shared.outage.store(outage, Ordering::SeqCst);
    }

    /// Lets every task finish its call, and collects what they saw.
    pub(crate) async fn stop(self) -> Tally {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut ledgers = Vec::new();
        for task in self.tasks {
            ledgers.push(task.await.expect("a task of the traffic does not panic"));
        }
        Tally(ledgers)
    }
}

async fn ask(mut http: Http, tenant: usize, shared: Arc<Shared>) -> Ledger {
    let mut ledger = Ledger::default();
    let path = path(tenant, "/actions/contacts.get");
    let mut id = tenant;
    while !shared.stop.load(Ordering::Relaxed) {
        id += 1;
        let input = json!({"id": (FIRST_CONTACT + id % 100).to_string()}).to_string();
        ledger.one(&mut http, &path, &input, &shared).await;
        shared.calls.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(PAUSE).await;
    }
    ledger
}

// === impl Ledger ===

impl Ledger {
    async fn one(&mut self, http: &mut Http, path: &str, input: &str, shared: &Shared) {
        for attempt in 0..RETRIES_MAX {
            let body = input.to_owned().into();
            match http.try_send(http::Method::POST, path, "application/json", body).await {
                Ok(reply) => return self.record(&reply, attempt > 0),
                Err(_) if shared.outage.load(Ordering::SeqCst) => {
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                Err(gone) => return self.failures.push(format!("no answer: {gone}")),
            }
        }
        self.failures.push(format!("no answer after {RETRIES_MAX} tries"));
    }

    fn record(&mut self, reply: &harness::Reply, interrupted: bool) {
        let (_, version) = reply.header("keyway-release").split_once('@').unwrap_or_default();
        let counts = self.by_release.entry(version.to_owned()).or_default();
        counts.calls += 1;
        counts.interrupted += u64::from(interrupted);
        self.last = Some((version.to_owned(), reply.header("keyway-digest").to_owned()));
        if !reply.status.is_success() {
            counts.failures += 1;
            self.failures.push(format!("{} {}", reply.status, reply.json()));
        }
    }
}

// === impl Tally ===

impl Tally {
    /// Digest of what a tenant ran last.
    pub(crate) fn last(&self, tenant: usize) -> Option<&str> {
        self.0[tenant].last.as_ref().map(|(_, digest)| digest.as_str())
    }

    /// A tenant's counts by version.
    pub(crate) fn of(&self, tenant: usize) -> impl Iterator<Item = (&str, Counts)> {
        let ledger = &self.0[tenant];
        let last = ledger.last.as_ref().map(|(version, _)| version.as_str());
        ledger.by_release.iter().map(move |(version, counts)| {
            (version.as_str(), Counts { last: last == Some(version.as_str()), ..*counts })
        })
    }

    /// A tenant's failed calls, in words.
    pub(crate) fn failures(&self, tenant: usize) -> impl Iterator<Item = &str> {
        self.0[tenant].failures.iter().map(String::as_str)
    }

    /// All calls.
    pub(crate) fn calls(&self) -> u64 {
        self.counts().map(|counts| counts.calls).sum()
    }

    /// All failed calls.
    pub(crate) fn failed(&self) -> usize {
        self.0.iter().map(|ledger| ledger.failures.len()).sum()
    }

    /// All calls that the kill cut off.
    pub(crate) fn interrupted(&self) -> u64 {
        self.counts().map(|counts| counts.interrupted).sum()
    }

    fn counts(&self) -> impl Iterator<Item = &Counts> {
        self.0.iter().flat_map(|ledger| ledger.by_release.values())
    }
}
