//! Pace: how fast requests may go to a provider that limits their rate.
//!
//! A quota is that of one provider account, for one tenant: all releases, users and proxy requests of it
//! share one count, and nobody waits for another tenant. Who passes through is counted ([`Paces::count`]);
//! who is throttled takes a place or a [`Turn`] ([`Paces::take`]); both learn from what comes back
//! ([`Paces::learn`]).
//!
//! ```text
//! declared windows ──┐
//! learnt windows ────┤  longest
//! learnt remainders ─┼──────────> ready at ── now ──> goes out, is counted
//! a wait asked for ──┤                └───── later ─> turn: its place is kept, in order of arrival
//! slow start ────────┘
//! ```
//!
//! **What throttling guarantees.** At most `quota` places are taken in any half-open span of `window` seconds,
//! wherever it begins, for each declared limit: the window slides ([`window`]). Requests that pass through are
//! counted and not held, so they can exceed it, but those that take a place then wait for them too. It is a
//! guarantee about places, and not about arrivals: between a place and the provider lie a permit of the
//! tenant's budget, a lookup and a dial, and requests that waited there can leave close together. The first
//! refusal is then learnt from like any other. What else uses the account is known only by what the provider
//! says. A history begins when the first request with a limit is counted, and ends with the process.
//!
//! **What a turn promises.** No later arrival takes a place that this turn could use. The time it names is the
//! earliest possible if all before it go when they may; it holds unless something new comes in between: a
//! refusal, a request that passes through, a word of the provider's.
//!
//! Where sources disagree, the most careful wins: the longest wait, the least remainder. After a refusal
//! requests start slowly, so that those who waited are not refused together. After one that names no wait of use, or
//! follows a wait that was kept to, one request at a time is out, however many wait: a provider that refuses everything
//! is asked no more than eight times in five seconds from its first refusal on. Nothing here does I/O, reads a clock,
//! sleeps or wakes; it is kept in memory only.

mod account;
mod headers;
mod normal;
mod window;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::HashMap;
use keyway_core::descriptor::RateLimit;
use keyway_core::quota::{Quota, Standing};
use time::OffsetDateTime;
use tokio::time::Instant;

use account::Pace;
pub(crate) use headers::{Answer, Habits};
pub(crate) use normal::normalise;

/// Quotas that are remembered. What nothing is known of takes no place; what is idle is forgotten; beyond
/// this the one unused for longest goes, unless somebody waits for it. A busy one takes some 10 KiB.
const QUOTAS_MAX: usize = 16_384;
/// Quotas from which on the idle ones are looked for.
const SWEEP_MIN: usize = 64;
/// The part of all quotas that goes at once when there are too many, so that looking for them is rare.
const EVICTED_PART: usize = 16;

/// The paces of all quotas. Clones are the same.
#[derive(Clone)]
pub(crate) struct Paces(Arc<Mutex<Table>>);

/// A place that was taken: the right to send one request. Dropped without an answer, it is nobody's.
#[must_use = "whoever holds it keeps others from asking, where one at a time may"]
pub(crate) struct Place {
    pub(crate) quota: Quota,
    went: Instant,
    probe: Option<Probe>,
}

/// The only request of a quota that is out.
struct Probe {
    paces: Paces,
    quota: Quota,
    number: u64,
}

/// A place in the queue of a quota. Dropped, it is given up.
#[must_use = "a turn that is dropped gives up its place"]
pub(crate) struct Turn {
    paces: Paces,
    quota: Quota,
    declared: Vec<RateLimit>,
    number: u64,
    at: Instant,
    wait: Duration,
}

struct Table {
    paces: HashMap<Quota, Pace>,
    /// Never fewer than one.
    quotas_max: usize,
    /// The number of entries at which to look for idle ones.
    sweep_at: usize,
}

// === impl Paces ===

impl Paces {
    /// Remembers so many quotas.
    pub(crate) fn bounded(quotas_max: usize) -> Self {
        let quotas_max = quotas_max.max(1);
        let table = Table { paces: HashMap::default(), quotas_max, sweep_at: SWEEP_MIN };
        Self(Arc::new(Mutex::new(table)))
    }

    /// Counts a request that goes out now, whatever is left.
    pub(crate) fn count(&self, quota: Quota, declared: &[RateLimit], now: Instant) -> Place {
        let mut table = self.lock();
        let mut went = now;
        if let Some((pace, now)) = table.pace(&quota, declared, now) {
            pace.record(now);
            went = now;
        }
        Place { quota, went, probe: None }
    }

    /// Takes a place for a request that then goes out, or else one in the queue.
    pub(crate) fn take(
        &self,
        quota: Quota,
        declared: &[RateLimit],
        now: Instant,
    ) -> Result<Place, Box<Turn>> {
        let mut table = self.lock();
        let Some((pace, now)) = table.pace(&quota, declared, now) else {
            return Ok(Place { quota, went: now, probe: None });
        };
        let at = pace.ready_at(pace.ahead(None), now);
        if at <= now {
            let probe = pace.go(now);
            return Ok(self.placed(quota, now, probe));
        }
        let number = pace.enqueue();
        let (paces, declared) = (self.clone(), declared.to_vec());
        let wait = at.duration_since(now);
        Err(Box::new(Turn { paces, quota, declared, number, at, wait }))
    }

