//! What the store tells Prometheus. Names, units and meaning are an interface.
//!
//! | name | meaning |
//! | --- | --- |
//! | `keyway_store_commits_total{verdict}` | commits by what became of them: `committed`, `refused` (a guard did not hold; most are tried again), `failed` |
//! | `keyway_store_commit_duration_seconds` | from handing a commit to the backend to its answer, durable |
//! | `keyway_store_group_commits` | commits that shared one fsync |
//! | `keyway_store_healthy` | 1 while commits are being taken |

use std::fmt::Write as _;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric, LabelValueEncoder,
};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::backend::Verdict;
use crate::error::Error;
use crate::store::Store;

/// The store's figures. Clones share.
#[derive(Clone, Debug)]
pub struct Metrics {
    commits: Family<Labels, Counter>,
    duration: Histogram,
    group: Histogram,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Labels {
    verdict: Label,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Label {
    Committed,
    Refused,
    Failed,
}

/// Asks the store how it is whenever somebody looks.
#[derive(Debug)]
struct Health(Store);

/// Upper bounds in seconds: from memory to a disk in trouble.
const DURATION_BUCKETS: [f64; 10] =
    [0.000_1, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.05, 0.2, 1.0, 5.0];

/// Upper bounds in commits, up to the largest group.
const GROUP_BUCKETS: [f64; 7] = [1.0, 2.0, 4.0, 16.0, 64.0, 128.0, 256.0];

// === impl Metrics ===

impl Default for Metrics {
    fn default() -> Self {
        Self {
            commits: Family::default(),
            duration: Histogram::new(DURATION_BUCKETS),
            group: Histogram::new(GROUP_BUCKETS),
        }
    }
}

impl Metrics {
    pub(crate) fn commit(&self, verdict: &Result<Verdict, Error>, elapsed: Duration) {
        let verdict = match verdict {
            Ok(Verdict::Committed { .. }) => Label::Committed,
            Ok(Verdict::Refused) => Label::Refused,
            Err(_) => Label::Failed,
        };
        self.commits.get_or_create(&Labels { verdict }).inc();
        self.duration.observe(elapsed.as_secs_f64());
    }

    pub(crate) fn group(&self, commits: usize) {
        self.group.observe(commits as f64);
    }
}

// === impl Store ===

impl Store {
    /// Adds the store's figures to a registry.
    pub fn register(&self, registry: &mut Registry) {
        let Metrics { commits, duration, group } = self.metrics().clone();
        let registry = registry.sub_registry_with_prefix("keyway_store");
        registry.register("commits", "Commits by what became of them", commits);
        let help = "From handing a commit to the backend to its answer";
        registry.register_with_unit("commit_duration", help, Unit::Seconds, duration);
        registry.register("group_commits", "Commits that shared one fsync", group);
        registry.register_collector(Box::new(Health(self.clone())));
    }
}

// === impl Label ===

impl EncodeLabelValue for Label {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        encoder.write_str(match self {
            Self::Committed => "committed",
            Self::Refused => "refused",
            Self::Failed => "failed",
        })
    }
}

// === impl Health ===

impl Collector for Health {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let gauge = ConstGauge::new(i64::from(self.0.healthy().is_ok()));
        let help = "Whether commits are being taken";
        let metric = encoder.encode_descriptor("healthy", help, None, gauge.metric_type())?;
        gauge.encode(metric)
    }
}
