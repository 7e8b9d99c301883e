//! What publication demands of a descriptor, in `cargo test`.

use crate::Describe;

/// Holds what a connector says of itself against what publication demands of a descriptor: with the host's own code, so that
/// nothing passes here that a host refuses there. It panics with the field and what is wrong with it.
///
/// Three things need the component, and `keyway check FILE` looks at them, too: its imports, its exports, and the hosts that
/// an operator's configuration permits.
///
/// ```
/// # use keyway_sdk::{Describe, Descriptor};
/// # struct Connector;
/// # impl Describe for Connector {
/// #     fn describe() -> Descriptor {
/// #         Descriptor::new("acme/crm", "1.0.0").host("api.example.com")
/// #     }
/// # }
/// keyway_sdk::testing::check::<Connector>();
/// ```
#[track_caller]
pub fn check<C: Describe>() {
    let json = match serde_json::to_string(&C::describe()) {
        Ok(json) => json,
        Err(error) => panic!("the descriptor is no JSON: {error}"),
    };
    if let Err(error) = keyway_core::Descriptor::parse_new(&json) {
        panic!("publication refuses it: {error}");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{ActionSpec, Descriptor, Slot};

    struct Good;
    struct NoHost;
    struct BadPattern;

    fn sound() -> Descriptor {
        Descriptor::new("acme/crm", "1.0.0")
            .host("api.example.com")
            .base_url("https://api.example.com")
            .slot("token", Slot::bearer())
    }

    impl Describe for Good {
        fn describe() -> Descriptor {
            sound()
        }
    }

    impl Describe for NoHost {
        fn describe() -> Descriptor {
            Descriptor::new("acme/crm", "1.0.0").slot("token", Slot::bearer())
        }
    }

    impl Describe for BadPattern {
        fn describe() -> Descriptor {
            let input = json!({"properties": {"id": {"pattern": "("}}});
            let get = ActionSpec::reads("One.").input(input);
            sound().actions(&crate::Actions::new().on("get", get, |(): ()| Ok(())))
        }
    }

    #[test]
    fn a_sound_descriptor_passes() {
        check::<Good>();
    }

    #[test]
    #[should_panic(expected = "field `hosts` is empty")]
    fn a_descriptor_without_hosts_does_not() {
        check::<NoHost>();
    }

    #[test]
    #[should_panic(expected = "actions.get.input/properties/id")]
    fn a_mistake_in_a_schema_is_named() {
        check::<BadPattern>();
    }
}
