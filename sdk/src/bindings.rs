//! What wit-bindgen makes of `wit/v1`: one module a world, types shared.
//!
//! Only for WebAssembly, and never seen by authors: [`crate::export`] turns these types into the
//! SDK's own, so a new generator or a new major of the contract does not change a connector's code.

/// What every connector imports, and the descriptor that it exports.
pub mod connector {
    wit_bindgen::generate!({
        path: "../wit/v1",
        world: "connector",
        pub_export_macro: true,
        export_macro_name: "export_connector",
        default_bindings_module: "keyway_sdk::bindings::connector",
    });
}

macro_rules! optional_world {
    ($(#[$doc:meta])* $module:ident, $world:literal, $macro:literal, $path:literal) => {
        $(#[$doc])*
        pub mod $module {
            wit_bindgen::generate!({
                path: "../wit/v1",
                world: $world,
                pub_export_macro: true,
                export_macro_name: $macro,
                default_bindings_module: $path,
                with: {
                    "keyway:connector/types@1.0.0": crate::bindings::connector::keyway::connector::types,
                },
            });
        }
    };
}

optional_world!(
    /// The interface `reader`.
    reads, "reads", "export_reads", "keyway_sdk::bindings::reads"
);
optional_world!(
    /// The interface `writer`.
    writes, "writes", "export_writes", "keyway_sdk::bindings::writes"
);
optional_world!(
    /// The interface `actions`.
    acts, "acts", "export_acts", "keyway_sdk::bindings::acts"
);
optional_world!(
    /// The interface `webhooks`.
    listens, "listens", "export_listens", "keyway_sdk::bindings::listens"
);
optional_world!(
    /// The interface `state`.
    remembers, "remembers", "export_remembers", "keyway_sdk::bindings::remembers"
);
