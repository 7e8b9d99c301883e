//! Connections that nobody uses: refreshed before the provider drops their tokens, and only then.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keyway_core::address::InstallationMark;
use keyway_core::call::{Operation, Output};
use keyway_core::ids::Installation;
use keyway_core::ports::{Connector, Outside, Route, Routes};
use keyway_core::release::ReleaseRef;
use keyway_core::{Code, Descriptor, Digest, Fault};
use keyway_vault::Vault;
use keyway_vault::connections::Switch;
use keyway_vault::import::{Import, Trial};
use keyway_vault::keep_alive::{Config, KeepAlive, Sweep};
use keyway_vault::oauth::record::Tokens;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::datetime;
use tokio::time::{Instant, sleep};

use crate::support::Answer;
use crate::world::{HOUR, World, actor, connection, expire};

/// What the provider documents here: sixty days.
const IDLE: Duration = Duration::from_secs(60 * 24 * 60 * 60);

/// Nobody's time comes before this.
const EARLIEST: Duration = Duration::from_secs(IDLE.as_secs() * 3 / 8);

/// By then everybody's has come.
const LATEST: Duration = Duration::from_secs(IDLE.as_secs() / 2);

/// One release for every installation, or none for any.
struct Pinned(Option<Arc<Release>>);

struct Release(ReleaseRef, Arc<Descriptor>);

#[async_trait]
impl Connector for Release {
    fn release(&self) -> &ReleaseRef {
        &self.0
    }

    fn descriptor(&self) -> &Arc<Descriptor> {
        &self.1
    }

    async fn call(&self, _: Operation, _: Arc<dyn Outside>, _: Duration) -> Result<Output, Fault> {
        panic!("nobody calls an unused connection")
    }
}

impl Routes for Pinned {
    fn resolve(&self, installation: &Installation) -> Result<Arc<Route>, Fault> {
        let release = self.0.clone().ok_or_else(|| Fault::new(Code::NotPinned, "nothing runs"))?;
        let installation = installation.clone();
        Ok(Arc::new(Route { installation, order: 1, connector: release, settings: Arc::default() }))
    }

    fn marked(&self, _: &InstallationMark) -> Result<Option<Installation>, Fault> {
        Ok(None)
    }
}

async fn world() -> World {
    World::with(json!({"refresh-idle": IDLE.as_secs()})).await
}

/// What the world's release declares.
fn pinned(world: &World) -> Pinned {
    let slots = json!({"login": serde_json::to_value(&world.spec).expect("JSON")});
    let text = json!({"format": 1, "name": "a/b", "version": "1.0.0", "slots": slots}).to_string();
    let descriptor = Arc::new(Descriptor::parse(&text).expect("valid"));
    let reference = ReleaseRef::new(
        descriptor.name.clone(),
        descriptor.version.clone(),
        Digest::of(b"release"),
    );
    Pinned(Some(Arc::new(Release(reference, descriptor))))
}

fn keeper(world: &World, vault: &Vault) -> KeepAlive {
    KeepAlive::new(vault.clone(), Arc::new(pinned(world)), Config::default())
}

async fn look(world: &World) -> Sweep {
    keeper(world, &world.vault).activate().await.expect("a good vault")
}

const fn sweep(due: usize, kept: usize, failed: usize) -> Sweep {
    Sweep { due, kept, failed }
}

/// Connects so many users, beside the tenant.
async fn with_users(world: &World, count: usize) {
    for n in 0..count {
        let user = format!("user{n}");
        world.connect(&connection(Some(&user)), &user).await;
    }
}

