//! Connections: setting a static credential, and handing it to the broker.
//!
//! A credential is sealed before it reaches the store and opened each time it is used; between uses
//! only the sealed row is in memory. Setting one is an audited change that names the slot, never the
//! secret.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use keyway_core::descriptor::Scheme;
use keyway_core::ids::{Actor, Installation, Slot};
use keyway_core::ports::{Clock, Credential, Credentials};
use keyway_core::{Code, Fault};
use keyway_store::Store;
use keyway_store::model::{Connection, Entry, Filter};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::key::SealingKey;
use crate::seal::{self, Place, SealError};

/// Bytes of a secret: an OAuth token or a PEM-less key fits; a sealed row stays within the store's
/// largest value.
pub const SECRET_BYTES_MAX: usize = 2 << 10;

/// Bytes of the shortest secret: a shorter one would be found all over a response that it is scrubbed from.
pub const SECRET_BYTES_MIN: usize = 4;

/// What an operator gives for a slot.
#[derive(Debug)]
pub enum SecretInput {
    /// A bearer token or an API key.
    Token(SecretString),
    /// User and password.
    Basic {
        /// RFC 7617: without a colon.
        user: SecretString,
        /// Anything printable.
        password: SecretString,
    },
}

/// Holds the credentials of every installation.
#[derive(Clone)]
pub struct Vault {
    shared: Arc<Shared>,
}

/// A sealed row, or that there is none.
type Row = Option<Arc<Connection>>;

struct Shared {
    store: Store,
    key: SealingKey,
    clock: Arc<dyn Clock>,
    /// Sealed rows: a call must not wait for the store.
    rows: RwLock<HashMap<(Installation, Slot), Row>>,
    /// Held from commit until `rows` shows it, so that rows change in the order of the commits.
    changing: tokio::sync::Mutex<()>,
}

/// What a connection is set to.
#[derive(Debug)]
pub struct Setting {
    /// For whom.
    pub installation: Installation,
    /// Which slot.
    pub slot: Slot,
    /// What the release declares for the slot.
    pub scheme: Scheme,
    /// What paths are joined to instead of the descriptor's base URL; checked by the caller.
    pub base_url: Option<String>,
    /// The secret.
    pub secret: SecretInput,
}

// === impl Vault ===

