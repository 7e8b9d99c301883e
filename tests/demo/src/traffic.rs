//! Steady traffic: one task a tenant, each asking for a contact, pausing, and asking again.
//!
//! A connection that breaks is a failed call, but while the host is really gone: then the task asks again
//! until it is back, as any caller would, and the call is counted as interrupted. An answer from a release
//! that the tenant was not pinned to while the call ran is a failed call, too.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use harness::Http;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::outage::Outage;
use crate::pins::Pins;
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
struct Shared {
    stop: AtomicBool,
    outage: Arc<Outage>,
    pins: Arc<Pins>,
    calls: AtomicU64,
}

/// One tenant's caller, on a connection of its own.
struct Caller {
    http: Http,
    tenant: usize,
    shared: Arc<Shared>,
    answered_at: Instant,
    ledger: Ledger,
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
    pub(crate) fn start(
        address: SocketAddr,
        token: &str,
        outage: Arc<Outage>,
        pins: Arc<Pins>,
    ) -> Self {
        let (stop, calls) = (AtomicBool::new(false), AtomicU64::new(0));
        let shared = Arc::new(Shared { stop, outage, pins, calls });
        let task = |tenant| {
            let http = Http::new(address, token);
            let (shared, ledger) = (Arc::clone(&shared), Ledger::default());
            let caller = Caller { http, tenant, shared, answered_at: Instant::now(), ledger };
            tokio::spawn(caller.run())
        };
        let tasks = (0..TENANTS).map(task).collect();
        Self { shared, tasks }
    }

    /// Calls answered so far.
    pub(crate) fn calls(&self) -> u64 {
        self.shared.calls.load(Ordering::Relaxed)
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

// === impl Caller ===

impl Caller {
    async fn run(mut self) -> Ledger {
        let path = path(self.tenant, "/actions/contacts.get");
        let mut id = self.tenant;
        while !self.shared.stop.load(Ordering::Relaxed) {
            id += 1;
            let input = json!({"id": (FIRST_CONTACT + id % 100).to_string()}).to_string();
            self.one(&path, &input).await;
            self.shared.calls.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(PAUSE).await;
        }
        self.ledger
    }

    async fn one(&mut self, path: &str, input: &str) {
        for attempt in 0..RETRIES_MAX {
            let sent = Instant::now();
            // The host that the kept connection led to is gone.
            if self.shared.outage.met(self.answered_at, sent) {
                self.http.disconnect();
            }
            let (method, body) = (http::Method::POST, input.to_owned().into());
            let outcome = self.http.try_send(method, path, "application/json", body).await;
            let ended = Instant::now();
            match outcome {
                // It is there again, and says itself that it is not ready.
                Ok(reply) if starting(&reply) && self.shared.outage.met(sent, ended) => {
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                Ok(reply) => {
                    self.answered_at = ended;
                    let digest = reply.header("keyway-digest");
                    let pinned = self.shared.pins.allow(self.tenant, digest, sent, ended);
                    return self.ledger.record(&reply, pinned, attempt > 0);
                }
                Err(_) if self.shared.outage.met(sent, ended) => {
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                Err(gone) => return self.ledger.failures.push(format!("no answer: {gone}")),
            }
        }
        self.ledger.failures.push(format!("no answer after {RETRIES_MAX} tries"));
    }
}

/// Whether a host answers that it is loading its releases.
fn starting(reply: &harness::Reply) -> bool {
    reply.status == http::StatusCode::SERVICE_UNAVAILABLE && reply.json()["code"] == "starting"
}

// === impl Ledger ===

impl Ledger {
    fn record(&mut self, reply: &harness::Reply, pinned: bool, interrupted: bool) {
        let (release, digest) = (reply.header("keyway-release"), reply.header("keyway-digest"));
        let (_, version) = release.split_once('@').unwrap_or_default();
        let counts = self.by_release.entry(version.to_owned()).or_default();
        counts.calls += 1;
        counts.interrupted += u64::from(interrupted);
        self.last = Some((version.to_owned(), digest.to_owned()));
        if !reply.status.is_success() {
            counts.failures += 1;
            self.failures.push(format!("{} {}", reply.status, reply.json()));
        } else if !pinned {
            counts.failures += 1;
            self.failures.push(format!("{release} {digest} ran, and no pin said so"));
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
