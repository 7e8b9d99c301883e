//! The end of a tenant, in the order in which it may be cut off: connections with their tokens, while a release still says
//! where those are revoked; then pins and configurations; then connect sessions and data keys.
//!
//! Each step is done by the service that owns it, finds what is left, and leaves nothing that the one before would have to
//! know of. So doing all of it again is how it is finished.

use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use keyway_core::ids::ConnectionRef;
use keyway_core::release::Release;
use keyway_core::{Code, Fault};
use keyway_releases::tenant::Ending;
use keyway_vault::disconnect::REVOKED;

use crate::api::{Api, Host};
use crate::contract::installation::{NotRevoked, TenantDeleted};

/// Connections that are removed at once. More would look like an attack to the provider.
const AT_ONCE: usize = 8;

/// Connections whose tokens were not revoked that a receipt lists. The audit has them all.
const LISTED_MAX: usize = 100;

/// How often all of it is done anew, because somebody made a connection meanwhile.
const ROUNDS_MAX: usize = 4;

// === impl Api ===

impl Api {
    /// Finishes what was cut off when the host ended: for its start. One that cannot be finished is said, and keeps no
    /// other from it.
    pub async fn finish_endings(&self) -> Result<(), Fault> {
        self.host.releases.forget_blobs().await?;
        for ending in self.host.releases.endings().await? {
            let Ending { environment, tenant, .. } = &ending;
            match end(&self.host, &ending).await {
                Ok(_) => tracing::info!(%environment, "deletion of a tenant finished"),
                Err(fault) => {
                    let problem = fault.chain();
                    tracing::error!(%environment, %tenant, problem, "deletion of a tenant not finished; say it again");
                }
            }
        }
        Ok(())
    }
}

/// Ends a tenant. Where there is nothing of it, nothing is done and said.
pub(crate) async fn delete(host: &Host, ending: Ending) -> Result<TenantDeleted, Fault> {
    let Ending { environment, tenant, .. } = &ending;
    let known = !host.releases.installations_of(environment, tenant).await?.is_empty()
        || host.vault.knows_tenant(&host.keys, environment, tenant).await?
        || host
            .releases
            .endings()
            .await?
            .iter()
            .any(|other| other.environment == *environment && other.tenant == *tenant);
    if !known {
        return Ok(receipt(&ending));
    }
    host.releases.begin_ending(&ending).await?;
    end(host, &ending).await
}

async fn end(host: &Host, ending: &Ending) -> Result<TenantDeleted, Fault> {
    let mut receipt = receipt(ending);
    let mut round = 1;
    while let Err(fault) = end_once(host, ending, &mut receipt).await {
        if fault.code != Code::Conflict || round == ROUNDS_MAX {
            return Err(fault);
        }
        round += 1;
    }
    let text = format!(
        "{} installations, {} pins, {} configurations, {} connections ({} revoked), {} sessions, {} data keys",
        receipt.installations,
        receipt.pins,
        receipt.configs,
        receipt.connections,
        receipt.revoked,
        receipt.sessions,
        receipt.data_keys,
    );
    host.releases.end(ending, text).await?;
    Ok(receipt)
}

async fn end_once(host: &Host, ending: &Ending, receipt: &mut TenantDeleted) -> Result<(), Fault> {
    let Ending { environment, tenant, .. } = ending;
    let installations = host.releases.installations_of(environment, tenant).await?;
    for installation in &installations {
        // Without a release there is nobody to say where tokens are revoked; they go all the same.
        let release = host.releases.declared(installation).await.ok().map(Arc::new);
        let connections = host.vault.connections(installation).await?.into_iter();
        let remove = |of| disconnect(host, ending, release.clone(), of);
        let removals =
            stream::iter(connections.map(|info| info.connection.reference()).map(remove));
        let removed: Vec<_> = removals.buffer_unordered(AT_ONCE).try_collect().await?;
        removed.into_iter().flatten().for_each(|gone| gone.count(receipt));
    }
    let erased = host.releases.erase_tenant(ending).await?;
    receipt.installations += installations.len();
    receipt.pins += erased.pins;
    receipt.configs += erased.configs;
    let entry = ending.entry("tenant.forget", None);
    let forgotten = host.vault.forget_tenant(&host.keys, environment, tenant, &entry).await?;
    receipt.sessions += forgotten.sessions;
    receipt.data_keys += forgotten.data_keys;
    Ok(())
}

/// A connection that is gone, and what came of revoking its tokens.
struct Gone {
    of: ConnectionRef,
    revoked: Option<String>,
}

async fn disconnect(
    host: &Host,
    ending: &Ending,
    release: Option<Arc<Release>>,
    of: ConnectionRef,
) -> Result<Option<Gone>, Fault> {
    let spec = release.as_ref().and_then(|release| release.descriptor.slots.get(&of.slot));
    let disconnected = host.vault.disconnect(&of, spec, &ending.actor).await?;
    Ok(disconnected.map(|gone| Gone { of, revoked: gone.revoked }))
}

// === impl Gone ===

impl Gone {
    fn count(self, receipt: &mut TenantDeleted) {
        let Self { of, revoked } = self;
        receipt.connections += 1;
        match revoked {
            None => {}
            Some(text) if text == REVOKED => receipt.revoked += 1,
            Some(why) => {
                receipt.not_revoked += 1;
                if receipt.to_revoke.len() < LISTED_MAX {
                    receipt.to_revoke.push(NotRevoked {
                        connector: of.installation.connector.to_string(),
                        slot: of.slot.to_string(),
                        user: of.user.map(|user| user.to_string()),
                        why,
                    });
                }
            }
        }
    }
}

fn receipt(ending: &Ending) -> TenantDeleted {
    TenantDeleted {
        environment: ending.environment.to_string(),
        tenant: ending.tenant.to_string(),
        installations: 0,
        pins: 0,
        configs: 0,
        connections: 0,
        revoked: 0,
        not_revoked: 0,
        to_revoke: Vec::new(),
        sessions: 0,
        data_keys: 0,
    }
}
