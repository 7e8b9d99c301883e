//! What an operator may set for an installation.

use std::collections::BTreeMap;

use keyway_sdk::{Result, settings};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::PAGE_MAX;
use crate::object::Object;

/// Letters of a property's name, as the provider has it.
const NAME_LETTERS_MAX: usize = 100;

/// Properties of one object that an operator may name: what an account has with its custom ones, and room for more.
const NAMES_MAX: usize = 2_000;

/// An installation's configuration.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// Records on a page, where the caller asks for more.
    page_size: Option<u32>,
    /// Properties read beside the usual ones, by object.
    properties: BTreeMap<String, Vec<String>>,
}

/// JSON Schema of [`Config`].
pub(crate) fn schema() -> Value {
    let extra = |object: Object| {
        json!({
            "description": format!("Properties of {} to read beside the usual ones.", object.name()),
            "type": "array",
            "items": {"type": "string", "minLength": 1, "maxLength": NAME_LETTERS_MAX},
            "maxItems": NAMES_MAX,
            "uniqueItems": true,
        })
    };
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "page-size": {
                "description": "Records on a page, where a caller asks for more. Accounts with very wide records want fewer.",
                "type": "integer",
                "minimum": 1,
                "maximum": PAGE_MAX,
            },
            "properties": {
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "contacts": extra(Object::Contacts),
                    "companies": extra(Object::Companies),
                },
            },
        },
    })
}

impl Config {
    pub(crate) fn load() -> Result<Self> {
        settings::config()
    }

    /// Records to ask for, at most what the provider takes.
    pub(crate) fn page_size(&self, wanted: u32) -> u32 {
        wanted.min(self.page_size.unwrap_or(PAGE_MAX)).clamp(1, PAGE_MAX)
    }

    /// Properties to ask for: those wanted, or the usual ones and what the operator added. The time of
    /// the last change is always among them, because cursors are made of it.
    pub(crate) fn properties(&self, object: Object, wanted: &[String]) -> Vec<String> {
        let mut names: Vec<String> = if wanted.is_empty() {
            let extra = self.properties.get(object.name()).into_iter().flatten().cloned();
            object.properties().iter().map(|&name| name.to_owned()).chain(extra).collect()
        } else {
            wanted.to_vec()
        };
        names.push(object.modified().to_owned());
        let mut seen = std::collections::BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
        names
    }
}
