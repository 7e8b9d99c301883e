//! Keys as a host meets them: made, found, exchanged, lost, and asked of a service that is not there.
//!
//! Cases of sealed values in the wrong place are in `places`, those of starts and exchanges in `lives`.

mod lives;
mod places;
mod unseen;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyway_core::descriptor::Scheme;
use keyway_core::ids::{Connector, Installation, Slot, User};
use keyway_core::ports::Clock;
use keyway_core::{Code, Fault, Retry};
use tokio::sync::Barrier;

use super::transit::tests::Engine;
use super::*;
use crate::connections::Setting;
use crate::seal::{Field, Place, SealError, Sealer};
use crate::{Parts, SecretInput, Vault};

/// A clock that stands.
pub(crate) struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> time::OffsetDateTime {
        time::OffsetDateTime::UNIX_EPOCH
    }
}

/// Names that places are made of.
#[derive(Clone)]
struct Names {
    environment: keyway_core::ids::Environment,
    tenant: Option<keyway_core::ids::Tenant>,
    connector: Connector,
    slot: Slot,
    user: Option<User>,
}

impl Names {
    fn of(tenant: &str) -> Self {
        Self {
            environment: "dev".parse().unwrap(),
            tenant: (!tenant.is_empty()).then(|| tenant.parse().unwrap()),
            connector: "keyway/hubspot".parse().unwrap(),
            slot: "token".parse().unwrap(),
            user: None,
        }
    }

    fn with(mut self, change: fn(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn place(&self, field: Field, version: u64) -> Place<'_> {
        Place {
            field,
            environment: &self.environment,
            tenant: self.tenant.as_ref(),
            connector: &self.connector,
            slot: &self.slot,
            user: self.user.as_ref(),
            version,
        }
    }

    fn owner(&self) -> Owner {
        Owner { environment: self.environment.clone(), tenant: self.tenant.clone() }
    }
}

/// A ring of keys of one byte each: `current a 1` and so on.
fn ring(keys: &[(&str, u8)]) -> Arc<KeyRing> {
    let entry = |(at, (id, byte)): (usize, &(&str, u8))| {
        let mark = if at == 0 { "current" } else { "older" };
        format!("{mark} {id} {}\n", STANDARD.encode([*byte; 32]))
    };
    let text: String = keys.iter().enumerate().map(entry).collect();
    Arc::new(KeyRing::parse(&text).unwrap())
}

fn keys(store: &Store, service: Arc<dyn KeyService>) -> Keys {
    Keys::new(store.clone(), service, Arc::new(Fixed))
}

/// A host that begins to serve.
async fn started(store: &Store, service: Arc<dyn KeyService>) -> Result<Keys, Error> {
    let keys = keys(store, service);
    keys.start(&"host".parse().unwrap()).await?;
    Ok(keys)
}

async fn seal(keys: &Keys, tenant: &str) -> Result<Vec<u8>, SealError> {
    let names = Names::of(tenant);
    Sealer::new(keys.clone()).seal(names.place(Field::Tokens, 1), b"s3cret").await
}

/// Whether what `seal` made opens.
async fn opens(keys: &Keys, tenant: &str, sealed: &[u8]) -> Result<(), SealError> {
    let names = Names::of(tenant);
    let opened = Sealer::new(keys.clone()).open(names.place(Field::Tokens, 1), sealed).await?;
    assert_eq!(opened.as_slice(), b"s3cret");
    Ok(())
}

/// How many data keys each sealing key wraps.
async fn wraps(keys: &Keys) -> Vec<(String, usize)> {
    let status = keys.status().await.unwrap();
    status.sealing_keys.into_iter().map(|key| (key.id.to_string(), key.data_keys)).collect()
}

fn store() -> Store {
    Store::memory(Arc::new(Fixed))
}

#[tokio::test]
async fn everybody_has_a_data_key_of_their_own() {
    let store = store();
    let keys = keys(&store, ring(&[("a", 1)]));
    let (acme, other, nobody) = (Names::of("acme"), Names::of("other"), Names::of(""));
    let prod = Names::of("acme").with(|names| names.environment = "prod".parse().unwrap());
    let mut ids = Vec::new();
    for names in [&acme, &other, &nobody, &prod] {
        let id = keys.current(&names.owner()).await.unwrap().id;
        assert_eq!(keys.current(&names.owner()).await.unwrap().id, id, "it stays");
        assert!(!ids.contains(&id));
        ids.push(id);
    }
    assert_eq!(count(&store).await.unwrap(), 4);
}

/// Wraps once both have seen that there is no key.
#[derive(Debug)]
struct Meeting(Arc<KeyRing>, Barrier);

#[async_trait]
impl KeyService for Meeting {
    fn kind(&self) -> &'static str {
        "meeting"
    }

    async fn known(&self) -> Result<Known, ServiceError> {
        self.0.known().await
    }

    async fn wrap(&self, key: &SecretKey, context: &[u8]) -> Result<Wrapped, ServiceError> {
        self.1.wait().await;
        self.0.wrap(key, context).await
    }

    async fn unwrap(&self, wrapped: &Wrapped, context: &[u8]) -> Result<SecretKey, ServiceError> {
        self.0.unwrap(wrapped, context).await
    }

    async fn rotate(&self) -> Result<SealingKeyId, ServiceError> {
        self.0.rotate().await
    }
}

