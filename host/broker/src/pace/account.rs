//! The pace of one quota: what went out, what the provider said, and who waits.
//!
//! Everything here is a list of reasons why a request cannot go yet, and a request goes when no reason is
//! left. [`Pace::ready_at`] is that list. `ahead` is the number of waiters who came before: their places are
//! kept for them, so nobody takes a place that an earlier one could use, however late that one wakes.
//!
//! Pure: time comes in, and nobody is woken. [`super::Turn`] is a waiter.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use keyway_core::descriptor::RateLimit;
use keyway_core::quota::{Allowance, Standing, WAIT_MAX, whole_seconds};
use tokio::time::Instant;

use super::headers::{Reading, Told};
use super::window::{History, after};

/// Lengths of windows that are remembered beside those now declared: those of other releases.
const WINDOWS_MAX: usize = 16;
/// Policies that are remembered of what the provider said. What is about to be forgotten anyway goes first.
const LEARNT_MAX: usize = 16;
/// How long a policy is shown of which the provider said neither window nor reset.
const SHOWN_FOR: Duration = Duration::from_secs(60);
/// Two resets that are no further apart are the same: they are whole seconds, and responses take their time.
const SAME_RESET: Duration = Duration::from_secs(2);
/// The wait after a refusal that tells nothing, and the least one after another that followed a shorter wait: a provider
/// that names moments would be asked without end. Doubles with each that follows such a wait.
const BLIND_WAIT: Duration = Duration::from_secs(1);
/// Times that it doubles: up to 32 s.
const BLIND_DOUBLINGS_MAX: u32 = 5;
/// How soon after a probe went those who wait for its answer look again, at the earliest.
const PROBE_LOOK: u64 = 1;
/// How long refusals are remembered of which nothing came after. A call that asked and was refused is over by then.
const REFUSALS_FOR: Duration = Duration::from_secs(120);
/// After a refusal the number of requests let go doubles in this time, from one.
const EASE: Duration = Duration::from_millis(250);
/// When easing has stopped to mean anything: 40 doublings.
const EASE_OVER: Duration = Duration::from_secs(10);

/// The pace of one quota.
#[derive(Debug)]
pub(super) struct Pace {
    /// The latest time seen. Callers read the clock before they get here, so times may come in out of order.
    latest: Instant,
    /// When a request of it last went out or was answered.
    used_at: Instant,
    /// As by the release that came last.
    declared: Vec<RateLimit>,
    /// By the length of the window in seconds: releases that declare different quotas share what was used.
    histories: BTreeMap<u32, History>,
    learnt: Vec<Learnt>,
    /// Nothing goes before then: the provider said so.
    hold: Option<Instant>,
    ease: Option<Ease>,
    /// Refusals in a row that told nothing of use: no wait, less than [`BLIND_WAIT`], or one that was kept to before. Only
    /// an answer that is no refusal ends the row, of a request that went after it. While it lasts, one request is out at a
    /// time.
    refusals: u32,
    /// Whether the latest refusal told a wait that was believed.
    believed: bool,
    /// The request that is out to see whether the row is over.
    probe: Option<u64>,
    /// When the latest refusal's wait was, or will be, over.
    resumes_at: Option<Instant>,
    /// Numbers of those who wait, in order.
    queue: VecDeque<u64>,
    next_number: u64,
}

/// A policy as the provider told it.
#[derive(Debug)]
struct Learnt {
    name: Arc<str>,
    reading: Reading,
    /// What it said was left, less what went out since.
    left: Option<u64>,
    /// Until when `left` holds.
    until: Instant,
    told_at: Instant,
}

/// A slow start after a refusal, so that those who waited for its end are not refused together.
#[derive(Clone, Copy, Debug)]
struct Ease {
    from: Instant,
    released: u64,
}

