//! Whatever a request is for: where its path names what a tenant does not have, it is told what there is.

use keyway_api::contract::{ENDPOINTS, Endpoint};
use keyway_vault::model::Role;
use serde_json::{Value, json};

use crate::access::{method, path};
use crate::world::{Reply, World, at};

/// What is sent to endpoints that want more than an empty object.
fn body(endpoint: &Endpoint) -> Value {
    match endpoint.name {
        "PIN_SET" => json!({"release": "1.0.0", "reason": "x"}),
        "PIN_REVERT" | "PIN_UNPIN" => json!({"reason": "x"}),
        "CONNECTION_SET" => json!({"token": "good-ann"}),
        "CONNECTION_SET_ALL" => json!({"connections": {"token": {"token": "good-ann"}}}),
        "CONNECTION_IMPORT" => json!({"access_token": "good-ann"}),
        "OBJECT_WRITE" => json!({"operation": "create", "items": []}),
        _ => json!({}),
    }
}

/// Everything that is asked of an installation and has these in its path, of this connector and slot.
async fn all(
    world: &World,
    parts: &[&str],
    connector: &str,
    slot: &str,
) -> Vec<(&'static Endpoint, Reply)> {
    let mut replies = Vec::new();
    for endpoint in ENDPOINTS {
        if !parts.iter().all(|part| endpoint.path.contains(part)) {
            continue;
        }
        let path = path(endpoint).replace("pub/things", connector);
        let path = path.replace("/token", &format!("/{slot}"));
        let method = method(endpoint);
        let body = (method != "GET").then(|| body(endpoint).to_string());
        replies.push((*endpoint, world.ask(method, &path, &world.admin, body).await));
    }
    replies
}

#[tokio::test]
async fn of_a_connector_that_a_tenant_does_not_have_it_is_said_which_it_has() {
    let world = World::pinned().await;
    let parts = ["{tenant}", "{publisher}/{name}"];
    let replies = all(&world, &parts, "pub/thigns", "token").await;
    assert!(replies.len() > 30, "{}", replies.len());
    for (endpoint, reply) in replies {
        let name = endpoint.name;
        assert!(reply.status.is_client_error(), "{name}: {reply:?}");
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.ends_with("; there is `pub/things`"), "{name}: {detail}");
        assert_eq!(detail.matches("; there is").count(), 1, "{name}: {detail}");
    }
    assert_eq!(
        world
            .store
            .connectors(&"dev".parse().unwrap(), &"acme".parse().unwrap())
            .await
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn of_a_slot_that_a_release_does_not_declare_it_is_said_which_it_does() {
    let world = World::pinned().await;
    for (endpoint, reply) in all(&world, &["{tenant}", "{slot}"], "pub/things", "tokn").await {
        let name = endpoint.name;
        assert!(reply.status.is_client_error(), "{name}: {reply:?}");
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.ends_with("; there is `login`, `token`"), "{name}: {detail}");
    }
    let url = world.get(&at("/proxy-url?slot=tokn")).await;
    url.refused(404, "unknown-slot");
    assert!(url.text().contains("; there is `login`, `token`"), "{url:?}");
}

/// What is there and was not asked for by a wrong name is not listed: it would say nothing.
#[tokio::test]
async fn of_what_is_there_nothing_is_listed() {
    let world = World::pinned().await;
    for (path, method) in [("/revert", "POST"), ("/connections/token", "DELETE")] {
        let body = (method == "POST").then(|| json!({"reason": "x"}).to_string());
        let reply = world.ask(method, &at(path), &world.admin, body).await;
        assert!(reply.status.is_client_error(), "{reply:?}");
        let connectors = reply.text().contains("`pub/things`");
        assert!(!connectors, "{path}: {reply:?}");
    }
}

#[tokio::test]
async fn who_may_not_ask_is_not_told() {
    let world = World::pinned().await;
    let ann = world.token("ann", Role::Operator, Some(&["prod"])).await;
    let path = at("/history").replace("things", "thigns");
    let reply = world.ask("GET", &path, &ann, None).await;
    reply.refused(403, "not-permitted");
    assert!(!reply.text().contains("there is"), "{reply:?}");
}