fn metric(world: &World, line: &str) -> bool {
    let (mut registry, mut text) = (Registry::default(), String::new());
    world.vault.metrics().register(&mut registry);
    encode(&mut text, &registry).expect("a text takes all");
    text.lines().any(|shown| shown == line)
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_nobody_uses_is_refreshed_in_the_middle_of_its_time() {
    let world = world().await;
    sleep(EARLIEST - HOUR).await;
    assert_eq!(look(&world).await, sweep(0, 0, 0));
    sleep(LATEST - EARLIEST + HOUR).await;
    assert_eq!(look(&world).await, sweep(1, 1, 0));
    assert_eq!(world.server.requests(), 1);
    assert!(world.is_ready().await);
    assert_eq!(look(&world).await, sweep(0, 0, 0), "its time begins anew");
    assert_eq!(world.call().await.unwrap(), "access-acme-1");
    assert!(metric(&world, r#"keyway_keep_alive_refreshes_total{outcome="refreshed"} 1"#));
    assert!(metric(&world, "keyway_keep_alive_overdue 0"));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_for_a_call_counts_as_a_use() {
    let world = world().await;
    sleep(EARLIEST - HOUR).await;
    expire().await;
    world.call().await.unwrap();
    sleep(LATEST - EARLIEST + HOUR).await;
    assert_eq!(look(&world).await, sweep(0, 0, 0));
    sleep(EARLIEST).await;
    assert_eq!(look(&world).await, sweep(1, 1, 0));
    assert_eq!(world.server.requests(), 2);
}

/// It may have been lying in the other system for long.
#[tokio::test(start_paused = true)]
async fn a_token_whose_last_use_nobody_has_told_is_due_at_once() {
    for obtained_at in [None, Some(datetime!(9999-12-31 23:59 UTC))] {
        told(obtained_at).await;
    }
}

async fn told(obtained_at: Option<OffsetDateTime>) {
    let world = world().await;
    let import = Import {
        of: world.of.clone(),
        tokens: Tokens {
            access: "access-acme-0".to_owned().into(),
            refresh: Some("refresh-acme-0".to_owned().into()),
            subject: None,
            own: None,
        },
        obtained_at,
        expires_at: None,
        scopes: None,
        account: None,
        base_url: None,
        facts: <_>::default(),
        hold_refresh: None,
        replace: false,
    };
    let trial = Trial { base_url: "https://api.example.com".to_owned(), hosts: vec![] };
    let imported = world.vault.import(import, &world.spec, &trial, false, &actor()).await;
    imported.expect("a good vault");
    assert_eq!(look(&world).await, sweep(1, 1, 0));
    assert_eq!(look(&world).await, sweep(0, 0, 0), "now it is known");
}

/// A host that was off for long does as much as can be done.
#[tokio::test(start_paused = true)]
async fn late_is_better_than_never() {
    let world = world().await;
    sleep(IDLE * 3).await;
    let restarted = world.another("host-b");
    assert_eq!(keeper(&world, &restarted).activate().await.unwrap(), sweep(1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_must_not_be_refreshed_is_left_alone() {
    for (switch, undone) in [(Switch::Paused, true), (Switch::HoldRefresh, true)] {
        let world = world().await;
        world.vault.switch(&world.of, switch, true, &actor()).await.unwrap();
        sleep(LATEST).await;
        assert_eq!((look(&world).await, world.server.requests()), (sweep(0, 0, 0), 0));
        world.vault.switch(&world.of, switch, !undone, &actor()).await.unwrap();
        assert_eq!((look(&world).await, world.server.requests()), (sweep(1, 1, 0), 1));
    }
    let lost = vec![Answer::Lost];
    let gone = vec![Answer::Error(400, vec![], r#"{"error":"invalid_grant"}"#)];
    for (answers, phase) in [(lost, "uncertain"), (gone, "needs-reauth")] {
        let world = world().await;
        world.server.script(answers);
        expire().await;
        world.call().await.unwrap_err();
        assert_eq!(world.phase().await, phase);
        sleep(LATEST).await;
        assert_eq!((look(&world).await, world.server.requests()), (sweep(0, 0, 0), 1), "{phase}");
        assert_eq!(world.phase().await, phase);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_release_that_says_so_nothing_is_refreshed() {
    let world = World::new().await;
    sleep(IDLE).await;
    assert_eq!(look(&world).await, sweep(0, 0, 0), "the release says nothing of idle tokens");
    let keeper = KeepAlive::new(world.vault.clone(), Arc::new(Pinned(None)), Config::default());
    assert_eq!(keeper.activate().await.unwrap(), sweep(0, 0, 0), "nothing is pinned");
    assert_eq!(world.server.requests(), 0);
}

/// Forty-one connections of one day: they are not due on one day, and never more than four are refreshed at once.
#[tokio::test(start_paused = true)]
async fn a_herd_is_spread_out_over_days_and_within_a_look() {
    let world = world().await;
    with_users(&world, 40).await;
    sleep(EARLIEST + (LATEST - EARLIEST) / 2).await;
    let half = keeper(&world, &world.vault).activate().await.unwrap();
    assert!((8..=33).contains(&half.due), "{half:?}");
    assert_eq!(half, sweep(half.due, half.due, 0));
    sleep((LATEST - EARLIEST) / 2).await;
    world.server.takes(Duration::from_secs(10));
    let began = Instant::now();
    let rest = look(&world).await;
    assert_eq!(rest, sweep(41 - half.due, 41 - half.due, 0));
    let rounds = u32::try_from(rest.due.div_ceil(Config::default().refreshes_max)).unwrap();
    assert!(began.elapsed() >= Duration::from_secs(10) * rounds, "{:?}", began.elapsed());
    assert_eq!(world.server.most_presented(), 1);
}

/// A provider that is down hears of it from a few connections, not from all of them, and again when their wait is over.
#[tokio::test(start_paused = true)]
async fn a_provider_that_fails_is_not_asked_for_every_connection() {
    let world = world().await;
    with_users(&world, 40).await;
    sleep(LATEST).await;
    world.server.takes(Duration::from_secs(1));
    world.server.script(vec![Answer::Error(503, vec![], ""); 4]);
    let first = look(&world).await;
    assert_eq!(first, sweep(41, 0, 4));
    assert_eq!(world.server.requests(), 4);
    assert!(metric(&world, "keyway_keep_alive_overdue 41"));
    assert_eq!(look(&world).await, sweep(37, 37, 0), "those who failed wait");
    sleep(HOUR).await;
    assert_eq!(look(&world).await, sweep(4, 4, 0));
    assert_eq!(world.server.most_presented(), 2);
}

#[tokio::test(start_paused = true)]
async fn hosts_and_callers_share_one_refresh() {
    let world = world().await;
    let other = world.another("host-b");
    sleep(LATEST).await;
    world.server.takes(Duration::from_secs(15));
    let (here, there) = (keeper(&world, &world.vault), keeper(&world, &other));
    let (one, two, call) = tokio::join!(here.activate(), there.activate(), world.call());
    assert_eq!((one.unwrap(), two.unwrap()), (sweep(1, 1, 0), sweep(1, 1, 0)));
    assert_eq!(call.unwrap(), "access-acme-1");
    assert_eq!((world.server.requests(), world.server.most_presented()), (1, 1));
}

/// Whoever is told that a connection is idle relies on it, also against the host's own wishes.
#[tokio::test(start_paused = true)]
async fn a_pause_waits_for_it() {
    let world = world().await;
    sleep(LATEST).await;
    world.server.takes(Duration::from_secs(15));
    let pause = async {
        sleep(Duration::from_secs(1)).await;
        let short = world.vault.pause(&world.of, Duration::from_secs(1), &actor()).await;
        assert_eq!(short.unwrap_err().code.as_str(), "connection-paused");
        world.vault.pause(&world.of, Duration::from_secs(60), &actor()).await.unwrap()
    };
    let (swept, receipt) = tokio::join!(look(&world), pause);
    assert_eq!(swept, sweep(1, 1, 0));
    assert_eq!(receipt.info.state.unwrap().phase.as_str(), "ready");
}

/// By itself, without a call and without a person; and a host that stops waits for what has begun.
#[tokio::test(start_paused = true)]
async fn it_looks_by_itself_until_it_is_stopped() {
    let world = world().await;
    world.server.takes(Duration::from_secs(15));
    let running = tokio::spawn(keeper(&world, &world.vault).run());
    sleep(EARLIEST - HOUR).await;
    assert_eq!(world.server.requests(), 0);
    while world.server.requests() == 0 {
        sleep(Duration::from_secs(10)).await;
    }
    running.abort();
    assert_eq!(world.phase().await, "refreshing");
    world.vault.landed().await;
    assert!(world.is_ready().await);
    let version = world.state().await.version;
    sleep(IDLE * 2).await;
    assert_eq!(world.state().await.version, version, "nobody looks any more");
    let off = Config { enabled: false, ..Config::default() };
    KeepAlive::new(world.vault.clone(), Arc::new(pinned(&world)), off).run().await;
}

/// What is off is said in the configuration, in words.
#[test]
fn a_setting_that_is_not_known_is_refused() {
    let parse = |text: Value| serde_json::from_value::<Config>(text);
    assert!(!parse(json!({"enabled": false})).unwrap().enabled);
    assert!(parse(json!({"intervals": "1s"})).is_err());
    assert!(parse(json!({"interval": "0s"})).is_err());
}
