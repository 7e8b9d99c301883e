//! A store, a server, and vaults between them. The connection's tokens live an hour from the start.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyway_core::Fault;
use keyway_core::credential::Credential;
use keyway_core::descriptor::SlotSpec;
use keyway_core::ids::{Actor, ConnectionRef, Installation};
use keyway_core::ports::{Clock, Credentials as _, Held, Outbound};
use keyway_store::Store;
use keyway_vault::import::{Import, Trial};
use keyway_vault::oauth::client::{Accepted, ClientRef, ClientSetting};
use keyway_vault::oauth::record::{Phase, State, Tokens};
use keyway_vault::steps::{Listener, Step};
use keyway_vault::{KeyRing, Keys, Parts, Sealer, Vault};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::datetime;
use tokio::time::{Instant, sleep};

use crate::support::Server;

pub(crate) const HOUR: Duration = Duration::from_secs(60 * 60);

/// A wall clock that goes with tokio's time, until somebody sets it.
pub(crate) struct Wall {
    start: Instant,
    set_by: Mutex<time::Duration>,
}

pub(crate) struct World {
    pub(crate) clock: Arc<Wall>,
    pub(crate) store: Store,
    pub(crate) server: Arc<Server>,
    pub(crate) vault: Vault,
    pub(crate) spec: SlotSpec,
    pub(crate) of: ConnectionRef,
}

// === impl Wall ===

impl Wall {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), set_by: Mutex::default() }
    }

    pub(crate) fn set(&self, by: time::Duration) {
        *self.set_by.lock().expect("not poisoned") += by;
    }
}

impl Clock for Wall {
    fn now(&self) -> OffsetDateTime {
        datetime!(2026-03-01 12:00 UTC)
            + self.start.elapsed()
            + *self.set_by.lock().expect("not poisoned")
    }
}

// === impl World ===

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(json!({})).await
    }

    /// With these facts put over the server's usual ones.
    pub(crate) async fn with(facts: Value) -> Self {
        let clock = Arc::new(Wall::new());
        let store = Store::memory(clock.clone());
        let server = Arc::new(Server::default());
        let of = connection(None);
        let vault = vault(&store, &clock, &server, "host-a");
        let world = Self { clock, store, server, vault, spec: spec(facts), of };
        world.set_client().await;
        world.connect(&world.of, "acme").await;
        world
    }

    /// Another host on the same store.
    pub(crate) fn another(&self, owner: &str) -> Vault {
        vault(&self.store, &self.clock, &self.server, owner)
    }

    /// Another host on the same store, of whose refreshes somebody hears.
    pub(crate) fn another_heard(&self, owner: &str, listener: Listener) -> Vault {
        let (store, clock) = (&self.store, &self.clock);
        vault_on(store, clock, self.server.clone(), owner, Some(listener))
    }

    /// What the wall clock says.
    pub(crate) fn now(&self) -> OffsetDateTime {
        self.clock.now()
    }

    /// Sets the operator's client.
    pub(crate) async fn set_client(&self) {
        let of = ClientRef::of(&self.of);
        let secret = Some("client-secret".to_owned().into());
        let setting = ClientSetting {
            key_id: None,
            accepted: Accepted::TEXT,
            id: "client".to_owned(),
            secret,
            hosts: ["login.example.com".to_owned()].into(),
        };
        self.vault.set_client(&of, setting, &actor()).await.expect("a good vault");
    }

    /// Imports `access-NAME-0` and `refresh-NAME-0`, over whatever there is.
    pub(crate) async fn connect(&self, of: &ConnectionRef, name: &str) {
        let import = Import {
            of: of.clone(),
            tokens: Tokens {
                access: format!("access-{name}-0").into(),
                refresh: Some(format!("refresh-{name}-0").into()),
                subject: None,
                own: None,
            },
            obtained_at: Some(self.clock.now()),
            expires_at: Some(self.clock.now() + HOUR),
            scopes: Some(vec!["read".to_owned(), "write".to_owned()]),
            account: None,
            base_url: None,
            facts: <_>::default(),
            hold_refresh: None,
            replace: true,
        };
        let trial = Trial { base_url: "https://api.example.com".to_owned(), hosts: vec![] };
        self.vault.import(import, &self.spec, &trial, false, &actor()).await.expect("a good vault");
    }

    pub(crate) async fn call(&self) -> Result<String, Fault> {
        call(&self.vault, &self.of, &self.spec).await
    }

    pub(crate) async fn held(&self) -> Held {
        self.vault
            .credential(&self.of, &self.spec)
            .await
            .expect("it is connected")
            .expect("it is connected")
    }

    pub(crate) async fn rejected(&self, version: u64) -> Option<String> {
        let held = self.vault.rejected(&self.of, &self.spec, version).await.expect("a good vault");
        held.map(|held| token(&held))
    }

    /// What the store says, whatever a vault knows.
    pub(crate) async fn state(&self) -> State {
        let connection = self.vault.existing(&self.of).await.expect("a good vault");
        self.vault.info(connection).await.expect("the store answers").state.expect("tokens")
    }

    pub(crate) async fn phase(&self) -> &'static str {
        self.state().await.phase.as_str()
    }

    pub(crate) async fn is_ready(&self) -> bool {
        self.state().await.phase == Phase::Ready
    }
}

