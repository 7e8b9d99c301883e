//! The floor: wasmtime by itself, as anyone would use it for this component.
//!
//! The engine has the settings that `host/runtime/src/engine.rs` has; a difference between the two would
//! be measured as ours. Everything is prepared that can be: only what a fresh instance needs is inside
//! the call. No limiter, no meter, no deadline, no checks of the answer.

use anyhow::anyhow;
use keyway_runtime::Limits;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Store,
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use bindings::ActsPre;

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/v1",
        world: "acts",
        exports: { default: async },
    });
}

/// A component, ready to be instantiated.
pub(super) struct Floor {
    engine: Engine,
    component: ActsPre<State>,
}

/// The least that WASI needs of a store.
struct State {
    wasi: WasiCtx,
    table: ResourceTable,
}

// === impl Floor ===

impl Floor {
    pub(super) fn new(component: &[u8]) -> anyhow::Result<Self> {
        Self::prepare(component).map_err(|error| anyhow!("raw wasmtime: {error:#}"))
    }

    fn prepare(component: &[u8]) -> wasmtime::Result<Self> {
        let engine = Engine::new(&config(&Limits::default()))?;
        let component = Component::new(&engine, component)?;
        component.initialize_copy_on_write_image()?;
        let mut linker = Linker::<State>::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        // The contract's imports, which this component never calls.
        linker.define_unknown_imports_as_traps(&component)?;
        let component = ActsPre::new(linker.instantiate_pre(&component)?)?;
        Ok(Self { engine, component })
    }

    /// One call in a fresh instance.
    pub(super) async fn call(&self, input: &str) -> anyhow::Result<String> {
        let state = State { wasi: WasiCtx::builder().build(), table: ResourceTable::new() };
        let mut store = Store::new(&self.engine, state);
        // Epochs are compiled in; nobody advances this engine's.
        store.set_epoch_deadline(1);
        self.invoke(&mut store, input).await.map_err(|error| anyhow!("raw wasmtime: {error:#}"))
    }

    async fn invoke(&self, store: &mut Store<State>, input: &str) -> wasmtime::Result<String> {
        let guest = self.component.instantiate_async(&mut *store).await?;
        let input = input.to_owned();
        let answer = guest.keyway_connector_actions().call_invoke(store, "echo", &input).await?;
        answer.map_err(|failure| wasmtime::format_err!("the guest failed: {}", failure.message))
    }
}

/// The settings of the host's engine, with the same limits.
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

// === impl State ===

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}
