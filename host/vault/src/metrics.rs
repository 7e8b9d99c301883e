//! What the vault counts: refreshes, by what came of them.

use keyway_core::Code;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// What the vault counts. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    refreshes: Family<Outcome, Counter>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

// === impl Metrics ===

impl Metrics {
    /// Puts them on the page.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Refreshes of tokens that ended, by what came of them";
        registry.register("keyway_refreshes", help, self.refreshes.clone());
    }

    /// Counts one; a code says why it came to nothing.
    pub(crate) fn refreshed(&self, failed: Option<Code>) {
        let outcome = failed.map_or("refreshed", Code::as_str);
        self.refreshes.get_or_create(&Outcome { outcome }).inc();
    }
}
