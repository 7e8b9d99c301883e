//! Keeping alive what nobody uses: providers drop a refresh token that stays unused for a time, and then a person has to
//! consent again to what was never taken back.
//!
//! A release says of its provider how long that time is (`refresh-idle`). Once in a while the host looks at every
//! connection, and refreshes those whose token has been lying there for about half of it, the most urgent first. It goes
//! the way of every other refresh, so callers and other hosts join it or have been faster; what keeps a call from
//! refreshing keeps this from it too.
//!
//! **Spread out.** Connections that came on one day are not due on one day: each has a moment of its own, by its name,
//! between three eighths and a half of the time. A few refreshes are under way at once; where a provider fails, the rest
//! of its connections wait for another time. The time between two uses outlasts processes, so this is the one place that
//! goes by the wall clock: set ahead, it refreshes early; set back, late, with half of the time to spare.
//!
//! What is refreshed while it is used is none of this file's business, nor is a token that no release vouches for: an
//! installation without a route is left alone.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use keyway_core::descriptor::{Grant, SlotSpec};
use keyway_core::ids::{ConnectionRef, Connector, Environment, Slot};
use keyway_core::ports::Routes;
use keyway_core::{Code, Descriptor, Digest, Fault};
use keyway_store::model::{Connection, Filter};
use rand::Rng as _;
use serde::Deserialize;
use time::OffsetDateTime;
use tokio::time::sleep;

use crate::connections::Vault;
use crate::oauth::record::{Phase, State};

/// Parts of a token's idle time: it is due after [`DUE_FROM`] to [`DUE_TO`] of them. The other half is for providers
/// that are down, hosts that are off, and clocks that are wrong.
const PARTS: u32 = 8;
const DUE_FROM: u32 = 3;
const DUE_TO: u32 = 4;

/// The longest time between two looks, whatever is configured: no arithmetic fails on it.
const INTERVAL_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How often unused connections are looked after.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// Whether they are at all.
    pub enabled: bool,
    /// Time between two looks, a fifth more or less. Five minutes: a third of what the shortest time that a release
    /// may declare leaves, and a look reads a row for each connection.
    #[serde(with = "keyway_core::humane")]
    pub interval: Duration,
    /// Refreshes under way at once. Few: nobody waits for them, and no provider should take them for an attack.
    pub refreshes_max: usize,
}

/// Looks after unused connections.
pub struct KeepAlive {
    vault: Vault,
    routes: Arc<dyn Routes>,
    config: Config,
}

/// What came of one look.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Sweep {
    /// Connections whose time had come.
    pub due: usize,
    /// Those of them that are good for another while.
    pub kept: usize,
    /// Those whose refresh failed. The others were left for another time.
    pub failed: usize,
}

/// A connection whose time has come.
struct Due {
    at: OffsetDateTime,
    of: ConnectionRef,
    spec: SlotSpec,
}

/// Counts of a look that goes on, and the clients that it has given up.
#[derive(Default)]
struct Tally {
    kept: AtomicUsize,
    failed: AtomicUsize,
    /// Of clients that had been given up before.
    passed_over: AtomicUsize,
    failing: Mutex<HashSet<(Environment, Connector, Slot)>>,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self { enabled: true, interval: Duration::from_secs(5 * 60), refreshes_max: 4 }
    }
}

// === impl KeepAlive ===

impl KeepAlive {
    /// Looks after the connections of `vault`, as the releases that `routes` knows say.
    pub fn new(vault: Vault, routes: Arc<dyn Routes>, config: Config) -> Self {
        Self { vault, routes, config }
    }

    /// Looks again and again, until it is dropped. Refreshes that have begun go on without it.
    pub async fn run(self) {
        if !self.config.enabled {
            return;
        }
        loop {
            // Before the first look as well: hosts that start together should not look together.
            let interval = self.config.interval.min(INTERVAL_MAX);
            let wait = interval.mul_f64(rand::rng().random_range(0.8..1.2));
            sleep(wait).await;
            match self.activate().await {
                Ok(Sweep { due: 0, .. }) => {}
                Ok(Sweep { due, kept, failed }) => {
                    tracing::info!(due, kept, failed, "unused connections were refreshed");
                }
                Err(fault) => {
                    tracing::warn!(problem = fault.chain(), "unused connections not looked after");
                }
            }
        }
    }

    /// Looks once, and refreshes what is due.
    pub async fn activate(&self) -> Result<Sweep, Fault> {
        let mut due = self.due().await?;
        due.sort_by_key(|due| due.at);
        let (count, tally) = (due.len(), Tally::default());
        let at_once = self.config.refreshes_max.max(1);
        stream::iter(due).for_each_concurrent(at_once, |due| self.keep(due, &tally)).await;
        let (kept, failed) = (tally.kept.into_inner(), tally.failed.into_inner());
        self.vault.shared.metrics.overdue(failed + tally.passed_over.into_inner());
        Ok(Sweep { due: count, kept, failed })
    }