impl Vault {
    /// A vault that seals with `key`.
    pub fn new(store: Store, key: SealingKey, clock: Arc<dyn Clock>) -> Self {
        let shared = Shared {
            store,
            key,
            clock,
            rows: RwLock::default(),
            changing: tokio::sync::Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Opens every credential once: a host with the wrong key must not start and fail call by call. One
    /// that is damaged fails its own tenant's calls, and is only said here.
    pub async fn check_all(&self) -> Result<usize, Fault> {
        let installations = self.shared.store.installations(&Filter::default()).await?;
        let connections = installations.iter().flat_map(|state| &state.connections);
        let mut opened = 0;
        for connection in connections {
            match self.shared.unseal(connection) {
                Ok(_) => opened += 1,
                Err(error @ SealError::Key(_)) => return Err(unopened(connection, error)),
                Err(error) => {
                    let Connection { installation, slot, .. } = connection;
                    tracing::error!(%installation, %slot, %error, "credential does not open");
                }
            }
        }
        Ok(opened)
    }

    /// Seals a credential and stores it, in one audited change.
    pub async fn set(&self, setting: Setting, actor: &Actor) -> Result<Connection, Fault> {
        let Setting { installation, slot, scheme, base_url, secret } = setting;
        let plain = encode(&scheme, &secret)?;
        let _changing = self.shared.changing.lock().await;
        self.check_one_base_url(&installation, &slot, base_url.as_deref()).await?;
        let before = self.shared.store.connection(&installation, &slot).await?;
        let generation = self.shared.store.connection_generation(&installation, &slot).await? + 1;
        let place = Place { installation: &installation, slot: &slot, generation };
        let sealed = seal::seal(&self.shared.key, place, &plain).map_err(|error| {
            Fault::new(Code::Internal, "credential not sealed").caused_by(error)
        })?;
        let connection = Connection {
            generation,
            kind: scheme.kind().to_owned(),
            base_url,
            sealed: sealed.into(),
            at: self.shared.clock.now(),
            installation,
            slot,
        };
        let tx = self.shared.store.tx().set_connection(connection.clone());
        tx.commit(entry("connection.set", &connection, actor, before.is_some())).await?;
        self.shared.show(&connection, Some(Arc::new(connection.clone())));
        Ok(connection)
    }

    /// An installation has one base URL, whichever of its slots it was set with.
    async fn check_one_base_url(
        &self,
        installation: &Installation,
        slot: &Slot,
        wanted: Option<&str>,
    ) -> Result<(), Fault> {
        let Some(wanted) = wanted else { return Ok(()) };
        let state = self.shared.store.installation(installation).await?;
        let others = state.iter().flat_map(|state| &state.connections).filter(|c| c.slot != *slot);
        for other in others {
            if let Some(base_url) = other.base_url.as_deref().filter(|base_url| *base_url != wanted)
            {
                let detail = format!("slot `{}` has the base URL {base_url}", other.slot);
                return Err(Fault::new(Code::BaseUrlRefused, detail));
            }
        }
        Ok(())
    }

    /// Removes a credential. False if there was none.
    pub async fn remove(
        &self,
        installation: &Installation,
        slot: &Slot,
        actor: &Actor,
    ) -> Result<bool, Fault> {
        let _changing = self.shared.changing.lock().await;
        let Some(before) = self.shared.store.connection(installation, slot).await? else {
            return Ok(false);
        };
        let tx = self.shared.store.tx().remove_connection(installation, slot, before.generation);
        tx.commit(entry("connection.remove", &before, actor, true)).await?;
        self.shared.show(&before, None);
        Ok(true)
    }
}

#[async_trait]
impl Credentials for Vault {
    async fn credential(
        &self,
        installation: &Installation,
        slot: &Slot,
    ) -> Result<Option<Credential>, Fault> {
        match self.shared.row(installation, slot).await? {
            Some(connection) => self.shared.open(&connection).map(Some),
            None => Ok(None),
        }
    }
}

// === impl Shared ===

impl Shared {
    async fn row(&self, installation: &Installation, slot: &Slot) -> Result<Row, Fault> {
        let place = (installation.clone(), slot.clone());
        let known = self.rows.read().unwrap_or_else(PoisonError::into_inner).get(&place).cloned();
        if let Some(row) = known {
            return Ok(row);
        }
        let row = self.store.connection(installation, slot).await?.map(Arc::new);
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        // A change that was shown meanwhile is newer than what was just read.
        Ok(rows.entry(place).or_insert(row).clone())
    }

    fn show(&self, changed: &Connection, row: Row) {
        let place = (changed.installation.clone(), changed.slot.clone());
        self.rows.write().unwrap_or_else(PoisonError::into_inner).insert(place, row);
    }

    fn open(&self, connection: &Connection) -> Result<Credential, Fault> {
        let plain = self.unseal(connection).map_err(|error| unopened(connection, error))?;
        decode(&plain).ok_or_else(|| Fault::new(Code::Internal, "credential has an unknown form"))
    }

    fn unseal(&self, connection: &Connection) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let Connection { installation, slot, generation, sealed, .. } = connection;
        seal::open(&self.key, Place { installation, slot, generation: *generation }, sealed)
    }
}

fn unopened(connection: &Connection, error: SealError) -> Fault {
    let Connection { installation, slot, .. } = connection;
    let detail = format!("credential of slot `{slot}` of {installation} does not open");
    Fault::new(Code::Internal, detail).caused_by(error)
}

fn entry(action: &str, connection: &Connection, actor: &Actor, replaced: bool) -> Entry {
    let Connection { installation, slot, generation, kind, .. } = connection;
    Entry {
        actor: actor.clone(),
        action: action.to_owned(),
        object: format!("{installation} slot {slot}"),
        reason: None,
        before: replaced.then(|| "set".to_owned()),
        after: (action == "connection.set").then(|| format!("{kind} generation {generation}")),
    }
}

const TOKEN: u8 = 1;
const BASIC: u8 = 2;

/// One byte of kind, then the secret; a user is ended by a colon, which it cannot contain.
fn encode(scheme: &Scheme, secret: &SecretInput) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let refuse = |detail: String| Fault::new(Code::CredentialInvalid, detail);
    match (scheme, secret) {
        (Scheme::Basic, SecretInput::Basic { user, password }) => {
            let (user, password) = (user.expose_secret(), password.expose_secret());
            check_text("user", user)?;
            check_text("password", password)?;
            check_length(&[user, password])?;
            if user.is_empty() {
                return Err(refuse("user is empty".to_owned()));
            }
            if user.contains(':') {
                return Err(refuse("user must not contain a colon (RFC 7617)".to_owned()));
            }
            Ok(joined(BASIC, &[user.as_bytes(), b":", password.as_bytes()]))
        }
        (Scheme::Basic, SecretInput::Token(_)) => {
            Err(refuse("slot takes `user` and `password`".to_owned()))
        }
        (_, SecretInput::Token(token)) => {
            check_text("token", token.expose_secret())?;
            check_length(&[token.expose_secret()])?;
            Ok(joined(TOKEN, &[token.expose_secret().as_bytes()]))
        }
        (scheme, SecretInput::Basic { .. }) => {
            Err(refuse(format!("slot takes a `token` ({})", scheme.kind())))
        }
    }
}

