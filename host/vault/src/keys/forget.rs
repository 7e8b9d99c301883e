//! The end of a tenant's data keys: what they sealed cannot be opened by anybody from then on, wherever a copy of it is.

use keyway_core::ids::{Environment, Tenant};
use keyway_store::Tx;

use super::data::{CURRENT, DATA_KEYS, Kept, Owner};
use super::error::Error;
use super::{Keys, ROUNDS_MAX, contended};
use crate::model::Entry;

/// Data keys that one commit removes.
const KEYS_AT_ONCE: usize = 256;

// === impl Keys ===

impl Keys {
    /// Whether a tenant has a data key.
    pub(crate) async fn known(
        &self,
        environment: &Environment,
        tenant: &Tenant,
    ) -> Result<bool, Error> {
        let owner = owner(environment, tenant);
        Ok(self.shared.pointer(&owner).await?.is_some())
    }

    /// Removes every data key of a tenant, with `entry`. The caller sees to it that nothing sealed with them is needed,
    /// and that nothing is sealed meanwhile that is. How many those were.
    pub(crate) async fn forget(
        &self,
        environment: &Environment,
        tenant: &Tenant,
        entry: &Entry,
    ) -> Result<usize, Error> {
        let (owner, shared) = (owner(environment, tenant), &self.shared);
        // Nobody reads which key is current until it is gone from memory as well.
        let _only = shared.flights.one(&owner).await;
        let mut removed = 0;
        for _ in 0..ROUNDS_MAX {
            let kept: Vec<Kept> = shared.kept().await?.into_iter().flatten().collect();
            let own: Vec<&Kept> = kept.iter().filter(|kept| kept.owner == owner).collect();
            let pointer = shared.store.cell(CURRENT, &owner.cell()).await?;
            if own.is_empty() && pointer.is_none() {
                shared.cache.forget(&owner);
                return Ok(removed);
            }
            let some = &own[..own.len().min(KEYS_AT_ONCE)];
            let of_key = |tx: Tx, kept: &&Kept| tx.remove_cell(DATA_KEYS, &kept.id.0, kept.version);
            let mut tx = some.iter().fold(shared.store.tx(), of_key);
            if let Some(pointer) = pointer {
                tx = tx.remove_cell(CURRENT, &owner.cell(), pointer.version);
            }
            match tx.commit(entry.clone()).await {
                Ok(_) => {
                    shared.cache.forget(&owner);
                    removed += some.len();
                }
                // Wrapped anew in between.
                Err(keyway_store::Error::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(contended())
    }
}

fn owner(environment: &Environment, tenant: &Tenant) -> Owner {
    Owner { environment: environment.clone(), tenant: Some(tenant.clone()) }
}
