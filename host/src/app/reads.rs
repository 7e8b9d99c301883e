//! The store, as the API reads it.

use async_trait::async_trait;
use keyway_api::{Health, Readiness, Reads};
use keyway_core::Fault;
use keyway_core::ids::{Connector, Environment, Installation, Tenant};
use keyway_core::release::Release;
use keyway_releases::Releases;
use keyway_store::Store;
use keyway_store::model::{
    AuditEntry, Config, ConfigGeneration, EnvironmentDefault, Generation, InstallationState,
};

/// Answers reads from the store.
pub(crate) struct StoreReads(pub(crate) Store);

/// Ready means: the store takes changes, and what is routed is loaded.
pub(crate) struct HostHealth {
    pub(crate) store: Store,
    pub(crate) releases: Releases,
}

#[async_trait]
impl Health for HostHealth {
    async fn ready(&self) -> Result<Readiness, Fault> {
        self.store.healthy()?;
        self.releases.routes().started()?;
        let checked = self.releases.checked();
        Ok(Readiness { components_lost: checked.map(|checked| checked.lost.len()) })
    }
}

#[async_trait]
impl Reads for StoreReads {
    async fn releases(&self, connector: Option<&Connector>) -> Result<Vec<Release>, Fault> {
        Ok(self.0.releases(connector).await?)
    }

    async fn installation(&self, of: &Installation) -> Result<Option<InstallationState>, Fault> {
        Ok(self.0.installation(of).await?)
    }

    async fn connectors(
        &self,
        environment: &Environment,
        tenant: &Tenant,
    ) -> Result<Vec<Connector>, Fault> {
        Ok(self.0.connectors(environment, tenant).await?)
    }

    async fn history(&self, of: &Installation) -> Result<Vec<Generation>, Fault> {
        Ok(self.0.history(of).await?)
    }

    async fn config_at(&self, of: &Installation, generation: u64) -> Result<Option<Config>, Fault> {
        Ok(self.0.config_at(of, generation).await?)
    }

    async fn config_history(&self, of: &Installation) -> Result<Vec<ConfigGeneration>, Fault> {
        Ok(self.0.config_history(of).await?)
    }

    async fn environment_default(
        &self,
        environment: &Environment,
        connector: &Connector,
    ) -> Result<Option<EnvironmentDefault>, Fault> {
        Ok(self.0.environment_default(environment, connector).await?)
    }

    async fn audit(&self, after_seq: u64, limit: usize) -> Result<Vec<AuditEntry>, Fault> {
        Ok(self.0.audit(after_seq, limit).await?)
    }

    async fn newest_audit(
        &self,
        before_seq: Option<u64>,
        limit: usize,
    ) -> Result<Vec<AuditEntry>, Fault> {
        Ok(self.0.newest_audit(before_seq, limit).await?)
    }
}
