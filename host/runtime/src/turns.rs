//! Turns: how tenants share the processors when guests compute.
//!
//! **The problem.** A guest that computes runs until the next epoch tick, 10 ms at most, and then goes to the end of the
//! async runtime's queue ([`crate::meter`], [`crate::ticker`]). The queue is fair to tasks, not to tenants: behind 125 calls
//! of one tenant that spin, everybody else waits for 125 ticks. A worker that always finds a task also looks rarely for
//! what has come from the network.
//!
//! **The shape.** Only those who compute long wait, and only for each other:
//!
//! ```text
//!   a poll of a call's guest ─ its tenant computes long? ─ no ──> runs, as ever; one atomic is read
//!                                     │ yes
//!                                     ▼
//!                     a slot is free? ─ yes ──> runs; its time is charged to the tenant
//!                                     │ no
//!                                     ▼
//!          the tenant's own queue, in order of arrival ── the tenant that was charged least goes next
//! ```
//!
//! - Every poll is charged to its tenant by what others wait for behind it. That is its time if it is [`LONG`], and a part of
//!   it that is smaller the shorter it is: half of half a millisecond, and a twentieth of fifty microseconds. Many short polls
//!   let others in between; one that takes as long as all of them does not. A call adds its polls up, and tells them when
//!   they are worth the lock ([`TELL`], [`TELL_LAST`]).
//! - What was charged drains, so that a tenant may use a part of one processor for long polls ([`DRAIN`]) and a burst
//!   ([`BURST`]) without ever waiting.
//! - Beyond it the tenant's polls take slots: as many as there are processors but one, so that a worker stays free for
//!   short calls, for the network and for the host.
//! - Among tenants that wait, the one that had the least time on a processor goes next, and in the end all have had the
//!   same, however many calls each has. One that begins to wait is not paid for the time in which it did not.
//! - With each tick the slots rest for a moment ([`Turns::rest`]): nobody takes one and nobody is given one until the
//!   ticker's thread calls again. A worker then finds its queue empty and looks at the network, also where there is only one.
//!
//! Nothing here reads a clock, sleeps or knows wasmtime: durations and moments come in.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use foldhash::HashMap;
use keyway_core::ids::{Environment, Tenant};

/// A poll that takes so long is charged in full. A call that mostly waits for its provider is polled for tens of
/// microseconds.
const LONG: Duration = Duration::from_millis(1);
/// Time of a call's polls after which it tells what they are charged: a lock for each millisecond is not felt.
const TELL: Duration = LONG;
/// What a call that ends tells at the least. It is that of one poll of a tenth of a millisecond: the host itself has then done
/// more for the call than its guest.
const TELL_LAST: Duration = Duration::from_micros(10);
/// What may be charged before a tenant has to wait: two ticks on a processor.
const BURST: Duration = Duration::from_millis(20);
/// The most that is owed: whoever has stopped is forgiven within a second.
const DEBT_MAX: Duration = Duration::from_millis(200);
/// Part of one processor that drains from what was charged: a quarter.
const DRAIN: u32 = 4;

/// For whom a guest computes.
pub(crate) type Payer = (Environment, Tenant);

/// The turns of a runtime. Clones are the same.
#[derive(Clone)]
pub(crate) struct Turns(Arc<Shared>);

struct Shared {
    /// Whether anybody was charged more than a burst, or waits. Most of the time nobody was.
    pressed: AtomicBool,
    table: Mutex<Table>,
}

struct Table {
    /// Polls of those who compute long that may run at once.
    slots: usize,
    /// Slots that are taken, also by those who were woken for theirs and have not come yet.
    taken: usize,
    accounts: HashMap<Payer, Account>,
    /// Calls in all queues.
    waiting: usize,
    next_number: u64,
    /// The time of the tenant that went last.
    level: Duration,
    /// From a tick until the ticker calls: no slot is given out.
    resting: bool,
}

/// What was charged to a tenant.
struct Account {
    /// What has not drained yet.
    debt: Duration,
    at: Instant,
    /// Time on a processor in all, since it began to wait; never less than what others had when it began.
    total: Duration,
    queue: VecDeque<(u64, Waker)>,
    /// Of those in a queue, the ones that were given a slot.
    called: Vec<u64>,
}

