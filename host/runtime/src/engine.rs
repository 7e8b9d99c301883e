//! The one wasmtime engine of a process: its configuration and where instances get their memory.
//!
//! One engine, because compiled code, linkers and stores of two engines must never meet. What it
//! compiles does not depend on where instances live, so the pool and its fallback share one cache.

use std::hash::{Hash as _, Hasher};
use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use crate::limits::Limits;

/// Bytes that host functions get of a call's stack, beyond the guest's own. Overflowing it would abort
/// the process; the deepest host function, a request through the broker, is boxed and uses 20 KiB.
const HOST_STACK_BYTES: usize = 3 << 19;

/// Bytes of bookkeeping of one component or core instance. Interpreters need more than wasmtime's 1 MiB.
const INSTANCE_BYTES_MAX: usize = 10 << 20;

/// Bytes of a table that a warm slot keeps resident: a Rust connector's whole table.
const TABLE_RESIDENT_BYTES: usize = 64 << 10;

/// Frames in a trap's backtrace: enough to find the line, few enough for a log.
const BACKTRACE_FRAMES_MAX: NonZeroUsize = NonZeroUsize::new(20).expect("20 is not 0");

/// Where instances get their memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Allocation {
    /// From a pool, or on demand where the address space has no room for one.
    #[default]
    Auto,
    /// From a pool reserved at the start; fails where that cannot be had.
    Pooling,
    /// From the system, call by call: three times slower, and needs no reservation.
    OnDemand,
}

/// An engine, and how it came to be.
pub(crate) struct Engine {
    pub(crate) engine: wasmtime::Engine,
    /// What was really chosen: never `Auto`.
    pub(crate) allocation: Allocation,
    /// What code must have been compiled for, to run here.
    pub(crate) compatibility: Compatibility,
}

/// Hash over wasmtime's version, the processor's features and every setting that shapes code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Compatibility(pub(crate) [u8; 32]);

// === impl Engine ===

impl Engine {
    pub(crate) fn new(limits: &Limits, allocation: Allocation) -> wasmtime::Result<Self> {
        let (engine, allocation) = match allocation {
            Allocation::OnDemand => (on_demand(limits)?, Allocation::OnDemand),
            Allocation::Pooling => (pooling(limits)?, Allocation::Pooling),
            Allocation::Auto => match pooling(limits) {
                Ok(engine) => (engine, Allocation::Pooling),
                Err(error) => {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "no address space for a pool of instances, allocating on demand"
                    );
                    (on_demand(limits)?, Allocation::OnDemand)
                }
            },
        };
        tracing::info!(?allocation, instances_max = limits.pool.instances_max, "engine is ready");
        let compatibility = Compatibility::of(&engine);
        Ok(Self { engine, allocation, compatibility })
    }
}

fn on_demand(limits: &Limits) -> wasmtime::Result<wasmtime::Engine> {
    let mut config = common(limits);
    config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    wasmtime::Engine::new(&config)
}

fn pooling(limits: &Limits) -> wasmtime::Result<wasmtime::Engine> {
    let mut config = common(limits);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(limits)));
    wasmtime::Engine::new(&config)
}

/// Settings that shape code or behaviour, the same wherever instances live.
fn common(limits: &Limits) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .memory_init_cow(true)
        .cranelift_opt_level(OptLevel::Speed)
        // Only what toolchains for components emit; threads and garbage collection are not even built
        // in. Relaxed SIMD answers differently by processor, so a recording would not replay.
        .wasm_memory64(false)
        .wasm_relaxed_simd(false)
        // The contract is sync-typed; leaving the machinery of async components out saves a third of
        // a call.
        .concurrency_support(false)
        .max_wasm_stack(limits.call.stack_bytes_max)
        .async_stack_size(limits.call.stack_bytes_max + HOST_STACK_BYTES)
        .wasm_backtrace_max_frames(Some(BACKTRACE_FRAMES_MAX));
    config
}

fn pool(limits: &Limits) -> PoolingAllocationConfig {
    let (call, pool) = (&limits.call, &limits.pool);
    // One more than there are permits, so that the pool itself never says no.
    let instances = pool.instances_max.saturating_add(1);
    let of_all = |each: u32| instances.saturating_mul(each);
    let scan = PoolingAllocationConfig::is_pagemap_scan_available();
    let resident = if scan { pool.resident_bytes_max } else { pool.resident_blind_bytes_max };
    let mut config = PoolingAllocationConfig::new();
    config
        .total_component_instances(instances)
        .total_stacks(instances)
        .total_core_instances(of_all(call.core_instances_max))
        .total_memories(of_all(call.memories_max))
        .total_tables(of_all(call.tables_max))
        .max_core_instances_per_component(call.core_instances_max)
        .max_memories_per_component(call.memories_max)
        .max_tables_per_component(call.tables_max)
        .max_memories_per_module(call.memories_max)
        .max_tables_per_module(call.tables_max)
        .max_memory_size(call.memory_bytes_max)
        .table_elements(call.table_elements_max)
        .max_component_instance_size(INSTANCE_BYTES_MAX)
        .max_core_instance_size(INSTANCE_BYTES_MAX)
        .max_unused_warm_slots(pool.warm_slots_max)
        .pagemap_scan(if scan { Enabled::Yes } else { Enabled::No })
        .linear_memory_keep_resident(resident)
        .table_keep_resident(TABLE_RESIDENT_BYTES);
    config
}

// === impl Compatibility ===

impl Compatibility {
    fn of(engine: &wasmtime::Engine) -> Self {
        let mut hasher = Sha256Hasher(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Self(hasher.0.finalize().into())
    }

    pub(crate) fn hex(&self) -> String {
        hex::encode(self.0)
    }
}

/// `std`'s own hasher may change between releases of Rust, and 64 bits are few.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest = self.0.clone().finalize();
        u64::from_le_bytes(*digest.first_chunk().expect("a digest has 32 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_does_not_depend_on_where_instances_live() {
        let limits = Limits::default();
        let pool = Engine::new(&limits, Allocation::Pooling).unwrap();
        let demand = Engine::new(&limits, Allocation::OnDemand).unwrap();
        assert_eq!(pool.allocation, Allocation::Pooling);
        assert_eq!(demand.allocation, Allocation::OnDemand);
        assert_eq!(pool.compatibility, demand.compatibility);
    }

    #[test]
    fn falls_back_where_the_address_space_is_too_small() {
        let mut limits = Limits::default();
        // 400 TiB of reservations; x86-64 has 128.
        limits.pool.instances_max = 50_000;
        assert!(Engine::new(&limits, Allocation::Pooling).is_err());
        let engine = Engine::new(&limits, Allocation::Auto).unwrap();
        assert_eq!(engine.allocation, Allocation::OnDemand);
    }
}
