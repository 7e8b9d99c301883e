//! Schemas at work: an installation's configuration, and an action's input.
//!
//! What a schema says and what bounds it is in [`keyway_core::schema`]; here compiled ones are kept, and checks that take
//! long are kept away from whoever else has something to do. A check begins where it is asked for, with few steps. Only if
//! they do not suffice, or the text is long, does it begin anew on a thread of its own, with all steps; few of those run at
//! once.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, PoisonError, RwLock};

use keyway_core::ids::Action;
use keyway_core::limits::SCHEMA_STEPS_MAX;
use keyway_core::schema::{Document, InvalidSchema, NotRead, Schema, Verdict};
use keyway_core::{Code, Descriptor, Digest, Fault};
use serde_json::Value;
use tokio::sync::Semaphore;

/// Bytes of compiled schemas that are kept: those of a thousand actions without large patterns. Beyond it all are compiled
/// again as they are needed.
const KEPT_BYTES_MAX: usize = 32 << 20;

/// Bytes of an input that is checked where it is asked for. Reading it takes some tens of microseconds.
const SHORT_BYTES_MAX: usize = 16 << 10;

/// Steps of a check where it is asked for: half a millisecond.
const SHORT_STEPS_MAX: u64 = 10_000;

/// Steps of checking a configuration, which is 256 KiB at most: fifty milliseconds.
const CONFIG_STEPS_MAX: u64 = SCHEMA_STEPS_MAX / 10;

/// The schemas of actions, compiled when first needed and kept: a call must not compile one.
pub struct InputSchemas {
    kept: RwLock<Kept>,
    /// For long checks: half of the machine.
    long: Arc<Semaphore>,
}

#[derive(Default)]
struct Kept {
    bytes: usize,
    releases: HashMap<Digest, HashMap<Action, Arc<Schema>>>,
}

/// Holds a configuration against the release's schema.
pub fn check_config(descriptor: &Descriptor, config: &str) -> Result<(), Fault> {
    match &descriptor.config {
        Some(schema) => {
            let schema =
                Schema::compile(schema).map_err(|error| broken("configuration", &error))?;
            let verdict = verdict(&schema, config, CONFIG_STEPS_MAX);
            judge(&verdict, Code::ConfigInvalid, "configuration")
        }
        None if is_empty(config) => Ok(()),
        None => Err(Fault::new(Code::ConfigInvalid, "this release takes no configuration")),
    }
}

/// Whether it is an object without members.
fn is_empty(config: &str) -> bool {
    let inside = config.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    inside.is_some_and(|inside| inside.trim().is_empty())
}

// === impl InputSchemas ===

impl Default for InputSchemas {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self { kept: RwLock::default(), long: Arc::new(Semaphore::new((cores / 2).max(1))) }
    }
}

impl InputSchemas {
    /// Holds an input, which is JSON text, against the schema of an action of a release; hands it back if it fits.
    pub async fn check(
        &self,
        release: &Digest,
        action: &Action,
        schema: &Value,
        input: String,
    ) -> Result<String, Fault> {
        let compiled = match self.known(release, action) {
            Some(compiled) => compiled,
            None => self.add(release, action, schema).await?,
        };
        if input.len() <= SHORT_BYTES_MAX {
            let verdict = verdict(&compiled, &input, SHORT_STEPS_MAX);
            if !matches!(verdict, Ok(Verdict::Spent)) {
                return judge(&verdict, Code::InputInvalid, "input").map(|()| input);
            }
        }
        let (verdict, input) =
            self.at_length(move || (verdict(&compiled, &input, SCHEMA_STEPS_MAX), input)).await?;
        judge(&verdict, Code::InputInvalid, "input").map(|()| input)
    }

    /// Does something that takes long where it holds up no call.
    async fn at_length<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let permit = Arc::clone(&self.long).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        // The work goes on when its caller has hung up, and so does its claim to the machine.
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        done.await.map_err(|error| Fault::new(Code::Internal, "a check died").caused_by(error))
    }

    fn known(&self, release: &Digest, action: &Action) -> Option<Arc<Schema>> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.releases.get(release)?.get(action).cloned()
    }

    async fn add(
        &self,
        release: &Digest,
        action: &Action,
        schema: &Value,
    ) -> Result<Arc<Schema>, Fault> {
        let schema = schema.clone();
        let compiled = self.at_length(move || Schema::compile(&schema)).await?;
        let compiled = Arc::new(compiled.map_err(|error| broken("input", &error))?);
        let bytes = compiled.bytes();
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.bytes + bytes > KEPT_BYTES_MAX {
            *kept = Kept::default();
        }
        let actions = kept.releases.entry(*release).or_default();
        if actions.insert(action.clone(), Arc::clone(&compiled)).is_none() {
            kept.bytes += bytes;
        }
        Ok(compiled)
    }
}

fn verdict(schema: &Schema, text: &str, steps_max: u64) -> Result<Verdict, NotRead> {
    Ok(schema.check(&Document::read(text)?, steps_max))
}

