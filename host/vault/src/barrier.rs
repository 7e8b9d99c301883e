//! Barriers: what somebody is told has stopped, has stopped.
//!
//! A pause, a hold and a disconnect are each the same three steps: say so where every use looks, wait for what began
//! before, answer. It works because a use looks only once it counts: a call holds its row while it looks at it, and a
//! refresh is in flight when it looks, just before its intent. So either the barrier sees the use, or the use the
//! barrier. What is written meanwhile by a person, such as new tokens, stays behind the barrier: only `resume` ends a
//! pause.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use keyway_core::ids::{Actor, ConnectionRef};
use keyway_core::ports::InUse;
use keyway_core::{Code, Fault};
use keyway_store::model::Connection;
use tokio::time::{Instant, sleep};

use crate::connections::{Receipt, Shared, Switch, Vault, entry};

/// How often a barrier looks whether the connection is idle.
const DRAIN_POLL: Duration = Duration::from_millis(10);

/// How long exchanges that are cut may take to end. They are told within a tenth of a second.
const CUT_WAIT: Duration = Duration::from_secs(2);

/// For how long `hold-refresh` waits for a refresh that began before it. As long as a pause that is told nothing.
const HOLD_WAIT: Duration = Duration::from_secs(30);

/// Uses of a connection. Count by being held.
#[derive(Default)]
pub(crate) struct Use {
    /// How many there were when a pause cut them; 0 where none did.
    cut: AtomicUsize,
    /// Those that were cut before the connection was resumed. One that does not end still counts.
    before: Vec<Weak<Self>>,
}

impl InUse for Use {
    fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed) > 0
    }
}

impl Use {
    /// Whether anybody holds one, beside the one who asks.
    pub(crate) fn is_held(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1 || self.before.iter().any(|uses| uses.strong_count() > 0)
    }
}

// === impl Vault ===

impl Vault {
    /// Turns a property on or off. Nothing is written where it is so already. Holding back refreshes answers once none
    /// is in flight; where that takes too long, they are held back all the same and the caller may ask again.
    pub async fn switch(
        &self,
        of: &ConnectionRef,
        switch: Switch,
        on: bool,
        actor: &Actor,
    ) -> Result<Connection, Fault> {
        let action = match (switch, on) {
            (Switch::Paused, true) => "connection.pause",
            (Switch::Paused, false) => "connection.resume",
            (Switch::HoldRefresh, true) => "connection.hold-refresh",
            (Switch::HoldRefresh, false) => "connection.release-refresh",
        };
        if switch == Switch::Paused && !on {
            self.shared.begin_anew(of);
        }
        let connection = self.change(of, action, actor, |connection| {
            let property = match switch {
                Switch::Paused => &mut connection.paused,
                Switch::HoldRefresh => &mut connection.hold_refresh,
            };
            std::mem::replace(property, on) != on
        });
        let connection = connection.await?;
        if switch == Switch::HoldRefresh
            && on
            && !self.is_idle(HOLD_WAIT, || self.in_flight(of)).await
        {
            let detail =
                format!("{of} is on hold, and a refresh that began before is still in flight");
            return Err(Fault::new(Code::RefreshHeld, detail));
        }
        Ok(connection)
    }

    /// Pauses a connection and answers once nothing uses it: no exchange and no refresh is in flight, and none
    /// begins. Exchanges that take longer than `wait` are cut: somebody who reads nothing more of an answer would otherwise
    /// decide whether there is a pause. A refresh is waited for, because its tokens would be lost; where that takes longer,
    /// the connection stays paused and the caller may ask again. The answer is audited before it is given: somebody else
    /// acts on it.
    pub async fn pause(
        &self,
        of: &ConnectionRef,
        wait: Duration,
        actor: &Actor,
    ) -> Result<Receipt, Fault> {
        self.switch(of, Switch::Paused, true, actor).await?;
        let busy = || self.shared.used(of) || self.in_flight(of);
        if !self.is_idle(wait, busy).await {
            self.shared.cut(of);
            if !self.is_idle(CUT_WAIT, busy).await {
                let detail = format!("{of} is paused, and still in use");
                return Err(Fault::new(Code::ConnectionPaused, detail));
            }
        }
        let cut = self.shared.cuts(of);
        let drained_at = self.shared.clock.now();
        let connection = self.existing(of).await?;
        let drained = entry("connection.drained", &connection, actor, None);
        self.shared.store.tx().commit(drained).await?;
        Ok(Receipt { info: self.info(connection).await?, drained_at, cut })
    }

    /// Waits until nothing is `busy`; false if that took too long.
    pub(crate) async fn is_idle(&self, wait: Duration, busy: impl Fn() -> bool + Send) -> bool {
        let deadline = Instant::now() + wait;
        while busy() {
            if Instant::now() >= deadline {
                return false;
            }
            sleep(DRAIN_POLL).await;
        }
        true
    }

    /// Refuses a refresh that somebody has stopped since it was asked for. Called in flight, before the intent.
    pub(crate) async fn check_not_stopped(&self, of: &ConnectionRef) -> Result<(), Fault> {
        if self.shared.tower.is_grounded(of) {
            return Err(Fault::new(Code::UnknownConnection, format!("{of} is being removed")));
        }
        let connection = self.existing(of).await?;
        if connection.paused {
            return Err(paused(of));
        }
        if connection.hold_refresh {
            return Err(held_back(of));
        }
        Ok(())
    }
}

// === impl Shared ===

impl Shared {
    /// Has all uses of a connection end that there are.
    fn cut(&self, of: &ConnectionRef) {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let Some(row) = rows.get(of) else { return };
        // One is the row's own.
        row.uses.cut.fetch_max(Arc::strong_count(&row.uses) - 1, Ordering::Relaxed);
    }

    /// How many uses were cut since the connection was paused.
    fn cuts(&self, of: &ConnectionRef) -> usize {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        rows.get(of).map_or(0, |row| row.uses.cut.load(Ordering::Relaxed))
    }

    /// What begins from here on is not what was cut.
    fn begin_anew(&self, of: &ConnectionRef) {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        let Some(row) = rows.get_mut(of).filter(|row| row.uses.is_cut()) else { return };
        let mut before = row.uses.before.clone();
        before.push(Arc::downgrade(&row.uses));
        before.retain(|uses| uses.strong_count() > 0);
        row.uses = Arc::new(Use { before, ..Use::default() });
    }
}

pub(crate) fn paused(of: &ConnectionRef) -> Fault {
    Fault::new(Code::ConnectionPaused, format!("{of} is paused"))
}

pub(crate) fn held_back(of: &ConnectionRef) -> Fault {
    Fault::new(Code::RefreshHeld, format!("refreshing {of} is on hold"))
}
