//! Problem documents, word for word.

use std::time::Duration;

use keyway_core::fault::Retry;
use keyway_core::{Code, Fault};
use serde_json::{Value, json};

use crate::world::{Reply, World, at};

/// The document without what differs each time.
fn redacted(reply: &Reply) -> Value {
    let mut problem = reply.json();
    if let Some(instance) = problem.get_mut("instance") {
        let kind = instance.as_str().unwrap().split('_').next().unwrap().to_owned();
        *instance = json!(format!("{kind}_[id]"));
    }
    problem
}

async fn failed(world: &World, fault: Fault) -> Reply {
    world.dispatch.script.lock().unwrap().push_back(Err(fault));
    world.post(&at("/actions/echo"), json!({})).await
}

#[tokio::test]
async fn of_requests() {
    let world = World::pinned().await;
    let path = at("/pin");
    insta::assert_json_snapshot!("no-endpoint", redacted(&world.get("/nothing").await));
    insta::assert_json_snapshot!("no-token", redacted(&world.ask("GET", &path, "", None).await));
    let reply = world.get(&path.replace("acme", "..%2f")).await;
    insta::assert_json_snapshot!("no-name", redacted(&reply));
    insta::assert_json_snapshot!("no-json", redacted(&world.post_text(&at("/revert"), "{").await));
    let stale = json!({"release": "2.0.0", "reason": "x", "generation": 0});
    insta::assert_json_snapshot!("conflict", redacted(&world.put(&path, stale).await));
    let unknown = json!({"release": "2.0.0", "reason": "x", "force": true});
    insta::assert_json_snapshot!("unknown-field", redacted(&world.put(&path, unknown).await));
    let reply = world.post(&at("/actions/strict"), json!({"id": "x"})).await;
    insta::assert_json_snapshot!("input", redacted(&reply));
}

#[tokio::test]
async fn of_calls() {
    let world = World::pinned().await;
    let mut limited = Fault::new(Code::RateLimited, "the provider asks to wait")
        .retry(Retry::After(Duration::from_millis(250)));
    limited.provider_code = Some("RATE_LIMITS".to_owned());
    limited.request_sent = true;
    insta::assert_json_snapshot!("rate-limited", redacted(&failed(&world, limited).await));
    let trap = Fault::new(Code::GuestTrap, "the connector trapped: unreachable");
    insta::assert_json_snapshot!("trap", redacted(&failed(&world, trap).await));
}

#[tokio::test]
async fn a_defect_of_the_host_shows_its_id_and_nothing_else() {
    let world = World::pinned().await;
    let cause = std::io::Error::other("/var/lib/keyway: canary");
    let fault = Fault::new(Code::Internal, "canary of an inner part").caused_by(cause);
    let reply = failed(&world, fault).await;
    assert!(!String::from_utf8_lossy(&reply.body).contains("canary"));
    insta::assert_json_snapshot!("internal", redacted(&reply));
}

#[tokio::test]
async fn a_connectors_long_words_are_cut() {
    let world = World::pinned().await;
    let mut fault = Fault::new(Code::ConnectorInternal, "<html>".repeat(10_000));
    fault.provider_code = Some("x".repeat(10_000));
    let reply = failed(&world, fault).await;
    reply.refused(502, "connector-internal");
    assert!(reply.body.len() < 4_096, "{} bytes", reply.body.len());
}
