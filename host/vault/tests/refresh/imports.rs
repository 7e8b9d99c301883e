//! Imports: what they may take the place of, what they leave as it was, and how they are watched.

use std::time::Duration;

use keyway_core::Fault;
use keyway_vault::import::{Import, Taken, Trial, WatchState};
use keyway_vault::oauth::record::Tokens;
use tokio::time::sleep;

use crate::seen::Log;
use crate::support::Answer;
use crate::world::{HOUR, World, actor, expire};

/// The tokens that the world began with, as another system has them now.
fn again(world: &World) -> Import {
    Import {
        of: world.of.clone(),
        tokens: Tokens {
            access: "access-acme-0".to_owned().into(),
            refresh: Some("refresh-acme-0".to_owned().into()),
            subject: None,
            own: None,
        },
        obtained_at: Some(world.now()),
        expires_at: Some(world.now() + HOUR),
        scopes: None,
        account: None,
        base_url: None,
        facts: <_>::default(),
        hold_refresh: None,
        replace: false,
    }
}

async fn take(world: &World, import: Import) -> Result<Taken, Fault> {
    tried(world, import, false).await
}

async fn tried(world: &World, import: Import, dry: bool) -> Result<Taken, Fault> {
    let trial = Trial { base_url: "https://api.example.com".to_owned(), hosts: vec![] };
    world.vault.import(import, &world.spec, &trial, dry, &actor()).await
}

async fn watch(world: &World) -> (WatchState, u64) {
    let connection = world.vault.existing(&world.of).await.expect("valid");
    let watch = world.vault.info(connection).await.expect("valid").watch.expect("it was imported");
    (watch.state, watch.refreshes)
}

/// Would fail if the two days after an import were a date and nothing else.
#[tokio::test(start_paused = true)]
async fn an_import_is_watched_until_two_days_are_past() {
    let world = World::new().await;
    assert_eq!(watch(&world).await, (WatchState::Waiting, 0));
    expire().await;
    world.call().await.unwrap();
    assert_eq!(watch(&world).await, (WatchState::Proven, 1));
    expire().await;
    world.server.script([Answer::Error(503, vec![], "")]);
    world.call().await.unwrap_err();
    assert_eq!(watch(&world).await, (WatchState::Failing, 1));
    expire().await;
    world.call().await.unwrap();
    assert_eq!(watch(&world).await, (WatchState::Proven, 2));
    world.server.revoke();
    expire().await;
    world.call().await.unwrap_err();
    assert_eq!(watch(&world).await, (WatchState::Failing, 2));
    sleep(HOUR * 44).await;
    assert_eq!(watch(&world).await, (WatchState::Over, 2));
}

/// Would fail if whoever is alerted could not tell an import that goes wrong from an old connection.
#[tokio::test(start_paused = true)]
async fn events_say_whether_a_connection_is_watched() {
    let log = Log::new();
    for (waits, watched) in [(HOUR, "watched=true"), (HOUR * 49, "watched=false")] {
        let world = World::new().await;
        sleep(waits + Duration::from_secs(1)).await;
        world.server.script([Answer::Lost]);
        world.call().await.unwrap_err();
        assert_eq!(log.count_with("connection.refresh-uncertain", watched), 1);
        world.connect(&world.of, "again").await;
        sleep(waits + Duration::from_secs(1)).await;
        world.server.script([Answer::Error(400, vec![], r#"{"error":"invalid_grant"}"#)]);
        world.call().await.unwrap_err();
        assert_eq!(log.count_with("connection.needs-reauth", watched), 1);
    }
}

/// Would fail if an import took the last tokens of a grant away and brought spent ones in their place.
#[tokio::test(start_paused = true)]
async fn newer_tokens_are_given_up_only_where_the_import_says_so() {
    let world = World::new().await;
    take(&world, again(&world)).await.expect("the same once more");
    let earlier = Some(world.now() - HOUR);
    let fault = take(&world, Import { obtained_at: earlier, ..again(&world) }).await.unwrap_err();
    assert_eq!(fault.code.as_str(), "conflict");
    expire().await;
    assert_eq!(world.call().await.unwrap(), "access-acme-1");
    for dry in [true, false] {
        let fault = tried(&world, again(&world), dry).await.unwrap_err();
        assert_eq!(fault.code.as_str(), "conflict");
    }
    assert_eq!(world.call().await.unwrap(), "access-acme-1");
    let replace = Import { replace: true, ..again(&world) };
    let before = take(&world, replace).await.unwrap().before.expect("what it replaces");
    assert_eq!(before.generation, 2);
    assert_eq!(world.call().await.unwrap(), "access-acme-0");
}

/// The refresh would land in a connection that is gone, and its token would be lost.
#[tokio::test(start_paused = true)]
async fn an_import_does_not_take_the_place_of_tokens_that_are_being_refreshed() {
    let world = World::new().await;
    world.server.takes(Duration::from_secs(15));
    expire().await;
    let import = async {
        sleep(Duration::from_secs(1)).await;
        take(&world, again(&world)).await
    };
    let (call, imported) = tokio::join!(world.call(), import);
    assert_eq!(imported.unwrap_err().code.as_str(), "conflict");
    assert_eq!(call.unwrap(), "access-acme-1");
}

/// Would fail if an import ended a hold without being told to, or moved a connection to another host.
#[tokio::test(start_paused = true)]
async fn what_an_import_does_not_say_stays_as_it_was() {
    let world = World::new().await;
    let url = "https://eu.example.com";
    let says = |hold_refresh, base_url: Option<&str>| Import {
        hold_refresh,
        base_url: base_url.map(str::to_owned),
        ..again(&world)
    };
    for (import, held) in [
        (says(Some(true), Some(url)), true),
        (says(None, None), true),
        (says(Some(false), None), false),
        (says(None, None), false),
    ] {
        let connection = take(&world, import).await.unwrap().info.expect("not dry").connection;
        assert_eq!((connection.hold_refresh, connection.base_url.as_deref()), (held, Some(url)));
    }
}