// === impl Pace ===

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            latest: now,
            used_at: now,
            declared: Vec::new(),
            histories: BTreeMap::new(),
            learnt: Vec::new(),
            hold: None,
            ease: None,
            refusals: 0,
            believed: false,
            probe: None,
            resumes_at: None,
            queue: VecDeque::new(),
            next_number: 0,
        }
    }

    /// Goes on to `now`, or to the latest time seen, which it returns. Comes before all else.
    pub(super) fn tick(&mut self, now: Instant) -> Instant {
        let now = self.latest.max(now);
        self.latest = now;
        for (window, history) in &mut self.histories {
            history.expire(secs(*window), now);
        }
        self.learnt.retain(|learnt| now < learnt.forgotten_at());
        self.hold = self.hold.filter(|until| now < *until);
        self.ease = self.ease.filter(|ease| now < ease.from + EASE_OVER);
        if self.hold.is_none() && now >= after(self.used_at, REFUSALS_FOR) {
            self.forget_refusals();
        }
        now
    }

    /// Takes over what a release declares.
    pub(super) fn declare(&mut self, declared: &[RateLimit]) {
        if self.declared != declared {
            self.declared = declared.to_vec();
        }
        let missing = |window: &u32| !self.histories.contains_key(window);
        let windows: Vec<u32> = self.limits().map(|(_, window)| window).filter(missing).collect();
        for window in windows {
            self.remember(window);
        }
    }

    /// Counts a request that goes out.
    pub(super) fn record(&mut self, now: Instant) {
        self.used_at = now;
        for (window, history) in &mut self.histories {
            history.record(secs(*window), now);
        }
        for learnt in &mut self.learnt {
            learnt.spend();
        }
        if let Some(ease) = &mut self.ease {
            ease.released += 1;
        }
    }

    /// Counts a request that took its place, and says by which number it is a probe, if it is one.
    pub(super) fn go(&mut self, now: Instant) -> Option<u64> {
        self.record(now);
        if self.refusals > 0 {
            self.probe = Some(self.number());
        }
        self.probe
    }

    /// A probe was answered, or will not be.
    pub(super) fn probed(&mut self, number: u64) {
        if self.probe == Some(number) {
            self.probe = None;
        }
    }

    /// When a request may go that leaves their places to `ahead` others. At most `now` means: now.
    pub(super) fn ready_at(&self, ahead: u64, now: Instant) -> Instant {
        let held = self.hold.unwrap_or(now);
        let probed = self.probed_at(ahead, now);
        let eased = self.ease.map_or(now, |ease| ease.ready_at(ahead));
        let windows = self
            .limits()
            .filter_map(|(quota, window)| {
                Some(self.histories.get(&window)?.free_at(quota, secs(window), ahead, now))
            })
            .max();
        let told = self.learnt.iter().filter_map(|learnt| learnt.ready_at(ahead, now)).max();
        [Some(held), Some(probed), Some(eased), windows, told]
            .into_iter()
            .flatten()
            .max()
            .unwrap_or(now)
    }

    /// Joins the queue.
    pub(super) fn enqueue(&mut self) -> u64 {
        let number = self.number();
        self.queue.push_back(number);
        number
    }

    /// Leaves the queue.
    pub(super) fn leave(&mut self, number: u64) {
        if let Ok(place) = self.queue.binary_search(&number) {
            self.queue.remove(place);
        }
    }

    /// How many wait before this one, or at all.
    pub(super) fn ahead(&self, number: Option<u64>) -> u64 {
        let place = match number {
            None => self.queue.len(),
            Some(number) => self.queue.partition_point(|other| *other < number),
        };
        place as u64
    }

    /// Learns from the response to a request that went at `went`.
    pub(super) fn learn(&mut self, told: Told, went: Instant, now: Instant) {
        self.used_at = now;
        let paced = told.readings.values().any(|reading| reading.window.is_some());
        // What was under way before a wait was over says nothing of what comes after it: it was let through, or is
        // refused, like those that the wait came from.
        let news = self.hold.is_none() && self.resumes_at.is_none_or(|at| at <= went);
        let wait = match told.refused {
            true if news => Some(self.back_off(told.wait)),
            _ => told.wait,
        };
        if news && !told.refused {
            self.let_through(now);
        }
        if let Some(wait) = wait {
            let until = after(now, wait);
            self.hold(until, told.refused || !paced);
            if told.refused {
                self.resumes_at = self.resumes_at.max(Some(until));
            }
        }
        for (name, reading) in told.readings {
            self.learn_policy(name, reading, now);
        }
    }

    /// What is known now.
    pub(super) fn standing(&self, now: Instant) -> Standing {
        let mut policies: Vec<Allowance> =
            self.declared.iter().map(|limit| self.declared_allowance(limit, now)).collect();
        for learnt in &self.learnt {
            let told = self.learnt_allowance(learnt, now);
            match policies.iter_mut().find(|policy| policy.name == told.name) {
                Some(policy) => policy.merge(told),
                None => policies.push(told),
            }
        }
        let blocked_for = self.hold.map(|until| until.duration_since(now));
        Standing { policies, blocked_for, waiting: self.queue.len() }
    }

    /// Nothing would be lost but what any response tells again.
    pub(super) fn idle(&self) -> bool {
        let unused = self.histories.values().all(|history| history.used() == 0);
        let quiet = self.hold.is_none() && self.ease.is_none() && self.learnt.is_empty();
        unused && quiet && self.refusals == 0 && !self.awaited()
    }

    /// Somebody waits.
    pub(super) fn awaited(&self) -> bool {
        !self.queue.is_empty()
    }

    /// What is to be forgotten first where something must, smallest first: what holds nobody back, and what
    /// was not used for long.
    pub(super) fn worth(&self) -> (bool, Instant) {
        (self.hold.is_some(), self.used_at)
    }

    #[cfg(test)]
    pub(super) fn windows(&self) -> usize {
        self.histories.len()
    }

    /// Quotas and windows in seconds, of what was declared and of what was told.
    fn limits(&self) -> impl Iterator<Item = (u64, u32)> {
        let declared = self.declared.iter().map(|limit| (u64::from(limit.quota), limit.window));
        let told = self.learnt.iter().filter_map(|learnt| learnt.reading.rate());
        declared.chain(told).filter(|(quota, window)| *quota > 0 && *window > 0)
    }

    /// Begins a history of this window, with what others know of it: more than there was rather than less.
    fn remember(&mut self, window: u32) {
        if self.histories.contains_key(&window) {
            return;
        }
        let longer = self.histories.range(window..).next();
        let known = longer.or_else(|| self.histories.last_key_value());
        let mut history = known.map(|(_, history)| history.clone()).unwrap_or_default();
        history.expire(secs(window), self.latest);
        self.histories.insert(window, history);
        if self.histories.len() > WINDOWS_MAX {
            let wanted: Vec<u32> = self.limits().map(|(_, window)| window).collect();
            self.histories.retain(|window, _| wanted.contains(window));
        }
    }

    /// Holds everything until then. The longest hold stands.
    fn hold(&mut self, until: Instant, eased: bool) {
        let until = self.hold.map_or(until, |held| held.max(until));
        if eased {
            self.ease = Some(Ease { from: until, released: 0 });
        }
        self.hold = Some(until).filter(|until| self.latest < *until);
    }

    /// How long nothing goes after a refusal: as long as it says, unless it says so little that the next came too early
    /// as well, or said the same before.
    fn back_off(&mut self, told: Option<Duration>) -> Duration {
        let row = self.refusals;
        if let Some(told) = told.filter(|told| *told >= BLIND_WAIT && row == 0 && !self.believed) {
            self.believed = true;
            return told;
        }
        self.refusals = row.saturating_add(1);
        let blind = |doublings: u32| BLIND_WAIT * 2_u32.pow(doublings.min(BLIND_DOUBLINGS_MAX));
        match told {
            Some(told) => row.checked_sub(1).map_or(told, |before| told.max(blind(before))),
            None => blind(row),
        }
    }

    /// A request that went when it might again was no longer refused. Of those who have waited meanwhile, not all go at
    /// once.
    fn let_through(&mut self, now: Instant) {
        if self.refusals > 0 {
            self.ease = Some(Ease { from: now, released: 0 });
        }
        self.forget_refusals();
    }

    fn forget_refusals(&mut self) {
        (self.refusals, self.believed, self.probe, self.resumes_at) = (0, false, None, None);
    }

    /// While there is a row of refusals, only the first of those who wait goes, and only once there is word of whoever went
    /// before. The others look again, one after the other.
    fn probed_at(&self, ahead: u64, now: Instant) -> Instant {
        match self.refusals {
            0 => now,
            _ if ahead == 0 && self.probe.is_none() => now,
            _ => after(now, ease(ahead.saturating_add(PROBE_LOOK))),
        }
    }

    fn number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    fn learn_policy(&mut self, name: Arc<str>, reading: Reading, now: Instant) {
        let rate = reading.rate();
        let learnt = Learnt::new(name, reading, now);
        match self.learnt.iter_mut().find(|known| known.name == learnt.name) {
            Some(known) => known.update(learnt),
            None => self.learnt.push(learnt),
        }
        if self.learnt.len() > LEARNT_MAX {
            self.learnt.sort_by_key(|learnt| Reverse(learnt.forgotten_at()));
            self.learnt.truncate(LEARNT_MAX);
        }
        if let Some((_, window)) = rate {
            self.remember(window);
        }
    }

    fn declared_allowance(&self, limit: &RateLimit, now: Instant) -> Allowance {
        let mut allowance = Allowance {
            name: limit.name.as_str().into(),
            quota: Some(limit.quota.into()),
            window: Some(limit.window),
            remaining: Some(limit.quota.into()),
            reset: None,
        };
        self.subtract_used(&mut allowance, now);
        allowance
    }

    fn learnt_allowance(&self, learnt: &Learnt, now: Instant) -> Allowance {
        let reset = learnt.reading.reset.is_some() && now < learnt.until;
        let mut allowance = Allowance {
            name: Arc::clone(&learnt.name),
            quota: learnt.reading.limit,
            window: learnt.reading.window,
            remaining: learnt.left.filter(|_| now < learnt.until),
            reset: reset.then(|| whole_seconds(learnt.until.duration_since(now))),
        };
        if learnt.reading.rate().is_some() {
            self.subtract_used(&mut allowance, now);
        }
        allowance
    }

    /// Shows no more than our own count leaves, and when more comes back.
    fn subtract_used(&self, allowance: &mut Allowance, now: Instant) {
        let Some((quota, window)) = allowance.quota.zip(allowance.window) else { return };
        let Some(history) = self.histories.get(&window) else { return };
        let left = quota.saturating_sub(history.used());
        allowance.remaining = Some(allowance.remaining.map_or(left, |told| told.min(left)));
        let back = history.back_at(secs(window)).map(|at| whole_seconds(at.duration_since(now)));
        allowance.reset = allowance.reset.or(back);
    }
}

