//! Changing over to a newer data key: what an older one sealed is sealed anew when it is next used.
//!
//! Tokens change over with their next refresh. Secrets that were set by hand would be under the older key for as long
//! as they are good, so a use that meets one has it sealed anew, behind its back: the call does not wait, a failure
//! costs it nothing, and whatever a person has set meanwhile stays. OAuth clients change over in
//! [`client`](crate::oauth::client). Each change has its audit entry.
//!
//! Data keys themselves are not removed: what nobody uses is still under an older one, and so is every backup.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keyway_core::Fault;
use keyway_core::ids::ConnectionRef;
use keyway_store::model::Connection;
use tokio::time::Instant;

use crate::connections::{Vault, host};
use crate::seal::{Field, Place};

/// After a connection was not changed over, it is not tried again for so long: each of its calls would.
const RETRY: Duration = Duration::from_secs(10 * 60);

/// Connections that are being changed over, or could not be, and until when they are left alone.
#[derive(Default)]
pub(crate) struct ChangingOver(Mutex<HashMap<ConnectionRef, Instant>>);

// === impl ChangingOver ===

impl ChangingOver {
    /// Takes a connection's turn; false if somebody has it.
    fn take(&self, of: &ConnectionRef) -> bool {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if turns.get(of).is_some_and(|until| *until > now) {
            return false;
        }
        turns.insert(of.clone(), now + RETRY);
        true
    }

    fn done(&self, of: &ConnectionRef) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(of);
    }
}

// === impl Vault ===

impl Vault {
    /// Sees to a secret that is used. Costs a look into memory where it is under the current data key.
    pub(crate) fn change_over(&self, of: &ConnectionRef, connection: &Arc<Connection>) {
        let place = Place::connection(of, Field::Credential, connection.epoch);
        if self.shared.sealer.is_current(&place, &connection.sealed)
            || !self.shared.changing_over.take(of)
        {
            return;
        }
        let (vault, of, connection) = (self.clone(), of.clone(), Arc::clone(connection));
        tokio::spawn(async move {
            match vault.reseal(&of, &connection).await {
                Ok(()) => vault.shared.changing_over.done(&of),
                Err(fault) => {
                    tracing::warn!(connection = %of, problem = fault.chain(), "credential stays under an older data key");
                }
            }
        });
    }

    async fn reseal(&self, of: &ConnectionRef, seen: &Connection) -> Result<(), Fault> {
        let sealer = &self.shared.sealer;
        let place = Place::connection(of, Field::Credential, seen.epoch);
        let failed = "credential not sealed anew";
        let resealed = sealer.reseal(place, place, &seen.sealed).await;
        let Some(resealed) = resealed.map_err(|error| error.fault(failed))? else { return Ok(()) };
        self.change(of, "connection.reseal", &host(), |connection| {
            // Another secret has come meanwhile, under the newer key.
            if connection.sealed != seen.sealed {
                return false;
            }
            connection.sealed = resealed.into();
            true
        })
        .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use keyway_core::credential::Credential;
    use keyway_core::descriptor::{Oauth, Scheme, SlotSpec};
    use keyway_core::exchange::{HostRequest, Response, Unfinished};
    use keyway_core::ids::{Actor, Installation};
    use keyway_core::ports::{Credentials as _, Outbound};
    use keyway_store::Store;
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::connections::{Parts, Setting};
    use crate::keys::tests::Fixed;
    use crate::keys::{KeyRing, Keys, Which};
    use crate::oauth::client::{Accepted, ClientRef, ClientSetting};
    use crate::oauth::confirmed;
    use crate::{Sealer, SecretInput};

    struct NoWay;

    #[async_trait]
    impl Outbound for NoWay {
        async fn fetch(&self, _: HostRequest) -> Result<Response, Unfinished> {
            panic!("nothing is sent to change over")
        }
    }

    struct World {
        store: Store,
        keys: Keys,
        vault: Vault,
        of: ConnectionRef,
    }

    impl World {
        fn new() -> Self {
            let store = Store::memory(Arc::new(Fixed));
            let ring = "current test CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=";
            let ring = Arc::new(KeyRing::parse(ring).unwrap());
            let keys = Keys::new(store.clone(), ring, Arc::new(Fixed));
            let installation = Installation {
                environment: "dev".parse().unwrap(),
                tenant: "acme".parse().unwrap(),
                connector: "a/b".parse().unwrap(),
            };
            let of = ConnectionRef { installation, slot: "token".parse().unwrap(), user: None };
            Self { vault: vault(&store, &keys), store, keys, of }
        }

        async fn set(&self, secret: &str) {
            let setting = Setting {
                installation: self.of.installation.clone(),
                slot: self.of.slot.clone(),
                user: None,
                scheme: Scheme::Bearer,
                base_url: None,
                secret: SecretInput::Token(secret.to_owned().into()),
            };
            self.vault.set(setting, &actor()).await.unwrap();
        }

        async fn rotate(&self) {
            self.keys.rotate_data_keys(&Which::All, &actor()).await.unwrap();
        }

        /// What a call gets.
        async fn call(&self, vault: &Vault) -> String {
            let spec = SlotSpec {
                scheme: Scheme::Bearer,
                scopes: vec![],
                summary: String::new(),
                probe: None,
                header: None,
            };
            let held = vault.credential(&self.of, &spec).await.unwrap().unwrap();
            // What it leaves to be done behind its back.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            match held.opened.credential() {
                Credential::Token(token) => token.expose_secret().to_owned(),
                other => panic!("a token was set, not {other:?}"),
            }
        }

        async fn row(&self) -> Connection {
            self.store.connection(&self.of).await.unwrap().unwrap()
        }

        /// What the host has done by itself.
        async fn done(&self) -> Vec<String> {
            let audit = self.store.audit(0, 100).await.unwrap();
            let own = audit.into_iter().filter(|entry| entry.entry.actor.as_str() == "keyway");
            own.map(|entry| entry.entry.action).collect()
        }
    }

