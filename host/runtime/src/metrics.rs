//! What this crate counts, and under which names: all begin with `keyway_runtime_`.
//!
//! Figures of loaded releases are read from the releases themselves at each scrape, so that a label
//! goes when its release goes and none is ever left behind.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric as _, LabelValueEncoder,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::loader::Releases;
use crate::room::Room;

/// Digits of a digest in a label: enough to find the release, short enough to read.
const DIGEST_DIGITS: usize = 12;

/// What this crate counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) cache: Family<CacheLabels, Counter>,
    pub(crate) admissions: Family<AdmissionLabels, Counter>,
    loaded: Arc<Loaded>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(crate) struct CacheLabels {
    pub(crate) result: CacheResult,
}

/// What a look into the cache of compiled code found.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum CacheResult {
    Hit,
    Miss,
    Forged,
    Stale,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(crate) struct AdmissionLabels {
    /// `admitted`, or the code of the refusal.
    pub(crate) result: &'static str,
}

/// Reads the loaded releases.
struct Loaded {
    releases: Arc<Releases>,
    engine: wasmtime::EngineWeak,
    room: Room,
}

// === impl Metrics ===

impl Metrics {
    pub(crate) fn new(releases: Arc<Releases>, engine: &wasmtime::Engine, room: Room) -> Self {
        let loaded = Arc::new(Loaded { releases, engine: engine.weak(), room });
        Self { cache: Family::default(), admissions: Family::default(), loaded }
    }

    /// Names every metric in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("keyway_runtime");
        registry.register(
            "cache",
            "Looks into the cache of compiled code, by what was found",
            self.cache.clone(),
        );
        registry.register(
            "admissions",
            "Components checked, by `admitted` or the code of the refusal",
            self.admissions.clone(),
        );
        registry.register_collector(Box::new(Arc::clone(&self.loaded)));
    }

    pub(crate) fn cache(&self, result: CacheResult) {
        self.cache.get_or_create(&CacheLabels { result }).inc();
    }

    pub(crate) fn admission(&self, result: &'static str) {
        self.admissions.get_or_create(&AdmissionLabels { result }).inc();
    }
}

impl EncodeLabelValue for CacheResult {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        EncodeLabelValue::encode(
            &match self {
                Self::Hit => "hit",
                Self::Miss => "miss",
                Self::Forged => "forged",
                Self::Stale => "stale",
            },
            encoder,
        )
    }
}

// === impl Loaded ===

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Loaded")
    }
}

impl Collector for Loaded {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let loaded = self.releases.loaded();
        let count = ConstGauge::new(i64::try_from(loaded.len()).unwrap_or(i64::MAX));
        count.encode(encoder.encode_descriptor(
            "loaded_releases",
            "Releases whose code is in memory",
            None,
            MetricType::Gauge,
        )?)?;
        let mut live = encoder.encode_descriptor(
            "live_stores",
            "Instances of a release that are alive",
            None,
            MetricType::Gauge,
        )?;
        for (release, stores) in loaded {
            let digest = &release.digest.hex()[..DIGEST_DIGITS];
            let labels = [("connector", release.to_string()), ("digest", digest.to_owned())];
            let stores = ConstGauge::new(i64::try_from(stores).unwrap_or(i64::MAX));
            stores.encode(live.encode_family(&labels)?)?;
        }
        let held = ConstGauge::new(i64::try_from(self.room.bytes()).unwrap_or(i64::MAX));
        held.encode(encoder.encode_descriptor(
            "guest_memory_bytes",
            "Linear memory that calls hold, beyond the first 2 MiB of each",
            None,
            MetricType::Gauge,
        )?)?;
        let pool = self.engine.upgrade().and_then(|engine| engine.pooling_allocator_metrics());
        let resident = pool.map_or(0, |pool| pool.unused_memory_bytes_resident());
        let resident = ConstGauge::new(i64::try_from(resident).unwrap_or(i64::MAX));
        resident.encode(encoder.encode_descriptor(
            "pool_idle_resident_bytes",
            "Memory that free slots of the pool keep resident",
            None,
            MetricType::Gauge,
        )?)
    }
}