    fn placed(&self, quota: Quota, went: Instant, probe: Option<u64>) -> Place {
        let probe = probe.map(|number| Probe { paces: self.clone(), quota: quota.clone(), number });
        Place { quota, went, probe }
    }

    /// Learns from the response to a request that went by this place. What names a policy or a wait counts. Give it the
    /// headers after scrubbing: names of policies are shown to others. Says whether the response is a refusal for the
    /// rate.
    pub(crate) fn learn(
        &self,
        place: &mut Place,
        answer: &Answer<'_>,
        now: Instant,
        wall: impl FnOnce() -> OffsetDateTime,
    ) -> bool {
        let told = headers::read(answer, wall);
        let limited = told.limited;
        let mut table = self.lock();
        let news = told.refused || told.wait.is_some() || !told.readings.is_empty();
        if news || table.paces.contains_key(&place.quota) {
            let pace = table.entry(&place.quota, now);
            let now = pace.tick(now);
            pace.learn(told, place.went, now);
        }
        drop(table);
        place.probe = None;
        limited
    }

    /// What is known of a quota.
    pub(crate) fn standing(&self, quota: &Quota, declared: &[RateLimit], now: Instant) -> Standing {
        let mut table = self.lock();
        let mut fresh = None;
        let pace = match table.paces.get_mut(quota) {
            Some(pace) => pace,
            // Looking leaves no trace.
            None => fresh.insert(Pace::new(now)),
        };
        let now = pace.tick(now);
        pace.declare(declared);
        pace.standing(now)
    }

    /// What is known of all quotas, each with what was declared when it was last used.
    pub(crate) fn all(&self, now: Instant) -> Vec<(Quota, Standing)> {
        let mut table = self.lock();
        table.forget_idle(now);
        let show = |(quota, pace): (&Quota, &mut Pace)| {
            let now = pace.tick(now);
            (quota.clone(), pace.standing(now))
        };
        table.paces.iter_mut().map(show).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Paces {
    fn default() -> Self {
        Self::bounded(QUOTAS_MAX)
    }
}

// === impl Turn ===

impl Turn {
    pub(crate) fn quota(&self) -> &Quota {
        &self.quota
    }

    /// When to try again. Earlier is allowed, and of use only if something has changed.
    pub(crate) fn at(&self) -> Instant {
        self.at
    }

    /// How long that is, from when it was said.
    pub(crate) fn wait(&self) -> Duration {
        self.wait
    }

    /// Takes the place for a request that then goes out, or waits on in the same place of the queue.
    pub(crate) fn take(mut self: Box<Self>, now: Instant) -> Result<Place, Box<Self>> {
        let paces = self.paces.clone();
        let mut table = paces.lock();
        let (mut went, mut probe) = (now, None);
        if let Some((pace, now)) = table.pace(&self.quota, &self.declared, now) {
            self.at = pace.ready_at(pace.ahead(Some(self.number)), now);
            self.wait = self.at.duration_since(now);
            if now < self.at {
                drop(table);
                return Err(self);
            }
            pace.leave(self.number);
            (went, probe) = (now, pace.go(now));
        }
        // Before the turn, which locks it again when it is dropped.
        drop(table);
        Ok(paces.placed(self.quota.clone(), went, probe))
    }
}

// === impl Probe ===

impl Drop for Probe {
    fn drop(&mut self) {
        if let Some(pace) = self.paces.lock().paces.get_mut(&self.quota) {
            pace.probed(self.number);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(pace) = self.paces.lock().paces.get_mut(&self.quota) {
            pace.leave(self.number);
        }
    }
}

// === impl Table ===

impl Table {
    /// The pace of a quota, gone on to `now`, or nothing if nothing limits it.
    fn pace(
        &mut self,
        quota: &Quota,
        declared: &[RateLimit],
        now: Instant,
    ) -> Option<(&mut Pace, Instant)> {
        if declared.is_empty() && !self.paces.contains_key(quota) {
            return None;
        }
        let pace = self.entry(quota, now);
        let now = pace.tick(now);
        pace.declare(declared);
        Some((pace, now))
    }

    fn entry(&mut self, quota: &Quota, now: Instant) -> &mut Pace {
        if !self.paces.contains_key(quota) {
            self.make_room(now);
        }
        self.paces.entry(quota.clone()).or_insert_with(|| Pace::new(now))
    }

    /// For one more. Looks for idle ones each time that the number has doubled, so rarely.
    fn make_room(&mut self, now: Instant) {
        if self.paces.len() >= self.sweep_at.min(self.quotas_max) {
            self.forget_idle(now);
            self.sweep_at = SWEEP_MIN.max(self.paces.len() * 2);
        }
        if self.paces.len() >= self.quotas_max {
            let mut quotas: Vec<_> = self
                .paces
                .iter()
                .filter(|(_, pace)| !pace.awaited())
                .map(|(quota, pace)| (pace.worth(), quota.clone()))
                .collect();
            quotas.sort_unstable_by_key(|(worth, _)| *worth);
            for (_, quota) in quotas.into_iter().take((self.quotas_max / EVICTED_PART).max(1)) {
                self.paces.remove(&quota);
            }
        }
    }

    fn forget_idle(&mut self, now: Instant) {
        self.paces.retain(|_, pace| {
            pace.tick(now);
            !pace.idle()
        });
    }
}
