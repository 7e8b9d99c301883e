//! What the release says of itself.

use keyway_sdk::serde_json::{self, json};
use keyway_sdk::{Act, Describe};

use super::{API, HubSpot, MAJOR};

#[test]
fn the_line_names_its_generation_and_its_version() {
    let descriptor = serde_json::to_value(HubSpot::describe()).unwrap();
    assert_eq!(descriptor["name"], "keyway/hubspot");
    assert_eq!(descriptor["api"], json!({"version": API}));
    let version = descriptor["version"].as_str().unwrap();
    assert_eq!(version.split('.').next(), Some(MAJOR));
}

#[test]
fn one_host_one_slot_two_objects_five_actions() {
    let descriptor = serde_json::to_value(HubSpot::describe()).unwrap();
    assert_eq!(descriptor["hosts"], json!(["api.hubapi.com"]));
    assert_eq!(descriptor["base-url"], "https://api.hubapi.com");
    assert_eq!(descriptor["slots"]["token"]["scheme"], json!({"kind": "bearer"}));
    for object in ["contacts", "companies"] {
        let spec = &descriptor["objects"][object];
        let read = json!({"incremental": true, "deletes": true, "page-size": 100});
        assert_eq!(spec["read"], read, "{object}");
        assert_eq!(spec["write"], json!(["create", "update", "upsert", "delete"]), "{object}");
    }
    let actions: Vec<_> = descriptor["actions"].as_object().unwrap().keys().collect();
    assert_eq!(
        actions,
        ["account.info", "companies.get", "companies.search", "contacts.get", "contacts.search"]
    );
    for (name, spec) in descriptor["actions"].as_object().unwrap() {
        assert_eq!(spec["effect"], "read", "{name}");
        assert!(spec["input"].is_object(), "{name}");
    }
}

#[test]
fn what_is_described_can_be_invoked() {
    let table = HubSpot::actions();
    let described = serde_json::to_value(HubSpot::describe()).unwrap();
    let described: Vec<_> = described["actions"].as_object().unwrap().keys().cloned().collect();
    let offered: Vec<_> = table.specs().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(described, offered);
}
