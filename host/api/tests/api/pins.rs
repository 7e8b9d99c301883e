//! Pins: set, reverted, listed; two operators at once; with calls in flight; with a caller that hangs up.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use keyway_core::ids::Installation;
use serde_json::{Value, json};

use crate::world::{PATIENCE, World, at};

async fn versions(world: &World) -> Vec<String> {
    let history = world.get(&at("/history")).await.ok();
    let pins = history["pins"].as_array().unwrap().iter();
    pins.map(|pin| pin["release"]["version"].as_str().unwrap().to_owned()).collect()
}

fn installation() -> Installation {
    Installation {
        environment: "dev".parse().unwrap(),
        tenant: "acme".parse().unwrap(),
        connector: "pub/things".parse().unwrap(),
    }
}

#[tokio::test]
async fn pin_revert_and_history() {
    let world = World::pinned().await;
    let pin = world.pin("2.0.0").await.ok();
    assert_eq!((&pin["generation"], &pin["release"]["version"]), (&json!(2), &json!("2.0.0")));
    assert_eq!(world.get(&at("/pin")).await.ok(), pin);
    let back = world.post(&at("/revert"), json!({"reason": "broken"})).await.ok();
    assert_eq!(back["release"]["version"], "1.0.0");
    assert_eq!((&back["generation"], &back["reverts_to"]), (&json!(3), &json!(1)));
    assert_eq!((&back["actor"], &back["reason"]), (&json!("root"), &json!("broken")));
    assert_eq!(versions(&world).await, ["1.0.0", "2.0.0", "1.0.0"]);
    let to = world.post(&at("/revert"), json!({"reason": "on again", "to": 2})).await.ok();
    assert_eq!(to["release"]["version"], "2.0.0");
}

#[tokio::test]
async fn history_is_paged_newest_first() {
    let world = World::pinned().await;
    for release in ["2.0.0", "1.0.0", "2.0.0", "1.0.0"] {
        world.pin(release).await.ok();
    }
    let generations = |page: &Value| -> Vec<u64> {
        page["pins"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pin| pin["generation"].as_u64().unwrap())
            .collect()
    };
    let first = world.get(&at("/history?limit=2")).await.ok();
    assert_eq!((generations(&first), &first["next"]), (vec![5, 4], &json!(4)));
    let second = world.get(&at("/history?limit=3&before=4")).await.ok();
    assert_eq!((generations(&second), second.get("next")), (vec![3, 2, 1], None));
}

#[tokio::test]
async fn revert_without_history_is_refused() {
    let world = World::pinned().await;
    world.post(&at("/revert"), json!({"reason": "x"})).await.refused(409, "no-history");
    let other = at("/revert").replace("acme", "nobody");
    world.post(&other, json!({"reason": "x"})).await.refused(409, "no-history");
    world.post(&at("/revert"), json!({"reason": "x", "to": 7})).await.refused(409, "no-history");
    assert_eq!(versions(&world).await, ["1.0.0"]);
}

#[tokio::test]
async fn of_two_operators_who_saw_the_same_pin_one_wins() {
    let world = World::pinned().await;
    let path = at("/pin");
    let pin = |release: &str| {
        world.put(&path, json!({"release": release, "reason": "mine", "generation": 1}))
    };
    let (one, other) = tokio::join!(pin("2.0.0"), pin("2.0.0"));
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
    let lost = if one.status == 409 { one } else { other };
    lost.refused(409, "conflict");
    assert_eq!(versions(&world).await.len(), 2);
}

#[tokio::test]
async fn two_operators_who_do_not_care_are_both_on_record() {
    let world = World::pinned().await;
    let (pin, unpin) = (at("/pin"), at("/unpin"));
    // Whichever comes first, the other one still has something to change.
    let (one, other) = tokio::join!(
        world.put(&pin, json!({"release": "2.0.0", "reason": "one"})),
        world.post(&unpin, json!({"reason": "other"})),
    );
    one.ok();
    other.ok();
    let history = world.get(&at("/history")).await.ok();
    let mut reasons: Vec<_> = history["pins"].as_array().unwrap()[..2]
        .iter()
        .map(|pin| pin["reason"].as_str().unwrap().to_owned())
        .collect();
    reasons.sort();
    assert_eq!(reasons, ["one", "other"]);
    let audit = world.get("/v1/audit?limit=1000").await.ok();
    let is = |entry: &&Value| entry["action"] == "pin" || entry["action"] == "unpin";
    let pins = audit["entries"].as_array().unwrap().iter().filter(is);
    assert_eq!(pins.count(), 3, "each has its audit entry");
}

