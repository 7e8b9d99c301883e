//! The macro that makes a component of a connector's traits, and the stamp it leaves.

/// Version of the contract and of this SDK, as the custom section `keyway:contract` carries it, so
/// that a host can tell before it compiles anything.
pub const STAMP: &str = concat!("1.0.0 keyway-sdk/", env!("CARGO_PKG_VERSION"));

/// [`STAMP`] as the bytes of a custom section.
pub const STAMP_BYTES: [u8; STAMP.len()] = {
    let mut bytes = [0; STAMP.len()];
    bytes.copy_from_slice(STAMP.as_bytes());
    bytes
};

/// Exports a connector: `register!(HubSpot: Read, Write, Act)`.
///
/// The type must implement [`Describe`](crate::Describe) and each trait named; the component then
/// exports exactly the interfaces of those traits. Natively it expands to a check that it does.
#[macro_export]
macro_rules! register {
    ($connector:ty $(: $($interface:ident),+ $(,)?)?) => {
        const _: () = {
            const fn describes<T: $crate::Describe>() {}
            describes::<$connector>();
            $($({
                const fn implements<T: $crate::$interface>() {}
                implements::<$connector>();
            })+)?
        };

        #[cfg(target_family = "wasm")]
        const _: () = {
            type Exported = $crate::export::Exported<$connector>;
            $crate::bindings::connector::export_connector!(
                Exported with_types_in $crate::bindings::connector
            );
            $($($crate::__export!($interface);)+)?

            #[used]
            #[unsafe(link_section = "keyway:contract")]
            static STAMP: [u8; $crate::STAMP_BYTES.len()] = $crate::STAMP_BYTES;
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    (Read) => {
        $crate::bindings::reads::export_reads!(Exported with_types_in $crate::bindings::reads);
    };
    (Write) => {
        $crate::bindings::writes::export_writes!(Exported with_types_in $crate::bindings::writes);
    };
    (Act) => {
        $crate::bindings::acts::export_acts!(Exported with_types_in $crate::bindings::acts);
    };
    (Listen) => {
        $crate::bindings::listens::export_listens!(Exported with_types_in $crate::bindings::listens);
    };
    (Remember) => {
        $crate::bindings::remembers::export_remembers!(
            Exported with_types_in $crate::bindings::remembers
        );
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamp_names_the_contract_that_the_bindings_are_made_from() {
        let wit = concat!(env!("CARGO_MANIFEST_DIR"), "/../wit/v1/connector.wit");
        let wit = std::fs::read_to_string(wit).unwrap();
        let package = format!("package keyway:connector@{};", crate::CONTRACT);
        assert!(wit.starts_with(&package), "{package}");
        assert_eq!(STAMP.split_once(' ').unwrap().0, crate::CONTRACT);
        assert_eq!(STAMP_BYTES, STAMP.as_bytes());
    }
}
