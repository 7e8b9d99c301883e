//! What the operator configured for this installation. Holds no secret.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{Failure, Result, backend, from_json};

/// Non-secret facts about the connection. Hosts before 0.2 sent `null` where there is nothing to say; it reads as
/// nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Connection {
    /// What paths are joined to: what the operator set, or else what the descriptor says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// The slots that have a credential.
    #[serde(default, deserialize_with = "or_nothing")]
    pub slots: BTreeMap<String, SlotFacts>,
}

/// What is known of a credential without knowing it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SlotFacts {
    /// How it is put on a request, such as `bearer`.
    #[serde(default, deserialize_with = "or_nothing")]
    pub kind: String,
    /// What the provider granted. Empty where that is not known, as of a credential that was set by hand.
    #[serde(default, deserialize_with = "or_nothing", skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// What else is known of it by name: what was filled into the provider's URLs, such as a subdomain, and what a
    /// consent came back with, where the descriptor says so.
    #[serde(default, deserialize_with = "or_nothing", skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, String>,
}

/// The installation's configuration, which the host has already checked against the descriptor's
/// schema. An installation without one has `{}`.
pub fn config<T: DeserializeOwned>() -> Result<T> {
    parse("configuration", &backend::config())
}

/// Non-secret facts about the connection.
pub fn connection() -> Result<Connection> {
    parse("connection", &backend::connection())
}

/// A member, or its default for `null`.
fn or_nothing<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    from: D,
) -> Result<T, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

fn parse<T: DeserializeOwned>(what: &str, text: &str) -> Result<T> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    from_json(text.as_bytes())
        .map_err(|error| Failure::invalid_input(format!("{what} does not fit: {error}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::FailureKind;
    use crate::testing::Cassette;

    #[derive(Deserialize, PartialEq, Debug, Default)]
    #[serde(default)]
    struct Config {
        page_size: u32,
    }

    #[test]
    fn absent_configuration_is_an_empty_object() {
        assert_eq!(Cassette::new().play(config::<Config>), Ok(Config::default()));
    }

    #[test]
    fn configuration_of_another_shape_is_the_operators_fault() {
        let cassette = Cassette::new().config(json!({"page_size": "ten"}));
        let failure = cassette.play(config::<Config>).unwrap_err();
        assert_eq!(failure.kind, FailureKind::InvalidInput);
        assert!(failure.message.contains("configuration"), "{failure}");
    }

    /// What hosts send; `host/dispatch` holds itself to the same file.
    const SENT: &str = include_str!("testing/connection.json");

    #[test]
    fn every_shape_that_a_host_sends_is_read_and_written_alike() {
        let all: Vec<serde_json::Value> = from_json(SENT.as_bytes()).unwrap();
        assert!(all.len() > 3, "{all:?}");
        for facts in all {
            let read = Cassette::new().connection(&facts).play(connection).unwrap();
            assert_eq!(serde_json::to_value(&read).unwrap(), facts);
            // A cassette takes what a connector is shown.
            assert_eq!(Cassette::new().connection(&read).play(connection), Ok(read));
        }
        assert_eq!(Cassette::new().play(connection), Ok(Connection::default()));
    }

    #[test]
    fn nothing_may_be_said_as_null() {
        let facts =
            json!({"base_url": null, "slots": {"token": {"kind": "bearer", "scopes": null}}});
        let read = Cassette::new().connection(facts).play(connection).unwrap();
        assert_eq!((read.base_url, read.slots["token"].scopes.len()), (None, 0));
        let facts = json!({"slots": null});
        assert_eq!(Cassette::new().connection(facts).play(connection), Ok(Connection::default()));
    }

    #[test]
    fn connection_facts_that_are_new_do_not_hurt() {
        let facts = json!({
            "base_url": "https://eu.example.com",
            "slots": {"token": {"kind": "bearer", "scopes": ["read"], "account": "7",
                "facts": {"realmId": "4711"}}},
            "region": "eu",
        });
        let connection = Cassette::new().connection(facts).play(connection).unwrap();
        assert_eq!(connection.base_url.as_deref(), Some("https://eu.example.com"));
        assert_eq!(connection.slots["token"].scopes, ["read"]);
        assert_eq!(connection.slots["token"].facts["realmId"], "4711");
    }
}
