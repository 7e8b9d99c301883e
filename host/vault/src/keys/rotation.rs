//! Exchanging keys while the host runs, and what can be said of them.
//!
//! Both exchanges go row by row and may be cut off anywhere: each data key is wrapped with the older sealing key or
//! with the newer, and the host has both. A start goes on where the last one ended. Every commit has its audit entry.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use keyway_core::ids::{Actor, Environment, Tenant};
use keyway_store::Entry;
use time::OffsetDateTime;

use crate::keys::data::{self, CURRENT, DATA_KEYS, DataKey, Kept, Owner, SEALING_KEYS};
use crate::keys::{
    CALLS_MAX, Error, Keys, ROUNDS_MAX, SealingKeyId, ServiceError, Shared, contended,
};

/// Data keys that one commit is about. Two rows each, with the audit entry well below what a commit may write.
const CHUNK: usize = 64;

/// Whose data keys are exchanged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Which {
    /// Everybody's.
    All,
    /// Of an environment: its own, and those of its tenants.
    Environment(Environment),
    /// Of one tenant.
    Tenant(Environment, Tenant),
}

/// What an exchange came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rotated {
    /// The sealing key that is current now.
    pub sealing_key: SealingKeyId,
    /// Data keys that were wrapped anew, or made.
    pub data_keys: usize,
}

/// What can be said of the keys.
#[derive(Clone, Debug)]
pub struct Status {
    /// Where the sealing keys are, in a word.
    pub service: &'static str,
    /// Why the service does not help now, if it does not.
    pub problem: Option<String>,
    /// Every sealing key that there is or that a data key names, by name.
    pub sealing_keys: Vec<SealingKeyStatus>,
    /// Data keys in all.
    pub data_keys: usize,
    /// Those that seal now; the others only open what was sealed before.
    pub data_keys_current: usize,
}

/// What can be said of a sealing key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SealingKeyStatus {
    /// Its name.
    pub id: SealingKeyId,
    /// Whether data keys are wrapped with it now.
    pub current: bool,
    /// Whether the service has it; none while the service does not say.
    pub present: Option<bool>,
    /// How many data keys are wrapped with it.
    pub data_keys: usize,
    /// When this host first saw it.
    pub since: Option<OffsetDateTime>,
}

// === impl Keys ===

impl Keys {
    /// Has the service make a new sealing key and wraps every data key with it.
    pub async fn rotate_sealing_key(&self, actor: &Actor) -> Result<Rotated, Error> {
        let shared = &self.shared;
        let id = shared.ask(shared.service.rotate()).await?;
        shared.introduce(&id, actor).await?;
        let data_keys = self.rewrap(&id, actor).await?;
        tracing::info!(sealing_key = %id, data_keys, "sealing key exchanged");
        Ok(Rotated { sealing_key: id, data_keys })
    }

    /// Makes new data keys for what is sealed from now on. Owners who never had one get theirs when they need it.
    pub async fn rotate_data_keys(&self, which: &Which, actor: &Actor) -> Result<Rotated, Error> {
        let shared = &self.shared;
        let _turn = shared.turn.write().await;
        let sealing_key = shared.ask(shared.service.known()).await?.current;
        let mut done = HashSet::new();
        for _ in 0..ROUNDS_MAX {
            let pointers: Vec<_> = shared.pointers().await?;
            let left: Vec<_> = pointers
                .into_iter()
                .filter(|(owner, _)| which.covers(owner) && !done.contains(owner))
                .collect();
            match shared.replace_all(&left, which, actor, &mut done).await {
                Err(Error::Store(keyway_store::Error::Conflict { .. })) => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    tracing::info!(%which, data_keys = done.len(), "data keys exchanged");
                    return Ok(Rotated { sealing_key, data_keys: done.len() });
                }
            }
        }
        Err(contended())
    }

    /// What can be said of the keys, also while the service does not answer.
    pub async fn status(&self) -> Result<Status, Error> {
        let shared = &self.shared;
        let kept = shared.readable().await?;
        let known = shared.ask(shared.service.known()).await;
        let mut keys: BTreeMap<SealingKeyId, SealingKeyStatus> = BTreeMap::new();
        let mut at = |id: &SealingKeyId, change: &dyn Fn(&mut SealingKeyStatus)| {
            let id = id.clone();
            change(keys.entry(id.clone()).or_insert(SealingKeyStatus {
                id,
                current: false,
                present: known.is_ok().then_some(false),
                data_keys: 0,
                since: None,
            }));
        };
        for kept in &kept {
            at(&kept.wrapped.sealing_key, &|key| key.data_keys += 1);
        }
        for key in known.iter().flat_map(|known| &known.keys) {
            at(&key.id, &|key| key.present = Some(true));
        }
        if let Ok(known) = &known {
            at(&known.current, &|key| key.current = true);
        }
        let mut sealing_keys: Vec<_> = keys.into_values().collect();
        for key in &mut sealing_keys {
            key.since = shared.sealing_row(&key.id).await?.map(|row| row.since);
        }
        Ok(Status {
            service: shared.service.kind(),
            problem: known.err().map(|error| error.to_string()),
            sealing_keys,
            data_keys: kept.len(),
            data_keys_current: shared.store.cells(CURRENT).await?.len(),
        })
    }

    /// Wraps with `to`, the current sealing key, whatever is wrapped with another. How many data keys that were.
    pub(crate) async fn rewrap(&self, to: &SealingKeyId, actor: &Actor) -> Result<usize, Error> {
        let shared = &self.shared;
        let _turn = shared.turn.write().await;
        let mut done = 0;
        for _ in 0..ROUNDS_MAX {
            let kept = shared.readable().await?.into_iter();
            let stale: Vec<Kept> = kept.filter(|kept| kept.wrapped.sealing_key != *to).collect();
            match shared.rewrap_all(stale, actor, &mut done).await {
                Err(Error::Store(keyway_store::Error::Conflict { .. })) => {}
                Err(error) => return Err(error),
                Ok(()) => return Ok(done),
            }
        }
        Err(contended())
    }
}

