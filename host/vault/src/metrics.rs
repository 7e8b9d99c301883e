//! What the vault counts: refreshes, by what came of them, connections that nobody uses, and by how much the host's
//! clock is off.

use std::sync::atomic::AtomicI64;

use keyway_core::Code;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::standing::Stand;

/// What the vault counts. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    refreshes: Family<Outcome, Counter>,
    kept_alive: Family<Outcome, Counter>,
    overdue: Gauge<i64, AtomicI64>,
    clock_ahead: Gauge<i64, AtomicI64>,
    connections: Family<Standing, Gauge>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Standing {
    phase: &'static str,
}

// === impl Metrics ===

impl Metrics {
    /// Puts them on the page.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Refreshes of tokens that ended, by what came of them";
        registry.register("keyway_refreshes", help, self.refreshes.clone());
        let help =
            "Refreshes of tokens that nobody uses, by what came of them; counted as refreshes too";
        registry.register("keyway_keep_alive_refreshes", help, self.kept_alive.clone());
        let help = "Connections that nobody uses, whose refresh was due at the last look and did not come about";
        registry.register("keyway_keep_alive_overdue", help, self.overdue.clone());
        let help = "By how much the host's clock is ahead of the provider's that was last asked for tokens";
        registry.register("keyway_clock_ahead_seconds", help, self.clock_ahead.clone());
        let help = "Connections that have tokens, by where they stand";
        registry.register("keyway_connections", help, self.connections.clone());
    }

    /// Counts one; a code says why it came to nothing.
    pub(crate) fn refreshed(&self, failed: Option<Code>) {
        let outcome = failed.map_or("refreshed", Code::as_str);
        self.refreshes.get_or_create(&Outcome { outcome }).inc();
    }

    /// Counts a connection where it stands now, and no longer where it stood.
    pub(crate) fn stands(&self, before: Option<Stand>, now: Option<Stand>) {
        let gauge = |stand: Stand| {
            self.connections.get_or_create_owned(&Standing { phase: stand.as_str() })
        };
        if let Some(before) = before {
            gauge(before).dec();
        }
        if let Some(now) = now {
            gauge(now).inc();
        }
    }

    /// Counts one that nobody had asked for.
    pub(crate) fn kept_alive(&self, failed: Option<Code>) {
        let outcome = failed.map_or("refreshed", Code::as_str);
        self.kept_alive.get_or_create(&Outcome { outcome }).inc();
    }

    /// Shows how many a look has left as they were.
    pub(crate) fn overdue(&self, count: usize) {
        self.overdue.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Notes what the newest answer says of our clock.
    pub(crate) fn clock_ahead(&self, by: time::Duration) {
        self.clock_ahead.set(by.whole_seconds());
    }
}
