//! Configuration, connections, tokens, the audit, and the host about itself.

use std::sync::atomic::Ordering;

use serde_json::json;

use crate::world::{UNSEEN, World, at};

#[tokio::test]
async fn configuration_is_checked_kept_and_shown() {
    let world = World::pinned().await;
    let unset = world.get(&at("/config")).await.ok();
    assert_eq!((&unset["generation"], &unset["config"]), (&json!(0), &json!({})));
    let set = world.put(&at("/config"), json!({"region": "eu"})).await.ok();
    assert_eq!((&set["generation"], &set["config"]), (&json!(1), &json!({"region": "eu"})));
    assert_eq!(world.get(&at("/config")).await.ok(), set);
    world.put(&at("/config"), json!({"regoin": "eu"})).await.refused(422, "config-invalid");
    world.put(&at("/config"), json!([])).await.refused(422, "config-invalid");
    assert_eq!(world.get(&at("/config")).await.ok(), set, "what was refused changed nothing");
    let nobody = at("/config").replace("acme", "nobody");
    world.get(&nobody).await.refused(404, "unknown-installation");
    world.put(&nobody, json!({})).await.refused(404, "not-pinned");
}

/// Fails if a configuration that was set since keeps a tenant from going back, or if nobody is told what became of it.
#[tokio::test]
async fn a_configuration_has_a_history_and_changes_take_along_what_fits() {
    let world = World::pinned().await;
    let bare = json!({"format": 1, "name": "pub/things", "version": "0.9.0",
        "hosts": ["api.example.com"], "base-url": "https://api.example.com"});
    assert_eq!(world.publish(&bare.to_string()).await.status, 201);
    for region in ["eu", "us"] {
        world.put(&at("/config"), json!({"region": region})).await.ok();
    }
    let audit = world.get("/v1/audit?limit=1000").await.ok();
    let same = world.put(&at("/config"), json!({"region": "us"})).await.ok();
    assert_eq!(same["generation"], 2);
    assert_eq!(world.get("/v1/audit?limit=1000").await.ok(), audit, "it is set already");

    let pin = world.pin("0.9.0").await.ok();
    assert_eq!(pin["config"], json!({"generation": 3, "back_to": 0}));
    assert_eq!(world.get(&at("/config")).await.ok()["config"], json!({}));
    let back = world.post(&at("/revert"), json!({"reason": "back"})).await.ok();
    assert_eq!(back["config"], json!({"generation": 4, "back_to": 2}));
    assert_eq!(world.get(&at("/config")).await.ok()["config"], json!({"region": "us"}));
    let entry = world.get("/v1/audit?order=newest&limit=1").await.ok()["entries"][0].clone();
    assert!(entry["after"].as_str().unwrap().ends_with("configuration 4 (back to 2)"), "{entry}");

    let before = world.get(&at("/config?generation=1")).await.ok();
    assert_eq!(before["config"], json!({"region": "eu"}));
    world.get(&at("/config?generation=9")).await.refused(409, "no-history");
    let first = world.get(&at("/config/history?limit=3")).await.ok();
    let rows = first["configs"].as_array().unwrap();
    assert_eq!((&rows[0]["taken"], &rows[0]["reason"]), (&json!(true), &json!("revert 3")));
    assert_eq!((&rows[1]["removed"], &rows[1]["back_to"]), (&json!(true), &json!(0)));
    assert_eq!((&rows[2]["actor"], rows[2].get("taken")), (&json!("root"), None));
    assert_eq!(first["next"], 2);
    let second = world.get(&at("/config/history?before=2")).await.ok();
    assert_eq!(second["configs"].as_array().unwrap().len(), 1);

    let path = at("/config/revert");
    let revert = |body| world.post(&path, body);
    let to_eu = revert(json!({"reason": "moved"})).await.ok();
    assert_eq!((&to_eu["config"], &to_eu["back_to"]), (&json!({"region": "eu"}), &json!(1)));
    revert(json!({"generation": 1})).await.refused(409, "conflict");
    revert(json!({"to": 77})).await.refused(409, "no-history");
    assert_eq!(revert(json!({"to": 1})).await.ok(), to_eu, "it is so already");
    let removed = world.delete(&at("/config")).await.ok();
    assert_eq!((&removed["generation"], &removed["config"]), (&json!(6), &json!({})));
    assert_eq!(world.delete(&at("/config")).await.ok(), removed);
    world
        .delete(&at("/config").replace("acme", "nobody"))
        .await
        .refused(404, "unknown-installation");
}

