//! Keys: what is shown of them, and what an exchange must name.

use serde_json::json;

use crate::world::{World, at};

#[tokio::test]
async fn keys_are_shown_by_name_and_number() {
    let world = World::pinned().await;
    let shown = world.get("/v1/keys").await.ok();
    let expected = json!({"service": "environment", "data_keys": 0, "data_keys_current": 0,
        "sealing_keys": [{"id": "test", "current": true, "present": true, "data_keys": 0}]});
    assert_eq!(shown, expected);
    world.put(&at("/connections/token"), json!({"token": "s3cret"})).await.ok();
    let shown = world.get("/v1/keys").await.ok();
    assert_eq!(
        (&shown["data_keys"], &shown["sealing_keys"][0]["data_keys"]),
        (&json!(1), &json!(1))
    );
}

#[tokio::test]
async fn data_keys_are_exchanged_for_a_tenant_an_environment_or_all() {
    let world = World::pinned().await;
    world.put(&at("/connections/token"), json!({"token": "s3cret"})).await.ok();
    for (body, made) in [
        (json!({"what": "data-keys", "environment": "dev", "tenant": "acme"}), 1),
        (json!({"what": "data-keys", "environment": "dev", "tenant": "other"}), 0),
        (json!({"what": "data-keys", "environment": "dev"}), 1),
        (json!({"what": "data-keys", "environment": "prod"}), 0),
        (json!({"what": "data-keys"}), 1),
    ] {
        let rotated = world.post("/v1/keys/rotate", body.clone()).await.ok();
        assert_eq!(rotated, json!({"sealing_key": "test", "data_keys": made}), "{body}");
    }
    let shown = world.get("/v1/keys").await.ok();
    assert_eq!((&shown["data_keys"], &shown["data_keys_current"]), (&json!(4), &json!(1)));
    let audit = world.get("/v1/audit?limit=100").await.ok();
    let last = audit["entries"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["action"], &last["object"]),
        (&json!("keys.rotate"), &json!("data keys of everybody"))
    );
    assert_eq!(last["actor"], "root");
}

#[tokio::test]
async fn an_exchange_that_is_not_clear_is_refused() {
    let world = World::new().await;
    for (body, code) in [
        (json!({}), "invalid-request"),
        (json!({"what": "everything"}), "invalid-request"),
        (json!({"what": "data-keys", "tenants": "acme"}), "invalid-request"),
        (json!({"what": "data-keys", "tenant": "acme"}), "invalid-request"),
        (json!({"what": "sealing-key", "environment": "dev"}), "invalid-request"),
        (json!({"what": "data-keys", "environment": "dev", "tenant": "a/b"}), "invalid-name"),
    ] {
        world.post("/v1/keys/rotate", body.clone()).await.refused(400, code);
    }
    let elsewhere = json!({"what": "data-keys", "environment": "nowhere"});
    world.post("/v1/keys/rotate", elsewhere).await.refused(404, "unknown-environment");
    // These keys are not the host's to change.
    world.post("/v1/keys/rotate", json!({"what": "sealing-key"})).await.refused(409, "keys-fixed");
}
