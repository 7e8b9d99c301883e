//! What a store holds for its guest: the port to the outside, and what is left of the guest's limits.
//!
//! One for each call, so everything that a call does not always need is made when first asked for.

use std::sync::Arc;
use std::time::Duration;

use keyway_core::ports::Outside;
use wasmtime::ResourceLimiter;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::limits::Limits;
use crate::loaded::Live;
use crate::log::GuestLog;
use crate::room::Held;

/// What a store holds for its guest.
pub(crate) struct State {
    pub(crate) outside: Arc<dyn Outside>,
    pub(crate) limits: Arc<Limits>,
    /// What the guest has of memories and tables.
    pub(crate) memory: Memory,
    /// Random bytes that it may still have.
    pub(crate) random_bytes_left: u64,
    /// Whether any request of the guest's can have reached a provider. Once it has ended, this is all
    /// that says whether the operation may be tried again.
    pub(crate) request_sent: bool,
    /// The latest time it was told, in milliseconds: a monotonic clock does not go back.
    latest: u64,
    /// Set while `describe` runs at admission: then the contract's imports end the call.
    sealed: bool,
    log: Option<Arc<GuestLog>>,
    table: ResourceTable,
    wasi: Option<Box<WasiCtx>>,
    _live: Option<Live>,
}

/// The guest's memories and tables, against their limits.
pub(crate) struct Memory {
    bytes: usize,
    /// Whether growth was ever refused. A guest that then aborts did so for want of memory.
    pub(crate) refused: bool,
    /// In words, where the latest refusal was for what other calls hold.
    pub(crate) full: Option<String>,
    held: Option<Held>,
    limits: Arc<Limits>,
}

/// A guest called an import of the contract where it may not.
#[derive(Debug, thiserror::Error)]
#[error("called `{0}`")]
pub(crate) struct ImportReached(pub(crate) &'static str);

/// A guest asked for more random bytes than a call may have.
#[derive(Debug, thiserror::Error)]
#[error("asked for more than {0} random bytes")]
pub(crate) struct RandomSpent(u64);

// === impl State ===

impl State {
    /// For a call, whose memory counts as its tenant's.
    pub(crate) fn new(
        limits: Arc<Limits>,
        outside: Arc<dyn Outside>,
        live: Live,
        held: Option<Held>,
    ) -> Self {
        let mut state = Self { _live: Some(live), ..Self::bare(limits, outside) };
        state.memory.held = held;
        state
    }

    /// For `describe` at admission.
    pub(crate) fn sealed(limits: Arc<Limits>, outside: Arc<dyn Outside>) -> Self {
        Self { sealed: true, ..Self::bare(limits, outside) }
    }

    fn bare(limits: Arc<Limits>, outside: Arc<dyn Outside>) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.call.handles_max);
        Self {
            outside,
            memory: Memory::new(Arc::clone(&limits)),
            random_bytes_left: limits.call.random_bytes_max,
            request_sent: false,
            latest: 0,
            sealed: false,
            log: None,
            table,
            wasi: None,
            _live: None,
            limits,
        }
    }

    /// Time on a processor that the guest may use.
    pub(crate) fn cpu_time_max(&self) -> Duration {
        if self.sealed {
            self.limits.admission.describe_time_max
        } else {
            self.limits.call.cpu_time_max
        }
    }

    /// Passes where the contract's imports may be called; else the error ends the guest.
    pub(crate) fn reach(&self, import: &'static str) -> Result<(), ImportReached> {
        if self.sealed { Err(ImportReached(import)) } else { Ok(()) }
    }

    /// Milliseconds since 1970, never less than before.
    pub(crate) fn now(&mut self) -> u64 {
        self.latest = self.latest.max(self.outside.now());
        self.latest
    }

    /// So many random bytes, if the guest may still have them.
    pub(crate) fn random(&mut self, length: u64) -> Result<Vec<u8>, RandomSpent> {
        let spent = RandomSpent(self.limits.call.random_bytes_max);
        let left = self.random_bytes_left.checked_sub(length).ok_or(spent)?;
        self.random_bytes_left = left;
        let mut bytes = vec![0; usize::try_from(length).expect("no more than were left")];
        self.outside.random(&mut bytes);
        Ok(bytes)
    }

    pub(crate) fn random_u64(&mut self) -> Result<u64, RandomSpent> {
        let bytes = self.random(8)?;
        Ok(u64::from_le_bytes(*bytes.first_chunk().expect("asked for eight")))
    }

    pub(crate) fn log(&mut self) -> &Arc<GuestLog> {
        self.log.get_or_insert_with(|| {
            Arc::new(GuestLog::new(Arc::clone(&self.outside), self.limits.log.clone()))
        })
    }

    /// Its log, if it has written to one.
    pub(crate) fn written_log(&self) -> Option<Arc<GuestLog>> {
        self.log.clone()
    }

    pub(crate) const fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        // The builder's defaults are what we want: no arguments, environment, directories or input.
        let wasi = self.wasi.get_or_insert_with(|| Box::new(WasiCtx::builder().build()));
        WasiCtxView { ctx: wasi, table: &mut self.table }
    }
}

// === impl Memory ===

impl Memory {
    const fn new(limits: Arc<Limits>) -> Self {
        Self { bytes: 0, refused: false, full: None, held: None, limits }
    }

    /// Takes what is missing to so many bytes from what all calls may hold.
    fn hold(&mut self, bytes: usize) -> bool {
        let Some(held) = &mut self.held else { return true };
        self.full = held.grow(bytes).err().map(|full| held.told(full));
        self.full.is_none()
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let bytes = self.bytes.saturating_sub(current).saturating_add(desired);
        let allowed = bytes <= self.limits.call.memory_bytes_max && self.hold(bytes);
        if allowed {
            self.bytes = bytes;
        } else {
            self.refused = true;
        }
        Ok(allowed)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let allowed = desired <= self.limits.call.table_elements_max;
        self.refused |= !allowed;
        Ok(allowed)
    }

    fn instances(&self) -> usize {
        self.limits.call.core_instances_max as usize
    }

    fn tables(&self) -> usize {
        self.limits.call.tables_max as usize
    }

    fn memories(&self) -> usize {
        self.limits.call.memories_max as usize
    }
}
