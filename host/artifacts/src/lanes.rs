//! Lanes: what takes long and waits for nothing, such as a check, one of each tenant at a time, and the tenants by turns.
//!
//! **The problem.** A check may take half a second. Few of them may run at once, or they would take the processors from
//! calls; and in one queue of all, whoever sends dear inputs makes everybody else wait.
//!
//! **The shape.** A tenant's checks wait for each other, in its own lane. Those that are first in their lanes each have a
//! thread, and take turns there: a check holds one of the few slots for a [`SLICE`] and then goes behind the others. So a
//! check waits for as many slices as there are other tenants with long checks, however many and how dear theirs are.
//!
//! What a check is and how it is divided is not known here. What is asked for no tenant is in the lane of the token that asks.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use keyway_core::schema::PART_STEPS;
use keyway_core::shares::Payer;
use keyway_core::{Code, Fault};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a check holds a slot: so short that ten tenants before one's own are not felt, and a hundred times what it takes
/// to give a slot on.
const SLICE: Duration = Duration::from_millis(5);

/// Checks that have begun: each has a thread and up to 12 MiB of text and places. An eighth of the threads that the runtime
/// gives to such work. They are of as many tenants.
const BEGUN_MAX: usize = 64;

/// Semaphores here are never closed.
const OPEN: &str = "the semaphore is never closed";

/// The lanes of a host. Clones are the same.
#[derive(Clone)]
pub struct Lanes(Arc<Shared>);

struct Shared {
    lanes: Mutex<HashMap<Payer, Lane>>,
    begun: Arc<Semaphore>,
    slots: Arc<Semaphore>,
}

/// Of one tenant. There is one as long as somebody is in it.
struct Lane {
    /// One permit.
    first: Arc<Semaphore>,
    inside: usize,
}

/// A place in a lane.
struct Place {
    shared: Arc<Shared>,
    payer: Payer,
}

/// The first place in a lane. Dropped, it is the next one's.
pub(crate) struct First {
    // The permit goes before the place does.
    _permit: OwnedSemaphorePermit,
    _place: Place,
}

/// The turns of a check that has begun.
pub(crate) struct Turn {
    /// Gone once nobody waits for the check any more.
    asker: Weak<()>,
    slots: Arc<Semaphore>,
    slot: Option<OwnedSemaphorePermit>,
    since: Instant,
    runtime: Handle,
}

// === impl Lanes ===

impl Default for Lanes {
    /// Of this machine.
    fn default() -> Self {
        Self::new(std::thread::available_parallelism().map_or(1, NonZeroUsize::get))
    }
}

impl Lanes {
    /// Of a machine with so many processors: long checks use half of them.
    pub fn new(processors: usize) -> Self {
        Self(Arc::new(Shared {
            lanes: Mutex::default(),
            begun: Arc::new(Semaphore::new(BEGUN_MAX)),
            slots: Arc::new(Semaphore::new((processors / 2).max(1))),
        }))
    }

    /// Waits until a tenant has nothing else to do here.
    pub(crate) async fn first(&self, payer: &Payer) -> First {
        let (place, lane) = self.place(payer);
        First { _permit: lane.acquire_owned().await.expect(OPEN), _place: place }
    }

    /// Does something on a thread where it holds up no call. It is told of its turns, and to end when its caller has gone.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        first: First,
        work: impl FnOnce(&mut Turn) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let begun = Arc::clone(&self.0.begun).acquire_owned().await.expect(OPEN);
        let asker = Arc::new(());
        let mut turn = Turn {
            asker: Arc::downgrade(&asker),
            slots: Arc::clone(&self.0.slots),
            slot: None,
            since: Instant::now(),
            runtime: Handle::current(),
        };
        let done = tokio::task::spawn_blocking(move || {
            let _held = (first, begun);
            work(&mut turn)
        });
        let done = done.await;
        drop(asker);
        done.map_err(|error| Fault::new(Code::Internal, "a check died").caused_by(error))
    }

    /// Does what takes some tens of milliseconds and cannot be divided, when it is the payer's turn.
    pub async fn once<T: Send + 'static>(
        &self,
        payer: &Payer,
        work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let first = self.first(payer).await;
        self.run(first, move |turn| match turn.go_on(PART_STEPS) {
            true => work(),
            false => Err(Fault::new(Code::CallAbandoned, "nobody waits for it any more")),
        })
        .await?
    }

    fn place(&self, payer: &Payer) -> (Place, Arc<Semaphore>) {
        let mut lanes = self.0.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = lanes
            .entry(payer.clone())
            .or_insert_with(|| Lane { first: Arc::new(Semaphore::new(1)), inside: 0 });
        lane.inside += 1;
        (Place { shared: Arc::clone(&self.0), payer: payer.clone() }, Arc::clone(&lane.first))
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        let mut lanes = self.shared.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut lane) = lanes.entry(self.payer.clone()) {
            lane.get_mut().inside -= 1;
            if lane.get().inside == 0 {
                lane.remove();
            }
        }
    }
}

