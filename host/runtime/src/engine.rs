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
        let scan = PoolingAllocationConfig::is_pagemap_scan_available();
        let (engine, allocation) = match allocation {
            Allocation::OnDemand => (on_demand(limits)?, Allocation::OnDemand),
            Allocation::Pooling => (pooling(limits, scan)?, Allocation::Pooling),
            Allocation::Auto => match pooling(limits, scan) {
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
        let instances_max = limits.pool.instances_max;
        tracing::info!(?allocation, pagemap_scan = scan, instances_max, "engine is ready");
        let compatibility = Compatibility::of(&engine);
        Ok(Self { engine, allocation, compatibility })
    }
}

fn on_demand(limits: &Limits) -> wasmtime::Result<wasmtime::Engine> {
    let mut config = common(limits);
    config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    wasmtime::Engine::new(&config)
}

/// `scan` says whether the kernel can tell which pages of a slot were written.
fn pooling(limits: &Limits, scan: bool) -> wasmtime::Result<wasmtime::Engine> {
    let mut config = common(limits);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(limits, scan)));
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

fn pool(limits: &Limits, scan: bool) -> PoolingAllocationConfig {
    let (call, pool) = (&limits.call, &limits.pool);
    // One more than there are permits, so that the pool itself never says no.
    let instances = pool.instances_max.saturating_add(1);
    let of_all = |each: u32| instances.saturating_mul(each);
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

    /// Everything that a module can leave behind in its slot: pages below and beyond what stays resident,
    /// a table's element, growth.
    const LITTERS: &str = r#"(module
        (memory (export "memory") 8) (data (i32.const 65536) "as compiled")
        (table (export "table") 4 funcref) (elem declare func $litter)
        (func $litter (export "litter")
          (memory.fill (i32.const 0) (i32.const 7) (i32.const 524288))
          (table.set (i32.const 3) (ref.func $litter))
          (drop (memory.grow (i32.const 1)))))"#;

    #[tokio::test]
    async fn slots_are_as_new_where_the_kernel_cannot_tell_which_pages_were_written() {
        let mut limits = Limits::default();
        // One slot and a spare, so that the second instance lies where the first one did.
        limits.pool.instances_max = 1;
        limits.call.core_instances_max = 1;
        let engine = pooling(&limits, false).unwrap();
        let scanning = Engine::new(&limits, Allocation::Pooling).unwrap();
        assert_eq!(Compatibility::of(&engine), scanning.compatibility, "its code is the same");
        let module = wat::parse_str(LITTERS).unwrap();
        let module = wasmtime::Module::new(&engine, module).unwrap();
        for _ in 0..4 {
            let mut store = wasmtime::Store::new(&engine, ());
            store.set_epoch_deadline(1);
            let instance = wasmtime::Instance::new_async(&mut store, &module, &[]).await.unwrap();
            let memory = instance.get_memory(&mut store, "memory").unwrap();
            assert_eq!(memory.size(&store), 8);
            let bytes = memory.data(&store);
            let (before, rest) = bytes.split_at(65_536);
            assert!(rest.starts_with(b"as compiled"));
            let zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
            assert!(zero(before) && zero(&rest[b"as compiled".len()..]), "memory was left behind");
            let table = instance.get_table(&mut store, "table").unwrap();
            let element = table.get(&mut store, 3).unwrap();
            assert!(element.as_func().unwrap().is_none(), "a table's element was left behind");
            let litter = instance.get_typed_func::<(), ()>(&mut store, "litter").unwrap();
            litter.call_async(&mut store, ()).await.unwrap();
        }
        let kept = engine.pooling_allocator_metrics().unwrap();
        let most = kept.unused_warm_memories() as usize * limits.pool.resident_blind_bytes_max;
        let bytes = kept.unused_memory_bytes_resident();
        assert!((1..=most).contains(&bytes), "{bytes} bytes stay resident; {most} is the most");
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
