//! Pins, reverts and defaults on the memory store, with a loader that only remembers.

use std::collections::HashSet;
use std::sync::Mutex as StdMutex;
use std::time::Duration;

use async_trait::async_trait;
use keyway_core::Descriptor;
use keyway_core::call::{Operation, Output};
use keyway_core::ports::{Outside, Routes as _};
use serde_json::json;
use time::OffsetDateTime;

use super::*;

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH
    }
}

/// Loads everything but what it was told to refuse.
#[derive(Default)]
struct Shelf {
    broken: StdMutex<HashSet<Digest>>,
}

struct Loaded {
    release: ReleaseRef,
    descriptor: Arc<Descriptor>,
}

#[async_trait]
impl Loader for Shelf {
    async fn load(
        &self,
        release: &ReleaseRef,
        descriptor: &Arc<Descriptor>,
    ) -> Result<Arc<dyn Callable>, Fault> {
        if self.broken.lock().unwrap().contains(&release.digest) {
            return Err(Fault::new(Code::ReleaseUnavailable, "broken"));
        }
        let (release, descriptor) = (release.clone(), Arc::clone(descriptor));
        Ok(Arc::new(Loaded { release, descriptor }))
    }
}

#[async_trait]
impl Callable for Loaded {
    fn release(&self) -> &ReleaseRef {
        &self.release
    }

    fn descriptor(&self) -> &Arc<Descriptor> {
        &self.descriptor
    }

    async fn call(&self, _: Operation, _: Arc<dyn Outside>, _: Duration) -> Result<Output, Fault> {
        Ok(Output::Json("null".to_owned()))
    }
}

struct Bench {
    store: Store,
    shelf: Arc<Shelf>,
    releases: Releases,
}

impl Bench {
    /// Two releases of `a/b`, 1.0.0 and 2.0.0; the second takes an integer `n` as configuration.
    async fn new() -> Self {
        let store = Store::memory(Arc::new(Fixed));
        publish(&store, "1.0.0", json!(null)).await;
        publish(&store, "2.0.0", json!({"properties": {"n": {"type": "integer"}}})).await;
        let shelf = Arc::new(Shelf::default());
        let releases = releases(&store, &shelf);
        Self { store, shelf, releases }
    }

    async fn pin(&self, tenant: &str, release: &str) -> Result<Pin, Fault> {
        self.pin_seen(tenant, release, None).await
    }

    async fn pin_seen(&self, tenant: &str, release: &str, seen: Option<u64>) -> Result<Pin, Fault> {
        self.releases
            .pin(PinRequest {
                installation: of(tenant),
                release: release.parse().unwrap(),
                actor: "ann".parse().unwrap(),
                reason: "because".to_owned(),
                seen_generation: seen,
                allow_missing_scopes: false,
            })
            .await
    }

    async fn revert(&self, tenant: &str, to: Option<u64>) -> Result<Pin, Fault> {
        self.releases
            .revert(RevertRequest {
                installation: of(tenant),
                to_generation: to,
                actor: "bob".parse().unwrap(),
                reason: "worse".to_owned(),
                seen_generation: None,
            })
            .await
    }

    fn runs(&self, tenant: &str) -> Result<String, Code> {
        let route = self.releases.routes().resolve(&of(tenant)).map_err(|fault| fault.code)?;
        Ok(route.connector.release().version.to_string())
    }
}

fn releases(store: &Store, shelf: &Arc<Shelf>) -> Releases {
    let loader: Arc<dyn Loader> = Arc::<Shelf>::clone(shelf);
    let executed = Arc::new(Executed::new(Arc::new(Fixed)));
    Releases::new(store.clone(), loader, Arc::new(Fixed), executed)
}

async fn publish(store: &Store, version: &str, config: serde_json::Value) {
    let mut descriptor = json!({"format": 1, "name": "a/b", "version": version});
    if config.is_object() {
        descriptor["config"] = config;
    }
    let descriptor = Descriptor::parse(&descriptor.to_string()).unwrap();
    let reference = ReleaseRef::new(
        descriptor.name.clone(),
        descriptor.version.clone(),
        Digest::of(version.as_bytes()),
    );
    let release = Release {
        reference,
        descriptor,
        component_bytes: 5,
        exports: vec![],
        contract: "1.0.0".parse().unwrap(),
        published_by: "ann".parse().unwrap(),
        published_at: OffsetDateTime::UNIX_EPOCH,
    };
    let entry = AuditEntry {
        actor: "ann".parse().unwrap(),
        action: "release.publish".to_owned(),
        object: version.to_owned(),
        reason: None,
        before: None,
        after: None,
    };
    store.tx().publish(release).commit(entry).await.unwrap();
}

