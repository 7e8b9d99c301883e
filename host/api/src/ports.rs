//! What the API asks of the host beside the services: whether it is ready, and what the store says.
//!
//! Services own every change; these are plain reads that no service decides anything about. The host's
//! `app` implements both.

use async_trait::async_trait;
use keyway_core::Fault;
use keyway_core::ids::{Connector, Environment, Installation, Tenant};
use keyway_core::release::Release;
use keyway_releases::model::{
    AuditEntry, Config, ConfigGeneration, EnvironmentDefault, Generation, InstallationState,
};

/// Whether the host can serve.
#[async_trait]
pub trait Health: Send + Sync {
    /// How well it can; why not, if not.
    async fn ready(&self) -> Result<Readiness, Fault>;
}

/// How well a host can serve that can.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Readiness {
    /// Releases that something routes to, and whose components are lost: they run for as long as their compiled code is
    /// there. None: nobody has looked since the start.
    pub components_lost: Option<usize>,
}

/// What the store says.
#[async_trait]
pub trait Reads: Send + Sync {
    /// Releases of a connector, or all, by connector and version.
    async fn releases(&self, connector: Option<&Connector>) -> Result<Vec<Release>, Fault>;

    /// An installation's newest pin, configuration and connections.
    async fn installation(&self, of: &Installation) -> Result<Option<InstallationState>, Fault>;

    /// Connectors of which the tenant has anything, by name. Of a tenant with very many it may be the first ones only.
    async fn connectors(
        &self,
        environment: &Environment,
        tenant: &Tenant,
    ) -> Result<Vec<Connector>, Fault>;

    /// Everything that an installation ever was pinned to, oldest first.
    async fn history(&self, of: &Installation) -> Result<Vec<Generation>, Fault>;

    /// An installation's configuration at one generation.
    async fn config_at(&self, of: &Installation, generation: u64) -> Result<Option<Config>, Fault>;

    /// What is known of each of an installation's configurations, oldest first.
    async fn config_history(&self, of: &Installation) -> Result<Vec<ConfigGeneration>, Fault>;

    /// What installations of the environment run that have no pin.
    async fn environment_default(
        &self,
        environment: &Environment,
        connector: &Connector,
    ) -> Result<Option<EnvironmentDefault>, Fault>;

    /// At most `limit` entries behind `after_seq`, oldest first.
    async fn audit(&self, after_seq: u64, limit: usize) -> Result<Vec<AuditEntry>, Fault>;

    /// At most `limit` entries below `before_seq`, or of all, newest first.
    async fn newest_audit(
        &self,
        before_seq: Option<u64>,
        limit: usize,
    ) -> Result<Vec<AuditEntry>, Fault>;
}
