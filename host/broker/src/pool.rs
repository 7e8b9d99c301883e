//! Keeps unused connections for the next exchange.
//!
//! The key says for whom and under which policy a connection was opened, so one opened for a tenant never
//! serves another, and none outlives the policy that approved its address. Only connections whose last
//! response was read to its end come here; the others are closed by being dropped.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use foldhash::HashMap;
use keyway_core::ids::Installation;
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::{Instant, interval};

use crate::config::Limits;
use crate::dial::Connection;
use crate::places::Places;

/// Whose connection it is, where to, and under which policy.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Key {
    /// None for the host's own.
    pub(crate) owner: Option<Installation>,
    pub(crate) host: Arc<str>,
    pub(crate) port: u16,
    pub(crate) generation: u64,
    pub(crate) stand_in: bool,
}

/// The unused connections of a broker.
#[derive(Clone)]
pub(crate) struct Pool {
    shelves: Arc<Mutex<Shelves>>,
    places: Places,
}

#[derive(Default)]
struct Shelves {
    by_key: HashMap<Key, Vec<Idle>>,
    total: usize,
    /// Shows `total`.
    gauge: Gauge,
    /// Connections of an older policy are not taken back.
    generation: u64,
    /// Whether a task watches for connections that were idle too long.
    reaping: bool,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

// === impl Pool ===

impl Pool {
    /// An empty pool that shows its size in `gauge`, of connections that have these places.
    pub(crate) fn new(gauge: Gauge, places: Places) -> Self {
        Self { shelves: Arc::new(Mutex::new(Shelves { gauge, ..Shelves::default() })), places }
    }

    /// Closes the connection that nobody has used for longest. False if somebody uses all of them, or there is none.
    pub(crate) fn give_way(&self) -> bool {
        let mut shelves = self.lock();
        let unused = shelves.by_key.iter().flat_map(|(key, shelf)| {
            let unused = shelf.iter().enumerate().filter(|(_, idle)| !idle.connection.is_shared());
            unused.map(move |(at, idle)| (idle.since, key, at))
        });
        let oldest = unused.min_by_key(|(since, ..)| *since);
        let Some((key, at)) = oldest.map(|(_, key, at)| (key.clone(), at)) else { return false };
        let Some(shelf) = shelves.by_key.get_mut(&key) else { return false };
        let gone = shelf.remove(at);
        if shelf.is_empty() {
            shelves.by_key.remove(&key);
        }
        let left = shelves.total - 1;
        shelves.resize(left);
        drop(shelves);
        // Closing it takes a call of the system, which nobody has to wait for.
        drop(gone);
        true
    }

    /// A connection that was not idle too long, the latest used first. Where `proven`, one that is sure to be there still.
    pub(crate) fn take(
        &self,
        key: &Key,
        now: Instant,
        proven: bool,
        idle_timeout: Duration,
    ) -> Option<Connection> {
        let mut shelves = self.lock();
        let shelf = shelves.by_key.get_mut(key)?;
        let before = shelf.len();
        shelf.retain_mut(|idle| idle.is_usable(now, idle_timeout));
        let found = shelf.iter().rposition(|idle| !proven || idle.connection.proven(now));
        let found = found.map(|place| {
            let mut idle = shelf.remove(place);
            match idle.connection.share() {
                Some(shared) => {
                    idle.since = now;
                    shelf.insert(place, idle);
                    shared
                }
                None => idle.connection,
            }
        });
        // The fresh one that is opened instead will want a place.
        if found.is_none() && !shelf.is_empty() {
            shelf.remove(0);
        }
        let gone = before - shelf.len();
        if shelf.is_empty() {
            shelves.by_key.remove(key);
        }
        let left = shelves.total - gone;
        shelves.resize(left);
        found
    }

    /// Keeps a connection, if there is room and its policy still holds.
    pub(crate) fn put(&self, key: Key, mut connection: Connection, limits: &Limits) {
        let now = Instant::now();
        if connection.closed() || connection.expired(now) {
            return;
        }
        let mut shelves = self.lock();
        // Under the lock: whoever wants its place has either said so, or finds the connection here. Who waits comes
        // before whoever may come for this connection.
        if self.places.wanted() {
            return;
        }
        if key.generation != shelves.generation || shelves.total >= limits.idle_max {
            return;
        }
        let shared = connection.share().is_some();
        let shelf = shelves.by_key.entry(key).or_default();
        // One HTTP/2 connection carries everything; it is on the shelf while it is used.
        let full = shelf.len() >= limits.idle_per_host_max;
        if full || (shared && shelf.iter().any(|idle| idle.connection.share().is_some())) {
            return;
        }
        shelf.push(Idle { connection, since: now });
        let more = shelves.total + 1;
        shelves.resize(more);
        if !shelves.reaping {
            shelves.reaping = true;
            tokio::spawn(reap(Arc::downgrade(&self.shelves), limits.idle_timeout));
        }
    }

    /// Closes everything that an older policy opened.
    pub(crate) fn begin_generation(&self, generation: u64) {
        let mut shelves = self.lock();
        shelves.generation = generation;
        shelves.by_key.retain(|key, _| key.generation == generation);
        shelves.recount();
    }

    fn lock(&self) -> MutexGuard<'_, Shelves> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Idle ===

impl Idle {
    fn is_usable(&mut self, now: Instant, idle_timeout: Duration) -> bool {
        let idle = now.saturating_duration_since(self.since);
        idle < idle_timeout && !self.connection.expired(now) && !self.connection.closed()
    }
}

// === impl Shelves ===

impl Shelves {
    fn recount(&mut self) {
        self.resize(self.by_key.values().map(Vec::len).sum());
    }

    fn resize(&mut self, total: usize) {
        self.total = total;
        self.gauge.set(i64::try_from(total).unwrap_or(i64::MAX));
    }
}

/// Closes connections that nobody came back for. Ends with the pool, or when there is nothing to watch.
async fn reap(shelves: Weak<Mutex<Shelves>>, idle_timeout: Duration) {
    let mut ticks = interval((idle_timeout / 2).max(Duration::from_millis(1)));
    loop {
        ticks.tick().await;
        let Some(shelves) = shelves.upgrade() else { return };
        let mut shelves = shelves.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        shelves.by_key.retain(|_, shelf| {
            shelf.retain_mut(|idle| idle.is_usable(now, idle_timeout));
            !shelf.is_empty()
        });
        shelves.recount();
        if shelves.total == 0 {
            shelves.reaping = false;
            return;
        }
    }
}
