//! Which result and which error of a batch belongs to which item.
//!
//! The trace id says it. Where the provider leaves that out, a result is known by the id that was
//! asked for, or by holding just what was written; an item that nothing accounts for is never guessed
//! to be written.

use std::collections::VecDeque;

use keyway_sdk::{Failure, Outcome, Response};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::api::{Batch, Stored};
use crate::errors::Explained;
use crate::write::Input;

#[derive(Deserialize)]
struct Answer {
    results: Vec<Stored>,
    #[serde(default)]
    errors: Vec<Explained>,
}

/// Items of a run that nothing has accounted for yet.
struct Open(Vec<Input>);

/// The outcomes of a run that the provider took, in whole or (207) in part.
pub(crate) fn of_response(batch: Batch, run: Vec<Input>, response: &Response) -> Vec<Outcome> {
    if batch == Batch::Archive {
        // 204: archiving what is archived, or was never there, is no error to the provider.
        let archived =
            |input: Input| Outcome::written(input.reference, input.id.unwrap_or_default());
        return run.into_iter().map(archived).collect();
    }
    match response.json::<Answer>() {
        Ok(answer) => of_answer(run, answer),
        Err(failure) => {
            let lost = |input: Input| Outcome::rejected(input.reference, failure.clone());
            run.into_iter().map(lost).collect()
        }
    }
}

fn of_answer(run: Vec<Input>, answer: Answer) -> Vec<Outcome> {
    let mut outcomes = Vec::with_capacity(run.len());
    let mut open = Open(run);
    let mut unplaced = VecDeque::new();
    for error in &answer.errors {
        let refused = open.take_all(|input| names(error, input));
        if refused.is_empty() {
            unplaced.push_back(error.of_item());
        }
        outcomes
            .extend(refused.into_iter().map(|i| Outcome::rejected(i.reference, error.of_item())));
    }
    let mut strangers = Vec::new();
    for stored in answer.results {
        match open.take_written(&stored) {
            Some(input) => outcomes.push(written(input, stored)),
            None => strangers.push(stored),
        }
    }
    // One of each left, and no error beside: they belong together.
    if let ([_], [_], true) = (&open.0[..], &strangers[..], unplaced.is_empty()) {
        outcomes
            .extend(open.0.drain(..).zip(strangers).map(|(input, stored)| written(input, stored)));
    }
    for input in open.0 {
        let failure = unplaced.front().cloned().unwrap_or_else(|| {
            Failure::contract("provider did not say what became of the item").code("unaccounted")
        });
        outcomes.push(Outcome::rejected(input.reference, failure));
    }
    outcomes
}

fn written(input: Input, stored: Stored) -> Outcome {
    let mut outcome = Outcome::written(input.reference, stored.id);
    if let Outcome::Written(written) = &mut outcome {
        written.data = Some(stored.properties.get().to_owned());
        if let Some(new) = stored.new {
            written.extra.push(("new".to_owned(), new.to_string()));
        }
    }
    outcome
}

/// Whether an error says that it is about this input.
fn names(error: &Explained, input: &Input) -> bool {
    let trace = input.object_write_trace_id.as_deref();
    let traced = trace.is_some_and(|trace| error.context("objectWriteTraceId").any(|t| t == trace));
    let id = input.id.as_deref();
    traced
        || id
            .is_some_and(|id| ["ids", "id"].iter().any(|name| error.context(name).any(|i| i == id)))
}

// === impl Open ===

impl Open {
    fn take_all(&mut self, wanted: impl Fn(&Input) -> bool) -> Vec<Input> {
        self.0.extract_if(.., |input| wanted(input)).collect()
    }

    fn take(&mut self, wanted: impl Fn(&Input) -> bool) -> Option<Input> {
        let position = self.0.iter().position(wanted)?;
        Some(self.0.remove(position))
    }

    /// The input that a result is of.
    fn take_written(&mut self, stored: &Stored) -> Option<Input> {
        if let Some(trace) = &stored.object_write_trace_id {
            return self.take(|input| input.object_write_trace_id.as_ref() == Some(trace));
        }
        let properties: Map<String, Value> =
            serde_json::from_str(stored.properties.get()).unwrap_or_default();
        let holds = |name: &str, value: &str| {
            properties.get(name).map(|held| held.as_str().unwrap_or_default()) == Some(value)
        };
        self.take(|input| match (&input.id, &input.id_property) {
            (Some(id), None) => *id == stored.id,
            (Some(id), Some(property)) => holds(property, id),
            // Two creates of the same content are as good as each other.
            (None, _) => input.properties.iter().flatten().all(|(name, value)| holds(name, value)),
        })
    }
}
