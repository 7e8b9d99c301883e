//! Schemas of an account's objects.

use keyway_sdk::serde_json::{Value, json};
use keyway_sdk::testing::{Cassette, Exchange};
use keyway_sdk::{FailureKind, Read};

use super::{HubSpot, PROPERTIES, get};

fn properties(object: &str) -> Exchange {
    get(format!("{PROPERTIES}/{object}?archived=false"))
}

fn property(name: &str, kind: &str, field: &str, more: Value) -> Value {
    let mut property = json!({
        "name": name, "label": name.to_uppercase(), "description": "", "groupName": "g",
        "type": kind, "fieldType": field, "options": [], "hubspotDefined": true,
    });
    property.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    property
}

#[test]
fn standard_and_custom_properties_become_a_schema() {
    let options = json!([
        {"label": "A", "value": "a", "hidden": false},
        {"label": "B", "value": "b", "hidden": false},
    ]);
    let answer = json!({"results": [
        property("email", "string", "text", json!({"hasUniqueValue": true, "description": "Address."})),
        property("tier", "enumeration", "select", json!({"options": options, "hubspotDefined": false})),
        property("tags", "enumeration", "checkbox", json!({"options": options})),
        property("owner", "enumeration", "select", json!({"options": options, "externalOptions": true})),
        property("createdate", "datetime", "date", json!({"modificationMetadata":
            {"archivable": false, "readOnlyDefinition": true, "readOnlyValue": true}})),
    ]});
    let cassette = Cassette::new().expect(properties("contacts").reply_json(answer));
    let schemas = cassette.play(|| HubSpot::discover(Some("contacts"))).unwrap();
    assert_eq!(schemas.len(), 1);
    let schema = &schemas["contacts"];
    assert_eq!(schema["type"], "object");
    let members = &schema["properties"];
    assert_eq!(
        members["email"],
        json!({
            "title": "EMAIL", "description": "Address.", "type": ["string", "null"],
            "x-type": "string", "x-field-type": "text", "x-custom": false, "x-unique": true,
        })
    );
    assert_eq!(members["tier"]["enum"], json!(["a", "b", "", null]));
    assert_eq!(members["tier"]["x-custom"], true);
    assert_eq!(members["tags"].get("enum"), None, "several values are one text");
    assert_eq!(members["owner"].get("enum"), None, "the list is kept elsewhere");
    assert_eq!(members["createdate"]["readOnly"], true);
}

#[test]
fn without_a_name_both_objects_are_discovered() {
    let cassette = Cassette::new()
        .expect(properties("contacts").reply_json(json!({"results": []})))
        .expect(properties("companies").reply_json(json!({"results": []})));
    let schemas = cassette.play(|| HubSpot::discover(None)).unwrap();
    assert_eq!(schemas.keys().collect::<Vec<_>>(), ["companies", "contacts"]);
}

#[test]
fn unknown_objects_and_drifted_answers_are_told_apart() {
    let failure = Cassette::new().play(|| HubSpot::discover(Some("deals"))).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unsupported);
    let cassette =
        Cassette::new().expect(properties("contacts").reply_json(json!({"properties": []})));
    let failure = cassette.play(|| HubSpot::discover(Some("contacts"))).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Contract);
}
