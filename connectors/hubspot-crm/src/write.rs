//! Writing batches: items in, runs of at most a hundred out, one outcome for each item back.
//!
//! Which answer belongs to which item is decided in [`crate::outcomes`].

use std::collections::BTreeMap;

use keyway_sdk::{Failure, FailureKind, Item, Operation, Outcome, Result, WriteRequest, paging};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::Generation;
use crate::api::{BATCH_MAX, Batch, Endpoints};
use crate::object::Object;
use crate::outcomes;

/// One input of a batch.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Input {
    #[serde(skip)]
    pub(crate) reference: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id_property: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) properties: Option<BTreeMap<String, String>>,
    /// The documents require it of a create, empty or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    associations: Option<[(); 0]>,
    /// Comes back with the item's result or error: nothing else tells two creates apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) object_write_trace_id: Option<String>,
}

pub(crate) fn write<G: Generation>(request: WriteRequest) -> Result<Vec<Outcome>> {
    let object = Object::parse(&request.object)?;
    let batch = batch_of(request.operation);
    check(&request, batch)?;
    let match_on = request.match_on.as_deref();
    let mut outcomes = Vec::with_capacity(request.items.len());
    let mut inputs = Vec::with_capacity(request.items.len());
    for (position, item) in request.items.iter().enumerate() {
        match Input::new(position, item, batch, match_on) {
            Ok(input) => inputs.push(input),
            Err(failure) => outcomes.push(Outcome::rejected(&item.reference, failure)),
        }
    }
    let endpoints = Endpoints::<G>::new();
    let mut sent = false;
    let mut runs = paging::runs(inputs, BATCH_MAX);
    for run in runs.by_ref() {
        match endpoints.batch(object, batch, &run) {
            Ok(response) => outcomes.extend(outcomes::of_response(batch, run, &response)),
            Err(failure) if !sent && nothing_written(&failure) => return Err(failure),
            Err(failure) => {
                let goes_on = about_the_items(failure.kind);
                outcomes.extend(rejected(run, &failure));
                if !goes_on {
                    // The rest would meet the same; it stays unsent, and says so.
                    let unsent = Failure { request_sent: false, ..failure };
                    outcomes.extend(runs.flat_map(|run| rejected(run, &unsent)));
                    break;
                }
            }
        }
        sent = true;
    }
    Ok(outcomes)
}

const fn batch_of(operation: Operation) -> Batch {
    match operation {
        Operation::Create => Batch::Create,
        Operation::Update => Batch::Update,
        Operation::Upsert => Batch::Upsert,
        Operation::Delete => Batch::Archive,
    }
}

fn check(request: &WriteRequest, batch: Batch) -> Result<()> {
    // No parameter of the provider's batches makes them atomic.
    if request.all_or_none && request.items.len() > 1 {
        let message = "HubSpot writes the items of a batch one by one: it cannot do all or none";
        return Err(Failure::unsupported(message).code("all-or-none"));
    }
    if request.match_on.is_some() && matches!(batch, Batch::Create | Batch::Archive) {
        let operation = request.operation.as_str();
        return Err(Failure::invalid_input(format!("{operation} cannot match on a property")));
    }
    Ok(())
}

/// Whether a failed run failed for what was in it, so that another may succeed.
const fn about_the_items(kind: FailureKind) -> bool {
    matches!(kind, FailureKind::InvalidInput | FailureKind::Conflict | FailureKind::NotFound)
}

/// Whether a failed run certainly wrote nothing, and neither would any other.
const fn nothing_written(failure: &Failure) -> bool {
    !failure.request_sent
        || matches!(
            failure.kind,
            FailureKind::Unauthenticated
                | FailureKind::Forbidden
                | FailureKind::RateLimited
                | FailureKind::Denied
        )
}

fn rejected(run: Vec<Input>, failure: &Failure) -> impl Iterator<Item = Outcome> {
    run.into_iter().map(|input| Outcome::rejected(input.reference, failure.clone()))
}

// === impl Input ===

impl Input {
    fn new(position: usize, item: &Item, batch: Batch, match_on: Option<&str>) -> Result<Self> {
        let mut input = Self { reference: item.reference.clone(), ..Self::default() };
        if batch != Batch::Create {
            let id = item.id.as_deref().filter(|id| !id.is_empty());
            let id = id.ok_or_else(|| Failure::invalid_input("item has no id to find it by"))?;
            input.id = Some(id.to_owned());
        }
        if batch == Batch::Archive {
            return Ok(input);
        }
        input.id_property = match_on.map(str::to_owned);
        input.properties = Some(properties(item)?);
        input.associations = (batch == Batch::Create).then_some([]);
        input.object_write_trace_id = Some(position.to_string());
        Ok(input)
    }
}

/// Properties as the provider takes them, which is as text; empty text clears one.
fn properties(item: &Item) -> Result<BTreeMap<String, String>> {
    let members: Map<String, Value> = item.data_as()?;
    let text = |(name, value): (String, Value)| {
        let text = match value {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            Value::Null => String::new(),
            Value::Array(_) | Value::Object(_) => {
                return Err(Failure::invalid_input(format!("`{name}` is no single value")));
            }
        };
        Ok((name, text))
    };
    members.into_iter().map(text).collect()
}