/// Fails if the first data key is written without regard to one that is there by then.
#[tokio::test]
async fn two_hosts_that_make_the_first_key_at_once_end_with_one() {
    let store = store();
    let service = Arc::new(Meeting(ring(&[("a", 1)]), Barrier::new(2)));
    let one = keys(&store, Arc::clone(&service) as Arc<dyn KeyService>);
    let two = keys(&store, service);
    let owner = Names::of("acme").owner();
    let (of_one, of_two) = tokio::join!(one.current(&owner), two.current(&owner));
    assert_eq!(of_one.unwrap().id, of_two.unwrap().id);
    assert_eq!(count(&store).await.unwrap(), 1);
    let sealed = seal(&one, "acme").await.unwrap();
    opens(&two, "acme", &sealed).await.unwrap();
}

#[tokio::test]
async fn many_callers_ask_the_service_once() {
    let store = store();
    let engine = Engine::new();
    let asked = || engine.seen.lock().unwrap().len();
    let host = keys(&store, Arc::new(engine.service()));
    let owner = Names::of("acme").owner();
    let callers = (0..1_000).map(|_| host.current(&owner));
    let ids = futures_util::future::try_join_all(callers).await.unwrap();
    assert!(ids.iter().all(|key| key.id == ids[0].id));
    assert_eq!(asked(), 1, "wrapped once");
    // Another host, which finds it.
    let host = keys(&store, Arc::new(engine.service()));
    let id = ids[0].id;
    futures_util::future::try_join_all((0..1_000).map(|_| host.find(id))).await.unwrap();
    assert_eq!(asked(), 2, "unwrapped once");
}

#[tokio::test]
async fn a_service_that_is_down_at_the_start_is_said() {
    let store = store();
    let engine = Engine::new();
    engine.up.store(false, Ordering::SeqCst);
    let error = started(&store, Arc::new(engine.service())).await.unwrap_err();
    let said = Fault::from(error).chain();
    assert!(
        said.contains("the key service does not answer: no answer from kms.example.com"),
        "{said}"
    );
    engine.up.store(true, Ordering::SeqCst);
    started(&store, Arc::new(engine.service())).await.unwrap();
}

/// Fails if data keys are dropped from memory, or only unwrapped when a tenant first calls.
#[tokio::test(start_paused = true)]
async fn a_service_that_goes_away_stops_new_tenants_only() {
    let store = store();
    let engine = Engine::new();
    let before = keys(&store, Arc::new(engine.service()));
    let sealed = seal(&before, "acme").await.unwrap();
    before.rotate_data_keys(&Which::All, &"ann".parse().unwrap()).await.unwrap();
    let newer = seal(&before, "acme").await.unwrap();

    let host = started(&store, Arc::new(engine.service())).await.unwrap();
    engine.up.store(false, Ordering::SeqCst);
    engine.seen.lock().unwrap().clear();
    opens(&host, "acme", &sealed).await.unwrap();
    opens(&host, "acme", &newer).await.unwrap();
    let during = seal(&host, "acme").await.unwrap();
    opens(&host, "acme", &during).await.unwrap();

    let error = seal(&host, "new").await.unwrap_err();
    assert!(matches!(error, SealError::Unavailable(_)), "{error:?}");
    let fault = error.fault("not sealed");
    assert_eq!((fault.code, fault.retry), (Code::KeysUnavailable, Retry::Yes));
    assert!(!fault.detail.contains("kms.example.com"), "{fault}");
    // A crowd is refused at once, and the service is left alone for a moment.
    for tenant in ["new", "newer", "newest"] {
        seal(&host, tenant).await.unwrap_err();
    }
    assert_eq!(engine.seen.lock().unwrap().len(), 1);
    let status = host.status().await.unwrap();
    assert!(status.problem.unwrap().contains("does not answer"));
    let [key] = &status.sealing_keys[..] else { panic!("{:?}", status.sealing_keys) };
    assert_eq!((key.data_keys, key.current, key.present), (2, false, None));
    assert_eq!((status.data_keys, status.data_keys_current), (2, 1));

    engine.up.store(true, Ordering::SeqCst);
    tokio::time::advance(SERVICE_PAUSE + Duration::from_millis(1)).await;
    let sealed = seal(&host, "new").await.unwrap();
    opens(&host, "new", &sealed).await.unwrap();
    assert!(host.status().await.unwrap().problem.is_none());
}

/// What an operator sees who connects somebody new meanwhile. Fails if the vault calls every trouble with sealing a
/// defect of the host's.
#[tokio::test]
async fn a_new_tenants_credential_is_refused_until_the_service_is_back() {
    let store = store();
    let engine = Engine::new();
    let keys = started(&store, Arc::new(engine.service())).await.unwrap();
    let vault = Vault::new(Parts {
        store: store.clone(),
        sealer: Sealer::new(keys),
        clock: Arc::new(Fixed),
        outbound: engine.clone(),
        owner: "host".to_owned(),
        listener: None,
    });
    let set = async |tenant: &str| {
        let Names { environment, tenant, connector, slot, user } = Names::of(tenant);
        let installation = Installation { environment, tenant: tenant.unwrap(), connector };
        let secret = SecretInput::Token("s3cret".into());
        let scheme = Scheme::Bearer;
        let setting = Setting { installation, slot, user, scheme, base_url: None, secret };
        vault.set(setting, &"ann".parse().unwrap()).await
    };
    set("acme").await.unwrap();
    engine.up.store(false, Ordering::SeqCst);
    set("acme").await.unwrap();
    let fault = set("new").await.unwrap_err();
    assert_eq!((fault.code, fault.retry), (Code::KeysUnavailable, Retry::Yes));
    assert!(fault.chain().contains("no answer from kms.example.com"), "{}", fault.chain());
}
