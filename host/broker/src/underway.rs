//! Exchanges under way: each ends in its time, also where nobody asks for more of it.
//!
//! A body goes on when the caller takes it. Of a caller who takes nothing more, nothing comes that could notice that the
//! time is over, or that the connection was paused. So what such an exchange holds (permits, the credential, the socket)
//! stands here, and one task looks ten times a second whether somebody's time is over. A caller who then asks for more is
//! told why there is none.
//!
//! Knows no HTTP: [`crate::relay`] says what a body is.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use foldhash::HashMap;
use keyway_core::ports::InUse;
use tokio::time::{Instant, interval};

use crate::reason::Reason;
use crate::relay::Running;

/// How often is looked. What is cut holds its permits so much longer.
const LOOK: Duration = Duration::from_millis(100);

/// All exchanges under way of a broker. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Underway(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    live: HashMap<u64, Arc<Mutex<State>>>,
    next: u64,
    /// Whether a task looks.
    watched: bool,
}

/// A place among the exchanges under way. Dropped, the exchange is over.
pub(crate) struct Ticket {
    underway: Underway,
    number: u64,
    state: Arc<Mutex<State>>,
}

/// What is known of one.
#[derive(Default)]
pub(crate) struct State {
    /// The use of a connection, once there is one.
    in_use: Option<Arc<dyn InUse>>,
    /// A body on its way, until it is over. Before there is one, its time is watched by whoever waits for it.
    pub(crate) running: Option<(Running, Instant)>,
    /// Why it was ended from here.
    pub(crate) ended: Option<Reason>,
    waker: Option<Waker>,
}

// === impl Underway ===

impl Underway {
    /// One more.
    pub(crate) fn begin(&self) -> Ticket {
        let state = Arc::<Mutex<State>>::default();
        let mut table = lock(&self.0);
        let number = table.next;
        table.next += 1;
        table.live.insert(number, Arc::clone(&state));
        if !table.watched {
            table.watched = true;
            tokio::spawn(watch(Arc::downgrade(&self.0)));
        }
        drop(table);
        Ticket { underway: self.clone(), number, state }
    }
}

// === impl Ticket ===

impl Ticket {
    /// It uses a connection from here on.
    pub(crate) fn uses(&self, in_use: Option<Arc<dyn InUse>>) {
        if in_use.is_some() {
            self.state().in_use = in_use;
        }
    }

    /// Waits until it is ended from here.
    pub(crate) async fn ended(&self) -> Reason {
        poll_fn(|context| self.poll_ended(context)).await
    }

    fn poll_ended(&self, context: &mut Context<'_>) -> Poll<Reason> {
        let mut state = self.state();
        match state.ended {
            Some(reason) => Poll::Ready(reason),
            None => {
                state.woken_by(context);
                Poll::Pending
            }
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        lock(&self.underway.0).live.remove(&self.number);
        // Its resources go outside of any lock.
        let running = self.state().running.take();
        drop(running);
    }
}

// === impl State ===

impl State {
    /// Whoever asked last is told when it is ended.
    pub(crate) fn woken_by(&mut self, context: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
    }

    /// Ends it, if its time is over. Returns what it held.
    fn look(&mut self, now: Instant) -> Option<Running> {
        if self.ended.is_some() {
            return None;
        }
        let cut = self.in_use.as_ref().is_some_and(|in_use| in_use.is_cut());
        let late = self.running.as_ref().is_some_and(|(_, until)| *until <= now);
        let reason = match (cut, late) {
            (true, _) => Reason::ConnectionPaused,
            (false, true) => Reason::ExchangeTimeout,
            (false, false) => return None,
        };
        self.ended = Some(reason);
        self.in_use = None;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        let (mut running, _) = self.running.take()?;
        running.stop(reason);
        Some(running)
    }
}

/// Looks at all of them until there is none.
async fn watch(table: Weak<Mutex<Table>>) {
    let mut ticks = interval(LOOK);
    loop {
        ticks.tick().await;
        let Some(table) = table.upgrade() else { return };
        let live: Vec<_> = {
            let mut table = lock(&table);
            if table.live.is_empty() {
                table.watched = false;
                return;
            }
            table.live.values().cloned().collect()
        };
        let now = Instant::now();
        for state in live {
            let held = lock(&state).look(now);
            drop(held);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
