//! Actions: named things to do, with typed input and output.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::text::from_caller;
use crate::{ActionSpec, Failure, Result, json_text};

/// A connector that offers actions: the contract's interface `actions`.
pub trait Act {
    /// The actions it offers, each with what it says of itself.
    fn actions() -> Actions;

    /// Runs one action on JSON text. The default finds it in [`Act::actions`].
    fn invoke(name: &str, input: &str) -> Result<String> {
        Self::actions().invoke(name, input)
    }
}

/// Actions by name: what the descriptor lists and what [`Act::invoke`] runs are one table.
#[derive(Default)]
pub struct Actions {
    entries: BTreeMap<String, Entry>,
}

/// Input text to output text.
type Handler = dyn Fn(&str) -> Result<String>;

struct Entry {
    spec: ActionSpec,
    run: Box<Handler>,
}

// === impl Actions ===

impl Actions {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an action. Input that does not deserialise is the caller's fault and never reaches `handler`.
    #[must_use]
    pub fn on<I, O>(
        mut self,
        name: impl Into<String>,
        spec: ActionSpec,
        handler: impl Fn(I) -> Result<O> + 'static,
    ) -> Self
    where
        I: DeserializeOwned,
        O: Serialize,
    {
        let run = Box::new(move |input: &str| {
            let output = handler(from_caller("input", input)?)?;
            json_text(&output)
        });
        self.entries.insert(name.into(), Entry { spec, run });
        self
    }

    /// Runs one on JSON text.
    pub fn invoke(&self, name: &str, input: &str) -> Result<String> {
        let Some(entry) = self.entries.get(name) else {
            return Err(Failure::unsupported(format!("there is no action `{name}`")));
        };
        (entry.run)(input)
    }

    /// What each says of itself.
    pub fn specs(&self) -> impl Iterator<Item = (&str, &ActionSpec)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), &entry.spec))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FailureKind;

    fn double() -> Actions {
        Actions::new().on("double", ActionSpec::reads("Twice."), |n: u32| {
            n.checked_mul(2).ok_or_else(|| Failure::invalid_input("too large"))
        })
    }

    #[test]
    fn actions_run_by_name_with_typed_input() {
        assert_eq!(double().invoke("double", "21").as_deref(), Ok("42"));
    }

    #[test]
    fn bad_input_and_unknown_names_are_told_apart() {
        for (name, input, kind) in [
            ("double", "\"21\"", FailureKind::InvalidInput),
            ("double", "{", FailureKind::InvalidInput),
            ("double", "4000000000", FailureKind::InvalidInput),
            ("triple", "21", FailureKind::Unsupported),
        ] {
            let failure = double().invoke(name, input).unwrap_err();
            assert_eq!((failure.kind, failure.request_sent), (kind, false), "{name} {input}");
        }
    }
}
