//! Unwrapped data keys in memory, and turns at making or unwrapping one.
//!
//! Nothing is dropped before the process ends but what belongs to a tenant that is: whoever has a data key needs it again with
//! the next call, and the service that unwrapped it may be gone by then. There are as many as the store has rows for, some 200 bytes each.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Arc, PoisonError, RwLock};

use foldhash::HashMap;
use tokio::sync::{Mutex, MutexGuard};

use crate::keys::data::{DataKey, DataKeyId, Owner};

/// Turns that can be taken at once. More callers than that for different keys wait for each other now and then.
const TURNS: usize = 64;

/// Unwrapped data keys.
#[derive(Default)]
pub(crate) struct Cache(RwLock<Known>);

#[derive(Default)]
struct Known {
    keys: HashMap<DataKeyId, Arc<DataKey>>,
    /// With the version of the cell that said so: an answer that was read before another one does not replace it.
    current: HashMap<Owner, (u64, Arc<DataKey>)>,
}

/// One at a time for each key, so that a thousand callers ask the service once.
pub(crate) struct Flights {
    turns: [Mutex<()>; TURNS],
    hasher: RandomState,
}

// === impl Cache ===

impl Cache {
    pub(crate) fn get(&self, id: DataKeyId) -> Option<Arc<DataKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).keys.get(&id).cloned()
    }

    pub(crate) fn current(&self, owner: &Owner) -> Option<Arc<DataKey>> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.current.get(owner).map(|(_, key)| Arc::clone(key))
    }

    /// Keeps a key; the first of two with one id stays.
    pub(crate) fn keep(&self, key: DataKey) -> Arc<DataKey> {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.keys.entry(key.id).or_insert_with(|| Arc::new(key)))
    }

    /// Takes `key` for its owner's current one, unless a later version of the cell said another. What is current.
    pub(crate) fn point(&self, version: u64, key: &Arc<DataKey>) -> Arc<DataKey> {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let said = known.current.entry(key.owner.clone());
        let said = said.or_insert_with(|| (version, Arc::clone(key)));
        if said.0 < version {
            *said = (version, Arc::clone(key));
        }
        Arc::clone(&said.1)
    }
}

// === impl Cache, at the end of a tenant ===

impl Cache {
    /// Drops every key of an owner.
    pub(crate) fn forget(&self, owner: &Owner) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.current.remove(owner);
        known.keys.retain(|_, key| key.owner != *owner);
    }
}

// === impl Flights ===

impl Flights {
    /// Waits for the turn at `of`.
    pub(crate) async fn one(&self, of: &impl Hash) -> MutexGuard<'_, ()> {
        let turn = self.hasher.hash_one(of) % TURNS as u64;
        self.turns[turn as usize].lock().await
    }
}

impl Default for Flights {
    fn default() -> Self {
        Self { turns: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SecretKey;

    fn key(byte: u8) -> DataKey {
        let owner = Owner { environment: "dev".parse().unwrap(), tenant: None };
        let secret = SecretKey::from_bytes(&[byte; 32]).unwrap();
        DataKey { id: DataKeyId([byte; 8]), owner, secret }
    }

    /// One caller reads which key is current, another exchanges it, and then the first one gets to say it.
    #[test]
    fn an_older_answer_does_not_replace_a_newer_one() {
        let cache = Cache::default();
        let (old, new) = (cache.keep(key(1)), cache.keep(key(2)));
        assert_eq!(cache.point(2, &new).id, new.id);
        assert_eq!(cache.point(1, &old).id, new.id);
        assert_eq!(cache.current(&new.owner).unwrap().id, new.id);
        assert_eq!(cache.get(old.id).unwrap().id, old.id, "it still opens");
    }
}
