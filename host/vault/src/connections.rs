//! Connections: set, handed to the broker, paused, removed.
//!
//! A secret that was set by hand is sealed before it reaches the store, and opened when it is used; how long it then stays
//! open is [`crate::open`]'s business. Tokens stay in memory once they were read, until the connection is gone or made
//! anew. Every change by a person is audited and names the slot, never the secret. How tokens are refreshed is
//! [`crate::oauth`]'s business; how they first come here is [`crate::import`]'s and [`crate::consent`]'s; how uses are
//! stopped `barrier`'s, and how a connection ends `disconnect`'s.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use async_trait::async_trait;
use foldhash::HashMap;
use keyway_core::credential::{Credential, Opened};
use keyway_core::descriptor::{Scheme, SlotSpec};
use keyway_core::ids::{Actor, ConnectionRef, Environment, Installation, Slot, User};
use keyway_core::ports::{Clock, Credentials, Granting, Held, Outbound};
use keyway_core::{Code, Fault};
use keyway_store::Store;
use keyway_store::model::{Connection, Entry, Filter};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::barrier::paused;
use crate::consent::Swept;
use crate::metrics::Metrics;
use crate::oauth::client::{ClientInfo, ClientRef, ClientSetting, Clients};
use crate::oauth::obtain::Obtaining;
use crate::oauth::record::{Record, Records};
use crate::oauth::refresh::Tower;
use crate::oauth::skew;
use crate::open::Open;
use crate::reseal::ChangingOver;
use crate::seal::{Field, Place, SealError, Sealer};
use crate::secret::{self, SecretInput};
use crate::standing::{Info, Standings};
use crate::steps::{Listener, Steps};

/// Holds the credentials of every installation.
#[derive(Clone)]
pub struct Vault {
    pub(crate) shared: Arc<Shared>,
}

/// What a vault is made of.
pub struct Parts {
    /// Where sealed things are.
    pub store: Store,
    /// What seals them.
    pub sealer: Sealer,
    /// What tells the time.
    pub clock: Arc<dyn Clock>,
    /// The way to authorization servers.
    pub outbound: Arc<dyn Outbound>,
    /// Who holds the leases: the same after a restart only where nobody else can have started meanwhile.
    pub owner: String,
    /// Who hears of the steps of a refresh. None but in tests.
    pub listener: Option<Listener>,
}

pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) sealer: Sealer,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) outbound: Arc<dyn Outbound>,
    pub(crate) owner: String,
    pub(crate) steps: Steps,
    pub(crate) records: Records,
    pub(crate) clients: Clients,
    pub(crate) tower: Tower,
    pub(crate) obtaining: Obtaining,
    pub(crate) metrics: Metrics,
    pub(crate) standings: Standings,
    pub(crate) changing_over: ChangingOver,
    pub(crate) clocks_said: skew::Said,
    pub(crate) swept: Swept,
    /// Sealed rows: a call must not wait for the store.
    pub(crate) rows: RwLock<HashMap<ConnectionRef, Row>>,
    /// Who shows what was granted; nobody until the host is wired.
    granting: OnceLock<Arc<dyn Granting>>,
    /// Held from commit until `rows` shows it, so that rows change in the order of the commits.
    pub(crate) changing: tokio::sync::Mutex<()>,
}

/// A connection as it is, or that there is none.
#[derive(Clone, Default)]
pub(crate) struct Row {
    pub(crate) connection: Option<Arc<Connection>>,
    /// Held by every use; goes from row to row, so that a use counts until it ends.
    uses: Arc<Use>,
    /// The secret of this connection and no other, if it is open.
    pub(crate) open: Option<Open>,
}

/// A connection, in use for as long as this is held.
pub(crate) struct InUse {
    pub(crate) connection: Arc<Connection>,
    uses: Arc<Use>,
    open: Option<Open>,
}

/// Counts by being held.
#[derive(Default)]
pub(crate) struct Use;

/// What a connection is set to.
#[derive(Debug)]
pub struct Setting {
    /// For whom.
    pub installation: Installation,
    /// Which slot.
    pub slot: Slot,
    /// Of which user; none means the tenant's own.
    pub user: Option<User>,
    /// What the release declares for the slot.
    pub scheme: Scheme,
    /// What paths are joined to instead of the descriptor's base URL; checked by the caller.
    pub base_url: Option<String>,
    /// The secret.
    pub secret: SecretInput,
}