/// Fails if a job that runs twice makes the way back lead nowhere, or leaves a trace.
#[tokio::test]
async fn a_repeated_pin_has_the_same_answer_and_leaves_no_trace() {
    let world = World::pinned().await;
    let pinned = world.pin("2.0.0").await.ok();
    let audit = world.get("/v1/audit?limit=1000").await.ok();
    assert_eq!(world.pin("2.0.0").await.ok(), pinned);
    assert_eq!(world.post(&at("/revert"), json!({"reason": "x", "to": 2})).await.ok(), pinned);
    assert_eq!(world.get("/v1/audit?limit=1000").await.ok(), audit);
    let seen = json!({"release": "2.0.0", "reason": "x", "generation": 1});
    world.put(&at("/pin"), seen).await.refused(409, "conflict");
    let back = world.post(&at("/revert"), json!({"reason": "broken"})).await.ok();
    assert_eq!((&back["release"]["version"], &back["reverts_to"]), (&json!("1.0.0"), &json!(1)));
    assert_eq!(versions(&world).await, ["1.0.0", "2.0.0", "1.0.0"]);
}

#[tokio::test]
async fn an_unpinned_installation_runs_the_default_and_says_so() {
    let world = World::pinned().await;
    let unpin = |tenant: &str| {
        let path = at("/unpin").replace("acme", tenant);
        let world = &world;
        async move { world.post(&path, json!({"reason": "as all others"})).await }
    };
    unpin("nobody").await.refused(404, "not-pinned");
    let alone = unpin("acme").await.ok();
    assert_eq!((&alone["generation"], alone.get("release")), (&json!(2), None));
    let warning = alone["warnings"][0].as_str().unwrap();
    assert!(warning.contains("has no default for pub/things"), "{warning}");
    assert_eq!(unpin("acme").await.ok(), alone, "again is nothing new");
    world.post(&at("/actions/echo"), json!(1)).await.refused(404, "not-pinned");
    world.get(&at("/pin")).await.refused(404, "not-pinned");
    let history = world.get(&at("/history")).await.ok();
    assert_eq!(
        (history["pins"].as_array().unwrap().len(), history["pins"][0].get("release")),
        (2, None)
    );

    let default = "/v1/environments/dev/defaults/pub/things";
    let set = json!({"release": "2.0.0", "reason": "all"});
    world.put(default, set.clone()).await.ok();
    let back = world.post(&at("/revert"), json!({"reason": "not yet"})).await.ok();
    assert_eq!((&back["release"]["version"], &back["reverts_to"]), (&json!("1.0.0"), &json!(1)));
    let on = world.post(&at("/revert"), json!({"reason": "now"})).await.ok();
    assert_eq!((on.get("release"), &on["default"]["version"]), (None, &json!("2.0.0")));
    let reply = world.post(&at("/actions/echo"), json!(1)).await;
    assert_eq!(reply.header("keyway-release"), "pub/things@2.0.0");

    let unset = world.post(&format!("{default}/unset"), json!({"reason": "over"})).await.ok();
    assert_eq!(unset["warnings"], json!(["calls are refused for want of a pin: acme"]));
    assert_eq!(
        world.post(&format!("{default}/unset"), json!({"reason": "over"})).await.ok(),
        unset
    );
    world.get(default).await.refused(404, "not-pinned");
    assert_eq!(world.put(default, set).await.ok()["generation"], 3);
    let other = default.replace("things", "other");
    world.post(&format!("{other}/unset"), json!({"reason": "x"})).await.refused(404, "not-pinned");
}

