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

use keyway_store::model::{Pin, TakenConfig};

use super::*;

mod model;

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
    /// Loads wait here while somebody holds it.
    gate: tokio::sync::RwLock<()>,
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
        drop(self.gate.read().await);
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
        publish(&store, "1.0.0", json!({})).await;
        let config =
            json!({"properties": {"n": {"type": "integer"}}, "additionalProperties": false});
        publish(&store, "2.0.0", json!({"config": config})).await;
        let shelf = Arc::new(Shelf::default());
        let releases = releases(&store, &shelf);
        Self { store, shelf, releases }
    }

    async fn pin(&self, tenant: &str, release: &str) -> Result<Generation, Fault> {
        self.pin_seen(tenant, release, None).await
    }

    async fn pin_seen(
        &self,
        tenant: &str,
        release: &str,
        seen: Option<u64>,
    ) -> Result<Generation, Fault> {
        let request = PinRequest { seen_generation: seen, ..wanted(tenant, release) };
        self.releases.pin(request).await.map(|moved| moved.generation)
    }

    async fn revert(&self, tenant: &str, to: Option<u64>) -> Result<Generation, Fault> {
        let request = RevertRequest {
            installation: of(tenant),
            to_generation: to,
            actor: "bob".parse().unwrap(),
            reason: "worse".to_owned(),
            seen_generation: None,
        };
        self.releases.revert(request).await.map(|moved| moved.generation)
    }

    async fn unpin(&self, tenant: &str, seen: Option<u64>) -> Result<Moved, Fault> {
        let request = UnpinRequest {
            installation: of(tenant),
            actor: "eve".parse().unwrap(),
            reason: "as all others".to_owned(),
            seen_generation: seen,
            allowed: Allowed::default(),
        };
        self.releases.unpin(request).await
    }

    async fn release(&self, version: &str) -> Release {
        self.releases.find(&"a/b".parse().unwrap(), &version.parse().unwrap()).await.unwrap()
    }

    async fn set_default(&self, release: &str) -> Result<Defaulted, Fault> {
        let request = DefaultRequest {
            environment: "dev".parse().unwrap(),
            connector: "a/b".parse().unwrap(),
            release: release.parse().unwrap(),
            actor: "ann".parse().unwrap(),
            reason: "start here".to_owned(),
            allowed: Allowed::default(),
        };
        self.releases.set_default(request).await
    }

    async fn unset_default(&self) -> Result<Unset, Fault> {
        let request = UnsetRequest {
            environment: "dev".parse().unwrap(),
            connector: "a/b".parse().unwrap(),
            actor: "ann".parse().unwrap(),
            reason: "nobody needs it".to_owned(),
        };
        self.releases.unset_default(request).await
    }

    async fn configure(&self, tenant: &str, config: &serde_json::Value) -> Result<u64, Fault> {
        self.configure_as(tenant, &config.to_string()).await
    }

    async fn configure_as(&self, tenant: &str, config: &str) -> Result<u64, Fault> {
        let set = self.releases.set_config(of(tenant), config, "ann".parse().unwrap()).await;
        set.map(|config| config.about.generation)
    }

    async fn revert_config(&self, tenant: &str, to: Option<u64>) -> Result<u64, Fault> {
        let request = RevertConfigRequest {
            installation: of(tenant),
            to_generation: to,
            actor: "bob".parse().unwrap(),
            reason: None,
            seen_generation: None,
        };
        self.releases.revert_config(request).await.map(|config| config.about.generation)
    }

    fn config(&self, tenant: &str) -> String {
        self.releases.routes().resolve(&of(tenant)).unwrap().settings.config.clone()
    }

    /// The newest audit entry.
    async fn said(&self) -> AuditEntry {
        self.store.newest_audit(None, 1).await.unwrap().pop().unwrap().entry
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

/// Publishes a release of `a/b` with these fields in its descriptor.
async fn publish(store: &Store, version: &str, descriptor: serde_json::Value) {
    put(store, version).await;
    publish_row(store, version, descriptor).await;
}

/// The bytes of a release's component.
async fn put(store: &Store, version: &str) {
    store.blobs().put(version.as_bytes().to_vec().into()).await.unwrap();
}

/// A release without its component, as a lost file leaves it.
async fn publish_row(store: &Store, version: &str, mut descriptor: serde_json::Value) {
    for (field, value) in
        [("format", json!(1)), ("name", json!("a/b")), ("version", json!(version))]
    {
        descriptor[field] = value;
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

/// A first pin, as an earlier host wrote it.
async fn pin_row(store: &Store, tenant: &str, version: &str) {
    let (connector, number) = ("a/b".parse().unwrap(), version.parse().unwrap());
    let generation = Generation {
        installation: of(tenant),
        number: 1,
        release: Some(ReleaseRef::new(connector, number, Digest::of(version.as_bytes()))),
        actor: "ann".parse().unwrap(),
        reason: "because".to_owned(),
        at: OffsetDateTime::UNIX_EPOCH,
        reverts_to: None,
        config: None,
    };
    let entry = AuditEntry {
        actor: "ann".parse().unwrap(),
        action: "pin".to_owned(),
        object: tenant.to_owned(),
        reason: None,
        before: None,
        after: None,
    };
    store.tx().pin(generation).commit(entry).await.unwrap();
}

fn wanted(tenant: &str, release: &str) -> PinRequest {
    PinRequest {
        installation: of(tenant),
        release: release.parse().unwrap(),
        actor: "ann".parse().unwrap(),
        reason: "because".to_owned(),
        seen_generation: None,
        allowed: Allowed::default(),
    }
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
    assert_eq!(history.iter().map(|pin| pin.number).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn revert_is_a_new_generation_of_the_pin_before() {
    let bench = Bench::new().await;
    bench.pin("acme", "1.0.0").await.unwrap();
    assert_eq!(bench.revert("acme", None).await.unwrap_err().code, Code::NoHistory);
    assert_eq!(bench.revert("other", None).await.unwrap_err().code, Code::NoHistory);
    bench.pin("acme", "2.0.0").await.unwrap();
    let back = bench.revert("acme", None).await.unwrap();
    assert_eq!((back.number, back.reverts_to), (3, Some(1)));
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
        bench.pin_seen("acme", "2.0.0", Some(1)),
    );
    let codes: Vec<_> = [one, two].into_iter().filter_map(|r| r.err()).map(|f| f.code).collect();
    assert_eq!(codes, [Code::Conflict]);
    assert_eq!(bench.store.history(&of("acme")).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_default_runs_where_there_is_no_pin() {
    let bench = Bench::new().await;
    bench.pin("pinned", "2.0.0").await.unwrap();
    bench.set_default("1.0.0").await.unwrap();
    bench.configure("plain", &json!({})).await.unwrap();
    assert_eq!(bench.runs("plain").as_deref(), Ok("1.0.0"));
    bench.set_default("2.0.0").await.unwrap();
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
async fn until_a_start_is_over_an_unknown_route_may_be_one_that_is_not_known_yet() {
    let bench = Bench::new().await;
    bench.pin("one", "1.0.0").await.unwrap();
    bench.pin("two", "2.0.0").await.unwrap();
    let shelf = Arc::new(Shelf::default());
    let again =
        Bench { releases: releases(&bench.store, &shelf), store: bench.store.clone(), shelf };
    again.releases.routes().begin_start();
    assert_eq!(again.runs("one"), Err(Code::Starting));
    let held = again.shelf.gate.write().await;
    let starting = again.releases.clone();
    let start = tokio::spawn(async move { starting.catch_up().await });
    while !again.releases.routes().started().unwrap_err().detail.contains("0 of 2") {
        tokio::task::yield_now().await;
    }
    assert_eq!(again.runs("one"), Err(Code::Starting));
    drop(held);
    assert_eq!(start.await.unwrap().unwrap(), 2);
    again.releases.routes().started().unwrap();
    assert_eq!(again.runs("one").as_deref(), Ok("1.0.0"));
    assert_eq!(again.runs("nobody"), Err(Code::UnknownInstallation));
}

#[tokio::test]
async fn what_is_routed_is_looked_at_and_nothing_else() {
    let bench = Bench::new().await;
    bench.pin("one", "1.0.0").await.unwrap();
    bench.pin("other", "1.0.0").await.unwrap();
    publish_row(&bench.store, "3.0.0", json!({})).await;
    assert_eq!(bench.releases.checked(), None, "nobody has looked");
    let checked = bench.releases.check().await.unwrap();
    assert_eq!((checked.routed, checked.lost.len()), (1, 0));
    pin_row(&bench.store, "lost", "3.0.0").await;
    let checked = bench.releases.check().await.unwrap();
    let lost: Vec<_> = checked.lost.iter().map(|lost| lost.why.as_str()).collect();
    assert_eq!((checked.routed, lost), (2, vec!["it is not there"]));
    put(&bench.store, "3.0.0").await;
    let checked = bench.releases.check().await.unwrap();
    assert_eq!(checked.lost, []);
    assert_eq!(bench.releases.checked(), Some(checked));
}

#[tokio::test]
async fn a_route_that_was_closed_opens_once_its_release_can_be_loaded() {
    let bench = Bench::new().await;
    publish_row(&bench.store, "3.0.0", json!({})).await;
    pin_row(&bench.store, "one", "3.0.0").await;
    bench.shelf.broken.lock().unwrap().insert(Digest::of(b"3.0.0"));
    bench.releases.catch_up().await.unwrap();
    assert_eq!(bench.runs("one"), Err(Code::ReleaseUnavailable));
    bench.releases.check().await.unwrap();
    assert_eq!(bench.runs("one"), Err(Code::ReleaseUnavailable), "its component is lost");
    put(&bench.store, "3.0.0").await;
    bench.shelf.broken.lock().unwrap().clear();
    bench.releases.check().await.unwrap();
    assert_eq!(bench.runs("one").as_deref(), Ok("3.0.0"));
}

#[tokio::test]
async fn reasons_say_something() {
    let bench = Bench::new().await;
    for reason in [String::new(), "  ".to_owned(), "x".repeat(REASON_BYTES_MAX + 1)] {
        let request = PinRequest { reason, ..wanted("acme", "1.0.0") };
        assert_eq!(bench.releases.pin(request).await.unwrap_err().code, Code::InvalidRequest);
    }
}

/// Fails if going back from a job that ran twice goes nowhere.
#[tokio::test]
async fn what_is_pinned_already_changes_nothing() {
    let bench = Bench::new().await;
    bench.pin("acme", "1.0.0").await.unwrap();
    let pinned = bench.pin("acme", "2.0.0").await.unwrap();
    let changes = bench.store.seq().await.unwrap();
    assert_eq!(bench.pin("acme", "2.0.0").await.unwrap(), pinned);
    assert_eq!(bench.pin_seen("acme", "2.0.0", Some(2)).await.unwrap(), pinned);
    // Who has seen another generation is told, whatever is wanted.
    assert_eq!(bench.pin_seen("acme", "2.0.0", Some(1)).await.unwrap_err().code, Code::Conflict);
    assert_eq!(bench.revert("acme", Some(2)).await.unwrap(), pinned);
    assert_eq!(bench.store.seq().await.unwrap(), changes, "nothing is in the audit");
    let back = bench.revert("acme", None).await.unwrap();
    assert_eq!((back.number, back.reverts_to), (3, Some(1)));
    assert_eq!(bench.runs("acme").as_deref(), Ok("1.0.0"));
    assert_eq!(bench.revert("acme", Some(1)).await.unwrap(), back, "it is there already");
}

/// Histories of before have them: a pin was repeated, and each was a generation.
#[tokio::test]
async fn the_way_back_leads_past_repeated_pins() {
    let bench = Bench::new().await;
    bench.pin("acme", "1.0.0").await.unwrap();
    let second: Pin = bench.pin("acme", "2.0.0").await.unwrap().pin().unwrap();
    for generation in 3..=5 {
        let again = Pin { generation, ..second.clone() };
        bench.store.tx().pin(again).commit(bench.said().await).await.unwrap();
    }
    assert_eq!(bench.revert("acme", None).await.unwrap().reverts_to, Some(1));
    assert_eq!(bench.runs("acme").as_deref(), Ok("1.0.0"));
    assert_eq!(bench.revert("acme", None).await.unwrap().reverts_to, Some(5));
}

#[tokio::test]
async fn without_a_pin_the_default_runs_and_the_way_back_is_the_pin() {
    let bench = Bench::new().await;
    assert_eq!(bench.unpin("acme", None).await.unwrap_err().code, Code::NotPinned);
    bench.set_default("1.0.0").await.unwrap();
    bench.pin("acme", "2.0.0").await.unwrap();
    assert_eq!(bench.unpin("acme", Some(7)).await.unwrap_err().code, Code::Conflict);
    let moved = bench.unpin("acme", Some(1)).await.unwrap();
    assert_eq!((moved.generation.number, &moved.generation.release), (2, &None));
    assert_eq!(moved.default.as_ref().unwrap().version.to_string(), "1.0.0");
    assert_eq!(bench.runs("acme").as_deref(), Ok("1.0.0"));
    let changes = bench.store.seq().await.unwrap();
    assert_eq!(bench.unpin("acme", None).await.unwrap(), moved);
    assert_eq!(bench.store.seq().await.unwrap(), changes);
    let back = bench.revert("acme", None).await.unwrap();
    assert_eq!((back.number, back.reverts_to), (3, Some(1)));
    assert_eq!(bench.runs("acme").as_deref(), Ok("2.0.0"));
    // And back from there: what ran before it was the default.
    let back = bench.revert("acme", None).await.unwrap();
    assert_eq!((&back.release, back.reverts_to), (&None, Some(2)));
    assert_eq!(bench.runs("acme").as_deref(), Ok("1.0.0"));
    // A default that has become what runs is no way back from it.
    bench.pin("acme", "1.0.0").await.unwrap();
    assert_eq!(bench.revert("acme", None).await.unwrap().reverts_to, Some(3));
    bench.unpin("acme", None).await.unwrap();
    bench.unset_default().await.unwrap();
    assert_eq!(bench.runs("acme"), Err(Code::NotPinned));
    assert_eq!(bench.revert("acme", None).await.unwrap().reverts_to, Some(6));
    assert_eq!(bench.runs("acme").as_deref(), Ok("2.0.0"));
}

#[tokio::test]
async fn a_default_is_set_and_unset_once() {
    let bench = Bench::new().await;
    assert_eq!(bench.unset_default().await.unwrap_err().code, Code::NotPinned);
    let set = bench.set_default("1.0.0").await.unwrap();
    let changes = bench.store.seq().await.unwrap();
    assert_eq!(bench.set_default("1.0.0").await.unwrap(), set);
    assert_eq!(bench.store.seq().await.unwrap(), changes);
    bench.configure("plain", &json!({})).await.unwrap();
    let unset = bench.unset_default().await.unwrap();
    assert_eq!((unset.generation.number, unset.without.as_deref()), (2, Some("plain")));
    assert_eq!(bench.runs("plain"), Err(Code::NotPinned));
    let changes = bench.store.seq().await.unwrap();
    assert_eq!(bench.unset_default().await.unwrap(), unset);
    assert_eq!(bench.store.seq().await.unwrap(), changes);
    assert_eq!(bench.set_default("2.0.0").await.unwrap().default.generation, 3);
    assert_eq!(bench.runs("plain").as_deref(), Ok("2.0.0"));
}

/// A route that was closed at start opens, once the release is there again.
#[tokio::test]
async fn a_repeated_pin_loads_what_could_not_be_loaded() {
    let bench = Bench::new().await;
    bench.pin("acme", "1.0.0").await.unwrap();
    bench.shelf.broken.lock().unwrap().insert(Digest::of(b"1.0.0"));
    bench.releases.catch_up().await.unwrap();
    assert_eq!(bench.runs("acme"), Err(Code::ReleaseUnavailable));
    assert_eq!(bench.pin("acme", "1.0.0").await.unwrap_err().code, Code::ReleaseUnavailable);
    bench.shelf.broken.lock().unwrap().clear();
    assert_eq!(bench.pin("acme", "1.0.0").await.unwrap().number, 1);
    assert_eq!(bench.runs("acme").as_deref(), Ok("1.0.0"));
}

#[tokio::test]
async fn a_configuration_must_fit_what_runs() {
    let bench = Bench::new().await;
    assert_eq!(bench.configure("acme", &json!({})).await.unwrap_err().code, Code::NotPinned);
    bench.pin("acme", "2.0.0").await.unwrap();
    let wrong = bench.configure("acme", &json!({"n": "x"})).await;
    assert_eq!(wrong.unwrap_err().code, Code::ConfigInvalid);
    assert_eq!(bench.configure("acme", &json!({"n": 1})).await.unwrap(), 1);
    assert_eq!(bench.config("acme"), r#"{"n":1}"#);
    let changes = bench.store.seq().await.unwrap();
    assert_eq!(bench.configure("acme", &json!({"n": 1})).await.unwrap(), 1, "it is so already");
    assert_eq!(bench.store.seq().await.unwrap(), changes);
}

/// Fails if a configuration that was set since keeps a release from being gone back to, or is lost on the way.
#[tokio::test]
async fn a_change_takes_along_the_newest_configuration_that_fits() {
    let bench = Bench::new().await;
    bench.pin("acme", "1.0.0").await.unwrap();
    bench.pin("acme", "2.0.0").await.unwrap();
    bench.configure("acme", &json!({"n": 1})).await.unwrap();
    bench.configure("acme", &json!({"n": 2})).await.unwrap();
    let back = bench.revert("acme", None).await.unwrap();
    assert_eq!(back.config, Some(TakenConfig { generation: 3, back_to: 0 }));
    assert_eq!((bench.runs("acme").as_deref(), bench.config("acme").as_str()), (Ok("1.0.0"), "{}"));
    let said = bench.said().await;
    assert!(said.after.as_ref().unwrap().ends_with(", configuration 3 (none)"), "{said:?}");
    let forth = bench.pin("acme", "2.0.0").await.unwrap();
    assert_eq!(forth.config, Some(TakenConfig { generation: 4, back_to: 2 }));
    assert_eq!(bench.config("acme"), r#"{"n":2}"#);
    assert!(bench.said().await.after.unwrap().ends_with(", configuration 4 (back to 2)"));
    assert_eq!(bench.pin("acme", "2.0.0").await.unwrap(), forth, "the same answer again");
    let history = bench.store.config_history(&of("acme")).await.unwrap();
    let taken: Vec<_> = history.iter().map(|about| (about.generation, about.taken)).collect();
    assert_eq!(taken, [(1, false), (2, false), (3, true), (4, true)]);
    let reason = history[3].by.as_ref().unwrap().reason.as_deref();
    assert_eq!(reason, Some("pin 4"), "which change it came along with");
}

#[tokio::test]
async fn a_default_takes_configurations_along_too() {
    let bench = Bench::new().await;
    bench.set_default("2.0.0").await.unwrap();
    for tenant in ["one", "two"] {
        bench.configure(tenant, &json!({"n": 1})).await.unwrap();
    }
    bench.configure("plain", &json!({})).await.unwrap();
    let done = bench.set_default("1.0.0").await.unwrap();
    let configs = "tenant one: configuration 2 (none); tenant two: configuration 2 (none)";
    assert_eq!(done.configs.as_deref(), Some(configs));
    assert!(bench.said().await.after.unwrap().ends_with(configs));
    assert_eq!((bench.runs("one").as_deref(), bench.config("one").as_str()), (Ok("1.0.0"), "{}"));
    bench.set_default("2.0.0").await.unwrap();
    assert_eq!(bench.config("one"), r#"{"n":1}"#);
    assert_eq!(bench.config("plain"), "{}");
}

#[tokio::test]
async fn a_change_is_refused_where_no_configuration_ever_fitted() {
    let bench = Bench::new().await;
    let config = json!({"required": ["m"], "properties": {"m": {}}, "additionalProperties": false});
    publish(&bench.store, "3.0.0", json!({"config": config})).await;
    bench.pin("acme", "2.0.0").await.unwrap();
    bench.configure("acme", &json!({"n": 1})).await.unwrap();
    let fault = bench.pin("acme", "3.0.0").await.unwrap_err();
    assert_eq!(fault.code, Code::ConfigInvalid, "{fault}");
    assert_eq!(bench.runs("acme").as_deref(), Ok("2.0.0"));
    // The way there: without one, as an installation that was never configured.
    bench.releases.remove_config(of("acme"), "ann".parse().unwrap()).await.unwrap().unwrap();
    bench.pin("acme", "3.0.0").await.unwrap();
    bench.configure("acme", &json!({"m": 1})).await.unwrap();
    let back = bench.revert("acme", None).await.unwrap();
    assert_eq!(back.config, Some(TakenConfig { generation: 4, back_to: 2 }), "{back:?}");
    assert_eq!(bench.config("acme"), "{}");
}

/// What fits is judged before a change makes others wait. Fails if a configuration that is set in between is believed to fit
/// or not to because another one did.
#[tokio::test]
async fn a_configuration_that_changes_under_a_pin_is_judged_anew() {
    let bench = Arc::new(Bench::new().await);
    let config = json!({"properties": {"n": {"const": 1}}, "additionalProperties": false});
    publish(&bench.store, "3.0.0", json!({"config": config})).await;
    bench.pin("acme", "2.0.0").await.unwrap();
    bench.configure("acme", &json!({"n": 1})).await.unwrap();
    let releases = bench.releases.clone();
    let wanted = releases.shared.prepare(&of("acme"), bench.release("3.0.0").await).await.unwrap();
    bench.configure("acme", &json!({"n": 2})).await.unwrap();
    let next = Next {
        installation: of("acme"),
        newest: bench.store.newest_generation(&of("acme")).await.unwrap(),
        release: Some(wanted.release.reference.clone()),
        actor: "ann".parse().unwrap(),
        reason: "now".to_owned(),
        reverts_to: None,
        allowed: Allowed::default(),
    };
    let moved = releases.shared.apply("pin", next, Some(wanted)).await.unwrap();
    assert_eq!(moved.generation.config, Some(TakenConfig { generation: 3, back_to: 1 }));
    assert_eq!(bench.config("acme"), r#"{"n":1}"#);
}

/// The walk begins at the newest and ends where one fits: nothing older is looked at.
#[tokio::test]
async fn each_configuration_is_judged_once_and_none_before_the_one_that_fits() {
    let bench = Bench::new().await;
    bench.pin("acme", "2.0.0").await.unwrap();
    for n in [1, 2, 3, 2, 3, 4] {
        bench.configure("acme", &json!({"n": n})).await.unwrap();
    }
    let config = json!({"properties": {"n": {"maximum": 2}}, "additionalProperties": false});
    publish(&bench.store, "3.0.0", json!({"config": config})).await;
    let shared = &bench.releases.shared;
    let mut fitting = Fitting::new(Some(&bench.release("3.0.0").await));
    let current = bench.store.config(&of("acme")).await.unwrap();
    shared.to_take(current.as_ref(), &mut fitting).await.unwrap().unwrap();
    let judged = |n: i32| {
        let digest = Digest::of(json!({"n": n}).to_string().as_bytes());
        fitting.known(&digest).map(Result::is_ok)
    };
    assert_eq!([1, 2, 3, 4].map(judged), [None, Some(true), Some(false), Some(false)]);
}

#[tokio::test]
async fn configurations_go_back_and_away() {
    let bench = Bench::new().await;
    bench.pin("acme", "2.0.0").await.unwrap();
    let remove = async || bench.releases.remove_config(of("acme"), "ann".parse().unwrap()).await;
    assert_eq!(remove().await.unwrap(), None, "there never was one");
    assert_eq!(bench.revert_config("acme", None).await.unwrap_err().code, Code::NoHistory);
    bench.configure("acme", &json!({"n": 1})).await.unwrap();
    bench.configure("acme", &json!({"n": 2})).await.unwrap();
    assert_eq!(bench.revert_config("acme", None).await.unwrap(), 3);
    assert_eq!(bench.config("acme"), r#"{"n":1}"#);
    assert_eq!(bench.revert_config("acme", Some(1)).await.unwrap(), 3, "it is so already");
    assert_eq!(bench.revert_config("acme", Some(9)).await.unwrap_err().code, Code::NoHistory);
    assert_eq!(bench.revert_config("acme", Some(0)).await.unwrap(), 4);
    assert_eq!(bench.config("acme"), "{}");
    assert_eq!(bench.revert_config("acme", None).await.unwrap(), 5);
    assert_eq!(bench.config("acme"), r#"{"n":1}"#);
    let removed = remove().await.unwrap().unwrap();
    assert_eq!((removed.about.generation, removed.about.removed), (6, true));
    assert_eq!(remove().await.unwrap(), Some(removed));
    let said = bench.said().await;
    assert_eq!((said.action.as_str(), said.after.as_deref()), ("config.remove", Some("none")));
}

/// Fails if a release comes to run for which no credential can be put on a request, without anybody having said so.
#[tokio::test]
async fn another_kind_of_credential_is_said_before_the_pin() {
    let bench = Bench::new().await;
    let slots = json!({"slots": {"token": {"scheme": {"kind": "basic"}}}});
    publish(&bench.store, "3.0.0", slots).await;
    bench.pin("acme", "1.0.0").await.unwrap();
    connect(&bench, None).await;
    let refused = bench.pin("acme", "3.0.0").await.unwrap_err();
    assert_eq!(refused.code, Code::SchemeMismatch);
    assert!(refused.detail.contains("slot `token` takes basic and has oauth2"), "{refused}");
    let default = bench.set_default("3.0.0").await;
    assert!(default.is_ok(), "it is nobody's: {default:?}");
    assert_eq!(bench.unpin("acme", None).await.unwrap_err().code, Code::SchemeMismatch);
    let allowed = Allowed { other_schemes: true, ..Allowed::default() };
    let pin = bench.releases.pin(PinRequest { allowed, ..wanted("acme", "3.0.0") }).await.unwrap();
    let reason = "because [credential of another scheme: slot `token` takes basic and has oauth2]";
    assert_eq!(pin.generation.reason, reason);
    // The way back is open at night, and says it too.
    bench.revert("acme", None).await.unwrap();
    let back = bench.revert("acme", None).await.unwrap();
    assert!(back.reason.starts_with("worse [credential of another scheme: "), "{back:?}");
    // A user's counts as well.
    bench.pin("beta", "1.0.0").await.unwrap();
    connect(&bench, Some("ann")).await;
    let refused = bench.pin("beta", "3.0.0").await.unwrap_err();
    assert!(refused.detail.contains("takes basic, and 1 user has another"), "{refused}");
}

/// Fails if a provider that lists no `offline_access`, as Microsoft's does, keeps a release from being pinned.
#[tokio::test]
async fn what_is_no_permission_is_not_missed() {
    let bench = Bench::new().await;
    let slot = |scopes: &[&str]| {
        let scheme = json!({"kind": "oauth2", "token-url": "https://login.example.com/token",
            "authorize-url": "https://login.example.com/authorize"});
        json!({"slots": {"token": {"scheme": scheme, "scopes": scopes}}})
    };
    publish(&bench.store, "3.0.0", slot(&["openid", "offline_access", "a"])).await;
    publish(&bench.store, "4.0.0", slot(&["openid", "offline_access", "b"])).await;
    bench.pin("acme", "1.0.0").await.unwrap();
    connect(&bench, None).await;
    bench.pin("acme", "3.0.0").await.unwrap();
    bench.pin("acme", "3.0.0").await.unwrap();
    let refused = bench.pin("acme", "4.0.0").await.unwrap_err();
    assert_eq!(refused.code, Code::ScopesMissing);
    assert!(refused.detail.ends_with("slot `token`: b"), "{refused}");
}

async fn connect(bench: &Bench, user: Option<&str>) {
    let connection = Connection {
        installation: of(if user.is_some() { "beta" } else { "acme" }),
        slot: "token".parse().unwrap(),
        user: user.map(|user| user.parse().unwrap()),
        generation: 1,
        epoch: 1,
        kind: "oauth2".to_owned(),
        base_url: None,
        account: None,
        scopes: Some(vec!["a".to_owned()]),
        paused: false,
        hold_refresh: false,
        watch_until: None,
        facts: <_>::default(),
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
}

/// Fails if a route shows other scopes than the row has.
#[tokio::test]
async fn a_route_shows_what_was_granted() {
    let bench = Bench::new().await;
    bench.pin("acme", "1.0.0").await.unwrap();
    connect(&bench, None).await;
    bench.releases.refresh(&of("acme")).await.unwrap();
    let route = bench.releases.routes().resolve(&of("acme")).unwrap();
    let granted = &route.settings.connections[&"token".parse::<Slot>().unwrap()];
    assert_eq!(granted.scopes.as_deref(), Some(&["a".to_owned()][..]));
}
