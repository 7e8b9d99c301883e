//! Several hosts on one store (C32, C37), and one that died.

use std::time::Duration;

use keyway_vault::Vault;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::support::Answer;
use crate::world::{World, call, expire};

fn herd(world: &World, vaults: &[&Vault], each: usize) -> JoinSet<Result<String, &'static str>> {
    let mut calls = JoinSet::new();
    for vault in vaults {
        for _ in 0..each {
            let (vault, of, spec) = ((*vault).clone(), world.of.clone(), world.spec.clone());
            calls.spawn(async move {
                call(&vault, &of, &spec).await.map_err(|fault| fault.code.as_str())
            });
        }
    }
    calls
}

/// C32. Without the lease, both would send; without reading again under it, one after the other.
#[tokio::test(start_paused = true)]
async fn two_hosts_that_refresh_together_send_one_request() {
    let world = World::new().await;
    let other = world.another("host-b");
    world.server.takes(Duration::from_secs(15));
    expire().await;
    for answer in herd(&world, &[&world.vault, &other], 50).join_all().await {
        assert_eq!(answer.as_deref(), Ok("access-acme-1"));
    }
    assert_eq!(world.server.requests(), 1);
}

/// A host that waited for the lease must not try at once what another has just tried in vain.
#[tokio::test(start_paused = true)]
async fn what_one_host_was_told_to_wait_for_the_other_waits_for_too() {
    let world = World::new().await;
    let other = world.another("host-b");
    world.server.takes(Duration::from_secs(1));
    let busy = Answer::Error(429, vec![("retry-after", "60")], "");
    world.server.script([busy]);
    expire().await;
    for answer in herd(&world, &[&world.vault, &other], 5).join_all().await {
        assert_eq!(answer, Err("token-endpoint-failed"));
    }
    assert_eq!(world.server.requests(), 1);
    sleep(Duration::from_secs(73)).await;
    for answer in herd(&world, &[&world.vault, &other], 5).join_all().await {
        assert_eq!(answer.as_deref(), Ok("access-acme-1"));
    }
}

/// C37. The server takes longer than the lease lasts: the other host takes over, presents nothing, and the tokens
/// that come late are kept all the same.
#[tokio::test(start_paused = true)]
async fn a_refresh_that_outlasts_its_lease_is_not_repeated_and_not_lost() {
    let world = World::new().await;
    let other = world.another("host-b");
    world.server.takes(Duration::from_secs(150));
    expire().await;
    let mut first = herd(&world, &[&world.vault], 1);
    sleep(Duration::from_secs(95)).await;
    for answer in herd(&world, &[&other], 10).join_all().await {
        assert_eq!(answer, Err("refresh-uncertain"));
    }
    assert_eq!(world.phase().await, "uncertain");
    assert_eq!(first.join_next().await.unwrap().unwrap().as_deref(), Ok("access-acme-1"));
    assert!(world.is_ready().await);
    assert_eq!(call(&other, &world.of, &world.spec).await.unwrap(), "access-acme-1");
    assert_eq!((world.server.requests(), world.server.most_presented()), (1, 1));
    let restarted = world.another("host-c");
    assert_eq!(call(&restarted, &world.of, &world.spec).await.unwrap(), "access-acme-1");
}

/// C35: whoever was told that the token is dead looks whether that is because somebody else has the next one.
#[tokio::test(start_paused = true)]
async fn a_dead_token_whose_successor_is_in_the_store_is_no_reason_to_ask_a_person() {
    let world = World::with(json!({"reuse-grace": 600})).await;
    let other = world.another("host-b");
    world.server.lenient();
    world.server.takes(Duration::from_secs(120));
    expire().await;
    let mut first = herd(&world, &[&world.vault], 1);
    sleep(Duration::from_secs(95)).await;
    // The lease is over and the grace is not: it presents the token again, is told that it is dead, and by then the
    // first host has its answer in the store.
    world.server.script([Answer::Error(400, vec![], r#"{"error":"invalid_grant"}"#)]);
    let mut second = herd(&world, &[&other], 1);
    assert_eq!(first.join_next().await.unwrap().unwrap().as_deref(), Ok("access-acme-1"));
    assert_eq!(second.join_next().await.unwrap().unwrap().as_deref(), Ok("access-acme-1"));
    assert!(world.is_ready().await);
}
