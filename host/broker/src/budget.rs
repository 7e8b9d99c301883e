//! Permits: how many exchanges one call and one tenant may have under way.
//!
//! Who finds none free waits for as long as the exchange may last. A tenant that asks for more than its
//! share queues behind itself, never behind another. A key in use keeps the number it began with when the
//! policy changes, until nobody uses it.

use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::HashMap;
use keyway_core::exchange::Origin;
use keyway_core::ids::{CallId, Environment, Tenant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Limits;

/// All permits of a broker.
#[derive(Default)]
pub(crate) struct Budget {
    calls: Arc<Keyed<CallId>>,
    tenants: Arc<Keyed<(Environment, Tenant)>>,
}

/// The right to have one exchange under way; given back on drop.
pub(crate) struct Permit {
    _call: Option<Held<CallId>>,
    _tenant: Held<(Environment, Tenant)>,
}

/// A semaphore for each key that somebody uses now.
struct Keyed<K> {
    live: Mutex<HashMap<K, Entry>>,
}

struct Entry {
    permits: Arc<Semaphore>,
    /// Holders and waiters. At none the entry goes.
    users: usize,
}

/// Membership of a key, then a permit of it.
struct Held<K: Eq + Hash> {
    keyed: Arc<Keyed<K>>,
    key: K,
    permit: Option<OwnedSemaphorePermit>,
}

// === impl Budget ===

impl Budget {
    /// Waits for a permit of the call, then of the tenant. Always in this order, so nobody holds what
    /// another needs while waiting for what the other holds.
    pub(crate) async fn acquire(&self, origin: &Origin, limits: &Limits) -> Permit {
        let call = Keyed::acquire(&self.calls, origin.call, limits.in_flight_per_call_max).await;
        Permit { _call: Some(call), ..self.acquire_alone(origin, limits).await }
    }

    /// Waits for a permit of the tenant, for a call that is one exchange.
    pub(crate) async fn acquire_alone(&self, origin: &Origin, limits: &Limits) -> Permit {
        let tenant = (origin.installation.environment.clone(), origin.installation.tenant.clone());
        let tenant = Keyed::acquire(&self.tenants, tenant, limits.in_flight_per_tenant_max).await;
        Permit { _call: None, _tenant: tenant }
    }
}

// === impl Keyed ===

impl<K: Clone + Eq + Hash> Keyed<K> {
    async fn acquire(self: &Arc<Self>, key: K, max: usize) -> Held<K> {
        let permits = {
            let mut live = self.lock();
            let entry = live.entry(key.clone()).or_insert_with(|| Entry {
                permits: Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS))),
                users: 0,
            });
            entry.users += 1;
            Arc::clone(&entry.permits)
        };
        // Counted from here on, so a waiter that goes away is not forgotten.
        let mut held = Held { keyed: Arc::clone(self), key, permit: None };
        held.permit = Some(permits.acquire_owned().await.expect("nothing closes these semaphores"));
        held
    }
}

impl<K> Keyed<K> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, Entry>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> Default for Keyed<K> {
    fn default() -> Self {
        Self { live: Mutex::default() }
    }
}

// === impl Held ===

impl<K: Eq + Hash> Drop for Held<K> {
    fn drop(&mut self) {
        self.permit = None;
        let mut live = self.keyed.lock();
        if let Some(entry) = live.get_mut(&self.key) {
            entry.users -= 1;
            if entry.users == 0 {
                live.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_key_has_its_number_of_permits_and_leaves_nothing_behind() {
        let keyed = Arc::new(Keyed::default());
        let first = Keyed::acquire(&keyed, 1, 2).await;
        let second = Keyed::acquire(&keyed, 1, 2).await;
        let other = Keyed::acquire(&keyed, 2, 2).await;
        let wait = |keyed| async move {
            tokio::time::timeout(Duration::from_secs(1), Keyed::acquire(keyed, 1, 2)).await
        };
        assert!(wait(&keyed).await.is_err());
        drop(first);
        let third = wait(&keyed).await.unwrap();
        drop((second, third, other));
        assert!(keyed.lock().is_empty());
    }
}
