//! What a log tells Prometheus. Names and meaning are an interface.
//!
//! | name, after `keyway_exchanges` or `keyway_call_log` | meaning |
//! | --- | --- |
//! | `_recorded_total` | exchanges, or calls, written to the log |
//! | `_dropped_total{why}` | those not written: `waiting` and `waiting_bytes` (the writer did not keep up), `too_large`, `disk` (writing failed), `short` (no descriptor or memory free) |
//! | `_damaged_total` | stretches of the log that a reader found damaged and skipped |
//! | `_bytes` | bytes of all segments |
//! | `_segments` | segments |

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The log's figures. Clones share.
#[derive(Clone, Debug)]
pub struct Metrics {
    prefix: &'static str,
    recorded: Counter<u64, AtomicU64>,
    dropped: Family<Labels, Counter>,
    damaged: Counter<u64, AtomicU64>,
    bytes: Gauge<u64, AtomicU64>,
    segments: Gauge<u64, AtomicU64>,
}

/// Why something is not in the log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Dropped {
    /// Too many wait.
    Waiting,
    /// Too many bytes wait.
    WaitingBytes,
    /// It is larger than one may be, or cannot be written down at all.
    TooLarge,
    /// Writing failed.
    Disk,
    /// The machine had no descriptor or memory for it.
    Short,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Labels {
    why: Dropped,
}

// === impl Metrics ===

impl Metrics {
    pub(crate) fn new(prefix: &'static str) -> Self {
        Self {
            prefix,
            recorded: Counter::default(),
            dropped: Family::default(),
            damaged: Counter::default(),
            bytes: Gauge::default(),
            segments: Gauge::default(),
        }
    }

    /// Names the figures in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let Self { prefix, recorded, dropped, damaged, bytes, segments } = self.clone();
        let registry = registry.sub_registry_with_prefix(prefix);
        registry.register("recorded", "Entries written to the log", recorded);
        registry.register("dropped", "Entries not written to the log, by why", dropped);
        registry.register("damaged", "Stretches of the log found damaged and skipped", damaged);
        registry.register("bytes", "Bytes of all segments of the log", bytes);
        registry.register("segments", "Segments of the log", segments);
    }

    /// What was written so far.
    pub fn recorded(&self) -> u64 {
        self.recorded.get()
    }

    /// What was dropped so far, for whatever reason.
    pub fn dropped(&self) -> u64 {
        let whys = [
            Dropped::Waiting,
            Dropped::WaitingBytes,
            Dropped::TooLarge,
            Dropped::Disk,
            Dropped::Short,
        ];
        whys.into_iter().map(|why| self.dropped_for(why)).sum()
    }

    /// Damaged stretches found so far.
    pub fn damaged(&self) -> u64 {
        self.damaged.get()
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Segments.
    pub fn segments(&self) -> u64 {
        self.segments.get()
    }

    pub(crate) fn dropped_for(&self, why: Dropped) -> u64 {
        self.dropped.get_or_create(&Labels { why }).get()
    }

    pub(crate) fn count_recorded(&self, entries: u64) {
        self.recorded.inc_by(entries);
    }

    pub(crate) fn count_dropped(&self, why: Dropped, entries: u64) {
        self.dropped.get_or_create(&Labels { why }).inc_by(entries);
    }

    pub(crate) fn count_damaged(&self, stretches: u64) {
        self.damaged.inc_by(stretches);
    }

    pub(crate) fn show_size(&self, segments: usize, bytes: u64) {
        self.segments.set(segments as u64);
        self.bytes.set(bytes);
    }
}

// === impl Dropped ===

impl EncodeLabelValue for Dropped {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        use std::fmt::Write as _;
        encoder.write_str(match self {
            Self::Waiting => "waiting",
            Self::WaitingBytes => "waiting_bytes",
            Self::TooLarge => "too_large",
            Self::Disk => "disk",
            Self::Short => "short",
        })
    }
}