    /// The connections whose time has come.
    async fn due(&self) -> Result<Vec<Due>, Fault> {
        let (store, now) = (&self.vault.shared.store, self.vault.shared.clock.now());
        let mut due = Vec::new();
        for state in store.installations(&Filter::default()).await? {
            // Held no longer than it takes to look: a route keeps its release in memory.
            let Ok(route) = self.routes.resolve(&state.installation) else { continue };
            let descriptor = Arc::clone(route.connector.descriptor());
            drop(route);
            if !descriptor.slots.values().any(|spec| idle_time(spec).is_some()) {
                continue;
            }
            let users = store.user_connections(&state.installation).await?;
            for connection in state.connections.into_iter().chain(users) {
                due.extend(self.looked_at(&connection, &descriptor, now).await?);
            }
        }
        Ok(due)
    }

    /// The connection, if its time has come.
    async fn looked_at(
        &self,
        connection: &Connection,
        descriptor: &Descriptor,
        now: OffsetDateTime,
    ) -> Result<Option<Due>, Fault> {
        let Some(spec) = descriptor.slots.get(&connection.slot) else { return Ok(None) };
        let Some(idle) = idle_time(spec) else { return Ok(None) };
        if connection.paused || connection.hold_refresh {
            return Ok(None);
        }
        let of = connection.reference();
        let state = self.vault.shared.records.state(&of, connection.epoch).await?;
        let Some(state) = state.filter(|state| may_begin(state, now)) else { return Ok(None) };
        let at = due_at(&of, &state, idle);
        Ok((at <= now).then(|| Due { at, of, spec: spec.clone() }))
    }

    async fn keep(&self, due: Due, tally: &Tally) {
        let client = (
            due.of.installation.environment.clone(),
            due.of.installation.connector.clone(),
            due.of.slot.clone(),
        );
        if tally.failing().contains(&client) {
            tally.passed_over.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let metrics = &self.vault.shared.metrics;
        match self.refresh(&due).await {
            Ok(false) => {}
            Ok(true) => {
                metrics.kept_alive(None);
                tally.kept.fetch_add(1, Ordering::Relaxed);
            }
            Err(fault) if stopped(fault.code) => {}
            Err(fault) => {
                metrics.kept_alive(Some(fault.code));
                tracing::warn!(connection = %due.of, problem = fault.chain(), "unused connection not refreshed");
                if concerns_all(fault.code) {
                    tally.failing().insert(client);
                }
                tally.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Refreshes one, unless something stands in the way by now. False if there was nothing to do.
    async fn refresh(&self, due: &Due) -> Result<bool, Fault> {
        let now = self.vault.shared.clock.now();
        // In use from here on, so that whoever pauses it meanwhile waits for the refresh.
        let Some(in_use) = self.vault.in_use(&due.of).await? else { return Ok(false) };
        let connection = &in_use.connection;
        let record = self.vault.record(connection).await?;
        let Some(idle) = idle_time(&due.spec) else { return Ok(false) };
        // Somebody may have used or stopped it since; and what was exchanged or made has no refresh token.
        if connection.hold_refresh
            || record.tokens.refresh.is_none()
            || !may_begin(&record.state, now)
            || due_at(&due.of, &record.state, idle) > now
        {
            return Ok(false);
        }
        self.vault.refresh_unused(connection, &due.spec, &record).await?;
        Ok(true)
    }
}

// === impl Tally ===

impl Tally {
    fn failing(&self) -> MutexGuard<'_, HashSet<(Environment, Connector, Slot)>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For how long the provider keeps a token of the slot that nobody uses, where the release says.
fn idle_time(spec: &SlotSpec) -> Option<Duration> {
    let oauth = spec.scheme.oauth().filter(|oauth| oauth.grant != Grant::ClientCredentials)?;
    oauth.refresh_idle.map(|seconds| Duration::from_secs(seconds.into()))
}

/// Whether a refresh may begin by itself.
fn may_begin(state: &State, now: OffsetDateTime) -> bool {
    let dead = matches!(state.phase, Phase::NeedsReauth { .. } | Phase::Uncertain { .. });
    state.refreshable && !dead && state.retry_at.is_none_or(|at| at <= now)
}

/// When its time comes. Of a token whose last use nobody has told, or at a time that is none, at once: it may have been
/// long ago.
fn due_at(of: &ConnectionRef, state: &State, idle: Duration) -> OffsetDateTime {
    let name = Digest::of(of.to_string().as_bytes());
    let [first, second, ..] = name.as_bytes();
    let share = f64::from(u16::from_be_bytes([*first, *second])) / f64::from(u16::MAX);
    let part = idle / PARTS;
    let wait = part * DUE_FROM + (part * (DUE_TO - DUE_FROM)).mul_f64(share);
    let at = state.obtained_at.and_then(|used_at| used_at.checked_add(wait.try_into().ok()?));
    at.unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Whether somebody has stopped or removed the connection meanwhile: then there is nothing to do.
const fn stopped(code: Code) -> bool {
    matches!(code, Code::ConnectionPaused | Code::RefreshHeld | Code::UnknownConnection)
}

/// Whether the next connection of the same client would fail in the same way.
const fn concerns_all(code: Code) -> bool {
    matches!(
        code,
        Code::TokenEndpointFailed
            | Code::OauthClientRefused
            | Code::OauthClientMissing
            | Code::OauthClientUnconfirmed
    )
}