// === impl Learnt ===

impl Learnt {
    fn new(name: Arc<str>, reading: Reading, now: Instant) -> Self {
        let window = reading.window.map(secs);
        let holds = reading.reset.or(window).map_or(SHOWN_FOR, |holds| holds.min(WAIT_MAX));
        let left = reading.remaining;
        Self { name, reading, left, until: after(now, holds), told_at: now }
    }

    /// Takes over a newer word. Within one window of the provider's the least remainder stands: responses
    /// overtake each other, and do not count what is still on its way.
    fn update(&mut self, newer: Self) {
        let both_reset = self.reading.reset.is_some() && newer.reading.reset.is_some();
        let apart = newer.until.max(self.until) - newer.until.min(self.until);
        let same = both_reset && apart <= SAME_RESET && newer.told_at < self.until;
        let older = std::mem::replace(self, newer);
        if same {
            self.until = older.until;
            self.left = self.left.into_iter().chain(older.left).min();
        }
        // Some say only now and then what the policy is.
        let reading = &mut self.reading;
        reading.limit = reading.limit.or(older.reading.limit);
        reading.window = reading.window.or(older.reading.window);
        reading.uncounted |= older.reading.uncounted;
        if reading.remaining.is_none() && self.told_at < older.until {
            (self.left, self.until) = (older.left, older.until);
            reading.reset = reading.reset.or(older.reading.reset);
        }
    }

