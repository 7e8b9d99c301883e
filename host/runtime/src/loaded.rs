//! A release, loaded: its code, and the way of one call through it.
//!
//! The code stays as long as somebody holds a [`Loaded`] or a store made from it. How it got here is
//! [`crate::loader`]'s business.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use keyway_core::call::{Operation, Output};
use keyway_core::ports::{Connector, Outside};
use keyway_core::release::ReleaseRef;
use keyway_core::{Code, Descriptor, Fault, Whose};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};
use wasmtime::Store;

use crate::limits::Limits;
use crate::meter::{self, Metered, Turn};
use crate::output::Expected;
use crate::room::Room;
use crate::state::State;
use crate::turns::Turns;
use crate::verdict;
use crate::wit::Adapter;

/// The longest call there can be. A day is for ever here, and cannot overflow the clock.
const TIME_LEFT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Bytes that the host takes from a guest at once beyond the limit on its answer: the structs that
/// hold a full page's records, and the lists in them.
const LIFT_SLACK_BYTES: usize = 1 << 20;

/// A release, loaded.
pub(crate) struct Loaded {
    pub(crate) release: ReleaseRef,
    descriptor: Arc<Descriptor>,
    adapter: Adapter,
    engine: wasmtime::Engine,
    bounds: Bounds,
    live: Arc<AtomicU64>,
}

/// What all calls of all releases share.
#[derive(Clone)]
pub(crate) struct Bounds {
    pub(crate) limits: Arc<Limits>,
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) turns: Turns,
    pub(crate) room: Room,
}

/// Counts one store for as long as it lives. A store holds the code of its release, so a release whose
/// count does not go to zero is never unloaded.
pub(crate) struct Live(Arc<AtomicU64>);

// === impl Loaded ===

impl Loaded {
    pub(crate) fn new(
        release: ReleaseRef,
        descriptor: Arc<Descriptor>,
        adapter: Adapter,
        engine: wasmtime::Engine,
        bounds: Bounds,
    ) -> Self {
        Self { release, descriptor, adapter, engine, bounds, live: Arc::default() }
    }

    /// Stores of this release that are alive.
    pub(crate) fn live(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }

    /// Waits for a free instance, but not beyond the call's own time.
    async fn permit(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, Fault> {
        if let Ok(permit) = self.bounds.permits.try_acquire() {
            return Ok(permit);
        }
        match timeout_at(deadline, self.bounds.permits.acquire()).await {
            Ok(permit) => Ok(permit.expect("the semaphore is never closed")),
            Err(_) => {
                let most = self.bounds.limits.pool.instances_max;
                Err(Fault::new(Code::Overloaded, format!("all {most} instances are in use")))
            }
        }
    }

    fn store(&self, outside: Arc<dyn Outside>) -> Store<State> {
        let limits = Arc::clone(&self.bounds.limits);
        let live = Live::new(Arc::clone(&self.live));
        let held = outside.payer().map(|payer| self.bounds.room.held(payer));
        bounded(&self.engine, State::new(limits, outside, live, held))
    }
}

#[async_trait]
impl Connector for Loaded {
    fn release(&self) -> &ReleaseRef {
        &self.release
    }

    fn descriptor(&self) -> &Arc<Descriptor> {
        &self.descriptor
    }

    async fn call(
        &self,
        operation: Operation,
        outside: Arc<dyn Outside>,
        time_left: Duration,
    ) -> Result<Output, Fault> {
        if !self.adapter.offers(&operation) {
            let detail = format!("{} does not implement `{}`", self.release, operation.verb());
            return Err(Fault::new(Code::Unsupported, detail));
        }
        let deadline = Instant::now() + time_left.min(TIME_LEFT_MAX);
        // Before the store, so dropped after it: a permit given back means an instance is free.
        let _permit = self.permit(deadline).await?;
        let expected = Expected::of(&operation);
        let mut turn = outside.payer().map(|payer| Turn::new(payer, &self.bounds.turns));
        let mut store = self.store(outside);
        let performed = {
            let call = pin!(self.adapter.perform(&mut store, operation));
            timeout_at(deadline, Metered::new(call).paid_by(turn.as_mut())).await
        };
        let ended = matches!(performed, Ok(Err(_)));
        let answer = match performed {
            Err(_) => Err(too_late(time_left)),
            Ok(Err(error)) => Err(verdict::fault(&error, store.data())),
            Ok(Ok(answer)) => Ok(answer),
        };
        let request_sent = store.data().request_sent;
        let log = store.data().written_log();
        // Frees the instance before the answer is looked at, which can take a while.
        drop(store);
        // A guest says in its failure whether something was sent; of one that ended, we say it.
        let sent = |mut fault: Fault| {
            fault.request_sent = request_sent;
            // Streams have written their last line: the store is gone.
            fault.guest_said = log.as_ref().filter(|_| ended).and_then(|log| log.last());
            // Nobody but the connector can have used up the time of a call that asked nobody.
            let idle = fault.code == Code::DeadlineExceeded && !request_sent;
            if idle { fault.blame(Whose::Connector) } else { fault }
        };
        let mut output = answer.map_err(&sent)??;
        // In turns like the call itself: an answer may have megabytes.
        let checked = {
            let check = pin!(expected.check(&mut output, &self.bounds.limits.call));
            timeout_at(deadline, Metered::new(check).paid_by(turn.as_mut())).await
        };
        checked.unwrap_or_else(|_| Err(too_late(time_left))).map_err(sent)?;
        Ok(output)
    }
}

fn too_late(time_left: Duration) -> Fault {
    let time = humantime::format_duration(time_left);
    Fault::new(Code::DeadlineExceeded, format!("did not answer within {time}"))
}

/// A store in which every limit is in force.
pub(crate) fn bounded(engine: &wasmtime::Engine, state: State) -> Store<State> {
    let limits = Arc::clone(&state.limits);
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.memory);
    store.set_hostcall_fuel(limits.call.output_bytes_max.saturating_add(LIFT_SLACK_BYTES));
    store.set_max_component_handles(limits.call.handles_max);
    meter::watch(&mut store);
    store
}

// === impl Live ===

impl Live {
    fn new(count: Arc<AtomicU64>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