/// A call's place. Dropped, it is given back.
#[derive(Default)]
pub(crate) struct Place {
    /// Its number in the queue of its tenant, while it waits.
    number: Option<u64>,
    /// Whether it has a slot.
    slot: bool,
    used: Used,
}

/// What polls took.
#[derive(Clone, Copy, Default)]
struct Used {
    time: Duration,
    /// What they are charged.
    charge: Duration,
}

// === impl Turns ===

impl Turns {
    /// Of a machine with so many processors.
    pub(crate) fn new(processors: usize) -> Self {
        let table = Table {
            slots: processors.saturating_sub(1).max(1),
            taken: 0,
            accounts: HashMap::default(),
            waiting: 0,
            next_number: 0,
            level: Duration::ZERO,
            resting: false,
        };
        Self(Arc::new(Shared { pressed: AtomicBool::new(false), table: Mutex::new(table) }))
    }

    /// Whether a poll may run now. If not, the waker is woken when it is its turn.
    pub(crate) fn enter(
        &self,
        payer: &Payer,
        place: &mut Place,
        waker: &Waker,
        now: Instant,
    ) -> bool {
        if place.number.is_none() && !self.0.pressed.load(Ordering::Relaxed) {
            return true;
        }
        self.lock().enter(payer, place, waker, now)
    }

    /// A poll that was let in has ended after so long.
    pub(crate) fn leave(&self, payer: &Payer, place: &mut Place, took: Duration, now: Instant) {
        place.used.add(took);
        if place.used.time < TELL && !place.slot {
            return;
        }
        let mut table = self.lock();
        self.charge(&mut table, payer, place, now);
        if std::mem::take(&mut place.slot) {
            table.taken -= 1;
            table.call();
        }
    }

    /// Gives up a place: its call is over, or its caller has gone.
    pub(crate) fn give_up(&self, payer: &Payer, place: &mut Place, now: Instant) {
        let told = place.used.charge < TELL_LAST;
        if told && place.number.is_none() && !place.slot {
            return;
        }
        let mut table = self.lock();
        self.charge(&mut table, payer, place, now);
        let Place { number, slot, .. } = std::mem::take(place);
        if slot {
            table.taken -= 1;
        }
        if let Some(number) = number {
            table.forget(payer, number);
        }
        table.call();
    }

    /// A tick: no slot is taken or given on until the next [`Self::call`].
    pub(crate) fn rest(&self) {
        self.lock().resting = true;
    }

    /// Calls those whose turn it is. The ticker does, a moment after each tick.
    pub(crate) fn call(&self, now: Instant) {
        let mut table = self.lock();
        table.resting = false;
        table.call();
        self.0.pressed.store(table.settle(now), Ordering::Relaxed);
    }

