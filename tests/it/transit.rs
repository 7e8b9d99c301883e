//! Sealing keys in a key service, as a host meets it that was built for one: feature `transit`.
//!
//! Nothing of this is compiled without the feature; `script/test` builds its one test binary with it.

mod engine;

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use self::engine::{Engine, TOKEN};
use crate::setup::{Place, Setup, files_below, path, stand_in};
use crate::upstream::Plain;

const FETCH: &str = "fixtures/fetch";

/// `keyway serve` could not start or go on.
const NOT_STARTED: Option<i32> = Some(7);

/// For a service that is back to be asked again; the host leaves it alone for a second.
const PATIENCE: Duration = Duration::from_secs(30);

/// A key service, a provider, and where a host is that knows both.
struct World {
    engine: Engine,
    upstream: Plain,
    folder: TempDir,
}

// === impl World ===

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        write_private(&folder.path().join("token"), TOKEN);
        Self { engine: Engine::start().await, upstream: Plain::start().await, folder }
    }

    fn place(&self) -> Place {
        Place::new(&format!(
            "[keys.transit]\naddress = \"https://vault.example.test\"\nkey = \"keyway\"\ntoken-file = {:?}\n{}{}",
            self.folder.path().join("token"),
            stand_in("vault.example.test", self.engine.address),
            stand_in("api.example.com", self.upstream.address),
        ))
    }

    /// A host with a release that needs a credential.
    async fn up(&self) -> Setup {
        let mut setup = self.place().up();
        setup.publish("fetch").await.ok();
        setup
    }

    fn last_authorization(&self) -> String {
        let seen = self.upstream.seen();
        let value = &seen.last().expect("a request").headers["authorization"];
        value.to_str().expect("text").to_owned()
    }
}

fn write_private(file: &Path, text: &str) {
    let mut options = std::fs::OpenOptions::new();
    let mut file =
        options.write(true).create(true).truncate(true).mode(0o600).open(file).expect("writable");
    file.write_all(text.as_bytes()).expect("writable");
}

/// Gives a tenant its credential; whatever comes of it.
async fn connect(setup: &mut Setup, tenant: &str) -> harness::Reply {
    setup.pin(tenant, FETCH, "1.0.0").await;
    let slot = path(tenant, FETCH, "/connections/token");
    setup.http.put(&slot, json!({"token": format!("sealed-for-{tenant}")})).await
}

async fn call(setup: &mut Setup, tenant: &str) -> harness::Reply {
    setup.act(tenant, FETCH, "get", json!({"path": "/x"})).await
}

/// Name, whether it is current, and how many data keys it wraps.
async fn sealing_keys(setup: &mut Setup) -> Vec<(String, bool, u64)> {
    let shown = setup.http.get("/v1/keys").await.ok().json();
    let of = |key: &Value| {
        let id = key["id"].as_str().expect("a name").to_owned();
        (id, key["current"] == true, key["data_keys"].as_u64().expect("a count"))
    };
    let mut keys: Vec<_> =
        shown["sealing_keys"].as_array().expect("a list").iter().map(of).collect();
    keys.sort();
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn data_keys_are_wrapped_by_the_service_and_opened_again_after_a_crash() {
    let world = World::new().await;
    let mut setup = world.up().await;
    connect(&mut setup, "acme").await.ok();
    assert_eq!(sealing_keys(&mut setup).await, [("transit/keyway:v1".to_owned(), true, 1)]);
    assert_eq!(world.engine.asked("encrypt/keyway"), 1);
    assert!(!setup.data().join("keys/sealing.keys").exists(), "the host makes no keys of its own");

    let mut setup = setup.crash();
    assert_eq!(world.engine.asked("decrypt/keyway"), 1);
    call(&mut setup, "acme").await.ok();
    assert_eq!(world.last_authorization(), "Bearer sealed-for-acme");

    // A new version wraps every data key anew; none of them comes out for it.
    setup.http.post("/v1/keys/rotate", json!({"what": "sealing-key"})).await.ok();
    let both =
        [("transit/keyway:v1".to_owned(), false, 0), ("transit/keyway:v2".to_owned(), true, 1)];
    assert_eq!(sealing_keys(&mut setup).await, both);
    let asked = ["keys/keyway/rotate", "rewrap/keyway", "decrypt/keyway"]
        .map(|path| world.engine.asked(path));
    assert_eq!(asked, [1, 1, 1]);
    // The version that nothing is wrapped with any more may end.
    world.engine.decrypts_from(2);
    let mut setup = setup.crash();
    call(&mut setup, "acme").await.ok();

    let (log, data) = (setup.log(), setup.data());
    assert!(!log.contains(TOKEN), "the token is in the log");
    for file in files_below(&data) {
        let bytes = std::fs::read(&file).expect("readable");
        let found = bytes.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes());
        assert!(!found, "the token is in {}", file.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_away_keeps_new_tenants_and_new_starts_waiting_and_nobody_else() {
    let world = World::new().await;
    let mut setup = world.up().await;
    connect(&mut setup, "acme").await.ok();
    world.engine.seal(true);
    call(&mut setup, "acme").await.ok();
    let refused = connect(&mut setup, "globex").await;
    assert_eq!(refused.code(), "keys-unavailable");
    assert!(
        !refused.json().to_string().contains("Vault"),
        "callers are not told: {}",
        refused.json()
    );
    let place = setup.kill();
    let ended = place.refuse();
    assert_eq!(ended.code, NOT_STARTED);
    assert!(ended.said.contains("Vault is sealed"), "{}", ended.said);

    world.engine.seal(false);
    let mut setup = place.up();
    world.engine.seal(true);
    assert_eq!(connect(&mut setup, "globex").await.code(), "keys-unavailable");
    world.engine.seal(false);
    let back = async {
        while !connect(&mut setup, "globex").await.status.is_success() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, back).await.expect("a service that is back is asked again");
    call(&mut setup, "globex").await.ok();
    assert_eq!(world.last_authorization(), "Bearer sealed-for-globex");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_needs_each_version_that_a_data_key_names_and_a_token_that_is_taken() {
    let world = World::new().await;
    let mut setup = world.up().await;
    connect(&mut setup, "acme").await.ok();
    let place = setup.kill();
    let token = world.folder.path().join("token");
    write_private(&token, "s.another");
    let said = place.refuse().said;
    assert!(said.contains("permission denied") && !said.contains("s.another"), "{said}");
    write_private(&token, TOKEN);

    // Somebody made a version and ended the one before: nothing can be opened any more.
    let mut setup = place.up();
    call(&mut setup, "acme").await.ok();
    let place = setup.kill();
    world.engine.decrypts_from(2);
    let ended = place.refuse();
    assert_eq!(ended.code, NOT_STARTED);
    let why = "sealing key transit/keyway:v1 is missing, and 1 data keys are wrapped with it";
    assert!(ended.said.contains(why), "{}", ended.said);
}
