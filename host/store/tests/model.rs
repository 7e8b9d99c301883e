//! A model of pins, cells, leases and queues that fits on a page, and random histories on it and on the
//! store: every answer must be the same. On sled the store is closed and opened again in between.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use keyway_store::conformance::{HandClock, entry, installation, pin};
use keyway_store::{Claim, Collision, Error, Lease, Options, Store};
use proptest::prelude::*;

/// One step of a history. Small numbers, so that steps meet.
#[derive(Clone, Debug)]
enum Step {
    /// Pin a tenant, this far from the generation that would be right.
    Pin {
        tenant: u8,
        off_by: i8,
    },
    /// Write a cell, this far from the version that would be right, under an earlier lease or none.
    Put {
        key: u8,
        off_by: i8,
        lease: Option<usize>,
    },
    Acquire {
        owner: u8,
    },
    Renew {
        lease: usize,
    },
    Release {
        lease: usize,
    },
    Enqueue,
    Claim,
    Settle {
        claim: usize,
    },
    GiveBack {
        claim: usize,
        delay: u8,
    },
    Advance {
        seconds: u8,
    },
    Reopen,
}

/// What the store should hold.
#[derive(Default)]
struct Model {
    now: u64,
    pins: BTreeMap<u8, u64>,
    changes: u64,
    cells: BTreeMap<u8, u64>,
    /// Owner, fence, deadline.
    lease: Option<(u8, u64, u64)>,
    queue: VecDeque<Message>,
    enqueued: u64,
}

struct Message {
    seq: u64,
    attempts: u32,
    visible_at: u64,
}

/// What the history has been given so far, to come back to.
#[derive(Default)]
struct Held {
    leases: Vec<Lease>,
    claims: Vec<Claim>,
}

const TTL: u64 = 30;
const VISIBILITY: u64 = 20;

fn step() -> impl Strategy<Value = Step> {
    let off_by = || prop_oneof![6 => Just(0_i8), 1 => -1..=1_i8];
    prop_oneof![
        4 => (0..3_u8, off_by()).prop_map(|(tenant, off_by)| Step::Pin { tenant, off_by }),
        6 => (0..3_u8, off_by(), prop::option::of(0..8_usize))
            .prop_map(|(key, off_by, lease)| Step::Put { key, off_by, lease }),
        4 => (0..2_u8).prop_map(|owner| Step::Acquire { owner }),
        2 => (0..8_usize).prop_map(|lease| Step::Renew { lease }),
        1 => (0..8_usize).prop_map(|lease| Step::Release { lease }),
        4 => Just(Step::Enqueue),
        4 => Just(Step::Claim),
        3 => (0..8_usize).prop_map(|claim| Step::Settle { claim }),
        2 => (0..8_usize, 0..30_u8).prop_map(|(claim, delay)| Step::GiveBack { claim, delay }),
        4 => (0..40_u8).prop_map(|seconds| Step::Advance { seconds }),
        1 => Just(Step::Reopen),
    ]
}

// === impl Model ===

impl Model {
    /// Whether a lease that was handed out is still held.
    fn holds(&self, lease: &Lease) -> bool {
        self.lease.is_some_and(|(owner, fence, deadline)| {
            owner.to_string() == lease.owner && fence == lease.fence && self.now < deadline
        })
    }

    fn acquire(&mut self, owner: u8) -> Option<u64> {
        let fence = match self.lease {
            None => 1,
            Some((_, fence, deadline)) if self.now >= deadline => fence + 1,
            Some((holder, fence, _)) if holder == owner => fence,
            Some(_) => return None,
        };
        self.lease = Some((owner, fence, self.now + TTL));
        Some(fence)
    }

    fn claim(&mut self) -> Option<(u64, u32)> {
        loop {
            let place = self.queue.iter().position(|message| message.visible_at <= self.now)?;
            if self.queue[place].attempts >= 10 {
                // Given up on the way to one that is not.
                self.queue.remove(place);
                continue;
            }
            let message = &mut self.queue[place];
            message.attempts += 1;
            message.visible_at = self.now + VISIBILITY;
            return Some((message.seq, message.attempts));
        }
    }

    /// The place of a claim's message, if the claim is still the newest.
    fn place(&self, claim: &Claim) -> Option<usize> {
        let same = |m: &Message| m.seq == claim.seq && m.attempts == claim.attempts;
        self.queue.iter().position(same)
    }
}

fn lands<T: std::fmt::Debug>(result: Result<T, Error>, expected: bool, about: Collision) {
    match result {
        Ok(_) if expected => {}
        Err(Error::Conflict { what }) if !expected && what == about => {}
        other => panic!("should land: {expected}, {about}: {other:?}"),
    }
}