fn of(tenant: &str) -> Installation {
    Installation {
        environment: "dev".parse().unwrap(),
        tenant: tenant.parse().unwrap(),
        connector: "a/b".parse().unwrap(),
    }
}

#[tokio::test]
async fn a_pin_is_what_runs_and_history_keeps_every_one() {
    let bench = Bench::new().await;
    assert_eq!(bench.runs("acme"), Err(Code::UnknownInstallation));
    bench.pin("acme", "1.0.0").await.unwrap();
    assert_eq!(bench.runs("acme").as_deref(), Ok("1.0.0"));
    let digest = Digest::of(b"2.0.0").to_string();
    bench.pin("acme", &digest[..7 + 12]).await.unwrap();
    assert_eq!(bench.runs("acme").as_deref(), Ok("2.0.0"));
    assert_eq!(bench.runs("other"), Err(Code::UnknownInstallation));
    let history = bench.store.history(&of("acme")).await.unwrap();
    assert_eq!(history.iter().map(|pin| pin.generation).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn revert_is_a_new_generation_of_the_pin_before() {
    let bench = Bench::new().await;
    bench.pin("acme", "1.0.0").await.unwrap();
    assert_eq!(bench.revert("acme", None).await.unwrap_err().code, Code::NoHistory);
    assert_eq!(bench.revert("other", None).await.unwrap_err().code, Code::NoHistory);
    bench.pin("acme", "2.0.0").await.unwrap();
    let back = bench.revert("acme", None).await.unwrap();
    assert_eq!((back.generation, back.reverts_to), (3, Some(1)));
    assert_eq!(bench.runs("acme").as_deref(), Ok("1.0.0"));
    // Reverting the revert goes to the pin before it.
    assert_eq!(bench.revert("acme", None).await.unwrap().reverts_to, Some(2));
    assert_eq!(bench.runs("acme").as_deref(), Ok("2.0.0"));
    assert_eq!(bench.revert("acme", Some(1)).await.unwrap().reverts_to, Some(1));
    assert_eq!(bench.revert("acme", Some(77)).await.unwrap_err().code, Code::NoHistory);
}

#[tokio::test]
async fn what_cannot_run_changes_nothing() {
    let bench = Bench::new().await;
    bench.pin("acme", "1.0.0").await.unwrap();
    bench.shelf.broken.lock().unwrap().insert(Digest::of(b"2.0.0"));
    let fault = bench.pin("acme", "2.0.0").await.unwrap_err();
    assert_eq!(fault.code, Code::ReleaseUnavailable);
    assert_eq!(bench.pin("acme", "3.0.0").await.unwrap_err().code, Code::UnknownRelease);
    assert_eq!(bench.runs("acme").as_deref(), Ok("1.0.0"));
    assert_eq!(bench.store.history(&of("acme")).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_change_names_the_generation_it_builds_on() {
    let bench = Bench::new().await;
    bench.pin_seen("acme", "1.0.0", Some(0)).await.unwrap();
    let (one, two) = tokio::join!(
        bench.pin_seen("acme", "2.0.0", Some(1)),
        bench.pin_seen("acme", "1.0.0", Some(1)),
    );
    let codes: Vec<_> = [one, two].into_iter().filter_map(|r| r.err()).map(|f| f.code).collect();
    assert_eq!(codes, [Code::Conflict]);
    assert_eq!(bench.store.history(&of("acme")).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_configuration_must_fit_what_runs_and_what_would_run() {
    let bench = Bench::new().await;
    bench.pin("acme", "2.0.0").await.unwrap();
    let actor = || "ann".parse().unwrap();
    let wrong = json!({"n": "x"});
    let fault = bench
        .releases
        .set_config(of("acme"), &wrong.to_string(), &wrong, actor())
        .await
        .unwrap_err();
    assert_eq!(fault.code, Code::ConfigInvalid);
    bench.releases.set_config(of("acme"), r#"{"n":1}"#, &json!({"n": 1}), actor()).await.unwrap();
    let route = bench.releases.routes().resolve(&of("acme")).unwrap();
    assert_eq!(route.settings.config, r#"{"n":1}"#);
    // 1.0.0 takes no configuration, so the pin is refused and 2.0.0 goes on.
    assert_eq!(bench.pin("acme", "1.0.0").await.unwrap_err().code, Code::ConfigInvalid);
    assert_eq!(bench.runs("acme").as_deref(), Ok("2.0.0"));
}

#[tokio::test]
async fn a_default_runs_where_there_is_no_pin() {
    let bench = Bench::new().await;
    let default = |release: &str| DefaultRequest {
        environment: "dev".parse().unwrap(),
        connector: "a/b".parse().unwrap(),
        release: release.parse().unwrap(),
        actor: "ann".parse().unwrap(),
        reason: "start here".to_owned(),
        allow_missing_scopes: false,
    };
    bench.pin("pinned", "2.0.0").await.unwrap();
    bench.releases.set_default(default("1.0.0")).await.unwrap();
    let config =
        bench.releases.set_config(of("plain"), "{}", &json!({}), "ann".parse().unwrap()).await;
    config.unwrap();
    assert_eq!(bench.runs("plain").as_deref(), Ok("1.0.0"));
    bench.releases.set_default(default("2.0.0")).await.unwrap();
    assert_eq!(bench.runs("plain").as_deref(), Ok("2.0.0"));
    assert_eq!(bench.runs("pinned").as_deref(), Ok("2.0.0"));
    let rows = bench.releases.matrix(&Filter::default()).await.unwrap();
    assert_eq!(rows.len(), 2);
}

#[tokio::test]
async fn a_restart_shows_the_same_routes_and_closes_only_what_does_not_load() {
    let bench = Bench::new().await;
    bench.pin("one", "1.0.0").await.unwrap();
    bench.pin("two", "2.0.0").await.unwrap();
    let shelf = Arc::new(Shelf::default());
    shelf.broken.lock().unwrap().insert(Digest::of(b"2.0.0"));
    let again =
        Bench { releases: releases(&bench.store, &shelf), store: bench.store.clone(), shelf };
    assert_eq!(again.releases.catch_up().await.unwrap(), 2);
    assert_eq!(again.runs("one").as_deref(), Ok("1.0.0"));
    assert_eq!(again.runs("two"), Err(Code::ReleaseUnavailable));
}

#[tokio::test]
async fn reasons_say_something() {
    let bench = Bench::new().await;
    for reason in [String::new(), "  ".to_owned(), "x".repeat(REASON_BYTES_MAX + 1)] {
        let request = PinRequest {
            installation: of("acme"),
            release: "1.0.0".parse().unwrap(),
            actor: "ann".parse().unwrap(),
            reason,
            seen_generation: None,
            allow_missing_scopes: false,
        };
        assert_eq!(bench.releases.pin(request).await.unwrap_err().code, Code::InvalidRequest);
    }
}

/// Fails if a route shows other scopes than the row has.
#[tokio::test]
async fn a_route_shows_what_was_granted() {
    let bench = Bench::new().await;
    bench.pin("acme", "1.0.0").await.unwrap();
    let slot: Slot = "token".parse().unwrap();
    let connection = Connection {
        installation: of("acme"),
        slot: slot.clone(),
        user: None,
        generation: 1,
        epoch: 1,
        kind: "oauth2".to_owned(),
        base_url: None,
        account: None,
        scopes: Some(vec!["a".to_owned()]),
        paused: false,
        hold_refresh: false,
        watch_until: None,
        sealed: Default::default(),
        at: OffsetDateTime::UNIX_EPOCH,
    };
    let entry = AuditEntry {
        actor: "ann".parse().unwrap(),
        action: "connection.set".to_owned(),
        object: "x".to_owned(),
        reason: None,
        before: None,
        after: None,
    };
    bench.store.tx().set_connection(connection).commit(entry).await.unwrap();
    bench.releases.refresh(&of("acme")).await.unwrap();
    let route = bench.releases.routes().resolve(&of("acme")).unwrap();
    let granted = &route.settings.connections[&slot];
    assert_eq!(granted.scopes.as_deref(), Some(&["a".to_owned()][..]));
}
