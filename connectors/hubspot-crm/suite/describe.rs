//! What the release says of itself.

use keyway_sdk::serde_json::{self, json};
use keyway_sdk::{Act, Describe};

use super::{ACCOUNT_INFO, API, HubSpot, MAJOR, REVOKE_URL};

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
    assert_eq!(descriptor["slots"].as_object().unwrap().len(), 1);
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
fn the_slot_says_how_the_provider_issues_tokens_and_how_one_is_tried() {
    let descriptor = serde_json::to_value(HubSpot::describe()).unwrap();
    let slot = &descriptor["slots"]["token"];
    assert_eq!(
        slot["scheme"],
        json!({
            "kind": "oauth2",
            "grant": "authorization-code",
            "authorize-url": "https://app.hubspot.com/oauth/authorize",
            "token-url": "https://api.hubapi.com/oauth/v1/token",
            "revoke-url": REVOKE_URL,
            "client-auth": "post",
            "scope-separator": " ",
            "refresh": "keep",
            "lifetime": 1800,
            "account": "/hub_id",
            "errors": [
                {
                    "pointer": "/status",
                    "values": ["BAD_REFRESH_TOKEN", "BAD_AUTH_CODE"],
                    "means": "needs-reauth",
                },
                {
                    "pointer": "/status",
                    "values": ["BAD_CLIENT_ID", "BAD_CLIENT_SECRET"],
                    "means": "client-refused",
                },
            ],
        })
    );
    assert_eq!(slot["probe"], json!({"path": ACCOUNT_INFO, "account": "/portalId"}));
    // `oauth` is what the probe and `account.info` need, the others what objects and their actions do.
    let object =
        |object: &str| ["read", "write"].map(|verb| format!("crm.objects.{object}.{verb}"));
    let mut scopes = vec!["oauth".to_owned()];
    for name in descriptor["objects"].as_object().unwrap().keys().rev() {
        scopes.extend(object(name));
    }
    assert_eq!(slot["scopes"], json!(scopes));
}

#[test]
fn the_headers_that_only_this_provider_sends_are_named() {
    let descriptor = serde_json::to_value(HubSpot::describe()).unwrap();
    assert_eq!(
        descriptor["rate-limit-headers"],
        json!([{
            "name": "default",
            "limit": "X-HubSpot-RateLimit-Max",
            "remaining": "X-HubSpot-RateLimit-Remaining",
            "window-ms": "X-HubSpot-RateLimit-Interval-Milliseconds",
        }])
    );
}

#[test]
fn what_is_described_can_be_invoked() {
    let table = HubSpot::actions();
    let described = serde_json::to_value(HubSpot::describe()).unwrap();
    let described: Vec<_> = described["actions"].as_object().unwrap().keys().cloned().collect();
    let offered: Vec<_> = table.specs().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(described, offered);
}
