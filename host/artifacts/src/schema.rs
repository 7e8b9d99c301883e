//! JSON Schema checks: an installation's configuration, and an action's input.
//!
//! Schemas come from descriptors, so they are a publisher's data: references are never fetched, and a
//! schema that does not compile is refused at publication. Patterns run on an engine that takes linear
//! time, so a pattern that would need backtracking does not compile.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use jsonschema::{PatternOptions, ValidationError, Validator};
use keyway_core::ids::Action;
use keyway_core::{Code, Descriptor, Digest, Fault};
use serde_json::Value;

/// Problems that one answer lists; the rest are the same mistake again.
const PROBLEMS_MAX: usize = 5;

/// Releases whose compiled schemas are kept: more than are pinned at once. Beyond it all are compiled
/// again as they are needed.
const RELEASES_MAX: usize = 1_024;

/// The schemas of actions, compiled when first needed and kept: a call must not compile one.
#[derive(Default)]
pub struct InputSchemas {
    compiled: RwLock<HashMap<Digest, HashMap<Action, Arc<Validator>>>>,
}

/// Refuses a descriptor with a schema that cannot be used.
pub fn check_schemas(descriptor: &Descriptor) -> Result<(), Fault> {
    let inputs = descriptor.actions.iter().filter_map(|(name, action)| {
        Some((format!("actions.{name}.input"), action.input.as_ref()?))
    });
    let config = descriptor.config.iter().map(|schema| ("config".to_owned(), schema));
    for (field, schema) in config.chain(inputs) {
        compile(schema).map_err(|error| {
            Fault::new(Code::DescriptorInvalid, format!("descriptor field `{field}`: {error}"))
        })?;
    }
    Ok(())
}

/// Holds a configuration against the release's schema.
pub fn check_config(descriptor: &Descriptor, config: &Value) -> Result<(), Fault> {
    match &descriptor.config {
        Some(schema) => {
            let validator = compile(schema).map_err(|error| broken("configuration", &error))?;
            check(&validator, config, Code::ConfigInvalid, "configuration")
        }
        None if config.as_object().is_some_and(serde_json::Map::is_empty) => Ok(()),
        None => Err(Fault::new(Code::ConfigInvalid, "this release takes no configuration")),
    }
}

impl InputSchemas {
    /// Holds an input against the schema of an action of a release.
    pub fn check(
        &self,
        release: &Digest,
        action: &Action,
        schema: &Value,
        input: &Value,
    ) -> Result<(), Fault> {
        let known = {
            let compiled = self.compiled.read().unwrap_or_else(PoisonError::into_inner);
            compiled.get(release).and_then(|actions| actions.get(action)).cloned()
        };
        let validator = match known {
            Some(validator) => validator,
            None => self.add(release, action, schema)?,
        };
        check(&validator, input, Code::InputInvalid, "input")
    }

    fn add(
        &self,
        release: &Digest,
        action: &Action,
        schema: &Value,
    ) -> Result<Arc<Validator>, Fault> {
        let validator = Arc::new(compile(schema).map_err(|error| broken("input", &error))?);
        let mut compiled = self.compiled.write().unwrap_or_else(PoisonError::into_inner);
        if compiled.len() >= RELEASES_MAX && !compiled.contains_key(release) {
            compiled.clear();
        }
        compiled.entry(*release).or_default().insert(action.clone(), Arc::clone(&validator));
        Ok(validator)
    }
}

fn compile(schema: &Value) -> Result<Validator, ValidationError<'static>> {
    jsonschema::options().with_pattern_options(PatternOptions::regex()).build(schema)
}

fn broken(what: &str, error: &ValidationError<'_>) -> Fault {
    Fault::new(Code::Internal, format!("schema of {what}: {error}"))
}

fn check(validator: &Validator, instance: &Value, code: Code, what: &str) -> Result<(), Fault> {
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
    #[test]
    fn patterns_that_could_run_away_are_refused() {
        let pattern = |pattern: &str| descriptor(json!({"type": "string", "pattern": pattern}));
        assert!(check_schemas(&pattern("^(a+)+$")).is_ok(), "linear on this engine");
        assert!(check_schemas(&pattern(r"^(a+)\1$")).is_err(), "a back reference backtracks");
    }

    #[test]
    fn inputs_are_held_against_the_schema_of_their_own_release() {
        let schemas = InputSchemas::default();
        let action: Action = "go".parse().unwrap();
        let old = Digest::of(b"old");
        let text = json!({"type": "string"});
        for _ in 0..2 {
            assert!(schemas.check(&old, &action, &text, &json!("x")).is_ok());
            let fault = schemas.check(&old, &action, &text, &json!(1)).unwrap_err();
            assert_eq!(fault.code, Code::InputInvalid);
        }
        let number = json!({"type": "number"});
        assert!(schemas.check(&Digest::of(b"new"), &action, &number, &json!(1)).is_ok());
    }

    #[test]
    fn compiled_schemas_are_bounded() {
        let schemas = InputSchemas::default();
        let action: Action = "go".parse().unwrap();
        let count = || schemas.compiled.read().unwrap().len();
        let add = |number: usize| {
            let release = Digest::of(&number.to_be_bytes());
            schemas.check(&release, &action, &json!(true), &json!(1)).unwrap();
        };
        (0..RELEASES_MAX).for_each(add);
        assert_eq!(count(), RELEASES_MAX);
        add(RELEASES_MAX);
        assert_eq!(count(), 1);
    }
}
