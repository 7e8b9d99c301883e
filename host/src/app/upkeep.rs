//! What the host does by itself while it serves: it begins with the host, and ends with it.

use std::sync::Arc;
use std::time::Duration;

use keyway_core::ports::Routes;
use keyway_releases::Releases;
use keyway_vault::Vault;
use keyway_vault::keep_alive::{Config, KeepAlive};
use tokio::task::JoinHandle;

/// What there is to do.
pub(crate) struct Upkeep {
    vault: Vault,
    keep_alive: KeepAlive,
    drain_time: Duration,
    check_interval: Duration,
}

/// The same, under way.
pub(crate) struct Underway {
    vault: Vault,
    keep_alive: JoinHandle<()>,
    closing: JoinHandle<()>,
    /// Once there is something to care for.
    care: Option<JoinHandle<()>>,
    drain_time: Duration,
    check_interval: Duration,
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
        Self { vault: vault.clone(), keep_alive, drain_time, check_interval: Duration::MAX }
    }

    /// Looks at the components of what is routed this often.
    pub(crate) fn checking(self, check_interval: Duration) -> Self {
        Self { check_interval, ..self }
    }

    /// Begins.
    pub(crate) fn begin(self) -> Underway {
        let Self { vault, keep_alive, drain_time, check_interval } = self;
        let closing = tokio::spawn(vault.clone().close_behind());
        let keep_alive = tokio::spawn(keep_alive.run());
        Underway { vault, keep_alive, closing, care: None, drain_time, check_interval }
    }
}

// === impl Underway ===

impl Underway {
    /// Looks after the components of what is routed, now and once in a while.
    pub(crate) fn care_for(&mut self, releases: Releases) {
        let interval = self.check_interval;
        self.care = Some(tokio::spawn(async move {
            loop {
                if let Err(fault) = releases.check().await {
                    tracing::warn!(error = fault.chain(), "components not looked at");
                }
                tokio::time::sleep(interval).await;
            }
        }));
    }

    /// Begins nothing new.
    pub(crate) fn stop(&self) {
        self.keep_alive.abort();
        self.closing.abort();
        if let Some(care) = &self.care {
            care.abort();
        }
    }

    /// Waits for refreshes under way, whoever began them: each that is cut off leaves a token that may be spent.
    pub(crate) async fn ended(self) {
        if tokio::time::timeout(self.drain_time, self.vault.landed()).await.is_err() {
            tracing::warn!("refreshes are cut off: their connections will be uncertain");
        }
    }
}