fn joined(kind: u8, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    // Sized up front: a buffer that grew would leave a copy of the secret behind.
    let mut bytes =
        Zeroizing::new(Vec::with_capacity(1 + parts.iter().map(|p| p.len()).sum::<usize>()));
    bytes.push(kind);
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes
}

fn decode(plain: &[u8]) -> Option<Credential> {
    let (kind, rest) = plain.split_first()?;
    let text = std::str::from_utf8(rest).ok()?;
    match *kind {
        TOKEN => Some(Credential::Token(text.to_owned().into())),
        BASIC => text.split_once(':').map(|(user, password)| Credential::Basic {
            user: user.to_owned().into(),
            password: password.to_owned().into(),
        }),
        _ => None,
    }
}

/// A secret ends up in a header or a query, where control characters and other alphabets have no place.
fn check_text(what: &str, text: &str) -> Result<(), Fault> {
    let problem = if text.len() > SECRET_BYTES_MAX {
        format!("is over {SECRET_BYTES_MAX} bytes")
    } else if !text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
        "is not printable ASCII".to_owned()
    } else {
        return Ok(());
    };
    Err(Fault::new(Code::CredentialInvalid, format!("{what} {problem}")))
}

/// One part at least must be long enough to be told from ordinary text when responses are scrubbed. Which
/// one is the secret differs: some providers take an API key as the user, with no password.
fn check_length(parts: &[&str]) -> Result<(), Fault> {
    if parts.iter().any(|part| part.len() >= SECRET_BYTES_MIN) {
        return Ok(());
    }
    let detail = format!("credential is under {SECRET_BYTES_MIN} bytes");
    Err(Fault::new(Code::CredentialInvalid, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Clock for Fixed {
        fn now(&self) -> time::OffsetDateTime {
            time::OffsetDateTime::UNIX_EPOCH
        }
    }

    fn vault(store: &Store) -> Vault {
        Vault::new(store.clone(), SealingKey::from_bytes([9; 32]), Arc::new(Fixed))
    }

    fn setting(tenant: &str, scheme: Scheme, secret: SecretInput) -> Setting {
        Setting {
            installation: Installation {
                environment: "dev".parse().unwrap(),
                tenant: tenant.parse().unwrap(),
                connector: "a/b".parse().unwrap(),
            },
            slot: "token".parse().unwrap(),
            scheme,
            base_url: None,
            secret,
        }
    }

    fn token(text: &str) -> SecretInput {
        SecretInput::Token(text.to_owned().into())
    }

    async fn held(vault: &Vault, tenant: &str) -> Option<String> {
        let setting = setting(tenant, Scheme::Bearer, token("unused"));
        match vault.credential(&setting.installation, &setting.slot).await.unwrap()? {
            Credential::Token(token) => Some(token.expose_secret().to_owned()),
            Credential::Basic { .. } => panic!("a token was set"),
        }
    }

    #[tokio::test]
    async fn what_is_set_is_handed_out_to_its_own_tenant_and_audited_without_the_secret() {
        let store = Store::memory(Arc::new(Fixed));
        let vault = vault(&store);
        let actor = "ann".parse().unwrap();
        vault.set(setting("acme", Scheme::Bearer, token("canary-1")), &actor).await.unwrap();
        assert_eq!(held(&vault, "acme").await.as_deref(), Some("canary-1"));
        assert_eq!(held(&vault, "other").await, None);
        vault.set(setting("acme", Scheme::Bearer, token("canary-2")), &actor).await.unwrap();
        assert_eq!(held(&vault, "acme").await.as_deref(), Some("canary-2"));
        let audit = store.audit(0, 10).await.unwrap();
        assert_eq!(audit.len(), 2);
        assert!(!format!("{audit:?}").contains("canary"));
    }

    #[tokio::test]
    async fn removed_means_gone() {
        let store = Store::memory(Arc::new(Fixed));
        let vault = vault(&store);
        let actor = "ann".parse().unwrap();
        let set = setting("acme", Scheme::Bearer, token("canary-1"));
        let (installation, slot) = (set.installation.clone(), set.slot.clone());
        vault.set(set, &actor).await.unwrap();
        assert!(vault.remove(&installation, &slot, &actor).await.unwrap());
        assert_eq!(held(&vault, "acme").await, None);
        assert!(!vault.remove(&installation, &slot, &actor).await.unwrap());
    }

    #[tokio::test]
    async fn another_key_is_noticed_before_the_first_call() {
        let store = Store::memory(Arc::new(Fixed));
        let actor = "ann".parse().unwrap();
        vault(&store).set(setting("acme", Scheme::Bearer, token("canary")), &actor).await.unwrap();
        assert_eq!(vault(&store).check_all().await.unwrap(), 1);
        let other = Vault::new(store, SealingKey::from_bytes([8; 32]), Arc::new(Fixed));
        assert!(other.check_all().await.is_err());
    }

    #[tokio::test]
    async fn an_installation_has_one_base_url() {
        let store = Store::memory(Arc::new(Fixed));
        let vault = vault(&store);
        let actor = "ann".parse().unwrap();
        let at = |slot: &str, base_url: &str| Setting {
            slot: slot.parse().unwrap(),
            base_url: Some(base_url.to_owned()),
            ..setting("acme", Scheme::Bearer, token("canary"))
        };
        vault.set(at("one", "https://eu.example.com"), &actor).await.unwrap();
        vault.set(at("two", "https://eu.example.com"), &actor).await.unwrap();
        let fault = vault.set(at("two", "https://us.example.com"), &actor).await.unwrap_err();
        assert_eq!(fault.code, Code::BaseUrlRefused);
    }

    #[tokio::test]
    async fn secrets_of_the_wrong_form_are_refused() {
        let store = Store::memory(Arc::new(Fixed));
        let vault = vault(&store);
        let actor = "ann".parse().unwrap();
        let login = |user: &str, password: &str| SecretInput::Basic {
            user: user.to_owned().into(),
            password: password.to_owned().into(),
        };
        let basic = |user: &str| login(user, "pass word");
        let bad = [
            (Scheme::Bearer, token("")),
            (Scheme::Bearer, token("abc")),
            (Scheme::Bearer, token("line\r\nbreak")),
            (Scheme::Bearer, token("naïve")),
            (Scheme::Bearer, token(&"x".repeat(SECRET_BYTES_MAX + 1))),
            (Scheme::Bearer, basic("ann")),
            (Scheme::Basic, token("abcd")),
            (Scheme::Basic, basic("a:b")),
            (Scheme::Basic, basic("")),
            (Scheme::Basic, login("abc", "def")),
        ];
        for (scheme, secret) in bad {
            let fault = vault.set(setting("acme", scheme, secret), &actor).await.unwrap_err();
            assert_eq!(fault.code, Code::CredentialInvalid);
        }
        let longest = token(&"x".repeat(SECRET_BYTES_MAX));
        vault.set(setting("acme", Scheme::Bearer, longest), &actor).await.unwrap();
        vault.set(setting("acme", Scheme::Basic, basic("ann")), &actor).await.unwrap();
        let key_as_user = login("an-api-key", "");
        vault.set(setting("acme", Scheme::Basic, key_as_user), &actor).await.unwrap();
    }
}
