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
use keyway_store::model::{Connection, Entry, Filter};
use keyway_store::{Store, Tx};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::barrier::{Use, paused};
use crate::consent::Swept;
use crate::facts::Facts;
use crate::import::scopes_for;
use crate::metrics::Metrics;
use crate::oauth::client::{ClientInfo, ClientRef, ClientSetting, Clients};
use crate::oauth::obtain::Obtaining;
use crate::oauth::record::{Record, Records, State, Tokens};
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
    pub(crate) uses: Arc<Use>,
    /// The secret of this connection and no other, if it is open.
    pub(crate) open: Option<Open>,
}

/// A connection, in use for as long as this is held.
pub(crate) struct InUse {
    pub(crate) connection: Arc<Connection>,
    uses: Arc<Use>,
    open: Option<Open>,
}

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
    /// Exchanges that outlived the wait and were cut.
    pub cut: usize,
}

/// A property of a connection that an operator turns on and off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Switch {
    /// Nothing uses it.
    Paused,
    /// Its tokens are not refreshed.
    HoldRefresh,
}

// === impl Setting ===

impl Setting {
    fn reference(&self) -> ConnectionRef {
        let Self { installation, slot, user, .. } = self;
        ConnectionRef { installation: installation.clone(), slot: slot.clone(), user: user.clone() }
    }
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
        let set = self.set_with(vec![setting], actor, |tx| tx).await?;
        set.into_iter().next().ok_or_else(|| Fault::new(Code::Internal, "nothing was set"))
    }

    /// Several slots of one installation, in one audited change: all of them or none. So an installation can move to
    /// another base URL that has several.
    pub async fn set_all(
        &self,
        settings: Vec<Setting>,
        actor: &Actor,
    ) -> Result<Vec<Connection>, Fault> {
        self.set_with(settings, actor, |tx| tx).await
    }

    /// The same, with what `along` adds to the change.
    pub(crate) async fn set_with(
        &self,
        settings: Vec<Setting>,
        actor: &Actor,
        along: impl FnOnce(Tx) -> Tx + Send,
    ) -> Result<Vec<Connection>, Fault> {
        let together: Vec<_> = settings.iter().map(|setting| setting.slot.clone()).collect();
        // Pauses that are answered while this waits for its turn would not be the last word.
        let mut in_use = Vec::with_capacity(settings.len());
        for setting in &settings {
            in_use.push(self.shared.uses(&setting.reference()).await?);
        }
        let _changing = self.shared.changing.lock().await;
        let mut tx = self.shared.store.tx();
        let (mut set, mut entries) = (Vec::new(), Vec::new());
        for setting in settings {
            let of = setting.reference();
            self.check_base_url_beside(&of, setting.base_url.as_deref(), &together).await?;
            let before = self.shared.store.connection(&of).await?;
            let (with, connection) = self.sealed(tx, &of, setting).await?;
            tx = with.set_connection(connection.clone());
            if let Some(before) = &before {
                tx = self.shared.records.remove(tx, &of, before.epoch).await?;
            }
            entries.push(entry("connection.set", &connection, actor, before.as_ref()));
            set.push(connection);
        }
        let Some(entry) = entries.into_iter().reduce(together_entry) else { return Ok(set) };
        along(tx).commit(entry).await?;
        for connection in &set {
            let of = connection.reference();
            self.show(&of, Some(connection.clone()));
            self.forget_tokens(&of);
            self.shared.standings.note(&of, None);
        }
        Ok(set)
    }

    /// The next connection of a slot with its secret, sealed; a token that is too long for its row is added to the change.
    async fn sealed(
        &self,
        mut tx: Tx,
        of: &ConnectionRef,
        setting: Setting,
    ) -> Result<(Tx, Connection), Fault> {
        let Setting { scheme, base_url, secret, .. } = setting;
        let plain = secret::encode(&scheme, &secret)?;
        let mut connection = self.next_epoch(of).await?;
        secret::kind(&scheme, &secret).clone_into(&mut connection.kind);
        connection.base_url = base_url;
        if let Some(token) = secret::long_token(&secret) {
            let tokens = Tokens { access: token.clone(), refresh: None, subject: None, own: None };
            let first = version(connection.epoch);
            let state = State::issued(first, connection.at, None, &tokens);
            let state = State { by_hand: true, ..state };
            tx = self.shared.records.create(tx, of, connection.epoch, &state, &tokens).await?;
        } else {
            let place = Place::connection(of, Field::Credential, connection.epoch);
            let sealed = self.shared.sealer.seal(place, &plain).await;
            let sealed = sealed.map_err(|error| error.fault("credential not sealed"))?;
            connection.sealed = sealed.into();
        }
        Ok((tx, connection))
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
            facts: Facts::new(),
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
        self.check_base_url_beside(of, wanted, std::slice::from_ref(&of.slot)).await
    }

    /// The same, where these slots are set together.
    async fn check_base_url_beside(
        &self,
        of: &ConnectionRef,
        wanted: Option<&str>,
        together: &[Slot],
    ) -> Result<(), Fault> {
        // Users may have accounts in different places.
        let (Some(wanted), None) = (wanted, &of.user) else { return Ok(()) };
        let state = self.shared.store.installation(&of.installation).await?;
        let others = state
            .iter()
            .flat_map(|state| &state.connections)
            .filter(|c| !together.contains(&c.slot));
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
        asked: &[String],
    ) {
        let Some(scopes) = scopes else { return };
        let mut noted = false;
        let changed = self
            .change(of, "connection.scopes", &host(), |connection| {
                let Some(scopes) = scopes_for(connection, scopes, asked) else { return false };
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

    async fn connected(&self, of: &ConnectionRef) -> Result<bool, Fault> {
        Ok(self.find(of).await?.is_some())
    }

    async fn rejected(
        &self,
        of: &ConnectionRef,
        spec: &SlotSpec,
        version: u64,
    ) -> Result<Option<Held>, Fault> {
        let Some(in_use) = self.in_use(of).await? else { return Ok(None) };
        if is_by_hand(&in_use.connection) {
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

/// Whether the secret was set by hand, wherever it is kept: no server has issued it, and none is asked about it.
pub(crate) fn is_by_hand(connection: &Connection) -> bool {
    held_in_row(connection) || connection.kind != ISSUED
}

/// What the row of tokens says that a server has issued.
pub(crate) const ISSUED: &str = "oauth2";

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
        rows.get(of).is_some_and(|row| row.uses.is_held())
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

/// What is said of two connections that are set in one change.
fn together_entry(first: Entry, second: Entry) -> Entry {
    let both = |first: Option<String>, second: Option<String>| match (first, second) {
        (Some(first), Some(second)) => Some(format!("{first}; {second}")),
        (first, second) => first.or(second),
    };
    Entry {
        object: format!("{}; {}", first.object, second.object),
        before: both(first.before, second.before),
        after: both(first.after, second.after),
        ..first
    }
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
mod tests;
