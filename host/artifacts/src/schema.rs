//! JSON Schema checks: an installation's configuration, and an action's input.
//!
//! Schemas come from descriptors, so they are a publisher's data: references are never fetched, and a
//! schema that does not compile is refused at publication.

use keyway_core::{Code, Descriptor, Fault};
use serde_json::Value;

/// Problems that one answer lists; the rest are the same mistake again.
const PROBLEMS_MAX: usize = 5;

/// Refuses a descriptor with a schema that cannot be used.
pub fn check_schemas(descriptor: &Descriptor) -> Result<(), Fault> {
    let inputs = descriptor.actions.iter().filter_map(|(name, action)| {
        Some((format!("actions.{name}.input"), action.input.as_ref()?))
    });
    let config = descriptor.config.iter().map(|schema| ("config".to_owned(), schema));
    for (field, schema) in config.chain(inputs) {
        jsonschema::validator_for(schema).map_err(|error| {
            Fault::new(Code::DescriptorInvalid, format!("descriptor field `{field}`: {error}"))
        })?;
    }
    Ok(())
}

/// Holds a configuration against the release's schema.
pub fn check_config(descriptor: &Descriptor, config: &Value) -> Result<(), Fault> {
    match &descriptor.config {
        Some(schema) => check(schema, config, Code::ConfigInvalid, "configuration"),
        None if config.as_object().is_some_and(serde_json::Map::is_empty) => Ok(()),
        None => Err(Fault::new(Code::ConfigInvalid, "this release takes no configuration")),
    }
}

/// Holds an input against the schema of an action.
pub fn check_input(schema: &Value, input: &Value) -> Result<(), Fault> {
    check(schema, input, Code::InputInvalid, "input")
}

fn check(schema: &Value, instance: &Value, code: Code, what: &str) -> Result<(), Fault> {
    let validator = jsonschema::validator_for(schema)
        .map_err(|error| Fault::new(Code::Internal, format!("schema of {what}: {error}")))?;
    let problems: Vec<String> = validator
        .iter_errors(instance)
        .take(PROBLEMS_MAX)
        .map(|error| match error.instance_path().as_str() {
            "" => error.to_string(),
            path => format!("{path}: {error}"),
        })
        .collect();
    if problems.is_empty() {
        return Ok(());
    }
    Err(Fault::new(code, format!("{what} does not fit the schema: {}", problems.join("; "))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn descriptor(config: Value) -> Descriptor {
        let json = json!({"format": 1, "name": "a/b", "version": "1.0.0", "config": config});
        Descriptor::parse(&json.to_string()).unwrap()
    }

    #[test]
    fn configuration_is_held_against_the_schema() {
        let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}},
            "additionalProperties": false});
        let descriptor = descriptor(schema);
        assert!(check_config(&descriptor, &json!({"n": 1})).is_ok());
        let fault = check_config(&descriptor, &json!({"n": "x", "m": 1})).unwrap_err();
        assert_eq!(fault.code, Code::ConfigInvalid);
        assert!(fault.detail.contains("/n"), "{}", fault.detail);
    }

    #[test]
    fn no_schema_means_no_configuration() {
        let json = r#"{"format":1,"name":"a/b","version":"1.0.0"}"#;
        let descriptor = Descriptor::parse(json).unwrap();
        assert!(check_config(&descriptor, &json!({})).is_ok());
        assert!(check_config(&descriptor, &json!({"a": 1})).is_err());
    }

    #[test]
    fn schemas_that_cannot_be_used_are_refused() {
        assert!(check_schemas(&descriptor(json!({"type": "object"}))).is_ok());
        assert!(check_schemas(&descriptor(json!({"type": 7}))).is_err());
        // A reference out of the document is never fetched.
        let remote = json!({"$ref": "http://127.0.0.1:9/schema.json"});
        assert!(check_schemas(&descriptor(remote)).is_err());
    }
}
