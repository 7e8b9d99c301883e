//! How much processor time a call has used, and the end of it when that is too much.
//!
//! Epochs alone would count the time a guest waits for the network. So each poll of the call is
//! timed, and the epoch callback, which runs inside such a poll, asks how much there was so far. The
//! figure travels by a thread-local, because the callback sees the store and not the future around it.
//!
//! What is timed is how long the guest held a thread. Where the system takes the processor from that
//! thread meanwhile, this counts too; asking for the exact time would cost a system call a poll.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use wasmtime::{Store, UpdateDeadline};

use crate::state::State;
use crate::turns::{Payer, Place, Turns};

thread_local! {
    /// When the running call would have begun, had it never waited.
    static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The guest used up its processor time.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("used more than {}", humantime::format_duration(*.0))]
pub(crate) struct CpuSpent(pub(crate) Duration);

/// A call, with every poll timed, and in its tenant's turn.
pub(crate) struct Metered<'t, F> {
    call: F,
    spent: Duration,
    /// None where nobody is to be charged: what the host runs for itself.
    turn: Option<&'t mut Turn>,
}

/// A call's place among those who compute long. All that is done for the call is charged to it.
pub(crate) struct Turn {
    turns: Turns,
    payer: Payer,
    place: Place,
}

/// Ends the guest of `store` once it has used more than its budget, and makes it yield at every tick
/// until then.
pub(crate) fn watch(store: &mut Store<State>) {
    // One tick at most passes unseen. The closure captures nothing, so its box allocates nothing.
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|context| {
        let budget = context.data().cpu_time_max();
        match BEGAN.get() {
            Some(began) if began.elapsed() < budget => Ok(UpdateDeadline::Yield(1)),
            _ => Err(CpuSpent(budget).into()),
        }
    });
}

// === impl Metered ===

impl<'t, F> Metered<'t, F> {
    pub(crate) const fn new(call: F) -> Self {
        Self { call, spent: Duration::ZERO, turn: None }
    }

    /// The same, which takes turns with others.
    pub(crate) fn paid_by(self, turn: Option<&'t mut Turn>) -> Self {
        Self { turn, ..self }
    }
}

// === impl Turn ===

impl Turn {
    pub(crate) fn new(payer: Payer, turns: &Turns) -> Self {
        Self { turns: turns.clone(), payer, place: Place::default() }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.give_up(&self.payer, &mut self.place, Instant::now());
    }
}

impl<F: Future + Unpin> Future for Metered<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let start = Instant::now();
        if let Some(Turn { turns, payer, place }) = self.turn.as_deref_mut()
            && !turns.enter(payer, place, cx.waker(), start)
        {
            return Poll::Pending;
        }
        // A machine up for less time than the call has used cannot be; saturate rather than panic.
        BEGAN.set(Some(start.checked_sub(self.spent).unwrap_or(start)));
        let polled = Pin::new(&mut self.call).poll(cx);
        BEGAN.set(None);
        let took = start.elapsed();
        self.spent += took;
        if let Some(Turn { turns, payer, place }) = self.turn.as_deref_mut() {
            turns.leave(payer, place, took, start + took);
        }
        polled
    }
}
