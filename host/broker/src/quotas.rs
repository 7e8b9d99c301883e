//! What the broker tells of the rate limits that it keeps to. [`crate::pace`] knows them; nothing is decided here.

use keyway_core::ids::Environment;
use keyway_core::ports::Quotas;
use keyway_core::quota::{Quota, Standing};
use tokio::time::Instant;

use crate::broker::Broker;

impl Quotas for Broker {
    fn quotas(&self, environment: &Environment) -> Vec<(Quota, Standing)> {
        let mut known = self.0.paces.all(Instant::now());
        known.retain(|(quota, _)| quota.installation.environment == *environment);
        known.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        known
    }
}