    fn vault(store: &Store, keys: &Keys) -> Vault {
        Vault::new(Parts {
            store: store.clone(),
            sealer: Sealer::new(keys.clone()),
            clock: Arc::new(Fixed),
            outbound: Arc::new(NoWay),
            owner: "host".to_owned(),
            listener: None,
        })
    }

    fn server() -> Oauth {
        serde_json::from_str(r#"{"token-url": "https://login.example.com/token"}"#).unwrap()
    }

    fn actor() -> Actor {
        "ann".parse().unwrap()
    }

    /// Would fail if a secret that is never set again stayed under the key that was given up.
    #[tokio::test]
    async fn a_secret_changes_over_when_it_is_used() {
        let world = World::new();
        world.set("canary").await;
        assert_eq!(world.call(&world.vault).await, "canary");
        let first = world.row().await;
        world.rotate().await;
        assert_eq!(world.row().await, first, "only when it is used");
        for _ in 0..3 {
            assert_eq!(world.call(&world.vault).await, "canary");
        }
        let second = world.row().await;
        assert_ne!(second.sealed[..14], first.sealed[..14], "another data key");
        assert_eq!((second.generation, second.epoch), (first.generation + 1, first.epoch));
        assert_eq!(world.done().await, ["connection.reseal"], "once");
        // After a restart nothing is known of data keys but what the store says.
        let restarted = vault(&world.store, &world.keys);
        assert_eq!(world.call(&restarted).await, "canary");
        world.rotate().await;
        let restarted = vault(&world.store, &world.keys);
        assert_eq!(world.call(&restarted).await, "canary");
        assert_eq!(world.done().await, ["connection.reseal"; 2]);
    }

    /// Would fail if the older secret could come back over the one that a person has set since.
    #[tokio::test]
    async fn what_a_person_has_set_meanwhile_stays() {
        let world = World::new();
        world.set("older").await;
        let seen = world.row().await;
        world.rotate().await;
        world.set("newer").await;
        world.vault.reseal(&world.of, &seen).await.unwrap();
        assert_eq!(world.call(&world.vault).await, "newer");
        assert_eq!(world.done().await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_client_changes_over_when_it_is_used() {
        // The longer one is in a cell of its own.
        for canary in ["canary".to_owned(), "canary".repeat(150)] {
            a_client_changes_over(&canary).await;
        }
    }

    async fn a_client_changes_over(canary: &str) {
        let world = World::new();
        let of = ClientRef::of(&world.of);
        let setting = || ClientSetting {
            key_id: None,
            accepted: Accepted::TEXT,
            id: "shop".into(),
            secret: Some(canary.into()),
            hosts: confirmed::hosts(&server()),
        };
        world.vault.set_client(&of, setting(), &actor()).await.unwrap();
        world.rotate().await;
        let secret = async || {
            let client = world.vault.shared.clients.open(&of, &server()).await.unwrap();
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            client.secret.unwrap().expose_secret().to_owned()
        };
        for _ in 0..3 {
            assert_eq!(secret().await, canary);
        }
        assert_eq!(world.done().await, ["oauth-client.reseal"], "once");
        let clients = world.vault.clients(&of.environment).await.unwrap();
        assert_eq!((clients[0].generation, clients[0].secret), (2, true));
    }

    /// C39: a row that was put back from before a removal must not open, so generations go on through one.
    #[tokio::test]
    async fn generations_of_a_client_outlast_its_removal() {
        let world = World::new();
        let of = ClientRef::of(&world.of);
        let setting = || ClientSetting {
            key_id: None,
            accepted: Accepted::TEXT,
            id: "shop".into(),
            secret: Some("canary".into()),
            hosts: confirmed::hosts(&server()),
        };
        world.vault.set_client(&of, setting(), &actor()).await.unwrap();
        assert!(world.vault.remove_client(&of, &actor()).await.unwrap());
        assert!(!world.vault.remove_client(&of, &actor()).await.unwrap());
        assert_eq!(world.vault.clients(&of.environment).await.unwrap(), []);
        let gone = world.vault.shared.clients.open(&of, &server()).await.unwrap_err();
        assert_eq!(gone.code, keyway_core::Code::OauthClientMissing);
        let again = world.vault.set_client(&of, setting(), &actor()).await.unwrap();
        assert!(again.generation > 2, "{again:?}");
        assert!(again.shared_with.is_empty());
    }
}
