//! What the operator configured for this installation. Holds no secret.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::{Failure, Result, backend};

/// Non-secret facts about the connection.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
pub struct Connection {
    /// What paths are joined to: what the operator set, or else what the descriptor says.
    #[serde(default)]
    pub base_url: Option<String>,
    /// The slots that have a credential.
    #[serde(default)]
    pub slots: BTreeMap<String, SlotFacts>,
}

/// What is known of a credential without knowing it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
pub struct SlotFacts {
    /// How it is put on a request, such as `bearer`.
    #[serde(default)]
    pub kind: String,
    /// What the provider granted, where that is known.
    #[serde(default)]
    pub scopes: Vec<String>,
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

fn parse<T: DeserializeOwned>(what: &str, text: &str) -> Result<T> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    serde_json::from_str(text)
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

    #[test]
    fn connection_facts_that_are_new_do_not_hurt() {
        let facts = json!({
            "base_url": "https://eu.example.com",
            "slots": {"token": {"kind": "bearer", "scopes": ["read"], "account": "7"}},
            "region": "eu",
        });
        let connection = Cassette::new().connection(facts).play(connection).unwrap();
        assert_eq!(connection.base_url.as_deref(), Some("https://eu.example.com"));
        assert_eq!(connection.slots["token"].scopes, ["read"]);
    }
}
