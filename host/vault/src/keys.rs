//! The keys of envelope encryption: which there are, which one seals, and how they are exchanged.
//!
//! ```text
//!   sealing key (file, environment, key service)  ── wraps ──>  data key (one a tenant)  ── seals ──>  secret
//! ```
//!
//! Every tenant of an environment has a data key of its own, and each environment one more for what belongs to no
//! tenant. They lie wrapped in the store. Unwrapped they are only in this process's memory, from their first use
//! (or the start) until it ends: a key service that goes away later stops new tenants and nobody else.
//!
//! Exchanging the **sealing key** wraps every data key anew; nothing that is sealed changes. Exchanging a **data key**
//! makes a new one for what is sealed from then on. What was sealed before names the older one, and changes over when it
//! is next written or, if it was set by hand, next used (`reseal`). The older one stays: something may
//! never be used, and a backup may be older than all of it.
//!
//! Sealing itself is in [`seal`](crate::seal). This module decides nothing about what is sealed, and asks
//! a [`KeyService`] for whatever needs a sealing key.

mod cache;
mod data;
mod error;
mod forget;
mod ring;
mod rotation;
mod service;
mod start;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(any(test, feature = "transit"))]
pub mod transit;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keyway_core::ports::Clock;
use keyway_store::{Collision, Store};
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use tokio::sync::RwLock;
use tokio::time::Instant;

use crate::key::SecretKey;
use crate::keys::cache::{Cache, Flights};
use crate::keys::data::{CURRENT, DATA_KEYS, Kept, SEALING_KEYS, SealingRow};

pub use data::{DataKeyId, Owner};
pub use error::Error;
pub use ring::{KeyRing, RingError};
pub use rotation::{Rotated, SealingKeyStatus, Status, Which};
pub use service::{
    InvalidSealingKeyId, KeyService, Known, KnownKey, SealingKeyId, ServiceError, Wrapped,
};

pub(crate) use data::{DataKey, ID_BYTES};

/// How long a service that did not answer is not asked again: callers that wait for each other's turn are refused
/// together instead of one time limit after the other.
const SERVICE_PAUSE: Duration = Duration::from_secs(1);

/// How often a change is worked out anew because others came first. There are as many others as hosts.
const ROUNDS_MAX: usize = 16;

/// Calls to the key service that are under way at once.
const CALLS_MAX: usize = 16;

/// The keys of a host. Cheap to clone.
#[derive(Clone)]
pub struct Keys {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    service: Arc<dyn KeyService>,
    clock: Arc<dyn Clock>,
    cache: Cache,
    flights: Flights,
    /// Until when the service is not asked, and what it last said.
    pause: Mutex<Option<(Instant, ServiceError)>>,
    /// Making a key is reading; exchanging keys is writing: none is wrapped with a sealing key that is just given up.
    turn: RwLock<()>,
}

/// How many data keys a store has.
pub async fn count(store: &Store) -> Result<usize, keyway_store::Error> {
    Ok(store.cells(DATA_KEYS).await?.len())
}

// === impl Keys ===