pub(crate) async fn call(
    vault: &Vault,
    of: &ConnectionRef,
    spec: &SlotSpec,
) -> Result<String, Fault> {
    Ok(token(&vault.credential(of, spec).await?.expect("it is connected")))
}

fn token(held: &Held) -> String {
    match held.opened.credential() {
        Credential::Token(token) => token.expose_secret().to_owned(),
        other => panic!("{other:?} is no token"),
    }
}

pub(crate) fn actor() -> Actor {
    "ann".parse().expect("a name")
}

pub(crate) fn connection(user: Option<&str>) -> ConnectionRef {
    ConnectionRef {
        installation: Installation {
            environment: "dev".parse().expect("a name"),
            tenant: "acme".parse().expect("a name"),
            connector: "a/b".parse().expect("a name"),
        },
        slot: "login".parse().expect("a name"),
        user: user.map(|user| user.parse().expect("a name")),
    }
}

fn spec(facts: Value) -> SlotSpec {
    let mut scheme = json!({
        "kind": "oauth2",
        "authorize-url": "https://login.example.com/authorize",
        "token-url": "https://login.example.com/token",
    });
    for (name, value) in facts.as_object().expect("an object") {
        scheme[name.as_str()] = value.clone();
    }
    serde_json::from_value(json!({"scheme": scheme})).expect("valid")
}

fn vault(store: &Store, clock: &Arc<Wall>, server: &Arc<Server>, owner: &str) -> Vault {
    vault_on(store, clock, server.clone(), owner, None)
}

/// On a store of its own, with another server.
pub(crate) fn vault_with(clock: &Arc<Wall>, server: Arc<dyn Outbound>) -> Vault {
    vault_on(&Store::memory(clock.clone()), clock, server, "host-a", None)
}

fn vault_on(
    store: &Store,
    clock: &Arc<Wall>,
    outbound: Arc<dyn Outbound>,
    owner: &str,
    listener: Option<Listener>,
) -> Vault {
    let ring =
        KeyRing::parse(&format!("current test {}", STANDARD.encode([9; 32]))).expect("valid");
    Vault::new(Parts {
        store: store.clone(),
        sealer: Sealer::new(Keys::new(store.clone(), Arc::new(ring), clock.clone())),
        clock: clock.clone(),
        outbound,
        owner: owner.to_owned(),
        listener,
    })
}

/// Stands still at a step for ever, as a process that dies there.
pub(crate) fn stops_at(at: Step) -> Listener {
    Arc::new(move |step| {
        Box::pin(async move {
            if step == at {
                std::future::pending::<()>().await;
            }
        })
    })
}

/// Lets an hour and a bit pass: the imported token is over.
pub(crate) async fn expire() {
    sleep(HOUR + Duration::from_secs(1)).await;
}
