//! The actions, with the provider's own answers as their output.

use keyway_sdk::{ActionSpec, Actions, Result};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::Generation;
use crate::api::{Endpoints, PAGE_MAX, SEARCH_BEGIN, SEARCH_PAGE_MAX, Search, Wanted};
use crate::config::Config;
use crate::object::Object;
use crate::wide;

/// Input of `contacts.get` and `companies.get`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Get {
    id: String,
    id_property: Option<String>,
    #[serde(default)]
    properties: Vec<String>,
    #[serde(default)]
    archived: bool,
}

/// Input of `contacts.search` and `companies.search`: the provider's search, every member optional.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Query {
    query: Option<String>,
    filter_groups: Vec<Value>,
    sorts: Vec<String>,
    properties: Vec<String>,
    limit: u32,
    after: String,
}

pub(crate) fn table<G: Generation>() -> Actions {
    use Object::{Companies, Contacts};
    let account = ActionSpec::reads("The HubSpot account behind the connection.")
        .input(json!({"type": ["object", "null"], "additionalProperties": false}));
    Actions::new()
        .on("contacts.get", get_spec("One contact."), |input| get::<G>(Contacts, &input))
        .on("contacts.search", search_spec("Contacts that match."), |input| {
            search::<G>(Contacts, input)
        })
        .on("companies.get", get_spec("One company."), |input| get::<G>(Companies, &input))
        .on("companies.search", search_spec("Companies that match."), |input| {
            search::<G>(Companies, input)
        })
        .on("account.info", account, |_: IgnoredAny| {
            Endpoints::<G>::new().account_info()?.json::<Box<RawValue>>()
        })
}

fn get<G: Generation>(object: Object, input: &Get) -> Result<Box<RawValue>> {
    let Get { id, id_property, properties, archived } = input;
    let endpoints = Endpoints::<G>::new();
    let (by, archived) = (id_property.as_deref(), *archived);
    if wide::wide(properties) {
        return wide::one(&endpoints, object, id, &Wanted { by, archived, properties });
    }
    endpoints.get(object, id, by, archived, properties)?.json()
}

fn search<G: Generation>(object: Object, input: Query) -> Result<Box<RawValue>> {
    let properties = if input.properties.is_empty() {
        Config::load()?.properties(object, &[])
    } else {
        input.properties
    };
    let wide = wide::wide(&properties);
    let search = Search {
        filter_groups: input.filter_groups,
        sorts: input.sorts,
        properties: if wide { vec![object.modified().to_owned()] } else { properties.clone() },
        limit: input.limit,
        after: input.after,
        query: input.query,
    };
    let endpoints = Endpoints::<G>::new();
    let found = endpoints.search(object, &search)?;
    if wide { wide::searched(&endpoints, object, &found, &properties) } else { found.json() }
}

fn get_spec(summary: &str) -> ActionSpec {
    ActionSpec::reads(summary).input(json!({
        "type": "object",
        "required": ["id"],
        "additionalProperties": false,
        "properties": {
            "id": {"type": "string", "minLength": 1},
            "idProperty": {
                "description": "The unique property that `id` is a value of; the record id if absent.",
                "type": "string",
                "minLength": 1,
            },
            "properties": {"type": "array", "items": {"type": "string"}},
            "archived": {"type": "boolean"},
        },
    }))
}

fn search_spec(summary: &str) -> ActionSpec {
    let filter = json!({
        "type": "object",
        "required": ["propertyName", "operator"],
        "additionalProperties": false,
        "properties": {
            "propertyName": {"type": "string"},
            "operator": {"enum": [
                "BETWEEN", "CONTAINS_TOKEN", "EQ", "GT", "GTE", "HAS_PROPERTY", "IN", "LT", "LTE", "NEQ",
                "NOT_CONTAINS_TOKEN", "NOT_HAS_PROPERTY", "NOT_IN",
            ]},
            "value": {"type": "string"},
            "highValue": {"type": "string"},
            "values": {"type": "array", "items": {"type": "string"}},
        },
    });
    let group = json!({
        "type": "object",
        "required": ["filters"],
        "additionalProperties": false,
        "properties": {"filters": {"type": "array", "items": filter}},
    });
    ActionSpec::reads(summary).input(json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "query": {"description": "Words to look for in the usual fields.", "type": "string"},
            "filterGroups": {"type": "array", "items": group},
            "sorts": {
                "description": "Properties to sort by, as the provider spells them.",
                "type": "array",
                "items": {"type": "string"},
            },
            "properties": {"type": "array", "items": {"type": "string"}},
            "limit": {"type": "integer", "minimum": 1, "maximum": SEARCH_PAGE_MAX},
            "after": {"description": "`paging.next.after` of the page before.", "type": "string"},
        },
    }))
}

impl Default for Query {
    fn default() -> Self {
        Self {
            query: None,
            filter_groups: Vec::new(),
            sorts: Vec::new(),
            properties: Vec::new(),
            limit: PAGE_MAX,
            after: SEARCH_BEGIN.to_owned(),
        }
    }
}
