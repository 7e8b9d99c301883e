//! Hearing of changes: what changed, and a wake-up to look sooner.
//!
//! The truth is [`Store::changes`], read again and again: every change of the control plane has a
//! number and says what it touched. A [`Watch`] only ends a wait early. A wake-up that gets lost, as one
//! from another process may, costs the rest of the wait and nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use keyway_core::Digest;
use keyway_core::ids::{Connector, Environment, Installation};
use tokio::sync::watch;

use crate::error::Error;
use crate::model::Watermark;
use crate::row::Touched;
use crate::store::Store;

/// What changed behind a watermark.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Changes {
    /// How far this reaches: what to ask for next.
    pub watermark: Watermark,
    /// Whether there is more behind it.
    pub more: bool,
    /// A change was too large to say what it touched: look at everything.
    pub everything: bool,
    /// Installations with another pin, configuration or connection.
    pub installations: BTreeSet<Installation>,
    /// Environments with another default for a connector.
    pub environment_defaults: BTreeSet<(Environment, Connector)>,
    /// Releases that were published.
    pub releases: BTreeSet<Digest>,
    /// Whether tokens were added or removed.
    pub tokens: bool,
}

/// Waits for changes. Each has its own; one that was made before a change hears of it.
pub struct Watch {
    seen: watch::Receiver<u64>,
}

/// Changes read in one step: bounds what a watcher far behind takes at once.
const PAGE_CHANGES: usize = 1_000;

// === impl Store ===

impl Store {
    /// What changed behind `after`, up to a page of it.
    pub async fn changes(&self, after: Watermark) -> Result<Changes, Error> {
        let rows = self.audit_rows(after, PAGE_CHANGES).await?;
        let watermark = rows.last().map_or(after, |(seq, _)| *seq);
        let more = rows.len() == PAGE_CHANGES;
        let mut changes = Changes { watermark, more, ..Changes::default() };
        for (_, row) in rows {
            match row.touched {
                Some(touched) => touched.into_iter().for_each(|one| changes.add(one)),
                None => changes.everything = true,
            }
        }
        Ok(changes)
    }

    /// A way to wait for changes instead of asking all the time.
    pub fn watch(&self) -> Watch {
        Watch { seen: self.0.wake.subscribe() }
    }

    /// Tells the watchers of this process.
    pub(crate) fn wake(&self, seq: u64) {
        self.0.wake.send_if_modified(|newest| {
            let newer = seq > *newest;
            *newest = seq.max(*newest);
            newer
        });
    }
}

// === impl Changes ===

impl Changes {
    fn add(&mut self, touched: Touched) {
        match touched {
            Touched::Installation(installation) => {
                self.installations.insert(installation);
            }
            Touched::EnvironmentDefault(environment, connector) => {
                self.environment_defaults.insert((environment, connector));
            }
            Touched::Release(digest) => {
                self.releases.insert(digest);
            }
            Touched::Tokens => self.tokens = true,
        }
    }
}

// === impl Watch ===

impl Watch {
    /// Returns when something changed since the last time, or after `wait_max` in any case: then look.
    pub async fn changed(&mut self, wait_max: Duration) {
        let woken = async {
            if self.seen.changed().await.is_err() {
                // The store is gone, and nothing will ever change again.
                std::future::pending::<()>().await;
            }
        };
        // Either way, it is time to look.
        drop(tokio::time::timeout(wait_max, woken).await);
    }
}
