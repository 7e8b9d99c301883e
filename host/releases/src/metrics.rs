//! What the releases tell Prometheus. Names and meaning are an interface.
//!
//! | name | meaning |
//! | --- | --- |
//! | `keyway_releases_routed` | releases that something routes to, at the newest look at their components |
//! | `keyway_releases_components_lost` | of these, those whose component is missing or damaged: the log names them |

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::pins::Releases;

/// Asks what the newest look found whenever somebody scrapes.
#[derive(Debug)]
struct Care(Releases);

impl Releases {
    /// Names the figures in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("keyway_releases");
        registry.register_collector(Box::new(Care(self.clone())));
    }
}

impl Collector for Care {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let checked = self.0.checked().unwrap_or_default();
        for (name, help, count) in [
            ("routed", "Releases that something routes to", checked.routed),
            (
                "components_lost",
                "Releases whose component is missing or damaged",
                checked.lost.len(),
            ),
        ] {
            let gauge = ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}