// === impl Turn ===

impl Turn {
    /// Before a part of so many steps: waits for a turn, if this one is over. False: nobody wants to know any more.
    pub(crate) fn go_on(&mut self, steps: u64) -> bool {
        if self.asker.strong_count() == 0 {
            return false;
        }
        if steps > PART_STEPS {
            // It cannot be divided, and would hold its slot for as long as it takes. The system shares the processors out.
            self.slot = None;
            return true;
        }
        if self.slot.is_none() || self.since.elapsed() >= SLICE {
            // Given back first: whoever waits has it next.
            self.slot = None;
            let slot = self.runtime.block_on(Arc::clone(&self.slots).acquire_owned());
            self.slot = Some(slot.expect(OPEN));
            self.since = Instant::now();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn payer(tenant: &str) -> Payer {
        Payer::Tenant("dev".parse().unwrap(), tenant.parse().unwrap())
    }

    /// Waits until so many are in the lane of a tenant.
    async fn inside(lanes: &Lanes, payer: &Payer, count: usize) {
        let now = || lanes.0.lanes.lock().unwrap().get(payer).map_or(0, |lane| lane.inside);
        while now() != count {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_tenant_waits_for_itself_and_for_nobody_else() {
        let lanes = Lanes::new(2);
        let (hog, good) = (payer("hog"), payer("good"));
        let (end, ended) = mpsc::channel::<()>();
        let work = lanes.run(lanes.first(&hog).await, move |turn| {
            assert!(turn.go_on(1));
            // Holds the only slot up to its slice's end, and then asks again, until it is told to stop.
            while ended.try_recv().is_err() {
                assert!(turn.go_on(1));
            }
        });
        let running = tokio::spawn({
            let lanes = lanes.clone();
            async move { lanes.first(&payer("hog")).await }
        });
        let mut work = std::pin::pin!(work);
        tokio::select! {
            _ = &mut work => panic!("it was not told to stop"),
            () = inside(&lanes, &hog, 2) => {}
        }
        assert!(!running.is_finished());
        for _ in 0..3 {
            let checked = lanes.run(lanes.first(&good).await, |turn| turn.go_on(1)).await;
            assert!(checked.unwrap());
        }
        assert!(!running.is_finished(), "the tenant's own waits");
        end.send(()).unwrap();
        work.await.unwrap();
        drop(running.await.unwrap());
        assert!(lanes.0.lanes.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn who_has_gone_leaves_nothing_running() {
        let lanes = Lanes::new(2);
        let hog = payer("hog");
        let (begin, begun) = tokio::sync::oneshot::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let work = lanes.run(lanes.first(&hog).await, move |turn| {
            begin.send(()).unwrap();
            while turn.go_on(1) {}
            stop.send(()).unwrap();
        });
        let mut work = Box::pin(work);
        tokio::select! {
            _ = &mut work => panic!("its caller is here"),
            begun = begun => begun.unwrap(),
        }
        drop(work);
        stopped.await.unwrap();
        inside(&lanes, &hog, 0).await;
        assert_eq!(lanes.0.slots.available_permits(), 1);
    }

    #[tokio::test]
    async fn what_is_done_at_once_has_a_turn_and_waits_for_its_own() {
        let lanes = Lanes::new(2);
        let (slots, free) = (Arc::clone(&lanes.0.slots), Semaphore::available_permits);
        let done = lanes.once(&Payer::Anybody, move || Ok(free(&slots))).await;
        assert_eq!(done.unwrap(), 0, "the only slot is its own");
        assert_eq!(lanes.0.slots.available_permits(), 1);
        let first = lanes.first(&Payer::Anybody).await;
        let mut waits = Box::pin(lanes.once(&Payer::Anybody, || Ok(1)));
        tokio::select! {
            biased;
            _ = &mut waits => panic!("behind what is first in its lane"),
            () = tokio::task::yield_now() => {}
        }
        assert_eq!(lanes.once(&payer("other"), || Ok(2)).await.unwrap(), 2);
        drop(first);
        assert_eq!(waits.await.unwrap(), 1);
    }

    #[tokio::test]
    async fn what_cannot_be_divided_holds_no_slot() {
        let lanes = Lanes::new(2);
        let first = lanes.first(&payer("a")).await;
        let slots = Arc::clone(&lanes.0.slots);
        let free = lanes.run(first, move |turn| {
            let free = |turn: &mut Turn, steps| {
                assert!(turn.go_on(steps));
                slots.available_permits()
            };
            [free(turn, PART_STEPS), free(turn, PART_STEPS + 1), free(turn, 1)]
        });
        assert_eq!(free.await.unwrap(), [0, 1, 0]);
    }
}
