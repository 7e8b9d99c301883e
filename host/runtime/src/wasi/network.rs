//! Stand-ins for WASI's own ways to the network, which toolchains for Python and JavaScript import whether or not a
//! connector uses them. Nothing is behind them: they refuse, in the words of their own interface where those have words for
//! it, so that a language's library raises its usual error.
//!
//! They are made for each component from the types that it imports, so any version of these interfaces is met. What such a
//! function can say is decided by its type:
//!
//! - a result whose errors have a case for a refusal, or no cases at all: the error;
//! - a resource of the network, such as the fields of a request: one that has nothing in it;
//! - anything else ends the call, and says what to use instead.

use std::sync::Arc;

use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{
    Component, Linker, LinkerInstance, Resource, ResourceAny, ResourceType, Type, Val,
};
use wasmtime::{AsContextMut, StoreContextMut};

use crate::state::State;

/// Interfaces that a component may import, and that refuse.
pub(crate) const INTERFACES: &[&str] = &[
    "wasi:http/outgoing-handler",
    "wasi:http/types",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// Cases of errors that say it is refused.
const REFUSALS: [&str; 3] = ["access-denied", "HTTP-request-denied", "forbidden"];

/// A guest called what has no word for a refusal.
#[derive(Debug, thiserror::Error)]
#[error("called `{0}`; requests are sent with `keyway:connector/http`, and there are no sockets")]
pub(crate) struct NetworkReached(String);

/// What a network's resources are here.
struct Nothing;

/// Defines what a component imports of the network.
pub(crate) fn add_to_linker(
    linker: &mut Linker<State>,
    component: &Component,
) -> wasmtime::Result<()> {
    let engine = component.engine();
    // An interface that uses a resource of another one, such as a pollable, lists it among its own.
    let mut elsewhere: Vec<ResourceType> = Vec::new();
    for (interface, import) in component.component_type().imports(engine) {
        let ComponentItem::ComponentInstance(members) = import.ty else { continue };
        let known = interface.split_once('@').is_some_and(|(name, _)| INTERFACES.contains(&name));
        let mut own = Vec::new();
        for (name, member) in members.exports(engine) {
            if let ComponentItem::Resource(of) = member.ty
                && !elsewhere.contains(&of)
            {
                elsewhere.push(of);
                own.push(name);
            }
        }
        if known {
            let functions = members.exports(engine).filter_map(|(name, member)| {
                matches!(member.ty, ComponentItem::ComponentFunc(_)).then_some(name)
            });
            define(&mut linker.instance(interface)?, interface, &own, functions)?;
        }
    }
    Ok(())
}

fn define<'n>(
    defined: &mut LinkerInstance<'_, State>,
    interface: &str,
    resources: &[&str],
    functions: impl Iterator<Item = &'n str>,
) -> wasmtime::Result<()> {
    for name in resources {
        defined.resource(name, ResourceType::host::<Nothing>(), |_, _| Ok(()))?;
    }
    for name in functions {
        let called: Arc<str> = format!("{interface} {name}").into();
        defined.func_new_async(name, move |store, ty, params, results| {
            Box::new(refuse(store, ty, params, results, Arc::clone(&called)))
        })?;
    }
    Ok(())
}

async fn refuse(
    mut store: StoreContextMut<'_, State>,
    ty: ComponentFunc,
    params: &[Val],
    results: &mut [Val],
    called: Arc<str>,
) -> wasmtime::Result<()> {
    let mut lent = Vec::new();
    params.iter().for_each(|param| borrowed(param, &mut lent));
    for resource in lent {
        resource.resource_drop_async(store.as_context_mut()).await?;
    }
    let said = ty.results().next().and_then(|ty| match ty {
        Type::Result(result) => match result.err() {
            None => Some(Ok(Val::Result(Err(None)))),
            Some(error) => refusal(&error).map(|error| Ok(Val::Result(Err(Some(Box::new(error)))))),
        },
        Type::Own(resource) if resource == ResourceType::host::<Nothing>() => {
            let nothing = Resource::<Nothing>::new_own(0);
            let nothing = ResourceAny::try_from_resource(nothing, store.as_context_mut());
            Some(nothing.map(Val::Resource))
        }
        _ => None,
    });
    match (said, results) {
        (Some(said), [result]) => {
            *result = said?;
            Ok(())
        }
        // Such as the end of a handle.
        (None, []) => Ok(()),
        _ => Err(NetworkReached(called.to_string()).into()),
    }
}

/// Resources that are lent for the call, and must be given back.
fn borrowed(value: &Val, found: &mut Vec<ResourceAny>) {
    match value {
        Val::Resource(resource) if !resource.owned() => found.push(*resource),
        Val::List(items) | Val::Tuple(items) => items.iter().for_each(|item| borrowed(item, found)),
        Val::Record(fields) => fields.iter().for_each(|(_, field)| borrowed(field, found)),
        Val::Option(Some(inner))
        | Val::Variant(_, Some(inner))
        | Val::Result(Ok(Some(inner)) | Err(Some(inner))) => borrowed(inner, found),
        _ => {}
    }
}

/// The case of an error that says it is refused.
fn refusal(error: &Type) -> Option<Val> {
    let refused = |name: &str| REFUSALS.contains(&name);
    match error {
        Type::Enum(cases) => {
            let case = cases.names().find(|name| refused(name))?;
            Some(Val::Enum(case.to_owned()))
        }
        Type::Variant(cases) => {
            let case = cases.cases().find(|case| refused(case.name) && case.ty.is_none())?;
            Some(Val::Variant(case.name.to_owned(), None))
        }
        _ => None,
    }
}