#[tokio::test]
async fn calls_in_flight_end_on_the_release_they_began_with() {
    let world = Arc::new(World::pinned().await);
    world.dispatch.gate.forget_permits(1_000);
    let calls: Vec<_> = (0..100)
        .map(|number| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.post(&at("/actions/echo"), json!(number)).await })
        })
        .collect();
    world.dispatched(100).await;
    world.pin("2.0.0").await.ok();
    world.dispatch.gate.add_permits(1_000);
    for (number, call) in calls.into_iter().enumerate() {
        let reply = call.await.unwrap();
        assert_eq!(reply.ok(), json!(number));
        assert_eq!(reply.header("keyway-release"), "pub/things@1.0.0");
    }
    let next = world.post(&at("/actions/echo"), json!(1)).await;
    assert_eq!(next.header("keyway-release"), "pub/things@2.0.0");
}

#[tokio::test]
async fn a_change_is_finished_though_the_caller_hangs_up() {
    let world = Arc::new(World::pinned().await);
    world.loader.gate.forget_permits(1_000);
    let hung_up = {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.pin("2.0.0").await })
    };
    // Long enough for it to wait in the loader, which nothing opens before the abort.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    hung_up.abort();
    assert!(hung_up.await.unwrap_err().is_cancelled());
    world.loader.gate.add_permits(1_000);
    let pinned = async {
        while world.store.pin(&installation()).await.unwrap().unwrap().generation < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, pinned).await.expect("the pin lands without its caller");
    // A change after it waits for its end, the route included.
    world.put(&at("/config"), json!({})).await.ok();
    let reply = world.post(&at("/actions/echo"), json!(1)).await;
    assert_eq!(reply.header("keyway-release"), "pub/things@2.0.0");
}

#[tokio::test]
async fn what_cannot_be_loaded_is_refused_before_anything_changes() {
    let world = World::pinned().await;
    world.loader.broken.store(true, Ordering::SeqCst);
    world.pin("2.0.0").await.refused(503, "release-unavailable");
    assert_eq!(versions(&world).await, ["1.0.0"]);
}

#[tokio::test]
async fn defaults_rule_where_there_is_no_pin() {
    let world = World::pinned().await;
    let path = "/v1/environments/dev/defaults/pub/things";
    world.get(path).await.refused(404, "not-pinned");
    let default = world.put(path, json!({"release": "2.0.0", "reason": "new tenants"})).await.ok();
    assert_eq!(world.get(path).await.ok(), default);
    let other = at("").replace("acme", "fresh");
    world.put(&format!("{other}/config"), json!({})).await.ok();
    let reply = world.post(&format!("{other}/actions/echo"), json!(1)).await;
    assert_eq!(reply.header("keyway-release"), "pub/things@2.0.0");
    world.get(&format!("{other}/pin")).await.refused(404, "not-pinned");
    let rows = world.get("/v1/pins?tenant=fresh").await.ok();
    assert_eq!(rows["rows"][0]["declared"]["by"], "default");
}

#[tokio::test]
async fn the_matrix_tells_declared_from_executed_and_is_paged() {
    let world = World::pinned().await;
    for tenant in ["beta", "gamma"] {
        let path = at("/pin").replace("acme", tenant);
        world.put(&path, json!({"release": "1.0.0", "reason": "test"})).await.ok();
    }
    world.post(&at("/actions/echo"), json!(1)).await.ok();
    world.pin("2.0.0").await.ok();
    let first = world.get("/v1/pins?limit=2").await.ok();
    let rows = first["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0]["declared"]["release"]["version"], "2.0.0");
    assert_eq!(rows[0]["executed"]["release"]["version"], "1.0.0");
    assert_eq!(rows[1].get("executed"), None);
    let next = first["next"].as_str().unwrap();
    let second = world.get(&format!("/v1/pins?limit=2&after={next}")).await.ok();
    assert_eq!(second["rows"][0]["tenant"], "gamma");
    assert_eq!(second.get("next"), None);
    let filtered = world.get("/v1/pins?connector=pub/other").await.ok();
    assert_eq!(filtered["rows"], json!([]));
}