fn broken(what: &str, error: &InvalidSchema) -> Fault {
    Fault::new(Code::Internal, format!("schema of {what}: {error}"))
}

fn judge(verdict: &Result<Verdict, NotRead>, code: Code, what: &str) -> Result<(), Fault> {
    match verdict {
        Ok(Verdict::Fits) => Ok(()),
        Ok(misfits @ Verdict::Misfits(_)) => {
            Err(Fault::new(code, format!("{what} does not fit the schema: {misfits}")))
        }
        Ok(Verdict::Spent) => {
            let detail = format!("{what} is too large for its schema: {}", Verdict::Spent);
            Err(Fault::new(code, detail))
        }
        Err(error) => Err(Fault::new(code, format!("{what} {error}"))),
    }
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
        let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}, "x": {"type": "number"}},
            "additionalProperties": false});
        let descriptor = descriptor(schema);
        assert!(check_config(&descriptor, r#"{"n": 1}"#).is_ok());
        let fault = check_config(&descriptor, r#"{"n": "x", "m": 1}"#).unwrap_err();
        assert_eq!(fault.code, Code::ConfigInvalid);
        assert!(fault.detail.contains("/n"), "{}", fault.detail);
        // A number is what is written, whatever a float holds of it.
        assert!(check_config(&descriptor, r#"{"x": 1e400}"#).is_ok());
    }

    #[test]
    fn no_schema_means_no_configuration() {
        let json = r#"{"format":1,"name":"a/b","version":"1.0.0"}"#;
        let descriptor = Descriptor::parse(json).unwrap();
        assert!(check_config(&descriptor, " { } ").is_ok());
        for config in [r#"{"a": 1}"#, "{", "[]", ""] {
            assert!(check_config(&descriptor, config).is_err(), "{config}");
        }
    }

    #[tokio::test]
    async fn inputs_are_held_against_the_schema_of_their_own_release() {
        let schemas = InputSchemas::default();
        let action: Action = "go".parse().unwrap();
        let old = Digest::of(b"old");
        let text = json!({"type": "string"});
        for _ in 0..2 {
            let input = "\"x\"".to_owned();
            assert_eq!(schemas.check(&old, &action, &text, input.clone()).await.unwrap(), input);
            let fault = schemas.check(&old, &action, &text, "1".into()).await.unwrap_err();
            assert_eq!(fault.code, Code::InputInvalid);
        }
        let number = json!({"type": "number"});
        let new = Digest::of(b"new");
        assert!(schemas.check(&new, &action, &number, "1".into()).await.is_ok());
    }

    #[tokio::test]
    async fn a_short_input_that_takes_long_is_still_answered() {
        let schemas = InputSchemas::default();
        let action: Action = "go".parse().unwrap();
        let release = Digest::of(b"one");
        // A thousand values that each run through thirty rules.
        let rules: Vec<_> = (0..30).map(|n| json!({"not": {"const": n}})).collect();
        let schema = json!({"items": {"allOf": rules}});
        let input = |last: &str| format!("[{}{last}]", "99,".repeat(1_000));
        assert!(schemas.check(&release, &action, &schema, input("99")).await.is_ok());
        let fault = schemas.check(&release, &action, &schema, input("7")).await.unwrap_err();
        assert!(fault.detail.contains("/1000"), "{}", fault.detail);
    }

    #[tokio::test]
    async fn an_input_that_takes_too_long_is_refused() {
        let schemas = InputSchemas::default();
        let action: Action = "go".parse().unwrap();
        let schema = json!({"$defs": {"tree": {"anyOf": [
            {"items": {"$ref": "#/$defs/tree"}, "type": "array"},
            {"items": {"$ref": "#/$defs/tree"}, "type": ["array", "null"]},
        ]}}, "$ref": "#/$defs/tree"});
        let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
        let release = Digest::of(b"one");
        let fault = schemas.check(&release, &action, &schema, deep).await.unwrap_err();
        assert_eq!(fault.code, Code::InputInvalid);
        assert!(fault.detail.contains("steps"), "{}", fault.detail);
    }

    #[tokio::test]
    async fn compiled_schemas_are_bounded() {
        let schemas = InputSchemas::default();
        let action: Action = "go".parse().unwrap();
        // A megabyte each.
        let schema = json!({"enum": ["x".repeat(1 << 20)]});
        let mut most = 0;
        for number in 0..2 * (KEPT_BYTES_MAX >> 20) {
            let release = Digest::of(&number.to_be_bytes());
            schemas.check(&release, &action, &schema, "1".into()).await.unwrap_err();
            let kept = schemas.kept.read().unwrap();
            most = most.max(kept.bytes);
            assert!(kept.bytes <= KEPT_BYTES_MAX && !kept.releases.is_empty());
        }
        assert!(most > KEPT_BYTES_MAX / 2);
    }
}
