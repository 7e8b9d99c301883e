//! What a host makes sure of before it serves: that it has every key, and that each is the one it was.
//!
//! It does not start without: a host that lacks a sealing key would fail tenant by tenant, and one that went on with
//! another key would seal what nobody can open later. A single damaged row is said and concerns its owner only.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, stream};
use keyway_core::ids::Actor;

use crate::keys::data::{Kept, SEALING_KEYS, SealingRow};
use crate::keys::{
    CALLS_MAX, Error, Keys, Known, KnownKey, ROUNDS_MAX, SealingKeyId, Shared, contended,
};

impl Keys {
    /// Asks for every sealing key, unwraps every data key, and goes on with an exchange of the sealing key that did
    /// not get to its end. `actor` is who does this if nobody asks: the host itself.
    pub async fn start(&self, actor: &Actor) -> Result<(), Error> {
        let shared = &self.shared;
        let known = shared.ask(shared.service.known()).await?;
        for key in &known.keys {
            shared.recognise(key).await?;
        }
        let kept = shared.readable().await?;
        all_known(&kept, &known)?;
        shared.unwrap_all(&kept).await?;
        self.rewrap(&known.current, actor).await?;
        tracing::info!(
            service = shared.service.kind(),
            sealing_key = %known.current,
            data_keys = kept.len(),
            "keys are there"
        );
        Ok(())
    }
}

impl Shared {
    /// Refuses a key that is another one than was seen under its name; remembers one that was never seen.
    async fn recognise(&self, key: &KnownKey) -> Result<(), Error> {
        for _ in 0..ROUNDS_MAX {
            if let Some(row) = self.sealing_row(&key.id).await? {
                let differs = row.check.is_some() && key.check.is_some() && row.check != key.check;
                return match differs {
                    false => Ok(()),
                    true => Err(Error::SealingKeyDiffers { id: key.id.clone() }),
                };
            }
            let batch = self.store.batch();
            let row = self.sealing_row_of(key);
            let put = batch.put_cell(SEALING_KEYS, key.id.as_str().as_bytes(), None, row);
            match put.commit().await {
                Err(keyway_store::Error::Conflict { .. }) => {}
                done => return Ok(done?),
            }
        }
        Err(contended())
    }

    /// The row of a sealing key that is seen for the first time.
    pub(crate) fn sealing_row_of(&self, key: &KnownKey) -> Vec<u8> {
        let row = SealingRow { check: key.check, since: self.clock.now() };
        serde_json::to_vec(&row).expect("text and a time of this era are JSON")
    }

    /// The data keys whose rows can be read; the others are said.
    pub(crate) async fn readable(&self) -> Result<Vec<Kept>, Error> {
        let kept = self.kept().await?.into_iter().filter_map(|kept| {
            kept.inspect_err(|error| tracing::error!(%error, "data key cannot be read")).ok()
        });
        Ok(kept.collect())
    }

    async fn unwrap_all(&self, kept: &[Kept]) -> Result<(), Error> {
        let calls: Vec<_> = kept.iter().map(|kept| self.unwrap(kept)).collect();
        let mut unwrapped = stream::iter(calls).buffer_unordered(CALLS_MAX);
        while let Some(unwrapped) = unwrapped.next().await {
            match unwrapped {
                Ok(key) => drop(self.cache.keep(key)),
                Err(error @ Error::Damaged { .. }) => {
                    tracing::error!(%error, "data key does not unwrap");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Refuses data keys of sealing keys that the service does not have.
fn all_known(kept: &[Kept], known: &Known) -> Result<(), Error> {
    let mut missing: BTreeMap<SealingKeyId, usize> = BTreeMap::new();
    for kept in kept {
        let id = &kept.wrapped.sealing_key;
        if !known.keys.iter().any(|key| key.id == *id) {
            *missing.entry(id.clone()).or_default() += 1;
        }
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(Error::SealingKeysMissing(missing.into_iter().collect())),
    }
}