#[tokio::test]
async fn a_connection_is_set_and_its_secret_never_seen_again() {
    let world = World::pinned().await;
    let path = at("/connections/token");
    let body = json!({"token": "canary-secret", "base_url": "https://api.example.com/eu"});
    let set = world.put(&path, body).await;
    assert_eq!((&set.ok()["kind"], &set.ok()["generation"]), (&json!("bearer"), &json!(1)));
    let login = json!({"user": "ann", "password": "canary-password"});
    world.put(&at("/connections/login"), login).await.ok();
    let listed = world.get(&at("/connections")).await;
    assert_eq!(listed.ok()["connections"].as_array().unwrap().len(), 2);
    let audit = world.get("/v1/audit?limit=1000").await;
    for reply in [&set, &listed, &audit] {
        assert!(!String::from_utf8_lossy(&reply.body).contains("canary"), "{reply:?}");
    }
    assert_eq!(world.delete(&path).await.status, 204);
    world.delete(&path).await.refused(404, "unknown-slot");
    let listed = world.get(&at("/connections")).await.ok();
    assert_eq!(listed["connections"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn removing_all_there_is_of_an_installation_is_no_error() {
    let world = World::pinned().await;
    let default = "/v1/environments/dev/defaults/pub/things";
    world.put(default, json!({"release": "1.0.0", "reason": "x"})).await.ok();
    let path = at("/connections/token").replace("acme", "fresh");
    world.put(&path, json!({"token": "canary"})).await.ok();
    assert_eq!(world.delete(&path).await.status, 204);
}

#[tokio::test]
async fn a_connection_must_fit_the_release() {
    let world = World::pinned().await;
    let token = json!({"token": "canary"});
    world.put(&at("/connections/other"), token.clone()).await.refused(404, "unknown-slot");
    world.put(&at("/connections/login"), token.clone()).await.refused(422, "credential-invalid");
    let elsewhere = json!({"token": "canary", "base_url": "https://evil.example.net"});
    world.put(&at("/connections/token"), elsewhere).await.refused(422, "base-url-refused");
    let nobody = at("/connections/token").replace("acme", "nobody");
    world.put(&nobody, token).await.refused(404, "not-pinned");
}

#[tokio::test]
async fn a_refusal_does_not_quote_the_secret() {
    let world = World::pinned().await;
    for body in [
        json!({"tokn": "canary"}),
        json!({"token": {"canary": 1}}),
        json!({"user": "canary"}),
        json!({"token": "canary", "user": "canary", "password": "canary"}),
        json!({}),
        json!(["canary"]),
    ] {
        let reply = world.put(&at("/connections/token"), body.clone()).await;
        reply.refused(400, "invalid-request");
        assert!(!String::from_utf8_lossy(&reply.body).contains("canary"), "{body}");
    }
}

#[tokio::test]
async fn tokens_are_issued_once_and_listed_without_secrets() {
    let world = World::new().await;
    let body = json!({"name": "ann", "role": "operator", "environments": ["dev"]});
    let issued = world.post("/v1/tokens", body.clone()).await;
    assert_eq!(issued.status, 201);
    assert_eq!(issued.header("cache-control"), "no-store");
    let secret = issued.json()["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("kw_") && secret.len() == 46, "{secret}");
    world.post("/v1/tokens", body).await.refused(409, "conflict");
    let listed = world.get("/v1/tokens").await;
    let names: Vec<_> =
        listed.ok()["tokens"].as_array().unwrap().iter().map(|t| t["name"].clone()).collect();
    assert_eq!(names, ["ann", "root"]);
    assert!(!String::from_utf8_lossy(&listed.body).contains(&secret));
    let nowhere = json!({"name": "x", "role": "viewer", "environments": ["moon"]});
    world.post("/v1/tokens", nowhere).await.refused(404, "unknown-environment");
    let none = json!({"name": "x", "role": "viewer", "environments": []});
    world.post("/v1/tokens", none).await.refused(400, "invalid-request");
    let path = json!({"name": "../x", "role": "viewer"});
    world.post("/v1/tokens", path).await.refused(400, "invalid-name");
    let role = json!({"name": "x", "role": "root"});
    world.post("/v1/tokens", role).await.refused(400, "invalid-request");
}

#[tokio::test]
async fn the_audit_is_paged_and_says_who_and_why() {
    let world = World::pinned().await;
    let mut after = 0;
    let mut entries = Vec::new();
    loop {
        let page = world.get(&format!("/v1/audit?limit=2&after={after}")).await.ok();
        entries.extend(page["entries"].as_array().unwrap().clone());
        match page["next"].as_u64() {
            Some(next) => after = next,
            None => break,
        }
    }
    let mut newest = Vec::new();
    let mut before = String::new();
    loop {
        let page = world.get(&format!("/v1/audit?order=newest&limit=2{before}")).await.ok();
        newest.extend(page["entries"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_u64() else { break };
        before = format!("&before={next}");
    }
    newest.reverse();
    assert_eq!(newest, entries);
    for query in ["order=newest&after=1", "before=1", "order=random", "before=-1"] {
        world.get(&format!("/v1/audit?{query}")).await.refused(400, "invalid-request");
    }
    let seqs: Vec<_> = entries.iter().map(|entry| entry["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    let pin = entries.last().unwrap();
    assert_eq!(
        (&pin["action"], &pin["actor"], &pin["reason"]),
        (&json!("pin"), &json!("root"), &json!("test"))
    );
}

#[tokio::test]
async fn the_host_tells_how_it_is() {
    let world = World::new().await;
    assert_eq!(world.get("/healthz").await.ok()["state"], "alive");
    assert_eq!(world.get("/readyz").await.ok(), json!({"state": "ready"}));
    world.components_lost.store(UNSEEN, Ordering::SeqCst);
    assert_eq!(world.get("/readyz").await.ok(), json!({"state": "looking"}));
    world.components_lost.store(2, Ordering::SeqCst);
    let degraded = json!({"state": "degraded", "components_lost": 2});
    assert_eq!(world.get("/readyz").await.ok(), degraded);
    world.components_lost.store(0, Ordering::SeqCst);
    world.ready.store(false, Ordering::SeqCst);
    world.get("/readyz").await.refused(503, "store-unavailable");
    assert_eq!(world.get("/healthz").await.status, 200);
    let metrics = world.get("/metrics").await;
    let text = String::from_utf8_lossy(&metrics.body);
    let line = r#"keyway_api_requests_total{method="GET",path="/readyz",answer="5xx"} 1"#;
    assert!(text.contains(line), "{text}");
}
