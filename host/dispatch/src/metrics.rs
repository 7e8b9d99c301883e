//! What dispatch counts, in Prometheus form.
//!
//! | name | labels | meaning |
//! | --- | --- | --- |
//! | `keyway_calls_total` | `connector`, `version`, `verb`, `whose` | calls that reached a guest and ended; `whose` is `none` for a success |
//! | `keyway_call_seconds` | `verb` | from route to end |
//! | `keyway_calls_running` | | calls in a guest now, and proxied requests until their last byte is through |
//!
//! Tenants are no label: ten thousand of them would make each series worthless. The log has them.

use std::fmt;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use keyway_core::Fault;
use keyway_core::release::ReleaseRef;
use prometheus_client::encoding::{EncodeLabel as _, EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper bounds in seconds: from a call without HTTP to a provider's slowest page.
const SECONDS: [f64; 12] =
    [0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0];

/// What dispatch counts.
#[derive(Clone)]
pub struct Metrics {
    calls: Family<CallLabels, Counter>,
    seconds: Family<VerbLabels, Histogram, fn() -> Histogram>,
    running: Gauge<i64, AtomicI64>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct CallLabels {
    #[prometheus(flatten)]
    release: Ran,
    verb: &'static str,
    whose: &'static str,
}

/// The release, as `connector` and `version`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Ran(ReleaseRef);

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct VerbLabels {
    verb: &'static str,
}

/// Counts one call as running until it is dropped.
pub(crate) struct Running(Gauge<i64, AtomicI64>);

// === impl Metrics ===

impl Default for Metrics {
    fn default() -> Self {
        Self {
            calls: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            running: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Names the metrics in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let calls = self.calls.clone();
        registry.register("keyway_calls", "Calls that reached a guest and ended", calls);
        let seconds = self.seconds.clone();
        registry.register("keyway_call_seconds", "Time from route to end of a call", seconds);
        registry.register(
            "keyway_calls_running",
            "Calls in a guest or through the proxy now",
            self.running.clone(),
        );
    }

    pub(crate) fn running(&self) -> Running {
        self.running.inc();
        Running(self.running.clone())
    }

    pub(crate) fn ended(
        &self,
        verb: &'static str,
        release: &ReleaseRef,
        elapsed: Duration,
        fault: Option<&Fault>,
    ) {
        let labels = CallLabels {
            release: Ran(release.clone()),
            verb,
            whose: fault.map_or("none", |fault| fault.whose().as_str()),
        };
        self.calls.get_or_create(&labels).inc();
        self.seconds.get_or_create(&VerbLabels { verb }).observe(elapsed.as_secs_f64());
    }
}

// === impl Running ===

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}

// === impl Ran ===

impl EncodeLabelSet for Ran {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        ("connector", self.0.connector.as_str()).encode(encoder.encode_label())?;
        ("version", self.0.version_str()).encode(encoder.encode_label())
    }
}
