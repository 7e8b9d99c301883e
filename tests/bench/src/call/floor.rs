//! The floor: wasmtime by itself, as anyone would use it for this component.
//!
//! Everything is prepared that can be: only what a fresh instance needs is inside the call. No limiter, no meter, no
//! deadline, no checks of the answer.

use anyhow::anyhow;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use bindings::ActsPre;

use crate::engine;

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
        let engine = engine::of_the_host()?;
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

// === impl State ===

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}