/// One step on both.
async fn take(step: Step, model: &mut Model, store: &Store, clock: &HandClock, held: &mut Held) {
    match step {
        Step::Pin { tenant, off_by } => {
            let last = model.pins.get(&tenant).copied().unwrap_or(0);
            let generation = (last + 1).saturating_add_signed(off_by.into());
            let right = generation == last + 1;
            let name = format!("tenant-{tenant}");
            let change = store.tx().pin(pin(&name, generation, "1.0.0")).commit(entry(&name));
            lands(change.await, right, Collision::Pin);
            if right {
                model.pins.insert(tenant, generation);
                model.changes += 1;
            }
        }
        Step::Put { key, off_by, lease } => {
            let version = model.cells.get(&key).copied().unwrap_or(0);
            let expected = version.saturating_add_signed(off_by.into());
            let right = expected == version;
            let lease = lease.and_then(|n| held.leases.get(n));
            let covered = lease.is_none_or(|lease| model.holds(lease));
            let batch = store.batch();
            let batch = lease.into_iter().fold(batch, |batch, lease| batch.holding(lease));
            let expected = (expected > 0).then_some(expected);
            let about = if covered { Collision::Cell } else { Collision::Lease };
            let value = (version + 1).to_be_bytes().to_vec();
            let put = batch.put_cell("s", &[key], expected, value).commit().await;
            lands(put, right && covered, about);
            if right && covered {
                model.cells.insert(key, version + 1);
            }
        }
        Step::Acquire { owner } => {
            let ttl = Duration::from_secs(TTL);
            let lease = store.acquire_lease("l", &owner.to_string(), ttl).await.unwrap();
            assert_eq!(lease.as_ref().map(|lease| lease.fence), model.acquire(owner));
            held.leases.extend(lease);
        }
        Step::Renew { lease } | Step::Release { lease } => {
            let Some(lease) = held.leases.get(lease) else { return };
            let held = model.holds(lease);
            let mut deadline = model.now;
            if matches!(step, Step::Renew { .. }) {
                let renewed = store.renew_lease(lease, Duration::from_secs(TTL)).await.unwrap();
                assert_eq!(renewed.map(|lease| lease.fence), held.then_some(lease.fence));
                deadline += TTL;
            } else {
                store.release_lease(lease).await.unwrap();
            }
            if let (true, Some(current)) = (held, model.lease.as_mut()) {
                current.2 = deadline;
            }
        }
        Step::Advance { seconds } => {
            model.now += u64::from(seconds);
            clock.advance(Duration::from_secs(seconds.into()));
        }
        step => take_message(step, model, store, held).await,
    }
}

/// One step of a queue.
async fn take_message(step: Step, model: &mut Model, store: &Store, held: &mut Held) {
    match step {
        Step::Enqueue => {
            store.batch().enqueue("q", "m").commit().await.unwrap();
            model.enqueued += 1;
            let seq = model.enqueued;
            model.queue.push_back(Message { seq, attempts: 0, visible_at: 0 });
        }
        Step::Claim => {
            let claim = store.claim("q", Duration::from_secs(VISIBILITY)).await.unwrap();
            let found = claim.as_ref().map(|claim| (claim.seq, claim.attempts));
            assert_eq!(found, model.claim());
            held.claims.extend(claim);
        }
        Step::Settle { claim } => {
            let Some(claim) = held.claims.get(claim) else { return };
            let place = model.place(claim);
            lands(store.settle(claim).await, place.is_some(), Collision::Claim);
            place.map(|place| model.queue.remove(place));
        }
        Step::GiveBack { claim, delay } => {
            let Some(claim) = held.claims.get(claim) else { return };
            let place = model.place(claim);
            let given = store.give_back(claim, Duration::from_secs(delay.into()), "later").await;
            lands(given, place.is_some(), Collision::Claim);
            let Some(place) = place else { return };
            if model.queue[place].attempts >= 10 {
                model.queue.remove(place);
            } else {
                model.queue[place].visible_at = model.now + u64::from(delay);
            }
        }
        _ => {}
    }
}

/// The whole state, at the end and around every closing.
async fn compare(model: &Model, store: &Store) {
    for tenant in 0..3 {
        let name = installation(&format!("tenant-{tenant}"));
        let generation = model.pins.get(&tenant).copied();
        let found = store.pin(&name).await.unwrap().map(|pin| pin.generation);
        assert_eq!(found, generation);
        let history = store.history(&name).await.unwrap();
        assert!(history.iter().map(|pin| pin.number).eq(1..=generation.unwrap_or(0)));
    }
    for key in 0..3 {
        let found = store.cell("s", &[key]).await.unwrap();
        let version = model.cells.get(&key).copied();
        assert_eq!(found.as_ref().map(|cell| cell.version), version);
        let value = version.map(|version| version.to_be_bytes().to_vec());
        assert_eq!(found.map(|cell| cell.value.to_vec()), value);
    }
    assert_eq!(store.seq().await.unwrap(), model.changes);
    assert_eq!(store.audit(0, 1_000).await.unwrap().len() as u64, model.changes);
    let waiting = store.messages("q").await.unwrap().into_iter().map(|(seq, _)| seq);
    assert!(waiting.eq(model.queue.iter().map(|message| message.seq)));
}

async fn play(steps: Vec<Step>, reopen: bool) {
    let clock = Arc::new(HandClock::default());
    let dir = tempfile::tempdir().unwrap();
    let open = async || {
        if reopen {
            Store::open(dir.path(), clock.clone(), Options::default()).await.unwrap()
        } else {
            Store::memory(clock.clone())
        }
    };
    let (mut store, mut model, mut held) = (open().await, Model::default(), Held::default());
    for step in steps {
        match step {
            Step::Reopen if reopen => {
                compare(&model, &store).await;
                drop(store);
                store = open().await;
                compare(&model, &store).await;
            }
            Step::Reopen => {}
            step => take(step, &mut model, &store, &clock, &mut held).await,
        }
    }
    compare(&model, &store).await;
}

fn run(steps: Vec<Step>, reopen: bool) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build();
    runtime.unwrap().block_on(play(steps, reopen));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..Default::default() })]

    #[test]
    fn memory_answers_as_the_model_does(steps in prop::collection::vec(step(), 1..120)) {
        run(steps, false);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..Default::default() })]

    #[test]
    fn sled_answers_as_the_model_does(steps in prop::collection::vec(step(), 1..80)) {
        run(steps, true);
    }
}
