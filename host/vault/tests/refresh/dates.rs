//! A provider's clock that is not ours (C36): what its `Date` changes, and what it does not.

use std::time::Duration;

use keyway_core::ports::Clock as _;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use time::OffsetDateTime;
use tokio::time::sleep;

use crate::world::{HOUR, World, call};

const TEN_MINUTES: time::Duration = time::Duration::minutes(10);
const MINUTE: Duration = Duration::from_secs(60);

/// A world whose host has just refreshed at a server by whose clock it is ahead by this much.
async fn refreshed(ahead: time::Duration) -> (World, OffsetDateTime) {
    let world = World::new().await;
    let theirs = world.clock.now() - ahead;
    world.server.says(theirs);
    world.vault.refresh(&world.of, &world.spec, false).await.expect("the server issues");
    (world, theirs)
}

fn clock_ahead(world: &World) -> String {
    let mut registry = Registry::default();
    world.vault.metrics().register(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).expect("metrics are text");
    let line = text.lines().find_map(|line| line.strip_prefix("keyway_clock_ahead_seconds "));
    line.expect("the metric").to_owned()
}

/// By the server's clock, the token would be over ten minutes earlier, or later, than it is.
#[tokio::test(start_paused = true)]
async fn while_the_host_runs_a_token_lives_as_long_as_the_server_said_whatever_time_it_is_there() {
    for (ahead, shown) in [(TEN_MINUTES, "600"), (-TEN_MINUTES, "-600")] {
        let (world, _) = refreshed(ahead).await;
        assert_eq!(clock_ahead(&world), shown);
        sleep(53 * MINUTE).await;
        assert_eq!(world.call().await.unwrap(), "access-acme-1");
        sleep(MINUTE / 2).await;
        assert_eq!(world.server.requests(), 1, "{ahead}: not yet due");
        sleep(MINUTE).await;
        world.call().await.unwrap();
        sleep(MINUTE).await;
        assert_eq!(world.server.requests(), 2, "{ahead}: due a tenth ahead");
        assert_eq!(world.call().await.unwrap(), "access-acme-2");
    }
}

/// What is noted is for whoever has only a wall clock: the earlier of the two counts.
#[tokio::test(start_paused = true)]
async fn what_is_noted_is_by_the_earlier_clock() {
    for (ahead, by_theirs) in [
        (TEN_MINUTES, true),
        (-TEN_MINUTES, false),
        // A slow answer is no difference, and a server that is days off says nothing about us.
        (time::Duration::seconds(40), false),
        (time::Duration::days(2), false),
    ] {
        let (world, theirs) = refreshed(ahead).await;
        let state = world.state().await;
        let obtained_at = state.obtained_at.unwrap();
        assert_eq!(obtained_at, if by_theirs { theirs } else { theirs + ahead }, "{ahead}");
        assert_eq!(state.expires_at.unwrap(), obtained_at + HOUR, "{ahead}");
    }
}

/// The host's clock was ten minutes ahead when the token came, and is set right before a restart: by what it had noted
/// itself, the token would be used for ten minutes after its end.
#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_right_before_a_restart_does_not_prolong_a_token() {
    let (world, _) = refreshed(TEN_MINUTES).await;
    world.clock.set(-TEN_MINUTES);
    let restarted = world.another("host-a");
    sleep(30 * MINUTE).await;
    let fresh = call(&restarted, &world.of, &world.spec).await;
    assert_eq!((fresh.unwrap().as_str(), world.server.requests()), ("access-acme-1", 1));
    sleep(31 * MINUTE).await;
    let restarted = world.another("host-a");
    assert_eq!(call(&restarted, &world.of, &world.spec).await.unwrap(), "access-acme-2");
    // And one that was behind: early, which costs a request.
    let (world, _) = refreshed(-TEN_MINUTES).await;
    world.clock.set(TEN_MINUTES);
    sleep(51 * MINUTE).await;
    let restarted = world.another("host-a");
    assert_eq!(call(&restarted, &world.of, &world.spec).await.unwrap(), "access-acme-2");
}
