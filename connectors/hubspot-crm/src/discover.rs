//! Schemas of what an account's objects really have, custom properties included.

use keyway_sdk::{Result, Schemas};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::Generation;
use crate::api::Endpoints;
use crate::object::Object;

#[derive(Deserialize)]
struct Properties {
    results: Vec<Property>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Property {
    name: String,
    label: String,
    description: String,
    #[serde(rename = "type")]
    kind: String,
    field_type: String,
    options: Vec<Choice>,
    #[serde(default)]
    external_options: bool,
    #[serde(default)]
    has_unique_value: bool,
    #[serde(default)]
    hubspot_defined: bool,
    #[serde(default)]
    modification_metadata: Option<Modification>,
}

#[derive(Deserialize)]
struct Choice {
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Modification {
    read_only_value: bool,
}

pub(crate) fn discover<G: Generation>(object: Option<&str>) -> Result<Schemas> {
    let objects = match object {
        Some(name) => vec![Object::parse(name)?],
        None => Object::ALL.to_vec(),
    };
    let answers = Endpoints::<G>::new().properties(&objects);
    let mut schemas = Schemas::new();
    for (object, answer) in objects.into_iter().zip(answers) {
        schemas.insert(object.name().to_owned(), schema(object, answer?.json()?));
    }
    Ok(schemas)
}

fn schema(object: Object, properties: Properties) -> Value {
    let members: Map<_, _> = properties
        .results
        .into_iter()
        .map(|property| (property.name.clone(), property.schema()))
        .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": object.name(),
        "type": "object",
        "properties": members,
    })
}

impl Property {
    /// The wire carries every value as text, and null or nothing where there is none; the provider's own
    /// type stands beside it as an annotation.
    fn schema(self) -> Value {
        let mut schema = json!({
            "title": self.label,
            "type": ["string", "null"],
            "x-type": self.kind,
            "x-field-type": self.field_type,
            "x-custom": !self.hubspot_defined,
        });
        if !self.description.is_empty() {
            schema["description"] = self.description.into();
        }
        if self.modification_metadata.is_some_and(|metadata| metadata.read_only_value) {
            schema["readOnly"] = true.into();
        }
        if self.has_unique_value {
            schema["x-unique"] = true.into();
        }
        // Several choices are one text with `;` between them, and lists kept elsewhere are not told.
        let one_of = self.kind == "enumeration" && self.field_type != "checkbox";
        if one_of && !self.external_options && !self.options.is_empty() {
            let choices = self.options.into_iter().map(|choice| choice.value.into());
            schema["enum"] = choices.chain(["".into(), Value::Null]).collect();
        }
        schema
    }
}
