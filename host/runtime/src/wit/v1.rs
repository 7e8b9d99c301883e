//! Contract 1: which interfaces a component exports, and how an operation becomes a call of one.
//!
//! Exports beyond the descriptor are optional. They are looked up once, when a release is loaded, by
//! names that also match later minors of the contract; exports unknown here are left alone.

mod imports;
mod map;

use keyway_core::call::{Failure, Operation, Output};
use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre, Linker};

use crate::state::State;
use bindings::exports::keyway::connector::{actions, descriptor, reader, writer};

/// The version of the contract that this host speaks, of this major.
pub(crate) const VERSION: semver::Version = semver::Version::new(1, 0, 0);

/// Package of the contract.
pub(crate) const PACKAGE: &str = "keyway:connector";

/// Interfaces of the contract that a component may import. `types` holds no function.
pub(crate) const IMPORTS: &[&str] = &["clock", "http", "log", "settings", "types"];

/// Interfaces of the contract that a component may export.
pub(crate) const EXPORTS: &[&str] =
    &["actions", "descriptor", "reader", "state", "webhooks", "writer"];

/// What every component exports.
pub(crate) const DESCRIPTOR: &str = "descriptor";

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/v1",
        inline: "
            package keyway:host;
            world all {
                include keyway:connector/connector@1.0.0;
                include keyway:connector/reads@1.0.0;
                include keyway:connector/writes@1.0.0;
                include keyway:connector/acts@1.0.0;
            }
        ",
        imports: { "keyway:connector/http": async | trappable, default: trappable },
        exports: { default: async },
    });
}

/// A component of this major, ready to be instantiated.
pub(crate) struct Adapter {
    pre: InstancePre<State>,
    descriptor: descriptor::GuestIndices,
    actions: Option<actions::GuestIndices>,
    reader: Option<reader::GuestIndices>,
    writer: Option<writer::GuestIndices>,
}

/// An export has other types than the contract says.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct OtherTypes(String);

/// What failed was starting the instance, not a call of it.
#[derive(Debug, thiserror::Error)]
#[error("the instance could not be started")]
pub(crate) struct Starting;

/// Defines every import of the contract.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    imports::add_to_linker(linker)
}

// === impl Adapter ===

impl Adapter {
    /// Finds the exports of a component. Fails where one lacks a function of this version.
    pub(crate) fn new(pre: InstancePre<State>) -> wasmtime::Result<Self> {
        let exported = |interface: &str| {
            let name = format!("{PACKAGE}/{interface}@{VERSION}");
            pre.component().get_export_index(None, &name).is_some()
        };
        Ok(Self {
            descriptor: descriptor::GuestIndices::new(&pre)?,
            actions: exported("actions").then(|| actions::GuestIndices::new(&pre)).transpose()?,
            reader: exported("reader").then(|| reader::GuestIndices::new(&pre)).transpose()?,
            writer: exported("writer").then(|| writer::GuestIndices::new(&pre)).transpose()?,
            pre,
        })
    }

    /// Whether the component exports what the operation needs.
    pub(crate) const fn offers(&self, operation: &Operation) -> bool {
        match operation {
            Operation::Invoke { .. } => self.actions.is_some(),
            Operation::Discover { .. } | Operation::Read(_) => self.reader.is_some(),
            Operation::Write(_) => self.writer.is_some(),
        }
    }

    /// Runs one operation in a fresh instance. The inner error is what the guest reported; the outer
    /// one means that the instance ended.
    pub(crate) async fn perform(
        &self,
        store: &mut Store<State>,
        operation: Operation,
    ) -> wasmtime::Result<Result<Output, Failure>> {
        let instance = self.start(store).await?;
        match operation {
            Operation::Invoke { action, input } => {
                let guest = required(&self.actions)?.load(&mut *store, &instance)?;
                let answer = guest.call_invoke(store, action.as_str(), &input).await?;
                Ok(answer.map(Output::Json).map_err(Failure::from))
            }
            Operation::Discover { object } => {
                let guest = required(&self.reader)?.load(&mut *store, &instance)?;
                let object = object.as_ref().map(|object| object.as_str());
                let answer = guest.call_discover(store, object).await?;
                Ok(answer.map(Output::Json).map_err(Failure::from))
            }
            Operation::Read(request) => {
                let guest = required(&self.reader)?.load(&mut *store, &instance)?;
                let answer = guest.call_read(store, &request.into()).await?;
                Ok(answer.map(|page| Output::Page(page.into())).map_err(Failure::from))
            }
            Operation::Write(request) => {
                let guest = required(&self.writer)?.load(&mut *store, &instance)?;
                let answer = guest.call_write(store, &request.into()).await?;
                let outcomes = answer.map(|all| all.into_iter().map(Into::into).collect());
                Ok(outcomes.map(Output::Outcomes).map_err(Failure::from))
            }
        }
    }

    /// Asks the component what it is, after making sure that its exports have the contract's types.
    pub(crate) async fn describe(&self, store: &mut Store<State>) -> wasmtime::Result<String> {
        let instance = self.start(store).await?;
        self.check_types(store, &instance).map_err(|error| OtherTypes(format!("{error:#}")))?;
        let guest = self.descriptor.load(&mut *store, &instance)?;
        guest.call_describe(store).await
    }

    async fn start(&self, store: &mut Store<State>) -> wasmtime::Result<Instance> {
        self.pre.instantiate_async(store).await.map_err(|error| error.context(Starting))
    }

    fn check_types(&self, store: &mut Store<State>, guest: &Instance) -> wasmtime::Result<()> {
        self.descriptor.load(&mut *store, guest)?;
        if let Some(actions) = &self.actions {
            actions.load(&mut *store, guest)?;
        }
        if let Some(reader) = &self.reader {
            reader.load(&mut *store, guest)?;
        }
        if let Some(writer) = &self.writer {
            writer.load(&mut *store, guest)?;
        }
        Ok(())
    }
}

fn required<T>(interface: &Option<T>) -> wasmtime::Result<&T> {
    interface.as_ref().ok_or_else(|| wasmtime::format_err!("asked for an operation not offered"))
}

#[cfg(test)]
mod tests {
    use wit_parser::{Resolve, WorldItem, WorldKey};

    use super::*;

    /// Interfaces that worlds of the contract import, and those that they export.
    fn interfaces() -> (Vec<String>, Vec<String>, semver::Version) {
        let mut resolve = Resolve::default();
        let (package, _) = resolve.push_dir("../../wit/v1").unwrap();
        let package = &resolve.packages[package];
        let name = |(key, item): (&WorldKey, &WorldItem)| match (key, item) {
            (WorldKey::Interface(id), WorldItem::Interface { .. }) => {
                resolve.interfaces[*id].name.clone()
            }
            _ => None,
        };
        let (mut imports, mut exports) = (Vec::new(), Vec::new());
        for world in package.worlds.values().map(|id| &resolve.worlds[*id]) {
            imports.extend(world.imports.iter().filter_map(name));
            exports.extend(world.exports.iter().filter_map(name));
        }
        for names in [&mut imports, &mut exports] {
            names.sort();
            names.dedup();
        }
        (imports, exports, package.name.version.clone().unwrap())
    }

    #[test]
    fn the_lists_are_those_of_the_contract() {
        let (imports, exports, version) = interfaces();
        assert_eq!(imports, IMPORTS);
        assert_eq!(exports, EXPORTS);
        assert_eq!(version, VERSION);
    }
}
