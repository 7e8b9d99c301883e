//! Barriers: what somebody is told has stopped, has stopped.
//!
//! A pause, a hold and a disconnect are each the same three steps: say so where every use looks, wait for what began
//! before, answer. It works because a use looks only once it counts: a call holds its row while it looks at it, and a
//! refresh is in flight when it looks, just before its intent. So either the barrier sees the use, or the use the
//! barrier. What is written meanwhile by a person, such as new tokens, stays behind the barrier: only `resume` ends a
//! pause.

use std::time::Duration;

use keyway_core::ids::{Actor, ConnectionRef};
use keyway_core::{Code, Fault};
use keyway_store::model::Connection;
use tokio::time::{Instant, sleep};

use crate::connections::{Receipt, Switch, Vault, entry};

/// How often a barrier looks whether the connection is idle.
const DRAIN_POLL: Duration = Duration::from_millis(10);

/// For how long `hold-refresh` waits for a refresh that began before it. As long as a pause that is told nothing.
const HOLD_WAIT: Duration = Duration::from_secs(30);

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
    /// begins. Where that takes longer than `wait`, it stays paused and the caller may ask again. The answer is audited
    /// before it is given: somebody else acts on it.
    pub async fn pause(
        &self,
        of: &ConnectionRef,
        wait: Duration,
        actor: &Actor,
    ) -> Result<Receipt, Fault> {
        self.switch(of, Switch::Paused, true, actor).await?;
        if !self.is_idle(wait, || self.shared.used(of) || self.in_flight(of)).await {
            let detail = format!("{of} is paused, and still in use");
            return Err(Fault::new(Code::ConnectionPaused, detail));
        }
        let drained_at = self.shared.clock.now();
        let connection = self.existing(of).await?;
        let drained = entry("connection.drained", &connection, actor, None);
        self.shared.store.tx().commit(drained).await?;
        Ok(Receipt { info: self.info(connection).await?, drained_at })
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

pub(crate) fn paused(of: &ConnectionRef) -> Fault {
    Fault::new(Code::ConnectionPaused, format!("{of} is paused"))
}

pub(crate) fn held_back(of: &ConnectionRef) -> Fault {
    Fault::new(Code::RefreshHeld, format!("refreshing {of} is on hold"))
}
