//! The end of a tenant: nothing of it is left, nobody else is touched, and it may be cut off anywhere. And how tenants may
//! be called.

use keyway_api::Config;
use keyway_core::ids::{Environment, Installation, Tenant};
use keyway_releases::tenant::Ending;
use serde_json::{Value, json};

use crate::world::{World, encoded};

/// As systems that manage identities name their users.
const TENANT: &str = "auth0|5f7c";

fn at(tenant: &str, rest: &str) -> String {
    // Not all of it has to be escaped; a host takes both.
    let tenant = tenant.replace('|', "%7C");
    format!("/v1/environments/dev/tenants/{tenant}/connectors/pub/crm{rest}")
}

fn component() -> String {
    json!({
        "format": 1, "name": "pub/crm", "version": "1.0.0",
        "hosts": ["api.example.com"], "base-url": "https://api.example.com",
        "config": {"type": "object"},
        "slots": {
            "oauth": {
                "scheme": {"kind": "oauth2", "authorize-url": "https://login.example.com/authorize",
                    "token-url": "https://login.example.com/token",
                    "revoke-url": "https://login.example.com/revoke"},
                "probe": {"path": "/me", "account": "/account"}},
            "key": {"scheme": {"kind": "bearer"}},
        },
    })
    .to_string()
}

/// Two tenants with everything that a tenant can have.
async fn world() -> World {
    let connect = serde_json::from_value(json!({"public-url": "http://127.0.0.1:8700"})).unwrap();
    let world = World::with(Config { connect, ..Config::default() }).await;
    assert_eq!(world.publish(&component()).await.status, 201);
    let client = "/v1/environments/dev/connectors/pub/crm/clients/oauth";
    world.put(client, json!({"client_id": "id", "client_secret": "canary-client"})).await.ok();
    for tenant in [TENANT, "user@example.com"] {
        world.put(&at(tenant, "/pin"), json!({"release": "1.0.0", "reason": "x"})).await.ok();
        world.put(&at(tenant, "/config"), json!({"text": "x".repeat(9_000)})).await.ok();
        world.put(&at(tenant, "/config"), json!({"text": tenant})).await.ok();
        world.put(&at(tenant, "/connections/key"), json!({"token": "canary-key"})).await.ok();
        for user in ["", "?user=ann%40example.com"] {
            let tokens = json!({"access_token": "good-a1", "refresh_token": "canary-refresh"});
            let import = at(tenant, &format!("/connections/oauth/import{user}"));
            world.post(&import, tokens).await.ok();
        }
    }
    world
}

async fn delete(world: &World) -> Value {
    let path = format!("/v1/environments/dev/tenants/{}/delete", encoded(TENANT));
    world.post(&path, json!({"reason": "they left"})).await.ok()
}

fn named(tenant: &str) -> (Environment, Tenant) {
    ("dev".parse().unwrap(), tenant.parse().unwrap())
}

/// Nothing of the one, and all of the other.
async fn only_the_other_is_left(world: &World) {
    let (environment, tenant) = named(TENANT);
    let of = Installation { environment, tenant, connector: "pub/crm".parse().unwrap() };
    assert_eq!(world.store.installation(&of).await.unwrap(), None);
    assert_eq!(world.store.history(&of).await.unwrap(), []);
    assert_eq!(world.store.config_history(&of).await.unwrap(), []);
    for space in
        ["vault/tokens", "vault/data-key", "vault/current-data-key", "vault/connect-session"]
    {
        for (key, cell) in world.store.cells(space).await.unwrap() {
            let text = [&key[..], &cell.value].concat();
            assert!(!String::from_utf8_lossy(&text).contains(TENANT), "{space}");
        }
    }
    assert_eq!(world.store.cells("releases/ending-tenant").await.unwrap().len(), 0);
    world.get(&at(TENANT, "/connections")).await.refused(404, "unknown-installation");
    world.post(&at(TENANT, "/actions/go"), json!({})).await.refused(404, "unknown-installation");
    let rows = world.get("/v1/pins").await.ok();
    assert_eq!(rows["rows"].as_array().unwrap().len(), 1, "{rows}");
    assert_eq!(rows["rows"][0]["tenant"], "user@example.com");
    let listed = world.get(&at("user@example.com", "/connections")).await.ok();
    assert_eq!(listed["connections"].as_array().unwrap().len(), 3);
    let config = world.get(&at("user@example.com", "/config?generation=1")).await.ok();
    assert_eq!(config["config"]["text"].as_str().unwrap().len(), 9_000, "both had the same bytes");
}

