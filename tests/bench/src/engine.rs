//! An engine with the settings that `host/runtime/src/engine.rs` has, for floors: a difference between the two would be
//! measured as ours.

use keyway_runtime::Limits;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
};

/// With the limits that a host has by default.
pub(crate) fn of_the_host() -> wasmtime::Result<Engine> {
    Engine::new(&config(&Limits::default()))
}

fn config(limits: &Limits) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .memory_init_cow(true)
        .cranelift_opt_level(OptLevel::Speed)
        .wasm_memory64(false)
        .wasm_relaxed_simd(false)
        .concurrency_support(false)
        .max_wasm_stack(limits.call.stack_bytes_max)
        .async_stack_size(limits.call.stack_bytes_max + (3 << 19))
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(limits)));
    config
}

fn pool(limits: &Limits) -> PoolingAllocationConfig {
    let (call, pool) = (&limits.call, &limits.pool);
    let instances = pool.instances_max + 1;
    let scan = PoolingAllocationConfig::is_pagemap_scan_available();
    let resident = if scan { pool.resident_bytes_max } else { pool.resident_blind_bytes_max };
    let mut config = PoolingAllocationConfig::new();
    config
        .total_component_instances(instances)
        .total_stacks(instances)
        .total_core_instances(instances * call.core_instances_max)
        .total_memories(instances * call.memories_max)
        .total_tables(instances * call.tables_max)
        .max_core_instances_per_component(call.core_instances_max)
        .max_memories_per_component(call.memories_max)
        .max_tables_per_component(call.tables_max)
        .max_memories_per_module(call.memories_max)
        .max_tables_per_module(call.tables_max)
        .max_memory_size(call.memory_bytes_max)
        .table_elements(call.table_elements_max)
        .max_component_instance_size(10 << 20)
        .max_core_instance_size(10 << 20)
        .max_unused_warm_slots(pool.warm_slots_max)
        .pagemap_scan(if scan { Enabled::Yes } else { Enabled::No })
        .linear_memory_keep_resident(resident)
        .table_keep_resident(64 << 10);
    config
}
