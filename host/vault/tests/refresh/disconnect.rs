//! Disconnecting: no token that was issued stays good, and where one may, the audit says why.

use std::time::Duration;

use keyway_vault::oauth::client::ClientRef;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::world::{World, actor, expire};

/// With a way to revoke.
async fn world() -> World {
    World::with(json!({"revoke-url": "https://login.example.com/revoke"})).await
}

/// What the audit says of the removal.
async fn said(world: &World) -> Option<String> {
    let audit = world.store.audit(0, 100).await.expect("the store answers");
    let removal = audit.into_iter().find(|entry| entry.entry.action == "connection.remove");
    removal.expect("it is audited").entry.after
}

/// Would fail if the older token were revoked while the refresh brings a newer one, which stays good for ever.
#[tokio::test(start_paused = true)]
async fn a_refresh_in_flight_is_waited_for_and_its_token_is_revoked() {
    let world = world().await;
    world.server.takes(Duration::from_secs(15));
    expire().await;
    let remove = async {
        sleep(Duration::from_secs(1)).await;
        assert!(world.vault.remove(&world.of, Some(&world.spec), &actor()).await.unwrap());
    };
    let (_, ()) = tokio::join!(world.call(), remove);
    assert_eq!(world.server.revoked(), ["refresh-acme-1"]);
    assert_eq!(said(&world).await.as_deref(), Some("revoked at the provider"));
}

/// A provider that hangs keeps nobody from disconnecting, and its late answer is not lost.
#[tokio::test(start_paused = true)]
async fn a_refresh_that_takes_too_long_is_said_and_what_it_brings_is_revoked() {
    let world = world().await;
    world.server.takes(Duration::from_secs(100));
    expire().await;
    let remove = async {
        sleep(Duration::from_secs(1)).await;
        let began = Instant::now();
        assert!(world.vault.remove(&world.of, Some(&world.spec), &actor()).await.unwrap());
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    };
    let (answer, ()) = tokio::join!(world.call(), remove);
    answer.unwrap_err();
    let said = said(&world).await;
    assert_eq!(said.as_deref(), Some("revoked at the provider; a refresh was still in flight"));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(world.server.revoked(), ["refresh-acme-0", "refresh-acme-1"]);
}

/// Would fail if nothing were said where tokens stay good: it would read as if there had been none.
#[tokio::test(start_paused = true)]
async fn what_keeps_tokens_from_being_revoked_is_in_the_audit() {
    for (what, expected) in [
        ("client", "not revoked: there is no OAuth client"),
        ("release", "not revoked: no release says where"),
        ("revoke-url", "not revoked: the release declares no `revoke-url`"),
    ] {
        let world = if what == "revoke-url" { World::new().await } else { world().await };
        if what == "client" {
            let client = ClientRef::of(&world.of);
            assert!(world.vault.remove_client(&client, &actor()).await.unwrap());
        }
        let spec = Some(&world.spec).filter(|_| what != "release");
        assert!(world.vault.remove(&world.of, spec, &actor()).await.unwrap());
        assert_eq!(said(&world).await.as_deref(), Some(expected));
        assert_eq!(world.server.revoked(), Vec::<String>::new());
    }
}

/// Would fail if an access token stayed good because the refresh token, which may be gone or of a kind that the provider does
/// not revoke, was not ended.
#[tokio::test(start_paused = true)]
async fn where_a_refresh_token_is_not_revoked_the_access_token_is_by_itself() {
    let (both, refresh) = (["refresh-acme-0", "access-acme-0"], ["refresh-acme-0"]);
    for (kept, tried, expected) in [
        (&[][..], &refresh[..], "revoked at the provider"),
        (&["access_token"], &refresh, "revoked at the provider"),
        (
            &["refresh_token"],
            &both,
            "not revoked: the provider did not do it for the refresh token, but for the access token",
        ),
        (
            &["refresh_token", "access_token"],
            &both,
            "not revoked: the provider did it for neither the refresh token nor the access token",
        ),
    ] {
        let world = world().await;
        world.server.keeps_good(kept);
        assert!(world.vault.remove(&world.of, Some(&world.spec), &actor()).await.unwrap());
        assert_eq!(said(&world).await.as_deref(), Some(expected));
        assert_eq!(world.server.revoked(), tried, "{kept:?}");
    }
}
