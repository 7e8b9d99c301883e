//! What every line of `keyway/hubspot` must do. A line's test includes this beside the constants of
//! its generation, so each path here is checked literally, and each case runs for each line.

mod actions;
mod describe;
mod discover;
mod failures;
mod read;
mod wide;
mod write;

use keyway_sdk::serde_json::{Value, json};
use keyway_sdk::testing::Exchange;

use super::{ACCOUNT_INFO, API, HubSpot, MAJOR, OBJECTS, PROPERTIES, REVOKE_URL};

fn contacts(rest: &str) -> String {
    format!("{OBJECTS}/contacts{rest}")
}

fn companies(rest: &str) -> String {
    format!("{OBJECTS}/companies{rest}")
}

fn get(url: String) -> Exchange {
    Exchange::get(url).slot("token")
}

fn post(url: String, body: Value) -> Exchange {
    Exchange::post(url).slot("token").header("content-type", "application/json").json(body)
}

/// A contact as the provider answers it.
fn contact(id: &str, modified: &str) -> Value {
    json!({
        "id": id,
        "properties": {"email": format!("{id}@example.com"), "lastmodifieddate": modified},
        "createdAt": "2020-01-01T00:00:00Z",
        "updatedAt": modified,
        "archived": false,
    })
}

fn results(results: &[Value], after: Option<&str>) -> Value {
    match after {
        Some(after) => json!({"results": results, "paging": {"next": {"after": after}}}),
        None => json!({"results": results}),
    }
}

fn value(text: &str) -> Value {
    keyway_sdk::serde_json::from_str(text).expect("JSON")
}
