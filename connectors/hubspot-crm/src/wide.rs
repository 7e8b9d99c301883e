//! Many properties at once: what is too long for a query, or for a search, goes into the body of a batch read.
//!
//! A list takes the names of properties in its query, which servers and those between read up to some KiB; a search takes
//! 3,000 characters in all. A batch read takes any number of names, for a hundred records at once. So records are first
//! found with the one property that says when they changed, and then read whole, by their ids.

use std::collections::BTreeMap;

use keyway_sdk::{Failure, Response, Result, from_json};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::Generation;
use crate::api::{BATCH_MAX, Endpoints, Wanted};
use crate::errors::Explained;
use crate::object::Object;

/// Bytes of names that go into a search. Two thirds of what one may have.
const NAMES_BYTES_MAX: usize = 2_000;

/// Bytes of a query that names may take. Half of what a URL may have.
const QUERY_BYTES_MAX: usize = 4_096;

/// What stands before each name in a query, however short the name is.
const PAIR: &str = "&properties=";

/// What a batch read answers.
#[derive(Deserialize)]
struct Found {
    results: Vec<Box<RawValue>>,
    #[serde(default)]
    errors: Vec<Explained>,
}

#[derive(Deserialize)]
struct Identified {
    id: String,
}

/// Whether the names are too many for a query or a search.
pub(crate) fn wide(properties: &[String]) -> bool {
    // One more for what stands between two of them.
    let names: usize = properties.iter().map(|name| name.len() + 1).sum();
    let query: usize = properties.iter().map(|name| PAIR.len() + in_query(name)).sum();
    names > NAMES_BYTES_MAX || query > QUERY_BYTES_MAX
}

/// Bytes of a name in a query: what does not stand for itself takes three (RFC 3986 section 2.1).
fn in_query(name: &str) -> usize {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    name.bytes().map(|byte| if plain(byte) { 1 } else { 3 }).sum()
}

/// Records by their ids, each as the provider answers it. One that is gone is left out.
pub(crate) fn whole<G: Generation>(
    endpoints: &Endpoints<G>,
    object: Object,
    ids: &[&str],
    wanted: &Wanted<'_>,
) -> Result<BTreeMap<String, Box<RawValue>>> {
    let mut whole = BTreeMap::new();
    for run in ids.chunks(BATCH_MAX) {
        let found: Found = endpoints.batch_read(object, run, wanted)?.json()?;
        for record in found.results {
            whole.insert(id_of(&record)?, record);
        }
    }
    Ok(whole)
}

/// One record, by what identifies it.
pub(crate) fn one<G: Generation>(
    endpoints: &Endpoints<G>,
    object: Object,
    id: &str,
    wanted: &Wanted<'_>,
) -> Result<Box<RawValue>> {
    let found: Found = endpoints.batch_read(object, &[id], wanted)?.json()?;
    let refused = found.errors.first().map(Explained::of_item);
    let none = || refused.unwrap_or_else(|| Failure::contract("a batch read of one has no answer"));
    found.results.into_iter().next().ok_or_else(none)
}

/// A search's answer with its results read whole, in their order.
pub(crate) fn searched<G: Generation>(
    endpoints: &Endpoints<G>,
    object: Object,
    response: &Response,
    properties: &[String],
) -> Result<Box<RawValue>> {
    let mut answer: BTreeMap<String, Box<RawValue>> = response.json()?;
    let found: Vec<Identified> = match answer.get("results") {
        Some(results) => from_json(results.get().as_bytes()).map_err(drifted)?,
        None => return Err(Failure::contract("a search has no `results`")),
    };
    let ids: Vec<&str> = found.iter().map(|record| record.id.as_str()).collect();
    let wanted = Wanted { by: None, archived: false, properties };
    let mut whole = whole(endpoints, object, &ids, &wanted)?;
    let records: Vec<_> = ids.iter().filter_map(|id| whole.remove(*id)).collect();
    answer.insert("results".to_owned(), raw(&records)?);
    raw(&answer)
}

fn raw<T: serde::Serialize>(value: &T) -> Result<Box<RawValue>> {
    serde_json::value::to_raw_value(value).map_err(|error| Failure::internal(error.to_string()))
}

fn id_of(record: &RawValue) -> Result<String> {
    let record: Identified = from_json(record.get().as_bytes()).map_err(drifted)?;
    Ok(record.id)
}

#[expect(clippy::needless_pass_by_value, reason = "what `map_err` gives")]
fn drifted(error: serde_json::Error) -> Failure {
    Failure::contract(format!("a record is not as documented: {error}"))
}