    fn charge(&self, table: &mut Table, payer: &Payer, place: &mut Place, now: Instant) {
        if table.charge(payer, std::mem::take(&mut place.used), now) {
            self.0.pressed.store(true, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Table ===

impl Table {
    fn enter(&mut self, payer: &Payer, place: &mut Place, waker: &Waker, now: Instant) -> bool {
        let Some(account) = self.accounts.get_mut(payer) else {
            // Nobody waits without an account.
            place.number = None;
            return true;
        };
        account.drain(now);
        if let Some(number) = place.number {
            if let Some(called) = account.called.iter().position(|called| *called == number) {
                account.called.swap_remove(called);
                (place.number, place.slot) = (None, true);
                return true;
            }
            account.renew(number, waker);
            return false;
        }
        if account.debt <= BURST {
            return true;
        }
        if self.taken < self.slots && self.waiting == 0 && !self.resting {
            self.taken += 1;
            place.slot = true;
            return true;
        }
        if account.queue.is_empty() {
            account.total = account.total.max(self.level);
        }
        let number = self.next_number;
        self.next_number += 1;
        account.queue.push_back((number, waker.clone()));
        self.waiting += 1;
        place.number = Some(number);
        false
    }

    /// Returns whether that was more than a burst.
    fn charge(&mut self, payer: &Payer, used: Used, now: Instant) -> bool {
        let level = self.level;
        let account = self.accounts.entry(payer.clone()).or_insert_with(|| Account {
            debt: Duration::ZERO,
            at: now,
            total: level,
            queue: VecDeque::new(),
            called: Vec::new(),
        });
        account.drain(now);
        account.debt = (account.debt + used.charge).min(DEBT_MAX);
        account.total += used.time;
        account.debt > BURST
    }

    /// Gives free slots to those who wait.
    fn call(&mut self) {
        while self.taken < self.slots && !self.resting {
            let waiting = self.accounts.values_mut().filter(|account| !account.queue.is_empty());
            let Some(account) = waiting.min_by_key(|account| account.total) else { return };
            let Some((number, waker)) = account.queue.pop_front() else { return };
            self.level = account.total;
            account.called.push(number);
            self.waiting -= 1;
            self.taken += 1;
            waker.wake();
        }
    }

    fn forget(&mut self, payer: &Payer, number: u64) {
        let Some(account) = self.accounts.get_mut(payer) else { return };
        let before = account.queue.len();
        account.queue.retain(|(waiting, _)| *waiting != number);
        self.waiting -= before - account.queue.len();
        if let Some(called) = account.called.iter().position(|called| *called == number) {
            account.called.swap_remove(called);
            self.taken -= 1;
        }
    }

    /// Forgets who owes nothing. Returns whether anybody waits, or owes more than a burst.
    fn settle(&mut self, now: Instant) -> bool {
        let mut pressed = false;
        self.accounts.retain(|_, account| {
            account.drain(now);
            let waits = !account.queue.is_empty() || !account.called.is_empty();
            pressed |= waits || account.debt > BURST;
            waits || !account.debt.is_zero()
        });
        pressed
    }
}

// === impl Used ===

impl Used {
    /// One more poll.
    fn add(&mut self, took: Duration) {
        self.time += took;
        // What others wait for behind polls that follow each other grows with the square of each.
        self.charge += took.mul_f64(took.div_duration_f64(LONG).min(1.0));
    }
}

// === impl Account ===

impl Account {
    fn drain(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.at);
        self.debt = self.debt.saturating_sub(since / DRAIN);
        self.at = self.at.max(now);
    }

    /// A call may be woken by something else while it waits, and by another task.
    fn renew(&mut self, number: u64, waker: &Waker) {
        if let Some((_, known)) = self.queue.iter_mut().find(|(waiting, _)| *waiting == number) {
            known.clone_from(waker);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// A tick, and how long each who computes holds a processor in it.
    const TICK: Duration = Duration::from_millis(10);

    fn payer(tenant: &str) -> Payer {
        ("prod".parse().unwrap(), tenant.parse().unwrap())
    }

    /// A machine on which nothing takes time but what is said to: workers, a queue of calls that are ready, and the turns.
    struct Machine {
        turns: Turns,
        workers: usize,
        now: Instant,
        calls: Vec<(Payer, Place)>,
        /// Time on a processor by tenant.
        ran: BTreeMap<Tenant, Duration>,
    }

    impl Machine {
        fn new(workers: usize, tenants: &[(&str, usize)]) -> Self {
            let calls = tenants
                .iter()
                .flat_map(|(tenant, calls)| (0..*calls).map(|_| (payer(tenant), Place::default())));
            Self {
                turns: Turns::new(workers),
                workers,
                now: Instant::now(),
                calls: calls.collect(),
                ran: BTreeMap::new(),
            }
        }

        /// One tick: each worker runs one of the calls that may, up to the tick. Returns how many workers had one.
        fn tick(&mut self, order: &[usize]) -> usize {
            let mut running = Vec::new();
            for call in order {
                if running.len() == self.workers {
                    break;
                }
                let (payer, place) = &mut self.calls[*call];
                if self.turns.enter(payer, place, Waker::noop(), self.now) {
                    running.push(*call);
                }
            }
            self.now += TICK;
            self.turns.rest();
            for call in &running {
                let (payer, place) = &mut self.calls[*call];
                self.turns.leave(payer, place, TICK, self.now);
                *self.ran.entry(payer.1.clone()).or_default() += TICK;
            }
            self.turns.call(self.now);
            running.len()
        }

        fn ran(&self, tenant: &str) -> f64 {
            self.ran.get(&payer(tenant).1).map_or(0.0, Duration::as_secs_f64)
        }
    }

    #[test]
    fn a_tenant_that_spins_leaves_a_worker_to_the_others() {
        for workers in [2, 3, 8] {
            let mut machine = Machine::new(workers, &[("hog", 125)]);
            let order: Vec<usize> = (0..125).collect();
            let busy: Vec<usize> = (0..100).map(|_| machine.tick(&order)).collect();
            // Its burst, and then never the last worker, but all others all the time.
            assert!(busy[3..].iter().all(|busy| *busy == workers - 1), "{workers}: {busy:?}");
        }
    }

    #[test]
    fn a_short_call_of_another_tenant_never_waits() {
        let mut machine = Machine::new(2, &[("hog", 125)]);
        let order: Vec<usize> = (0..125).collect();
        let (good, mut place) = (payer("good"), Place::default());
        for _ in 0..200 {
            machine.tick(&order);
            let (turns, now) = (&machine.turns, machine.now);
            assert!(turns.enter(&good, &mut place, Waker::noop(), now));
            turns.leave(&good, &mut place, Duration::from_micros(100), now);
        }
    }

    #[test]
    fn tenants_that_compute_have_the_same_time_however_many_calls_they_have() {
        let mut machine = Machine::new(2, &[("hog", 125), ("one", 1), ("few", 5)]);
        // Those of the hog are always first.
        let order: Vec<usize> = (0..131).collect();
        for _ in 0..3_000 {
            machine.tick(&order);
        }
        let shares = ["hog", "one", "few"].map(|tenant| machine.ran(tenant));
        let (least, most) = shares.iter().fold((f64::MAX, 0.0_f64), |(least, most), share| {
            (least.min(*share), most.max(*share))
        });
        assert!(most - least < 0.1 * most, "{shares:?}");
    }

    #[test]
    fn who_comes_late_is_not_paid_for_the_past_and_waits_for_nobody_s() {
        let mut machine = Machine::new(2, &[("hog", 125), ("late", 4)]);
        let hog: Vec<usize> = (0..125).collect();
        for _ in 0..1_000 {
            machine.tick(&hog);
        }
        let before = machine.ran("hog");
        let all: Vec<usize> = (0..129).collect();
        for _ in 0..1_000 {
            machine.tick(&all);
        }
        let (hog, late) = (machine.ran("hog") - before, machine.ran("late"));
        assert!((0.9..1.2).contains(&(late / hog)), "{late} of the one and {hog} of the other");
    }

    /// Two workers, always with a call of the tenant that is polled for so long. Returns how often both ran one.
    fn both_busy(poll: Duration, polls_of_a_call: usize) -> usize {
        let (turns, hog) = (Turns::new(2), payer("hog"));
        let (mut now, mut both) = (Instant::now(), 0);
        let mut places = [Place::default(), Place::default()];
        let ticks = 100;
        let polls = usize::try_from(TICK.as_micros() / poll.as_micros()).unwrap();
        for number in 0..ticks * polls {
            let enter = |place| turns.enter(&hog, place, Waker::noop(), now);
            let running = places.each_mut().map(enter);
            now += poll;
            for (place, running) in places.iter_mut().zip(running) {
                if running {
                    turns.leave(&hog, place, poll, now);
                }
                if running && number % polls_of_a_call == 0 {
                    turns.give_up(&hog, place, now);
                }
            }
            both += usize::from(running == [true, true]);
            if number % polls == 0 {
                turns.call(now);
            }
        }
        both
    }

    #[test]
    fn whoever_computes_in_short_polls_waits_like_whoever_does_in_long_ones() {
        for micros in [400, 500, 900, 1_000, 5_000] {
            for polls_of_a_call in [1, 7, usize::MAX] {
                let poll = Duration::from_micros(micros);
                let time = poll * u32::try_from(both_busy(poll, polls_of_a_call)).unwrap();
                // A burst, for which short polls pay the less the shorter they are, and not all of a second.
                assert!(time < BURST * 8, "{micros} us, {polls_of_a_call}: both for {time:?}");
            }
        }
    }

    #[test]
    fn calls_that_mostly_wait_are_never_held_up() {
        // Both workers with such polls alone: more than the network brings.
        let poll = Duration::from_micros(50);
        assert_eq!(both_busy(poll, 4), 100 * 200);
    }

    #[test]
    fn slots_rest_from_a_tick_until_the_ticker_calls() {
        let (turns, hog, now) = (Turns::new(2), payer("hog"), Instant::now());
        let (mut one, mut other) = (Place::default(), Place::default());
        turns.leave(&hog, &mut one, BURST + TICK, now);
        turns.rest();
        assert!(!turns.enter(&hog, &mut one, Waker::noop(), now));
        let good = payer("good");
        assert!(turns.enter(&good, &mut Place::default(), Waker::noop(), now), "it owes nothing");
        turns.call(now);
        assert!(turns.enter(&hog, &mut one, Waker::noop(), now) && one.slot);
        assert!(!turns.enter(&hog, &mut other, Waker::noop(), now));
        turns.rest();
        turns.leave(&hog, &mut one, TICK, now);
        assert!(!turns.enter(&hog, &mut other, Waker::noop(), now), "not at once");
        turns.call(now);
        assert!(turns.enter(&hog, &mut other, Waker::noop(), now) && other.slot);
    }

    #[test]
    fn what_is_charged_drains_and_is_forgotten() {
        let (turns, mut place) = (Turns::new(4), Place::default());
        let (hog, start) = (payer("hog"), Instant::now());
        assert!(turns.enter(&hog, &mut place, Waker::noop(), start));
        turns.leave(&hog, &mut place, BURST + TICK, start);
        let mut other = Place::default();
        assert!(turns.enter(&hog, &mut other, Waker::noop(), start) && other.slot);
        turns.leave(&hog, &mut other, Duration::ZERO, start);
        // Within its burst again.
        let later = start + TICK * DRAIN;
        assert!(turns.enter(&hog, &mut place, Waker::noop(), later) && !place.slot);
        turns.call(start + (BURST + TICK) * DRAIN);
        assert!(turns.lock().accounts.is_empty() && !turns.0.pressed.load(Ordering::Relaxed));
    }

    proptest! {
        // Catches a slot that is lost with the call that had it or was called for it, and one that is given out twice.
        #[test]
        fn slots_are_neither_lost_nor_doubled(
            workers in 1_usize..5,
            steps in prop::collection::vec((0_usize..12, 0_u8..5), 1..400),
        ) {
            let mut machine = Machine::new(workers, &[("a", 6), ("b", 4), ("c", 2)]);
            let mut running = [false; 12];
            for (call, what) in steps {
                machine.now += Duration::from_millis(1);
                let (payer, place) = &mut machine.calls[call];
                match what {
                    0 | 1 if !running[call] => {
                        running[call] =
                            machine.turns.enter(payer, place, Waker::noop(), machine.now);
                    }
                    0 | 1 => {
                        let took = if what == 0 { TICK } else { Duration::ZERO };
                        machine.turns.leave(payer, place, took, machine.now);
                        running[call] = false;
                    }
                    2 => {
                        machine.turns.give_up(payer, place, machine.now);
                        running[call] = false;
                    }
                    3 => machine.turns.rest(),
                    _ => machine.turns.call(machine.now),
                }
                let with_slot = machine.calls.iter().filter(|(_, place)| place.slot).count();
                let table = machine.turns.lock();
                let called: usize = table.accounts.values().map(|it| it.called.len()).sum();
                prop_assert_eq!(table.taken, with_slot + called);
                prop_assert!(table.taken <= table.slots);
            }
            for (payer, place) in &mut machine.calls {
                machine.turns.give_up(payer, place, machine.now);
            }
            machine.turns.call(machine.now + Duration::from_secs(3_600));
            let table = machine.turns.lock();
            prop_assert_eq!(table.taken, 0);
            prop_assert!(table.accounts.is_empty());
        }
    }
}
