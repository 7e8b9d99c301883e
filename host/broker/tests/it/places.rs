//! As many connections as there are places: an unused one gives way, and whoever gets none is told so.

use std::sync::Arc;
use std::time::Duration;

use keyway_core::ports::{Egress as _, Proxy as _};
use tokio::sync::Barrier;
use tokio::time::timeout;

use crate::limits::arrived;
use crate::relay::{PATIENCE, World, get, read};
use crate::support::{Step, Upstream, ok, text, with_slot};

/// Catches connections that nobody counts, until the process has no file left for its store.
#[tokio::test]
async fn no_more_connections_are_open_than_there_are_places() {
    let upstream = Upstream::start(|_, _| vec![Step::Hang]).await;
    let mut world = World::of(&upstream, "[limits]\nconnections-max = 2\n");
    world.origin.time_left = Duration::from_secs(2);
    let call = |path: &str| with_slot("token", crate::support::get(path));
    let late = async {
        timeout(PATIENCE, arrived(&upstream, 2)).await.unwrap();
        let mut origin = world.origin.clone();
        origin.time_left = Duration::from_millis(300);
        let relayed = world.broker.relay(&origin, get("/c"), Box::new(()));
        let failure = relayed.await.unwrap_err();
        let called = world.broker.exchange(&origin, call("/x")).await.unwrap_err();
        [failure, called]
    };
    let (first, second, refused) = tokio::join!(
        world.relay(get("/a")),
        world.broker.exchange(&world.origin, call("/b")),
        late
    );
    assert_eq!(first.unwrap_err().code.as_deref(), Some("exchange-timeout"));
    assert_eq!(second.unwrap_err().code.as_deref(), Some("exchange-timeout"));
    for failure in refused {
        assert_eq!(failure.code.as_deref(), Some("connections-exhausted"));
        assert!(!failure.request_sent);
    }
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn an_unused_connection_gives_way() {
    let upstream = Upstream::start(|_, _| ok("done")).await;
    let world = World::of(&upstream, "[limits]\nconnections-max = 1\n");
    for (url, connections) in [
        ("/x", 1),
        ("/y", 1),
        ("https://files.example.com/x", 2),
        ("https://files.example.com/y", 2),
        ("/z", 3),
    ] {
        assert_eq!(read(world.get(url).await).await.unwrap(), "done");
        assert_eq!(upstream.connections(), connections, "{url}");
    }
    timeout(PATIENCE, upstream.ended(2)).await.unwrap();
}

/// Catches one that waits while the connection of another is kept for nobody.
#[tokio::test]
async fn who_waits_has_the_next_place() {
    let both = Arc::new(Barrier::new(2));
    let meet = Arc::clone(&both);
    let upstream = Upstream::start(move |_, request| match request.contains("/slow") {
        true => vec![
            Step::Meet(Arc::clone(&meet)),
            text("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nslow"),
        ],
        false => ok("next"),
    })
    .await;
    let world = World::of(&upstream, "[limits]\nconnections-max = 1\n");
    let slow = async { read(world.get("/slow").await).await.unwrap() };
    let next = async {
        timeout(PATIENCE, arrived(&upstream, 1)).await.unwrap();
        let next = async { read(world.get("https://files.example.com/x").await).await.unwrap() };
        let free = async {
            // It waits by now: nothing else can have happened.
            tokio::time::sleep(Duration::from_millis(50)).await;
            both.wait().await;
        };
        tokio::join!(next, free).0
    };
    let (slow, next) = timeout(PATIENCE, async { tokio::join!(slow, next) }).await.unwrap();
    assert_eq!((&slow[..], &next[..]), (&b"slow"[..], &b"next"[..]));
}