/// Says that a connection was idle and stays so.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// As it is now: paused.
    pub info: Info,
    /// When no refresh and no exchange was in flight any more.
    pub drained_at: OffsetDateTime,
}

/// A property of a connection that an operator turns on and off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Switch {
    /// Nothing uses it.
    Paused,
    /// Its tokens are not refreshed.
    HoldRefresh,
}

// === impl Vault ===

impl Vault {
    /// A vault of these parts.
    pub fn new(parts: Parts) -> Self {
        let Parts { store, sealer, clock, outbound, owner, listener } = parts;
        let metrics = Metrics::default();
        let shared = Shared {
            records: Records::new(store.clone(), sealer.clone()),
            clients: Clients::new(store.clone(), sealer.clone()),
            tower: Tower::default(),
            obtaining: Obtaining::default(),
            standings: Standings::new(metrics.clone()),
            metrics,
            changing_over: ChangingOver::default(),
            clocks_said: skew::Said::default(),
            swept: Swept::default(),
            rows: RwLock::default(),
            granting: OnceLock::new(),
            changing: tokio::sync::Mutex::default(),
            steps: Steps(listener),
            store,
            sealer,
            clock,
            outbound,
            owner,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Tells `granting` from now on when a refresh has changed what is granted. The first one stays.
    pub fn tell(&self, granting: Arc<dyn Granting>) {
        drop(self.shared.granting.set(granting));
    }

    /// What it counts.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Opens every credential once, and every OAuth client: a host with the wrong key must not start and fail call by
    /// call. One that is damaged fails its own calls, and is only said here. Counts the credentials.
    pub async fn check_all(&self) -> Result<usize, Fault> {
        let mut opened = 0;
        for state in self.shared.store.installations(&Filter::default()).await? {
            let users = self.shared.store.user_connections(&state.installation).await?;
            for connection in state.connections.iter().chain(&users) {
                match self.check(connection).await {
                    Ok(()) => opened += 1,
                    Err(fault) if lacks_key(&fault) => return Err(fault),
                    Err(fault) => {
                        let connection = connection.reference();
                        tracing::error!(%connection, problem = fault.chain(), "credential does not open");
                    }
                }
            }
        }
        self.shared.clients.check_all(lacks_key).await?;
        Ok(opened)
    }

    async fn check(&self, connection: &Connection) -> Result<(), Fault> {
        if held_in_row(connection) {
            self.shared.open(connection).await.map(drop)
        } else {
            self.record(connection).await.map(drop)
        }
    }

    /// Seals a credential and stores it, in one audited change.
    pub async fn set(&self, setting: Setting, actor: &Actor) -> Result<Connection, Fault> {
        let Setting { installation, slot, user, scheme, base_url, secret } = setting;
        let plain = secret::encode(&scheme, &secret)?;
        let of = ConnectionRef { installation, slot, user };
        // A pause that is answered while this waits for its turn would not be the last word.
        let _in_use = self.shared.uses(&of).await?;
        let _changing = self.shared.changing.lock().await;
        self.check_one_base_url(&of, base_url.as_deref()).await?;
        let mut connection = self.next_epoch(&of).await?;
        secret::kind(&scheme, &secret).clone_into(&mut connection.kind);
        connection.base_url = base_url;
        let place = Place::connection(&of, Field::Credential, connection.epoch);
        let sealed = self.shared.sealer.seal(place, &plain).await;
        let sealed = sealed.map_err(|error| error.fault("credential not sealed"))?;
        connection.sealed = sealed.into();
        let before = self.shared.store.connection(&of).await?;
        let mut tx = self.shared.store.tx().set_connection(connection.clone());
        if let Some(before) = &before {
            tx = self.shared.records.remove(tx, &of, before.epoch).await?;
        }
        tx.commit(entry("connection.set", &connection, actor, before.as_ref())).await?;
        self.show(&of, Some(connection.clone()));
        self.forget_tokens(&of);
        self.shared.standings.note(&of, None);
        Ok(connection)
    }

    /// The next connection of a slot, without its secret. Paused or on hold as the one before, until somebody says so.
    pub(crate) async fn next_epoch(&self, of: &ConnectionRef) -> Result<Connection, Fault> {
        let generation = self.shared.store.connection_generation(of).await? + 1;
        let before = self.shared.store.connection(of).await?;
        let ConnectionRef { installation, slot, user } = of.clone();
        Ok(Connection {
            installation,
            slot,
            user,
            generation,
            epoch: generation,
            kind: String::new(),
            base_url: None,
            account: None,
            scopes: None,
            paused: before.as_ref().is_some_and(|before| before.paused),
            hold_refresh: before.is_some_and(|before| before.hold_refresh),
            watch_until: None,
            sealed: bytes::Bytes::new(),
            at: self.shared.clock.now(),
        })
    }

    /// An installation has one base URL, whichever of its slots it was set with.
    pub(crate) async fn check_one_base_url(
        &self,
        of: &ConnectionRef,
        wanted: Option<&str>,
    ) -> Result<(), Fault> {
        // Users may have accounts in different places.
        let (Some(wanted), None) = (wanted, &of.user) else { return Ok(()) };
        let state = self.shared.store.installation(&of.installation).await?;
        let others =
            state.iter().flat_map(|state| &state.connections).filter(|c| c.slot != of.slot);
        for other in others {
            if let Some(base_url) = other.base_url.as_deref().filter(|base_url| *base_url != wanted)
            {
                let detail = format!("slot `{}` has the base URL {base_url}", other.slot);
                return Err(Fault::new(Code::BaseUrlRefused, detail));
            }
        }
        Ok(())
    }

    /// Sets the operator's client at a provider.
    pub async fn set_client(
        &self,
        of: &ClientRef,
        setting: ClientSetting,
        actor: &Actor,
    ) -> Result<ClientInfo, Fault> {
        let info = self.shared.clients.set(of, setting, actor, self.shared.clock.now()).await?;
        // What was refused was the one before.
        self.shared.tower.refusals.clear(of);
        Ok(info)
    }

    /// The operator's clients in an environment.
    pub async fn clients(&self, environment: &Environment) -> Result<Vec<ClientInfo>, Fault> {
        self.shared.clients.list(environment).await
    }

    /// Removes a client. False if there was none.
    pub async fn remove_client(&self, of: &ClientRef, actor: &Actor) -> Result<bool, Fault> {
        self.shared.clients.remove(of, actor).await
    }

    /// Takes note of scopes that a refresh has changed: a provider may have taken some away. Only of the grant that was
    /// refreshed: a person may have consented to others since.
    pub(crate) async fn note_scopes(
        &self,
        of: &ConnectionRef,
        epoch: u64,
        scopes: Option<Vec<String>>,
    ) {
        let Some(scopes) = scopes else { return };
        let mut noted = false;
        let changed = self
            .change(of, "connection.scopes", &host(), |connection| {
                if connection.epoch != epoch || connection.scopes.as_ref() == Some(&scopes) {
                    return false;
                }
                connection.scopes = Some(scopes);
                noted = true;
                true
            })
            .await;
        match changed {
            Ok(_) if noted => self.tell_granting(of),
            Ok(_) => {}
            Err(fault) => {
                tracing::warn!(connection = %of, problem = fault.chain(), "granted scopes not noted");
            }
        }
    }

    /// Has what is granted shown to calls. In a task of its own: whoever waits for the tokens does not wait for it.
    fn tell_granting(&self, of: &ConnectionRef) {
        let Some(granting) = self.shared.granting.get().map(Arc::clone) else { return };
        let of = of.clone();
        tokio::spawn(async move {
            if let Err(fault) = granting.granted_anew(&of.installation).await {
                tracing::warn!(connection = %of, problem = fault.chain(), "calls do not see the scopes that are granted now");
            }
        });
    }

    /// Changes what is said of a connection, in one audited change; its secret stays. `change` says whether there is
    /// anything to write.
    pub(crate) async fn change(
        &self,
        of: &ConnectionRef,
        action: &str,
        actor: &Actor,
        change: impl FnOnce(&mut Connection) -> bool + Send,
    ) -> Result<Connection, Fault> {
        let _changing = self.shared.changing.lock().await;
        let before = self.existing(of).await?;
        let mut connection = before.clone();
        if !change(&mut connection) {
            return Ok(before);
        }
        connection.generation += 1;
        let tx = self.shared.store.tx().set_connection(connection.clone());
        tx.commit(entry(action, &connection, actor, Some(&before))).await?;
        self.show(of, Some(connection.clone()));
        Ok(connection)
    }

    /// Lets calls see a change. Uses that began before it count on.
    pub(crate) fn show(&self, of: &ConnectionRef, connection: Option<Connection>) {
        let mut rows = self.shared.rows.write().unwrap_or_else(PoisonError::into_inner);
        let row = rows.entry(of.clone()).or_default();
        (row.connection, row.open) = (connection.map(Arc::new), None);
    }

    /// A connection as it is now, in use from here on.
    pub(crate) async fn in_use(&self, of: &ConnectionRef) -> Result<Option<InUse>, Fault> {
        let Row { connection, uses, open } = self.shared.row(of).await?;
        let Some(connection) = connection else { return Ok(None) };
        if connection.paused {
            return Err(paused(of));
        }
        Ok(Some(InUse { connection, uses, open }))
    }

    /// The secret that was set by hand, open.
    async fn opened(&self, of: &ConnectionRef, in_use: &InUse) -> Result<Arc<Opened>, Fault> {
        if let Some(opened) = in_use.open.as_ref().and_then(Open::get) {
            return Ok(opened);
        }
        let connection = &in_use.connection;
        // Boxed: it happens once a minute, and needs room that every exchange would bring along.
        let opened = Arc::new(Opened::new(Box::pin(self.shared.open(connection)).await?));
        self.keep_open(of, connection, &opened);
        Ok(opened)
    }

    /// With tokens of its own, refreshed if they have to be.
    async fn held_as_tokens(
        &self,
        of: &ConnectionRef,
        spec: &SlotSpec,
        in_use: InUse,
    ) -> Result<Option<Held>, Fault> {
        let connection = &in_use.connection;
        match self.token(connection, spec).await {
            Ok(record) => Ok(Some(in_use.held_by(&record))),
            // Connected again while we waited: there are tokens, under another epoch.
            Err(fault) if fault.code == Code::UnknownConnection => match self.in_use(of).await? {
                Some(now) if now.connection.epoch != connection.epoch => {
                    let record = self.token(&now.connection, spec).await?;
                    Ok(Some(now.held_by(&record)))
                }
                _ => Err(fault),
            },
            Err(fault) => Err(fault),
        }
    }
}

#[async_trait]
impl Credentials for Vault {
    async fn credential(&self, of: &ConnectionRef, spec: &SlotSpec) -> Result<Option<Held>, Fault> {
        let Some(in_use) = self.in_use(of).await? else { return Ok(None) };
        let connection = &in_use.connection;
        if held_in_row(connection) {
            let opened = self.opened(of, &in_use).await?;
            self.change_over(of, connection);
            let version = version(connection.epoch);
            return Ok(Some(in_use.held(opened, version)));
        }
        // Boxed: a refresh needs room that asking for a secret that is there would bring along.
        Box::pin(self.held_as_tokens(of, spec, in_use)).await
    }

    async fn rejected(
        &self,
        of: &ConnectionRef,
        spec: &SlotSpec,
        version: u64,
    ) -> Result<Option<Held>, Fault> {
        let Some(in_use) = self.in_use(of).await? else { return Ok(None) };
        if held_in_row(&in_use.connection) {
            return Ok(None);
        }
        let record = self.other_token(&in_use.connection, spec, version).await?;
        Ok(record.map(|record| in_use.held_by(&record)))
    }
}

// === impl InUse ===

impl InUse {
    /// With the token of this record.
    fn held_by(self, record: &Record) -> Held {
        self.held(record.opened(), record.state.version)
    }

    fn held(self, opened: Arc<Opened>, version: u64) -> Held {
        let Self { connection, uses, open: _ } = self;
        Held {
            opened,
            version,
            account: connection.account.as_deref().map(Arc::from),
            base_url: connection.base_url.as_deref().map(Arc::from),
            in_use: uses,
        }
    }
}

/// The first version of an epoch. Versions of two epochs never meet: a million refreshes, one every half an hour,
/// take fifty years.
pub(crate) const fn version(epoch: u64) -> u64 {
    epoch << 20
}

/// Whether the secret is in the row itself; else it is tokens, which have cells of their own.
pub(crate) fn held_in_row(connection: &Connection) -> bool {
    !connection.sealed.is_empty()
}

// === impl Shared ===

impl Shared {
    async fn row(&self, of: &ConnectionRef) -> Result<Row, Fault> {
        if let Some(row) = self.shown(of) {
            return Ok(row);
        }
        let Some(connection) = self.store.connection(of).await? else {
            // Not kept: anybody can name users who have none.
            return Ok(self.shown(of).unwrap_or_default());
        };
        let connection = Some(Arc::new(connection));
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        // A change that was shown meanwhile is newer than what was just read.
        let row = rows.entry(of.clone()).or_insert_with(|| Row { connection, ..Row::default() });
        Ok(row.clone())
    }

    fn shown(&self, of: &ConnectionRef) -> Option<Row> {
        self.rows.read().unwrap_or_else(PoisonError::into_inner).get(of).cloned()
    }

    /// A use of a connection, whatever it is now; to be held while it lasts.
    pub(crate) async fn uses(&self, of: &ConnectionRef) -> Result<Arc<Use>, Fault> {
        Ok(self.row(of).await?.uses)
    }

    /// Whether anything holds a use of a connection.
    pub(crate) fn used(&self, of: &ConnectionRef) -> bool {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        // One is the row's own.
        rows.get(of).is_some_and(|row| Arc::strong_count(&row.uses) > 1)
    }

    async fn open(&self, connection: &Connection) -> Result<Credential, Fault> {
        let plain = self.unseal(connection).await.map_err(|error| unopened(connection, error))?;
        secret::decode(&plain)
            .ok_or_else(|| Fault::new(Code::Internal, "credential has an unknown form"))
    }

    async fn unseal(&self, connection: &Connection) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let of = connection.reference();
        let place = Place::connection(&of, Field::Credential, connection.epoch);
        self.sealer.open(place, &connection.sealed).await
    }
}

/// Whether the host has another key than the one that a credential was sealed with.
fn lacks_key(fault: &Fault) -> bool {
    let mut cause = std::error::Error::source(fault);
    while let Some(error) = cause {
        if matches!(error.downcast_ref(), Some(SealError::Key(_))) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn unopened(connection: &Connection, error: SealError) -> Fault {
    error.fault(format!("credential of {} does not open", connection.reference()))
}

/// Who the audit says it was, of what the host does by itself.
pub(crate) fn host() -> Actor {
    "keyway".parse().expect("`keyway` is a name")
}

pub(crate) fn entry(
    action: &str,
    connection: &Connection,
    actor: &Actor,
    before: Option<&Connection>,
) -> Entry {
    let said = |connection: &Connection| {
        format!("{} generation {}", connection.kind, connection.generation)
    };
    Entry {
        actor: actor.clone(),
        action: action.to_owned(),
        object: connection.reference().to_string(),
        reason: None,
        before: before.map(said),
        after: (action != "connection.remove").then(|| said(connection)),
    }
}

#[cfg(test)]
mod tests {
    use keyway_core::call::Failure;
    use keyway_core::exchange::{HostRequest, Response};
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::open::OPEN_TIME;
    use crate::secret::SECRET_BYTES_MAX;

    struct Fixed;

    impl Clock for Fixed {
        fn now(&self) -> OffsetDateTime {
            OffsetDateTime::UNIX_EPOCH
        }
    }

    /// Secrets that are set by hand need nobody outside.
    struct NoWay;

    #[async_trait]
    impl Outbound for NoWay {
        async fn fetch(&self, _: HostRequest) -> Result<Response, Failure> {
            panic!("nothing is sent for a secret that was set by hand")
        }
    }

    fn vault(store: &Store) -> Vault {
        with_key(store, 9)
    }

    fn with_key(store: &Store, byte: u8) -> Vault {
        Vault::new(Parts {
            store: store.clone(),
            sealer: Sealer::fixed(store, byte),
            clock: Arc::new(Fixed),
            outbound: Arc::new(NoWay),
            owner: "host".to_owned(),
            listener: None,
        })
    }

    fn setting(tenant: &str, scheme: Scheme, secret: SecretInput) -> Setting {
        Setting {
            installation: Installation {
                environment: "dev".parse().unwrap(),
                tenant: tenant.parse().unwrap(),
                connector: "a/b".parse().unwrap(),
            },
            slot: "token".parse().unwrap(),
            user: None,
            scheme,
            base_url: None,
            secret,
        }
    }

    fn reference(setting: &Setting) -> ConnectionRef {
        let Setting { installation, slot, user, .. } = setting;
        ConnectionRef { installation: installation.clone(), slot: slot.clone(), user: user.clone() }
    }

    fn token(text: &str) -> SecretInput {
        SecretInput::Token(text.to_owned().into())
    }

    async fn opened(vault: &Vault, tenant: &str) -> Option<Arc<Opened>> {
        let setting = setting(tenant, Scheme::Bearer, token("unused"));
        let spec = SlotSpec {
            scheme: Scheme::Bearer,
            scopes: vec![],
            summary: String::new(),
            probe: None,
        };
        let of = reference(&setting);
        Some(vault.credential(&of, &spec).await.unwrap()?.opened)
    }

    async fn held(vault: &Vault, tenant: &str) -> Option<String> {
        match opened(vault, tenant).await?.credential() {
            Credential::Token(token) => Some(token.expose_secret().to_owned()),
            other => panic!("a token was set, not {other:?}"),
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

    #[tokio::test(start_paused = true)]
    async fn a_secret_stays_open_for_a_while_and_is_closed_also_where_nobody_asks_again() {
        let store = Store::memory(Arc::new(Fixed));
        let vault = vault(&store);
        let actor = "ann".parse().unwrap();
        vault.set(setting("acme", Scheme::Bearer, token("canary-1")), &actor).await.unwrap();
        let first = opened(&vault, "acme").await.unwrap();
        tokio::time::advance(OPEN_TIME / 2).await;
        assert!(Arc::ptr_eq(&first, &opened(&vault, "acme").await.unwrap()), "opened once");
        tokio::time::advance(OPEN_TIME / 2).await;
        let second = opened(&vault, "acme").await.unwrap();
        assert!(!Arc::ptr_eq(&first, &second), "also one in use is not open for ever");

        let closing = tokio::spawn(vault.clone().close_behind());
        let left = Arc::downgrade(&second);
        drop(second);
        tokio::time::sleep(OPEN_TIME / 2).await;
        assert!(left.upgrade().is_some());
        tokio::time::sleep(OPEN_TIME).await;
        assert!(left.upgrade().is_none(), "nobody asked, and nobody has it");
        closing.abort();

        let left = Arc::downgrade(&opened(&vault, "acme").await.unwrap());
        vault.set(setting("acme", Scheme::Bearer, token("canary-2")), &actor).await.unwrap();
        assert!(left.upgrade().is_none(), "a change closes it at once");
    }

    #[tokio::test]
    async fn users_without_a_connection_leave_nothing_behind() {
        let store = Store::memory(Arc::new(Fixed));
        let vault = vault(&store);
        let setting = setting("acme", Scheme::Bearer, token("canary"));
        for user in 0..100 {
            let user = Some(format!("user-{user}").parse().unwrap());
            let of = ConnectionRef { user, ..reference(&setting) };
            assert!(vault.in_use(&of).await.unwrap().is_none());
        }
        assert_eq!(vault.shared.rows.read().unwrap().len(), 0);
    }

    #[tokio::test]
    async fn removed_means_gone() {
        let store = Store::memory(Arc::new(Fixed));
        let vault = vault(&store);
        let actor = "ann".parse().unwrap();
        let set = setting("acme", Scheme::Bearer, token("canary-1"));
        let of = reference(&set);
        vault.set(set, &actor).await.unwrap();
        assert!(vault.remove(&of, None, &actor).await.unwrap());
        assert_eq!(held(&vault, "acme").await, None);
        assert!(!vault.remove(&of, None, &actor).await.unwrap());
    }

    #[tokio::test]
    async fn another_key_is_noticed_before_the_first_call() {
        let store = Store::memory(Arc::new(Fixed));
        let actor = "ann".parse().unwrap();
        vault(&store).set(setting("acme", Scheme::Bearer, token("canary")), &actor).await.unwrap();
        assert_eq!(vault(&store).check_all().await.unwrap(), 1);
        assert!(with_key(&store, 8).check_all().await.is_err());
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
