//! From a published release to something callable, once for each digest.
//!
//! Callers that want the same release at the same time wait for one load. What is loaded is held
//! weakly: when the last route and the last call let go of a release, its code goes. Where compiled
//! code comes from is [`crate::cache`]'s and [`crate::admission`]'s business.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use keyway_core::release::ReleaseRef;
use keyway_core::{Digest, Fault};

use crate::cache::Code;
use crate::loaded::Loaded;
use crate::state::State;
use crate::wit::Adapter;

/// Releases that are loaded, or are being loaded.
#[derive(Default)]
pub(crate) struct Releases {
    slots: Mutex<HashMap<Digest, Arc<Slot>>>,
}

/// The place of one digest.
#[derive(Default)]
struct Slot {
    loaded: Mutex<Weak<Loaded>>,
    /// Held by whoever loads it.
    flight: tokio::sync::Mutex<()>,
}

// === impl Releases ===

impl Releases {
    /// Hands out the release of this digest, or has it loaded. A load that is dropped half-way leaves
    /// its turn to the next in line.
    pub(crate) async fn get_or_load<F>(&self, digest: Digest, load: F) -> Result<Arc<Loaded>, Fault>
    where
        F: Future<Output = Result<Loaded, Fault>>,
    {
        let slot = self.slot(digest);
        if let Some(loaded) = slot.get() {
            return Ok(loaded);
        }
        let _turn = slot.flight.lock().await;
        if let Some(loaded) = slot.get() {
            return Ok(loaded);
        }
        let loaded = Arc::new(load.await?);
        *unpoisoned(&slot.loaded) = Arc::downgrade(&loaded);
        tracing::info!(release = %loaded.release, %digest, "release is loaded");
        Ok(loaded)
    }

    /// Every loaded release, and how many stores of it are alive.
    pub(crate) fn loaded(&self) -> Vec<(ReleaseRef, u64)> {
        let slots: Vec<_> = unpoisoned(&self.slots).values().cloned().collect();
        let loaded = slots.iter().filter_map(|slot| slot.get());
        loaded.map(|loaded| (loaded.release.clone(), loaded.live())).collect()
    }

    /// Stores of this digest that are alive.
    pub(crate) fn live(&self, digest: &Digest) -> u64 {
        let slot = unpoisoned(&self.slots).get(digest).cloned();
        slot.and_then(|slot| slot.get()).map_or(0, |loaded| loaded.live())
    }

    fn slot(&self, digest: Digest) -> Arc<Slot> {
        let mut slots = unpoisoned(&self.slots);
        // Slots of releases that went, and that nobody is loading, go too.
        slots.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.get().is_some());
        Arc::clone(slots.entry(digest).or_default())
    }
}

// === impl Slot ===

impl Slot {
    fn get(&self) -> Option<Arc<Loaded>> {
        unpoisoned(&self.loaded).upgrade()
    }
}

/// These maps are whole whatever panicked while they were held: each change is one assignment.
fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Maps compiled code into memory and links it. Blocks for as long as copying it takes.
pub(crate) fn link(
    engine: &wasmtime::Engine,
    linker: &wasmtime::component::Linker<State>,
    code: &Code,
) -> wasmtime::Result<Adapter> {
    #[expect(unsafe_code, reason = "the only way to load compiled code")]
    // SAFETY: a `Code` is either what our own compiler process has just answered, or a file whose
    // message authentication code was right for this component and this engine.
    let component = unsafe { wasmtime::component::Component::deserialize(engine, code.bytes()) }?;
    // Now rather than in the first call.
    component.initialize_copy_on_write_image()?;
    Adapter::new(crate::runtime::link(linker, &component)?)
}
