//! JSON text as the contract carries it, made and read with failures that name the right party.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Failure, Result, from_json};

/// JSON text of a value. Fails only for what JSON cannot say, such as a map whose keys are no strings.
pub fn json_text<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Failure::internal(format!("value is not expressible as JSON: {error}")))
}

/// Reads JSON text that a caller gave; `what` names it in the failure.
pub(crate) fn from_caller<T: DeserializeOwned>(what: &str, text: &str) -> Result<T> {
    from_json(text.as_bytes())
        .map_err(|error| Failure::invalid_input(format!("{what} is not as declared: {error}")))
}
