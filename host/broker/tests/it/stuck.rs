//! Exchanges whose caller, or whose provider, does nothing more: they end in their time, and where a pause cuts them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::BodyExt as _;
use keyway_core::exchange::Relayed;
use keyway_core::ports::{Egress as _, InUse, Proxy as _};
use tokio::time::timeout;

use crate::limits::arrived;
use crate::relay::{PATIENCE, World, get};
use crate::support::{Step, Upstream, text, with_slot};

/// Uses that can be cut.
#[derive(Default)]
pub(crate) struct Uses(pub(crate) AtomicBool);

impl InUse for Uses {
    fn is_cut(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl World {
    /// Exchanges that count as in flight.
    pub(crate) fn in_flight(&self) -> i64 {
        let mut registry = prometheus_client::registry::Registry::default();
        self.wire.metrics().register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("keyway_broker_in_flight "));
        line.expect("the gauge").parse().unwrap()
    }
}

/// Waits until something is so.
async fn so(what: &str, is: impl Fn() -> bool) {
    let waiting = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// A body that begins and never ends.
fn endless() -> Vec<Step> {
    vec![text("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart"), Step::Hang]
}

/// Catches a caller who takes nothing more, and keeps the tenant's permits, the credential and the socket for ever.
#[tokio::test]
async fn an_exchange_whose_caller_takes_nothing_ends_in_its_time() {
    let upstream = Upstream::start(|_, _| endless()).await;
    let mut world = World::of(&upstream, "[limits]\nin-flight-per-tenant-max = 1\n");
    world.origin.time_left = Duration::from_millis(700);
    let keeps = Arc::new(());
    let held = Box::new(Arc::clone(&keeps));
    let mut relay = world.broker.relay(&world.origin, get("/"), held).await.unwrap();
    assert_eq!(world.in_flight(), 1, "its body is on its way");
    so("what is kept for it is given back", || Arc::strong_count(&keeps) == 1).await;
    so("the credential is given back", || Arc::strong_count(&world.vault.uses) == 1).await;
    timeout(PATIENCE, upstream.ended(1)).await.unwrap();
    assert_eq!(world.in_flight(), 0);
    assert_eq!(world.ends(1).await, [Some("exchange-timeout")]);
    let error = relay.body.frame().await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "exchange-timeout");
    assert!(relay.body.frame().await.is_none(), "and nothing after it");
    // The tenant's one permit is free, while the caller still holds the answer.
    world.origin.time_left = Duration::from_secs(60);
    world.get("/").await;
}

/// Catches a pause that waits for somebody who reads nothing, or whose provider says nothing.
#[tokio::test]
async fn what_a_pause_cuts_ends_wherever_it_is() {
    let upstream = Upstream::start(|_, request| match request.contains("/silent") {
        true => vec![Step::Hang],
        false => endless(),
    })
    .await;
    let world = World::of(&upstream, "");
    let mut stuck = world.get("/stuck").await;
    let silent = Relayed { url: "/silent".to_owned(), ..get("") };
    let asked = with_slot("token", crate::support::get("/silent"));
    let cut = async {
        timeout(PATIENCE, arrived(&upstream, 3)).await.unwrap();
        world.vault.uses.0.store(true, Ordering::SeqCst);
    };
    let (proxied, called, ()) =
        tokio::join!(world.relay(silent), world.broker.exchange(&world.origin, asked), cut);
    for failure in [proxied.unwrap_err(), called.unwrap_err()] {
        assert_eq!(failure.code.as_deref(), Some("connection-paused"));
        assert!(failure.request_sent);
    }
    so("no use is left", || Arc::strong_count(&world.vault.uses) == 1).await;
    assert_eq!(world.in_flight(), 0);
    let error = stuck.body.frame().await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "connection-paused");
    timeout(PATIENCE, upstream.ended(3)).await.unwrap();
    assert_eq!(world.ends(3).await, [Some("connection-paused"); 3]);
}