// === impl Shared ===

impl Shared {
    /// Writes down a sealing key that was just made, with its check value, before anything is wrapped with it.
    async fn introduce(&self, id: &SealingKeyId, actor: &Actor) -> Result<(), Error> {
        let known = self.ask(self.service.known()).await?;
        let key = known.keys.iter().find(|key| key.id == *id);
        let key = key.ok_or_else(|| ServiceError::Unknown { id: id.clone() })?;
        let row = self.sealing_row_of(key);
        let tx = self.store.tx().put_cell(SEALING_KEYS, id.as_str().as_bytes(), None, row);
        tx.commit(entry("keys.rotate", format!("sealing key {id}"), None, actor)).await?;
        Ok(())
    }

    async fn rewrap_all(
        &self,
        stale: Vec<Kept>,
        actor: &Actor,
        done: &mut usize,
    ) -> Result<(), Error> {
        for chunk in stale.chunks(CHUNK) {
            let rewrapped = all(chunk.iter().map(|kept| self.rewrapped(kept)).collect()).await?;
            let mut tx = self.store.tx();
            let (mut to, mut count) = (None, 0);
            for kept in rewrapped.into_iter().flatten() {
                tx = tx.put_cell(DATA_KEYS, &kept.id.0, Some(kept.version), kept.encode());
                to = Some(kept.wrapped.sealing_key);
                count += 1;
            }
            let Some(to) = to else { continue };
            let after = Some(format!("wraps {count} data keys anew"));
            tx.commit(entry("keys.rewrap", format!("sealing key {to}"), after, actor)).await?;
            *done += count;
        }
        Ok(())
    }

    /// The same data key under the current sealing key; none if its row is damaged, which is said.
    async fn rewrapped(&self, kept: &Kept) -> Result<Option<Kept>, Error> {
        let context = data::context(kept.id, &kept.owner);
        match self.ask(self.service.rewrap(&kept.wrapped, &context)).await {
            Ok(wrapped) => Ok(Some(Kept { wrapped, ..kept.clone() })),
            Err(error @ ServiceError::Authentication) => {
                tracing::error!(data_key = %kept.id, owner = %kept.owner, %error, "data key stays as it is");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Who has a current data key, with the version of the cell that says which.
    async fn pointers(&self) -> Result<Vec<(Owner, u64)>, Error> {
        let cells = self.store.cells(CURRENT).await?;
        // Whatever the cell says: somebody whose data key was damaged gets a good one this way.
        let owner = |(key, cell): (Vec<u8>, keyway_store::Cell)| {
            Some((Owner::from_cell(&key)?, cell.version))
        };
        Ok(cells.into_iter().filter_map(owner).collect())
    }

    /// Makes a new data key for each owner, current from then on.
    async fn replace_all(
        &self,
        pointers: &[(Owner, u64)],
        which: &Which,
        actor: &Actor,
        done: &mut HashSet<Owner>,
    ) -> Result<(), Error> {
        for chunk in pointers.chunks(CHUNK) {
            let drawn = all(chunk.iter().map(|(owner, _)| self.draw(owner)).collect()).await?;
            let mut tx = self.store.tx();
            for ((owner, version), (key, kept)) in chunk.iter().zip(&drawn) {
                tx = tx.put_cell(DATA_KEYS, &key.id.0, None, kept.encode()).put_cell(
                    CURRENT,
                    &owner.cell(),
                    Some(*version),
                    key.id.0.to_vec(),
                );
            }
            let after = Some(format!("{} data keys made", drawn.len()));
            tx.commit(entry("keys.rotate", format!("data keys of {which}"), after, actor)).await?;
            for ((owner, version), (key, _)) in chunk.iter().zip(drawn) {
                let key: Arc<DataKey> = self.cache.keep(key);
                self.cache.point(version + 1, &key);
                done.insert(owner.clone());
            }
        }
        Ok(())
    }
}

/// Runs calls, some of them at once. What they gave, in their order.
async fn all<T>(calls: Vec<impl Future<Output = Result<T, Error>>>) -> Result<Vec<T>, Error> {
    stream::iter(calls).buffered(CALLS_MAX).try_collect().await
}

fn entry(action: &str, object: String, after: Option<String>, actor: &Actor) -> Entry {
    Entry {
        actor: actor.clone(),
        action: action.to_owned(),
        object,
        reason: None,
        before: None,
        after,
    }
}

// === impl Which ===

impl Which {
    fn covers(&self, owner: &Owner) -> bool {
        match self {
            Self::All => true,
            Self::Environment(environment) => owner.environment == *environment,
            Self::Tenant(environment, tenant) => {
                owner.environment == *environment && owner.tenant.as_ref() == Some(tenant)
            }
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("everybody"),
            Self::Environment(environment) => write!(f, "{environment}"),
            Self::Tenant(environment, tenant) => write!(f, "{environment}/{tenant}"),
        }
    }
}
