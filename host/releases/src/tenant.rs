//! The end of a tenant: that it is under way is written down first, and that it is done last, so that it goes on after a
//! host was cut off in between.

use keyway_core::ids::{Actor, Environment, Installation, Tenant};
use keyway_core::{Code, Fault};
use keyway_store::Erased;
use keyway_store::model::{Entry as AuditEntry, Filter};
use serde::{Deserialize, Serialize};

use crate::pins::{Releases, check_reason};

/// The store's name for the cells that say which tenants are coming to their end. On disk.
const ENDING: &str = "releases/ending-tenant";

/// A tenant that is coming to its end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ending {
    /// Where.
    pub environment: Environment,
    /// Whose end it is.
    pub tenant: Tenant,
    /// Who said so.
    pub actor: Actor,
    /// Why.
    pub reason: String,
}

// === impl Ending ===

impl Ending {
    fn key(&self) -> String {
        // Neither name has a slash.
        format!("{}/{}", self.environment, self.tenant)
    }

    /// For the audit.
    pub fn entry(&self, action: &str, after: Option<String>) -> AuditEntry {
        AuditEntry {
            actor: self.actor.clone(),
            action: action.to_owned(),
            object: self.key(),
            reason: Some(self.reason.clone()),
            before: None,
            after,
        }
    }
}

// === impl Releases ===

impl Releases {
    /// The installations that a tenant has.
    pub async fn installations_of(
        &self,
        environment: &Environment,
        tenant: &Tenant,
    ) -> Result<Vec<Installation>, Fault> {
        let filter = Filter {
            environment: Some(environment.clone()),
            tenant: Some(tenant.clone()),
            connector: None,
        };
        let states = self.store().installations(&filter).await?;
        Ok(states.into_iter().map(|state| state.installation).collect())
    }

    /// Writes down that a tenant is coming to its end. Of two who say so, the first stays.
    pub async fn begin_ending(&self, ending: &Ending) -> Result<(), Fault> {
        check_reason(&ending.reason)?;
        let key = ending.key();
        if self.store().cell(ENDING, key.as_bytes()).await?.is_some() {
            return Ok(());
        }
        let value = serde_json::to_vec(ending)
            .map_err(|error| Fault::new(Code::Internal, "an ending is no JSON").caused_by(error))?;
        let tx = self.store().tx().put_cell(ENDING, key.as_bytes(), None, value);
        match tx.commit(ending.entry("tenant.delete", None)).await {
            Ok(_) | Err(keyway_store::Error::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Tenants that are coming to their end.
    pub async fn endings(&self) -> Result<Vec<Ending>, Fault> {
        let unreadable =
            |error| Fault::new(Code::Internal, "an ending is unreadable").caused_by(error);
        let cells = self.store().cells(ENDING).await?.into_iter();
        cells.map(|(_, cell)| serde_json::from_slice(&cell.value).map_err(unreadable)).collect()
    }

    /// Erases a tenant's pins and configurations, whole histories of them. A conflict as long as it has a connection.
    pub async fn erase_tenant(&self, ending: &Ending) -> Result<Erased, Fault> {
        let Ending { environment, tenant, .. } = ending;
        let _changing = self.changing().await;
        let installations = self.installations_of(environment, tenant).await?;
        let entry = ending.entry("tenant.erase", None);
        let erased = self.store().erase_tenant(environment, tenant, &entry).await;
        for installation in &installations {
            self.show_again(installation).await?;
            self.executed().forget(installation);
        }
        Ok(erased?)
    }

    /// Writes down that a tenant has come to its end.
    pub async fn end(&self, ending: &Ending, receipt: String) -> Result<(), Fault> {
        let key = ending.key();
        let Some(cell) = self.store().cell(ENDING, key.as_bytes()).await? else { return Ok(()) };
        let tx = self.store().tx().remove_cell(ENDING, key.as_bytes(), cell.version);
        match tx.commit(ending.entry("tenant.deleted", Some(receipt))).await {
            // Two were at it: the other one has said so.
            Ok(_) | Err(keyway_store::Error::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes bytes that a tenant's end has noted and did not get to.
    pub async fn forget_blobs(&self) -> Result<(), Fault> {
        Ok(self.store().forget_blobs().await?)
    }
}