impl Keys {
    /// Keys kept in `store`, wrapped by `service`. A host calls [`start`](Self::start) before it serves.
    pub fn new(store: Store, service: Arc<dyn KeyService>, clock: Arc<dyn Clock>) -> Self {
        let shared = Shared {
            store,
            service,
            clock,
            cache: Cache::default(),
            flights: Flights::default(),
            pause: Mutex::default(),
            turn: RwLock::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The data key that seals for `owner` now; made if there is none.
    pub(crate) async fn current(&self, owner: &Owner) -> Result<Arc<DataKey>, Error> {
        let shared = &self.shared;
        if let Some(key) = shared.cache.current(owner) {
            return Ok(key);
        }
        let _only = shared.flights.one(owner).await;
        if let Some(key) = shared.cache.current(owner) {
            return Ok(key);
        }
        for _ in 0..ROUNDS_MAX {
            if let Some((version, id)) = shared.pointer(owner).await? {
                let key = shared.load(id).await?;
                if key.owner != *owner {
                    return Err(Error::Pointer { owner: owner.clone() });
                }
                return Ok(shared.cache.point(version, &key));
            }
            match shared.create(owner).await {
                Err(Error::Store(keyway_store::Error::Conflict { .. })) => {}
                created => return created,
            }
        }
        Err(contended())
    }

    /// Which data key seals for `owner` now, where that is in memory.
    pub(crate) fn known_current(&self, owner: &Owner) -> Option<DataKeyId> {
        self.shared.cache.current(owner).map(|key| key.id)
    }

    /// The data key with this id.
    pub(crate) async fn find(&self, id: DataKeyId) -> Result<Arc<DataKey>, Error> {
        let shared = &self.shared;
        if let Some(key) = shared.cache.get(id) {
            return Ok(key);
        }
        let _only = shared.flights.one(&id).await;
        shared.load(id).await
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("service", &self.shared.service).finish_non_exhaustive()
    }
}

// === impl Shared ===

impl Shared {
    /// From memory or from the store.
    async fn load(&self, id: DataKeyId) -> Result<Arc<DataKey>, Error> {
        if let Some(key) = self.cache.get(id) {
            return Ok(key);
        }
        let cell = self.store.cell(DATA_KEYS, &id.0).await?;
        let cell = cell.ok_or(Error::DataKeyMissing { id })?;
        let key = self.unwrap(&Kept::decode(&id.0, cell.version, &cell.value)?).await?;
        Ok(self.cache.keep(key))
    }

    async fn unwrap(&self, kept: &Kept) -> Result<DataKey, Error> {
        let context = data::context(kept.id, &kept.owner);
        match self.ask(self.service.unwrap(&kept.wrapped, &context)).await {
            Ok(secret) => DataKey::checked(kept, secret),
            Err(error @ ServiceError::Authentication) => {
                Err(Error::Damaged { id: kept.id, why: error.to_string() })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A new data key for an owner who has none. Of two who do this, one gets a conflict.
    async fn create(&self, owner: &Owner) -> Result<Arc<DataKey>, Error> {
        let _turn = self.turn.read().await;
        let (key, kept) = self.draw(owner).await?;
        let batch = self.store.batch();
        batch
            .put_cell(DATA_KEYS, &key.id.0, None, kept.encode())
            .put_cell(CURRENT, &owner.cell(), None, key.id.0.to_vec())
            .commit()
            .await?;
        // Not the tenant: names of tenants are in no log line of a call that went well.
        tracing::info!(data_key = %key.id, environment = %owner.environment, "data key made");
        Ok(self.cache.point(1, &self.cache.keep(key)))
    }

    /// A data key that is not in the store yet.
    async fn draw(&self, owner: &Owner) -> Result<(DataKey, Kept), Error> {
        let mut id = DataKeyId([0; ID_BYTES]);
        OsRng.try_fill_bytes(&mut id.0).map_err(|_| Error::Random)?;
        let secret = SecretKey::generate()?;
        let context = data::context(id, owner);
        let wrapped = self.ask(self.service.wrap(&secret, &context)).await?;
        let check = secret.check_value(&id.0);
        let created_at = self.clock.now();
        let kept = Kept { id, version: 0, owner: owner.clone(), wrapped, check, created_at };
        Ok((DataKey { id, owner: owner.clone(), secret }, kept))
    }

    /// Which data key is current for `owner`, with the version of the cell that says so.
    async fn pointer(&self, owner: &Owner) -> Result<Option<(u64, DataKeyId)>, Error> {
        let Some(cell) = self.store.cell(CURRENT, &owner.cell()).await? else { return Ok(None) };
        let id = DataKeyId::from_slice(&cell.value);
        let id = id.ok_or_else(|| Error::Pointer { owner: owner.clone() })?;
        Ok(Some((cell.version, id)))
    }

    /// Every data key; those whose rows cannot be read are errors.
    async fn kept(&self) -> Result<Vec<Result<Kept, Error>>, Error> {
        let cells = self.store.cells(DATA_KEYS).await?;
        let decode = |(key, cell): &(Vec<u8>, keyway_store::Cell)| {
            Kept::decode(key, cell.version, &cell.value)
        };
        Ok(cells.iter().map(decode).collect())
    }

    /// What is known of a sealing key since it was first seen.
    async fn sealing_row(&self, id: &SealingKeyId) -> Result<Option<SealingRow>, Error> {
        let Some(cell) = self.store.cell(SEALING_KEYS, id.as_str().as_bytes()).await? else {
            return Ok(None);
        };
        let row = serde_json::from_slice(&cell.value);
        row.map(Some).map_err(|_| Error::SealingKeyDiffers { id: id.clone() })
    }

    /// Asks the service, unless it did not answer a moment ago.
    async fn ask<T>(
        &self,
        call: impl Future<Output = Result<T, ServiceError>>,
    ) -> Result<T, ServiceError> {
        if let Some(error) = self.paused() {
            return Err(error);
        }
        let answer = call.await;
        if let Err(error @ ServiceError::Unavailable { .. }) = &answer {
            tracing::warn!(error = %error, "key service");
            let mut pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
            *pause = Some((Instant::now() + SERVICE_PAUSE, error.clone()));
        }
        answer
    }

    fn paused(&self) -> Option<ServiceError> {
        let pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        pause.as_ref().filter(|(until, _)| Instant::now() < *until).map(|(_, error)| error.clone())
    }
}

fn contended() -> Error {
    Error::Store(keyway_store::Error::Conflict { what: Collision::Contended })
}
