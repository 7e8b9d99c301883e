//! Configurations, held against the schema of a release.
//!
//! A change of what runs may look through many configurations: the schema is compiled once for all of them. Both take long
//! enough to be kept off the threads that calls run on. Who changes what, and when, is for others.

use std::sync::Arc;

use keyway_core::limits::CONFIG_STEPS_MAX;
use keyway_core::schema::Schema;
use keyway_core::{Code, Descriptor, Fault};
use tokio::sync::Semaphore;

use super::{broken, judge, verdict};

/// Compiling and checking at once, of the whole process: operators change configurations, and now and then.
static AT_ONCE: Semaphore = Semaphore::const_new(2);

/// A release's schema of configurations, compiled. None: it takes none. Clones are the same.
#[derive(Clone)]
pub struct ConfigSchema(Option<Arc<Schema>>);

// === impl ConfigSchema ===

impl ConfigSchema {
    /// Compiles that of a release.
    pub async fn compile(descriptor: &Descriptor) -> Result<Self, Fault> {
        let Some(schema) = descriptor.config.clone() else { return Ok(Self(None)) };
        let compiled = aside(move || Schema::compile(&schema)).await?;
        compiled
            .map(|schema| Self(Some(Arc::new(schema))))
            .map_err(|error| broken("configuration", &error))
    }

    /// Holds a configuration against it.
    pub async fn check(&self, config: &str) -> Result<(), Fault> {
        match &self.0 {
            Some(schema) => {
                let (schema, config) = (Arc::clone(schema), config.to_owned());
                let verdict = aside(move || verdict(&schema, &config, CONFIG_STEPS_MAX)).await?;
                judge(&verdict, CONFIG_STEPS_MAX, Code::ConfigInvalid, "configuration")
            }
            None if is_empty(config) => Ok(()),
            None => Err(Fault::new(Code::ConfigInvalid, "this release takes no configuration")),
        }
    }
}

/// Does something that takes long where it holds up no call.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    let permit = AT_ONCE.acquire().await.expect("the semaphore is never closed");
    let done = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        work()
    });
    done.await.map_err(|error| {
        Fault::new(Code::Internal, "the check of a configuration died").caused_by(error)
    })
}

/// Whether it is an object without members.
fn is_empty(config: &str) -> bool {
    let inside = config.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    inside.is_some_and(|inside| inside.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    async fn check(config: Option<Value>, text: &str) -> Result<(), Fault> {
        let mut json = json!({"format": 1, "name": "a/b", "version": "1.0.0"});
        json.as_object_mut().unwrap().extend(config.map(|config| ("config".to_owned(), config)));
        let descriptor = Descriptor::parse(&json.to_string()).unwrap();
        ConfigSchema::compile(&descriptor).await.unwrap().check(text).await
    }

    #[tokio::test]
    async fn configuration_is_held_against_the_schema() {
        let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}, "x": {"type": "number"}},
            "additionalProperties": false});
        let check = async |text| check(Some(schema.clone()), text).await;
        assert!(check(r#"{"n": 1}"#).await.is_ok());
        let fault = check(r#"{"n": "x", "m": 1}"#).await.unwrap_err();
        assert_eq!(fault.code, Code::ConfigInvalid);
        assert!(fault.detail.contains("/n"), "{}", fault.detail);
        // A number is what is written, whatever a float holds of it.
        assert!(check(r#"{"x": 1e400, "n": 1e400}"#).await.is_ok());
    }

    /// Fails if the bound that is named is that of an input.
    #[tokio::test]
    async fn a_configuration_that_takes_too_long_is_told_its_own_bound() {
        let times = vec![json!({"type": "integer"}); 40];
        let schema = json!({"properties": {"n": {"items": {"allOf": times}}}});
        let config = |items: usize| format!(r#"{{"n":[1{}]}}"#, ",1".repeat(items));
        assert!(check(Some(schema.clone()), &config(5_000)).await.is_ok());
        let fault = check(Some(schema), &config(50_000)).await.unwrap_err();
        assert_eq!(fault.code, Code::ConfigInvalid);
        assert_eq!(
            fault.detail,
            "configuration is too large for its schema: checking it takes more than 1000000 steps"
        );
        let page = include_str!("../../../../docs/codes/config-invalid.md");
        assert!(page.contains("1,000,000 steps"), "{page}");
    }

    #[tokio::test]
    async fn no_schema_means_no_configuration() {
        assert!(check(None, " { } ").await.is_ok());
        for config in [r#"{"a": 1}"#, "{", "[]", ""] {
            assert!(check(None, config).await.is_err(), "{config}");
        }
    }
}