    fn spend(&mut self) {
        if !self.reading.uncounted {
            self.left = self.left.map(|left| left.saturating_sub(1));
        }
    }

    /// Nothing goes beyond what was left until it is no longer true. `None`: this has nothing against it.
    fn ready_at(&self, ahead: u64, now: Instant) -> Option<Instant> {
        let ends = self.reading.reset.is_some() || self.reading.window.is_some();
        let beyond = ahead.checked_sub(self.left?)?;
        if self.reading.uncounted || !ends || self.until <= now {
            return None;
        }
        // Without a window nothing else keeps those who wait from going all at once.
        let windowed = self.reading.window.is_some();
        let eased = if windowed { Duration::ZERO } else { ease(beyond) };
        Some(self.until + eased)
    }

    /// When it is too old to mean anything.
    fn forgotten_at(&self) -> Instant {
        let window = self.reading.window.map_or(Duration::ZERO, secs).min(WAIT_MAX);
        self.until.max(after(self.told_at, window))
    }
}

// === impl Ease ===

impl Ease {
    fn ready_at(self, ahead: u64) -> Instant {
        self.from + ease(self.released.saturating_add(ahead))
    }
}

/// When the so-many-th may go, if their number doubles in each [`EASE`].
fn ease(number: u64) -> Duration {
    EASE.mul_f64((number as f64 + 1.0).log2())
}

fn secs(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}
