//! What really ran: the last release each installation executed, and how often it failed there.
//!
//! Counted since the host started, in memory: it answers "is the pin what runs?", and is no record.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use keyway_core::ids::Installation;
use keyway_core::ports::{Clock, Ended, Outcomes};
use keyway_core::release::ReleaseRef;
use std::sync::Arc;
use time::OffsetDateTime;

/// Locks that the installations are spread over, so that ended calls seldom meet at one.
const SHARDS: usize = 32;

/// Counts ended calls by installation.
pub struct Executed {
    shards: Vec<Mutex<HashMap<Installation, Execution>>>,
    hasher: RandomState,
    clock: Arc<dyn Clock>,
}

/// The release an installation executed last.
#[derive(Clone, PartialEq, Debug)]
pub struct Execution {
    /// What ran.
    pub release: ReleaseRef,
    /// When the last call ended.
    pub at: OffsetDateTime,
    /// Calls of this release that ended since it last took over.
    pub calls: u64,
    /// Those of them that failed.
    pub failures: u64,
    /// Of the route that the last call took; a late end of an older route undoes nothing.
    order: u64,
}

// === impl Executed ===

impl Executed {
    /// Nothing executed yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, hasher: RandomState::new(), clock }
    }

    /// What the installation executed last.
    pub fn of(&self, installation: &Installation) -> Option<Execution> {
        let shard = self.shard(installation);
        shard.lock().unwrap_or_else(PoisonError::into_inner).get(installation).cloned()
    }

    /// Forgets an installation that is gone.
    pub(crate) fn forget(&self, installation: &Installation) {
        let shard = self.shard(installation);
        shard.lock().unwrap_or_else(PoisonError::into_inner).remove(installation);
    }

    fn shard(&self, installation: &Installation) -> &Mutex<HashMap<Installation, Execution>> {
        // Truncation is fine: only the low bits choose a shard.
        &self.shards[self.hasher.hash_one(installation) as usize % SHARDS]
    }
}

impl Outcomes for Executed {
    fn ended(&self, ended: &Ended) {
        let mut shard =
            self.shard(&ended.installation).lock().unwrap_or_else(PoisonError::into_inner);
        let execution = shard.entry(ended.installation.clone()).or_insert_with(|| Execution {
            release: ended.release.clone(),
            at: OffsetDateTime::UNIX_EPOCH,
            calls: 0,
            failures: 0,
            order: ended.order,
        });
        if ended.order < execution.order {
            return;
        }
        if execution.release.digest != ended.release.digest {
            execution.release = ended.release.clone();
            (execution.calls, execution.failures) = (0, 0);
        }
        execution.order = ended.order;
        execution.at = self.clock.now();
        execution.calls += 1;
        execution.failures += u64::from(ended.fault.is_some());
    }
}