#[tokio::test]
async fn nothing_of_a_deleted_tenant_is_left() {
    let world = world().await;
    let session = at(TENANT, "/connect-sessions");
    assert_eq!(world.post(&session, json!({"slot": "oauth"})).await.status, 201);
    world.outbound.seen.lock().unwrap().clear();
    let receipt = delete(&world).await;
    let expected = json!({
        "environment": "dev", "tenant": TENANT, "installations": 1, "pins": 1, "configs": 2,
        "connections": 3, "revoked": 2, "not_revoked": 0, "to_revoke": [],
        "sessions": 1, "data_keys": 1,
    });
    assert_eq!(receipt, expected);
    let seen = world.outbound.seen.lock().unwrap().clone();
    assert_eq!(seen, vec!["revoke https://login.example.com/revoke"; 2]);
    only_the_other_is_left(&world).await;

    let audit = world.get("/v1/audit?limit=1000").await.ok();
    let entries = audit["entries"].as_array().unwrap();
    let of = |action: &str| entries.iter().find(|entry| entry["action"] == action).cloned();
    assert_eq!(of("tenant.delete").unwrap()["reason"], "they left");
    let said = of("tenant.deleted").unwrap();
    assert_eq!(said["object"], format!("dev/{TENANT}"));
    assert!(
        said["after"].as_str().unwrap().starts_with("1 installations, 1 pins, 2 config"),
        "{said}"
    );

    // Again there is nothing to do, and nothing is written down.
    let again = delete(&world).await;
    assert_eq!((&again["connections"], &again["data_keys"]), (&json!(0), &json!(0)));
    assert_eq!(world.get("/v1/audit?limit=1000").await.ok(), audit);
    // The name is free for another.
    world.put(&at(TENANT, "/pin"), json!({"release": "1.0.0", "reason": "x"})).await.ok();
    world.put(&at(TENANT, "/connections/key"), json!({"token": "canary-key"})).await.ok();
    assert_eq!(world.get(&at(TENANT, "/history")).await.ok()["pins"][0]["generation"], 1);
}

/// Fails if a host that ended in the middle leaves half of a tenant for good.
#[tokio::test]
async fn what_was_cut_off_is_finished_at_the_next_start() {
    for done in 0..4 {
        let world = world().await;
        let (environment, tenant) = named(TENANT);
        let actor = "root".parse().unwrap();
        let ending = Ending { environment, tenant, actor, reason: "they left".to_owned() };
        let releases = &world.releases;
        releases.begin_ending(&ending).await.unwrap();
        for path in
            ["/connections/key", "/connections/oauth", "/connections/oauth?user=ann%40example.com"]
                .iter()
                .take(if done == 0 { 0 } else { done.min(2) + 1 })
        {
            assert_eq!(world.delete(&at(TENANT, path)).await.status, 204);
        }
        if done == 3 {
            releases.erase_tenant(&ending).await.unwrap();
        }
        world.api.finish_endings().await.unwrap();
        only_the_other_is_left(&world).await;
        world.api.finish_endings().await.unwrap();
    }
}

#[tokio::test]
async fn tokens_that_stay_good_are_in_the_receipt() {
    let world = world().await;
    let client = "/v1/environments/dev/connectors/pub/crm/clients/oauth";
    assert_eq!(world.delete(client).await.status, 204);
    let receipt = delete(&world).await;
    assert_eq!((&receipt["revoked"], &receipt["not_revoked"]), (&json!(0), &json!(2)));
    let why = json!("not revoked: there is no OAuth client");
    let users: Vec<_> = receipt["to_revoke"]
        .as_array()
        .unwrap()
        .iter()
        .map(|of| {
            assert_eq!((&of["slot"], &of["why"]), (&json!("oauth"), &why));
            of.get("user").cloned()
        })
        .collect();
    assert!(users.contains(&None) && users.contains(&Some(json!("ann@example.com"))), "{users:?}");
    only_the_other_is_left(&world).await;
}

#[tokio::test]
async fn a_tenant_is_called_as_its_own_system_calls_it() {
    let world = World::new().await;
    assert_eq!(world.publish(&component()).await.status, 201);
    let names = [
        TENANT,
        "user@example.com",
        "o'brien+a@example.com",
        "urn:uuid:6e8bc430-9c3a",
        "a=b,c;d~e",
    ];
    for name in names {
        let segment =
            percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
        let path = format!("/v1/environments/dev/tenants/{segment}/connectors/pub/crm");
        world.put(&format!("{path}/pin"), json!({"release": "1.0.0", "reason": "x"})).await.ok();
        assert_eq!(world.get(&format!("{path}/pin")).await.ok()["tenant"], name);
        let rows = world.get(&format!("/v1/pins?tenant={}", encoded(name))).await.ok();
        assert_eq!(rows["rows"].as_array().unwrap().len(), 1, "{name}");
    }
    assert_eq!(world.pages("/v1/pins", names.len()).await.len(), names.len());
    for bad in ["a%2Fb", "%2e%2e", "a%00b", "%7Ca", "a%5Cb", "a%25b", "a%22b", "%C3%A4"] {
        let path = format!("/v1/environments/dev/tenants/{bad}/connectors/pub/crm/pin");
        let body = json!({"release": "1.0.0", "reason": "x"});
        world.put(&path, body).await.refused(400, "invalid-name");
    }
}
