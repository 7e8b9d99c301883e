//! The end of a tenant: what the vault still has of it once its connections are gone. Its data keys go last.

use keyway_core::ids::{Environment, Tenant};
use keyway_core::{Code, Fault};
use keyway_store::model::{Entry, Filter};

use crate::connections::Vault;
use crate::keys::Keys;

/// What the vault has forgotten of a tenant.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Forgotten {
    /// Connect sessions.
    pub sessions: usize,
    /// Data keys.
    pub data_keys: usize,
}

// === impl Vault ===

impl Vault {
    /// Whether the vault has anything of a tenant beside connections.
    pub async fn knows_tenant(
        &self,
        keys: &Keys,
        environment: &Environment,
        tenant: &Tenant,
    ) -> Result<bool, Fault> {
        let known = keys.known(environment, tenant).await.map_err(unread)?;
        Ok(known || !self.sessions_of(environment, tenant).await?.is_empty())
    }

    /// Removes a tenant's connect sessions, and then its data keys with `entry`. A conflict as long as it has a
    /// connection: nobody could open its secret any more.
    pub async fn forget_tenant(
        &self,
        keys: &Keys,
        environment: &Environment,
        tenant: &Tenant,
        entry: &Entry,
    ) -> Result<Forgotten, Fault> {
        // Whatever makes a connection seals it under this.
        let _changing = self.shared.changing.lock().await;
        let sessions = self.end_sessions(environment, tenant).await?;
        let filter = Filter {
            environment: Some(environment.clone()),
            tenant: Some(tenant.clone()),
            connector: None,
        };
        for state in self.shared.store.installations(&filter).await? {
            let users = self.shared.store.user_connections(&state.installation).await?;
            if !(state.connections.is_empty() && users.is_empty()) {
                let detail = format!("{} was connected meanwhile", state.installation);
                return Err(Fault::new(Code::Conflict, detail));
            }
        }
        let data_keys = keys.forget(environment, tenant, entry).await.map_err(unread)?;
        Ok(Forgotten { sessions, data_keys })
    }
}

fn unread(error: crate::keys::Error) -> Fault {
    Fault::new(Code::Internal, "data keys of a tenant not removed").caused_by(error)
}
