//! What the host does by itself while it serves: it begins with the host, and ends with it.

use std::sync::Arc;
use std::time::Duration;

use keyway_core::ports::Routes;
use keyway_vault::Vault;
use keyway_vault::keep_alive::{Config, KeepAlive};
use tokio::task::JoinHandle;

/// What there is to do.
pub(crate) struct Upkeep {
    vault: Vault,
    keep_alive: KeepAlive,
    drain_time: Duration,
}

/// The same, under way.
pub(crate) struct Underway {
    vault: Vault,
    keep_alive: JoinHandle<()>,
    closing: JoinHandle<()>,
    drain_time: Duration,
}

// === impl Upkeep ===

impl Upkeep {
    /// Looks after the connections of `vault`.
    pub(crate) fn new(
        vault: &Vault,
        routes: &Arc<dyn Routes>,
        keep_alive: Config,
        drain_time: Duration,
    ) -> Self {
        let keep_alive = KeepAlive::new(vault.clone(), Arc::clone(routes), keep_alive);
        Self { vault: vault.clone(), keep_alive, drain_time }
    }

    /// Begins.
    pub(crate) fn begin(self) -> Underway {
        let Self { vault, keep_alive, drain_time } = self;
        let closing = tokio::spawn(vault.clone().close_behind());
        Underway { vault, keep_alive: tokio::spawn(keep_alive.run()), closing, drain_time }
    }
}

// === impl Underway ===

impl Underway {
    /// Begins nothing new.
    pub(crate) fn stop(&self) {
        self.keep_alive.abort();
        self.closing.abort();
    }

    /// Waits for refreshes under way, whoever began them: each that is cut off leaves a token that may be spent.
    pub(crate) async fn ended(self) {
        if tokio::time::timeout(self.drain_time, self.vault.landed()).await.is_err() {
            tracing::warn!("refreshes are cut off: their connections will be uncertain");
        }
    }
}
