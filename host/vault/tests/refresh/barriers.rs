//! Pauses and holds: what an operator was told has stopped, does not go on.

use std::time::Duration;

use keyway_core::Digest;
use keyway_core::descriptor::Scheme;
use keyway_core::ports::Credentials as _;
use keyway_store::model::Lease;
use keyway_vault::SecretInput;
use keyway_vault::connections::{Setting, Switch};
use tokio::time::{Instant, sleep};

use crate::world::{World, actor, expire};

/// Takes the right to refresh, as another host does that is about to.
async fn occupied(world: &World, time: Duration) -> Lease {
    let name = format!("refresh {}", Digest::of(world.of.to_string().as_bytes()).hex());
    let lease = world.store.acquire_lease(&name, "host-z", time).await.expect("the store answers");
    lease.expect("nobody has it")
}

/// Exchanges are known by what they hold; how long is up to the broker.
#[tokio::test(start_paused = true)]
async fn a_pause_waits_for_what_is_in_use() {
    let world = World::new().await;
    let exchange = world.held().await;
    let pause =
        async |seconds| world.vault.pause(&world.of, Duration::from_secs(seconds), &actor()).await;
    assert_eq!(pause(1).await.unwrap_err().code.as_str(), "connection-paused");
    assert_eq!(world.call().await.unwrap_err().code.as_str(), "connection-paused");
    let began = Instant::now();
    let ends = async {
        sleep(Duration::from_secs(7)).await;
        drop(exchange);
    };
    let (receipt, ()) = tokio::join!(pause(60), ends);
    assert!(receipt.unwrap().info.connection.paused);
    assert!((7..8).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

/// Catches a pause that somebody decides about who never ends, and one that has later exchanges end as well.
#[tokio::test(start_paused = true)]
async fn what_outlives_the_wait_of_a_pause_is_cut_and_counted() {
    let world = World::new().await;
    let pause =
        async |seconds| world.vault.pause(&world.of, Duration::from_secs(seconds), &actor()).await;
    // As the broker does: it ends what was cut.
    let (first, second) = (world.held().await, world.held().await);
    let ends = async {
        while !(first.in_use.is_cut() && second.in_use.is_cut()) {
            sleep(Duration::from_millis(50)).await;
        }
        drop((first, second));
    };
    let began = Instant::now();
    let (receipt, ()) = tokio::join!(pause(5), ends);
    assert_eq!(receipt.unwrap().cut, 2);
    assert!((5..7).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    // Asked again, it says the same; resumed, nothing is cut any more.
    assert_eq!(pause(1).await.unwrap().cut, 2);
    world.vault.switch(&world.of, Switch::Paused, false, &actor()).await.unwrap();
    let later = world.held().await;
    assert!(!later.in_use.is_cut());
    // One that does not end is waited for, also by the pause after the next.
    pause(1).await.unwrap_err();
    assert!(later.in_use.is_cut());
    world.vault.switch(&world.of, Switch::Paused, false, &actor()).await.unwrap();
    pause(1).await.unwrap_err();
    drop(later);
    assert_eq!(pause(1).await.unwrap().cut, 0);
}

/// Somebody else acts on the receipt: what was answered must be found after a crash.
#[tokio::test(start_paused = true)]
async fn a_drain_is_in_the_audit_once_it_has_ended() {
    let world = World::new().await;
    let drained = async || {
        let audit = world.store.audit(0, 100).await.unwrap();
        format!("{audit:?}").matches("connection.drained").count()
    };
    let exchange = world.held().await;
    let pause =
        async |seconds| world.vault.pause(&world.of, Duration::from_secs(seconds), &actor()).await;
    pause(1).await.unwrap_err();
    assert_eq!(drained().await, 0);
    drop(exchange);
    pause(1).await.unwrap();
    assert_eq!(drained().await, 1);
}

/// Would fail if a person who connects, or an operator who imports or sets, ended a pause without a word in the audit.
#[tokio::test(start_paused = true)]
async fn only_resume_ends_a_pause() {
    let world = World::new().await;
    world.vault.pause(&world.of, Duration::from_secs(1), &actor()).await.unwrap();
    world.connect(&world.of, "again").await;
    for by_hand in [false, true, false] {
        match by_hand {
            true => set_by_hand(&world).await,
            false => world.connect(&world.of, "again").await,
        }
        assert!(world.vault.existing(&world.of).await.unwrap().paused);
        assert_eq!(world.call().await.unwrap_err().code.as_str(), "connection-paused");
        let restarted = world.another("host-a");
        assert!(restarted.credential(&world.of, &world.spec).await.is_err());
    }
    world.vault.switch(&world.of, Switch::Paused, false, &actor()).await.unwrap();
    assert_eq!(world.call().await.unwrap(), "access-again-0");
}

/// Would fail if an import or a secret set by hand let this host refresh what another system still refreshes.
#[tokio::test(start_paused = true)]
async fn only_an_operator_who_says_so_ends_a_hold() {
    let world = World::new().await;
    world.vault.switch(&world.of, Switch::HoldRefresh, true, &actor()).await.unwrap();
    for by_hand in [false, true, false] {
        match by_hand {
            true => set_by_hand(&world).await,
            false => world.connect(&world.of, "again").await,
        }
        assert!(world.vault.existing(&world.of).await.unwrap().hold_refresh);
    }
    expire().await;
    assert_eq!(world.call().await.unwrap_err().code.as_str(), "refresh-held");
    world.vault.switch(&world.of, Switch::HoldRefresh, false, &actor()).await.unwrap();
    assert_eq!(world.call().await.unwrap(), "access-again-1");
}

/// Puts a secret of an operator's in the place of the tokens.
async fn set_by_hand(world: &World) {
    let set = Setting {
        installation: world.of.installation.clone(),
        slot: world.of.slot.clone(),
        user: None,
        scheme: Scheme::Bearer,
        base_url: None,
        secret: SecretInput::Token("by-hand".to_owned().into()),
    };
    world.vault.set(set, &actor()).await.expect("set");
}

/// A refresh that waits its turn has not begun: it must look again before it does.
#[tokio::test(start_paused = true)]
async fn a_refresh_that_waits_for_another_host_does_not_begin_after_a_pause_or_a_hold() {
    for (switch, code) in
        [(Switch::Paused, "connection-paused"), (Switch::HoldRefresh, "refresh-held")]
    {
        let world = World::new().await;
        expire().await;
        let lease = occupied(&world, Duration::from_secs(60)).await;
        let stops = async {
            sleep(Duration::from_secs(1)).await;
            // Also where this waits for it in vain, it is stopped.
            drop(world.vault.switch(&world.of, switch, true, &actor()).await);
            drop(lease);
        };
        let (call, ()) = tokio::join!(world.call(), stops);
        assert_eq!(call.unwrap_err().code.as_str(), code);
        assert_eq!((world.server.requests(), world.phase().await), (0, "ready"));
    }
}

/// Would fail if the operator were told that the other system may refresh, while a refresh here is under way.
#[tokio::test(start_paused = true)]
async fn a_hold_is_answered_after_the_refresh_that_is_in_flight() {
    let world = World::new().await;
    world.server.takes(Duration::from_secs(15));
    expire().await;
    let hold = async {
        sleep(Duration::from_secs(1)).await;
        world.vault.switch(&world.of, Switch::HoldRefresh, true, &actor()).await.unwrap();
        assert_eq!(world.state().await.expires_at.map(|at| at > world.now()), Some(true));
    };
    let (answer, ()) = tokio::join!(world.call(), hold);
    assert_eq!(answer.unwrap(), "access-acme-1");
    assert_eq!(world.server.requests(), 1);
}

/// One that takes too long is said to; asking again is not answered before its end either.
#[tokio::test(start_paused = true)]
async fn a_hold_does_not_wait_for_ever() {
    let world = World::new().await;
    world.server.takes(Duration::from_secs(70));
    expire().await;
    let hold = async {
        sleep(Duration::from_secs(1)).await;
        let hold =
            async || world.vault.switch(&world.of, Switch::HoldRefresh, true, &actor()).await;
        for _ in 0..2 {
            assert_eq!(hold().await.unwrap_err().code.as_str(), "refresh-held");
        }
        assert!(world.vault.existing(&world.of).await.unwrap().hold_refresh);
        hold().await.unwrap();
    };
    let (answer, ()) = tokio::join!(world.call(), hold);
    assert_eq!(answer.unwrap(), "access-acme-1");
}
