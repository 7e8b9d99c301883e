//! The store's handle and its reads.
//!
//! Changes are elsewhere: `tx` for the control plane, `batch`, `lease` and `queue` for the data plane,
//! `watch` for who wants to hear of them.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use keyway_core::address::UserMark;
use keyway_core::ids::{ConnectionRef, Connector, Environment, Installation, Slot, Tenant, User};
use keyway_core::ports::Clock;
use keyway_core::release::ReleaseRef;
use keyway_core::{Descriptor, Digest, Release};
use semver::Version;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use tokio::sync::watch;

use crate::backend::{Backend, Commit, Range, Row, Verdict, count};
use crate::blobs::Blobs;
use crate::error::{Collision, Error};
use crate::key::{Key, Space};
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::model::{
    AuditEntry, Cell, Config, ConfigGeneration, Connection, DefaultGeneration, EnvironmentDefault,
    Filter, Generation, InstallationState, Pin, Token,
};
use crate::row::{
    self, AuditRow, Body, CellRow, ConfigRow, ConnectionRow, Decoded, DigestRow,
    EnvironmentDefaultRow, PinRow, PublishedRow, TokenNameRow, TokenRow,
};

/// Everything Keyway remembers. Clones share.
#[derive(Clone)]
pub struct Store(pub(crate) Arc<Inner>);

/// Limits that an operator may want otherwise.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Limits {
    /// Claims of one message before it is given up as a dead letter. Ten, with waits that double from
    /// a second, is a quarter of an hour: longer than a deploy, shorter than a night.
    pub attempts_max: u32,
}

/// What the clones of a store share.
pub(crate) struct Inner {
    backend: Box<dyn Backend>,
    blobs: Blobs,
    clock: Arc<dyn Clock>,
    pub(crate) limits: Limits,
    metrics: Metrics,
    pub(crate) wake: watch::Sender<u64>,
    /// Held by whoever puts bytes for a row until the row names them, and alone by whoever removes some that none names.
    pub(crate) spilling: tokio::sync::RwLock<()>,
}

/// Rows read in one step of a longer scan: bounds what a scan holds in memory and how long it keeps a
/// thread.
const PAGE_ROWS: usize = 512;

/// How often a change is worked out anew because others came first, before it is given up. Each round
/// lost is one that somebody else won, so this is reached only by a change that contradicts itself.
const ROUNDS_MAX: usize = 64;

/// Parts of an installation, as the last part of its rows' keys. On disk.
pub(crate) const PIN: &str = "pin";
pub(crate) const CONFIG: &str = "config";
pub(crate) const CONNECTION: &str = "connection";
pub(crate) const USERS: &str = "users";

/// Counter of the audit, in its space.
pub(crate) const AUDIT: &str = "audit";

/// Rounds of a change: it is worked out against the rows there are and tried, anew for as long as
/// others come first.
#[derive(Default)]
pub(crate) struct Rounds(usize);

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self { attempts_max: 10 }
    }
}

// === impl Store ===

impl Store {
    /// A store that ends with the process. For tests.
    pub fn memory(clock: Arc<dyn Clock>) -> Self {
        let backend = Box::new(Memory::new(Arc::clone(&clock)));
        Self::over(backend, Blobs::memory(), clock, Limits::default(), Metrics::default())
    }

    pub(crate) fn over(
        backend: Box<dyn Backend>,
        blobs: Blobs,
        clock: Arc<dyn Clock>,
        limits: Limits,
        metrics: Metrics,
    ) -> Self {
        let wake = watch::Sender::new(0);
        let spilling = tokio::sync::RwLock::default();
        Self(Arc::new(Inner { backend, blobs, clock, limits, metrics, wake, spilling }))
    }

    /// Bytes that rows are too small for.
    pub fn blobs(&self) -> &Blobs {
        &self.0.blobs
    }

    /// Whether commits are being taken: for readiness.
    pub fn healthy(&self) -> Result<(), Error> {
        self.0.backend.healthy()
    }

    /// Which store this is, as text: 32 hexadecimal digits, drawn when it was made.
    pub fn identity(&self) -> String {
        format!("{:032x}", self.0.backend.id())
    }

    /// The components of all releases. Only the rows are read.
    pub async fn component_digests(&self) -> Result<Vec<Digest>, Error> {
        let rows = self.all(Key::of(Space::Digest)).await?;
        let digest = |key: &Key| {
            let bytes = key.last_part()?.try_into().map_err(|_| key.corrupt("no digest"))?;
            Ok(Digest::from_bytes(bytes))
        };
        rows.iter().map(|(key, _)| digest(key)).collect()
    }

    /// The release with these bytes.
    pub async fn release(&self, digest: &Digest) -> Result<Option<Release>, Error> {
        let key = Key::digest(Space::Digest, digest);
        let Some((_, found)) = self.read::<DigestRow>(&key).await? else { return Ok(None) };
        let DigestRow { connector, version } = found.header;
        let key = Key::of(Space::Release).part(connector.as_str()).part(&version);
        self.release_at(&key).await
    }

    /// The release of this version.
    pub async fn release_by_version(
        &self,
        connector: &Connector,
        version: &Version,
    ) -> Result<Option<Release>, Error> {
        self.release_at(&release_key(connector, version)).await
    }

    /// Every release, or those of one connector: by name, then by precedence of the version.
    pub async fn releases(&self, connector: Option<&Connector>) -> Result<Vec<Release>, Error> {
        let space = Key::of(Space::Release);
        let prefix = match connector {
            Some(connector) => space.part(connector.as_str()),
            None => space,
        };
        let mut releases = Vec::new();
        for (key, row) in self.all(prefix).await? {
            releases.push(self.release_of(&key, &row).await?);
        }
        releases.sort_by(|a, b| {
            let name = |release: &Release| release.reference.connector.clone();
            let version = |release: &Release| release.reference.version.clone();
            name(a).cmp(&name(b)).then_with(|| version(a).cmp(&version(b)))
        });
        Ok(releases)
    }

    /// What an installation is pinned to, if it is.
    pub async fn pin(&self, installation: &Installation) -> Result<Option<Pin>, Error> {
        Ok(self.newest_generation(installation).await?.and_then(Generation::pin))
    }

    /// The newest entry of an installation's history: its pin, or that it has none any more.
    pub async fn newest_generation(
        &self,
        installation: &Installation,
    ) -> Result<Option<Generation>, Error> {
        let key = Key::installation(Space::Installation, installation).part(PIN);
        let found = self.read::<PinRow>(&key).await?;
        Ok(found.map(|(_, pin)| pin.header.of(installation.clone())))
    }

    /// Everything that an installation ever was pinned to, the first one first.
    pub async fn history(&self, installation: &Installation) -> Result<Vec<Generation>, Error> {
        let rows = self.all(Key::installation(Space::History, installation)).await?;
        rows.iter()
            .map(|(key, row)| Ok(row::decode::<PinRow>(key, row)?.header.of(installation.clone())))
            .collect()
    }

    /// One entry of an installation's history.
    pub async fn generation_at(
        &self,
        installation: &Installation,
        number: u64,
    ) -> Result<Option<Generation>, Error> {
        let key = Key::installation(Space::History, installation).number(number);
        let found = self.read::<PinRow>(&key).await?;
        Ok(found.map(|(_, pin)| pin.header.of(installation.clone())))
    }

    /// What installations of `connector` without a pin run in `environment`.
    pub async fn environment_default(
        &self,
        environment: &Environment,
        connector: &Connector,
    ) -> Result<Option<EnvironmentDefault>, Error> {
        let newest = self.newest_default(environment, connector).await?;
        Ok(newest.and_then(DefaultGeneration::default))
    }

    /// What was last said of a default: what runs, or that it was unset.
    pub async fn newest_default(
        &self,
        environment: &Environment,
        connector: &Connector,
    ) -> Result<Option<DefaultGeneration>, Error> {
        let key = Key::environment_default(environment, connector);
        let found = self.read::<EnvironmentDefaultRow>(&key).await?;
        Ok(found.map(|(_, default)| default.header.of(environment.clone())))
    }

    /// Every environment's defaults.
    pub async fn environment_defaults(&self) -> Result<Vec<EnvironmentDefault>, Error> {
        let mut defaults = Vec::new();
        for (key, row) in self.all(Key::of(Space::EnvironmentDefault)).await? {
            let [environment, _connector] = parts(&key)?;
            let environment = environment.parse().map_err(|error| key.corrupt(error))?;
            let default = row::decode::<EnvironmentDefaultRow>(&key, &row)?.header;
            defaults.extend(default.of(environment).default());
        }
        Ok(defaults)
    }

    /// An installation's configuration, as the newest generation says; none if none was ever set.
    pub async fn config(&self, installation: &Installation) -> Result<Option<Config>, Error> {
        let key = Key::installation(Space::Installation, installation).part(CONFIG);
        self.config_at_key(installation, &key).await
    }

    /// An installation's configuration at one generation.
    pub async fn config_at(
        &self,
        installation: &Installation,
        generation: u64,
    ) -> Result<Option<Config>, Error> {
        let key = Key::installation(Space::ConfigHistory, installation).number(generation);
        let kept = self.config_at_key(installation, &key).await?;
        if kept.is_some() {
            return Ok(kept);
        }
        // Set before there was a history, and nothing since.
        let newest = self.config(installation).await?;
        Ok(newest.filter(|config| config.about.generation == generation))
    }

    /// Every generation of an installation's configuration that is kept, the first one first: at most
    /// [`CONFIG_GENERATIONS_MAX`](keyway_core::limits::CONFIG_GENERATIONS_MAX).
    pub async fn config_history(
        &self,
        installation: &Installation,
    ) -> Result<Vec<ConfigGeneration>, Error> {
        let rows = self.all(Key::installation(Space::ConfigHistory, installation)).await?;
        let of = |(key, row): &(Key, Row)| {
            Ok(row::decode::<ConfigRow>(key, row)?.header.of(installation.clone()))
        };
        let mut history = rows.iter().map(of).collect::<Result<Vec<_>, Error>>()?;
        if history.is_empty() {
            // As in `config_at`.
            history.extend(self.config(installation).await?.map(|config| config.about));
        }
        Ok(history)
    }

    /// A connection, unless it was removed.
    pub async fn connection(&self, of: &ConnectionRef) -> Result<Option<Connection>, Error> {
        let key = connection_key(of);
        match self.get(&key).await? {
            Some(row) => connection_of(of.clone(), &key, &row),
            None => Ok(None),
        }
    }

    /// The connections of a tenant's users, by slot and user.
    pub async fn user_connections(
        &self,
        installation: &Installation,
    ) -> Result<Vec<Connection>, Error> {
        let prefix = Key::installation(Space::UserConnection, installation);
        let mut connections = Vec::new();
        for (key, row) in self.all(prefix).await? {
            connections.extend(user_connection_of(installation, &key, &row)?);
        }
        connections.sort_by(|a, b| (&a.slot, &a.user).cmp(&(&b.slot, &b.user)));
        Ok(connections)
    }

    /// A user with a connection in this slot, found by the mark that stands for them in an address. None where two users
    /// have it.
    pub async fn user_marked(
        &self,
        installation: &Installation,
        slot: &Slot,
        mark: &UserMark,
    ) -> Result<Option<User>, Error> {
        let slot = Key::installation(Space::UserConnection, installation).part(slot.as_str());
        let range = Range { prefix: slot.beginning(mark.hex()), after: None, limit: 2 };
        let found = self.0.backend.scan(range).await?;
        let [(key, row)] = &*found else { return Ok(None) };
        Ok(user_connection_of(installation, key, row)?.and_then(|connection| connection.user))
    }

    /// Shows `look` each connection that the tenant's users have in one slot, in no order that means anything. It is
    /// read in pages: whoever only counts thousands of them need not hold their ciphertexts.
    pub async fn each_user_connection(
        &self,
        installation: &Installation,
        slot: &Slot,
        mut look: impl FnMut(&Connection) + Send,
    ) -> Result<(), Error> {
        let prefix = Key::installation(Space::UserConnection, installation).part(slot.as_str());
        let mut after = None;
        loop {
            let page = self.page(&prefix, after).await?;
            for (key, row) in &page {
                user_connection_of(installation, key, row)?.iter().for_each(&mut look);
            }
            if page.len() < PAGE_ROWS {
                return Ok(());
            }
            after = page.into_iter().next_back().map(|(key, _)| key);
        }
    }

    /// The generation of the connection that was last in this slot, 0 if there never was one. The next
    /// one has one more, even if that last one was removed: a ciphertext from before stays useless.
    pub async fn connection_generation(&self, of: &ConnectionRef) -> Result<u64, Error> {
        let found = self.read::<ConnectionRow>(&connection_key(of)).await?;
        Ok(found.map_or(0, |(_, connection)| connection.header.generation))
    }

    /// Everything about one installation; none if nothing was ever set for it.
    pub async fn installation(
        &self,
        installation: &Installation,
    ) -> Result<Option<InstallationState>, Error> {
        let rows = self.all(Key::installation(Space::Installation, installation)).await?;
        Ok(self.states(rows, &Filter::default()).await?.pop())
    }

    /// Everything about the installations that `filter` lets through, in one pass over their rows.
    pub async fn installations(&self, filter: &Filter) -> Result<Vec<InstallationState>, Error> {
        let prefix = Key::of(Space::Installation);
        let prefix = match (&filter.environment, &filter.tenant) {
            (Some(environment), Some(tenant)) => {
                prefix.part(environment.as_str()).part(tenant.as_str())
            }
            (Some(environment), None) => prefix.part(environment.as_str()),
            (None, _) => prefix,
        };
        let rows = self.all(prefix).await?;
        self.states(rows, filter).await
    }

    /// Connectors of which the tenant has anything, by name, as far as one page of rows tells: for whoever named another.
    pub async fn connectors(
        &self,
        environment: &Environment,
        tenant: &Tenant,
    ) -> Result<Vec<Connector>, Error> {
        let prefix = Key::of(Space::Installation).part(environment.as_str()).part(tenant.as_str());
        let mut connectors: Vec<Connector> = Vec::new();
        for (key, _) in self.page(&prefix, None).await? {
            connectors.push(installation_of(&key, &mut key.texts()?.into_iter())?.connector);
            connectors.dedup();
        }
        Ok(connectors)
    }

    /// The token with this hash.
    pub async fn token(&self, hash: &Digest) -> Result<Option<Token>, Error> {
        let found = self.read::<TokenRow>(&Key::digest(Space::Token, hash)).await?;
        Ok(found.map(|(_, token)| token.header.into()))
    }

    /// Every token, by name.
    pub async fn tokens(&self) -> Result<Vec<Token>, Error> {
        let mut tokens = Vec::new();
        for (key, row) in self.all(Key::of(Space::TokenName)).await? {
            let TokenNameRow { hash } = row::decode(&key, &row)?.header;
            // One removed between the two reads is not there, that is all.
            tokens.extend(self.token(&hash).await?);
        }
        Ok(tokens)
    }

    /// At most `limit` audit entries behind `after_seq`, the oldest first.
    pub async fn audit(&self, after_seq: u64, limit: usize) -> Result<Vec<AuditEntry>, Error> {
        let rows = self.audit_rows(after_seq, limit).await?;
        Ok(rows
            .into_iter()
            .map(|(seq, row)| AuditEntry { seq, at: row.at, entry: row.entry })
            .collect())
    }

    /// At most `limit` audit entries below `before_seq`, or of all, the newest first.
    pub async fn newest_audit(
        &self,
        before_seq: Option<u64>,
        limit: usize,
    ) -> Result<Vec<AuditEntry>, Error> {
        let last = self.seq().await?;
        let last = before_seq.map_or(last, |before| last.min(before.saturating_sub(1)));
        // Numbers have no gaps: so many of them end at the last.
        let limit = limit.min(usize::try_from(last).unwrap_or(usize::MAX));
        let mut entries = self.audit(last - limit as u64, limit).await?;
        entries.reverse();
        Ok(entries)
    }

    /// A cell.
    pub async fn cell(&self, space: &str, key: &[u8]) -> Result<Option<Cell>, Error> {
        let key = cell_key(space, key);
        let Some((_, found)) = self.read::<CellRow>(&key).await? else { return Ok(None) };
        let (CellRow { version }, value) = found.inline(&key)?;
        Ok(Some(Cell { version, value }))
    }

    /// Every cell of a space, by key.
    pub async fn cells(&self, space: &str) -> Result<Vec<(Vec<u8>, Cell)>, Error> {
        let prefix = Key::of(Space::Cell).part(space);
        let mut cells = Vec::new();
        for (key, row) in self.all(prefix).await? {
            let (CellRow { version }, value) = row::decode::<CellRow>(&key, &row)?.inline(&key)?;
            cells.push((key.last_part()?, Cell { version, value }));
        }
        Ok(cells)
    }

    /// Number of the last change of the control plane: that of its audit entry, 0 before the first.
    pub async fn seq(&self) -> Result<u64, Error> {
        let key = Key::of(Space::Counter).part(AUDIT);
        count(&key, self.get(&key).await?.as_ref())
    }

    pub(crate) async fn audit_rows(
        &self,
        after_seq: u64,
        limit: usize,
    ) -> Result<Vec<(u64, AuditRow)>, Error> {
        let prefix = Key::of(Space::Audit);
        let after = Some(prefix.clone().number(after_seq));
        let rows = self.0.backend.scan(Range { prefix, after, limit }).await?;
        rows.iter()
            .map(|(key, row)| Ok((key.last_number()?, row::decode::<AuditRow>(key, row)?.header)))
            .collect()
    }

    /// A row as it is.
    pub(crate) async fn get(&self, key: &Key) -> Result<Option<Row>, Error> {
        self.0.backend.get(key).await
    }

    /// A row, decoded.
    pub(crate) async fn read<H: DeserializeOwned>(
        &self,
        key: &Key,
    ) -> Result<Option<(Row, Decoded<H>)>, Error> {
        let Some(row) = self.get(key).await? else { return Ok(None) };
        let decoded = row::decode(key, &row)?;
        Ok(Some((row, decoded)))
    }

    /// One page of rows.
    pub(crate) async fn page(
        &self,
        prefix: &Key,
        after: Option<Key>,
    ) -> Result<Vec<(Key, Row)>, Error> {
        let range = Range { prefix: prefix.clone(), after, limit: PAGE_ROWS };
        self.0.backend.scan(range).await
    }

    /// Every row below `prefix`, read in pages.
    pub(crate) async fn all(&self, prefix: Key) -> Result<Vec<(Key, Row)>, Error> {
        let mut rows: Vec<(Key, Row)> = Vec::new();
        loop {
            let after = rows.last().map(|(key, _)| key.clone());
            let page = self.page(&prefix, after).await?;
            let last = page.len() < PAGE_ROWS;
            rows.extend(page);
            if last {
                return Ok(rows);
            }
        }
    }

    /// The store's own time.
    pub(crate) async fn now(&self) -> Result<OffsetDateTime, Error> {
        self.0.backend.now().await
    }

    /// The time that is written down: informative.
    pub(crate) fn time(&self) -> OffsetDateTime {
        self.0.clock.now()
    }

    /// Applies a commit, or says that a guard did not hold.
    pub(crate) async fn apply(&self, commit: Commit) -> Result<Verdict, Error> {
        commit.check()?;
        let started_at = Instant::now();
        let verdict = self.0.backend.commit(commit).await;
        self.0.metrics.commit(&verdict, started_at.elapsed());
        verdict
    }

    /// What it counts, for a registry.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    async fn release_at(&self, key: &Key) -> Result<Option<Release>, Error> {
        match self.get(key).await? {
            Some(row) => Ok(Some(self.release_of(key, &row).await?)),
            None => Ok(None),
        }
    }

    async fn release_of(&self, key: &Key, row: &Row) -> Result<Release, Error> {
        let [connector, version] = parts(key)?;
        let Decoded { header, body } = row::decode::<PublishedRow>(key, row)?;
        let json = self.body(key, body).await?;
        // Shape only: what was admitted once is not judged anew by the rules of a later version.
        let descriptor: Descriptor =
            serde_json::from_slice(&json).map_err(|error| key.corrupt(error))?;
        let connector = connector.parse().map_err(|error| key.corrupt(error))?;
        let version = version.parse().map_err(|error| key.corrupt(error))?;
        Ok(Release {
            reference: ReleaseRef::new(connector, version, header.digest),
            descriptor,
            component_bytes: header.component_bytes,
            exports: header.exports,
            contract: header.contract,
            published_by: header.published_by,
            published_at: header.published_at,
        })
    }

    /// Groups the rows of installations; they lie next to each other.
    async fn states(
        &self,
        rows: Vec<(Key, Row)>,
        filter: &Filter,
    ) -> Result<Vec<InstallationState>, Error> {
        let mut states: Vec<InstallationState> = Vec::new();
        for (key, row) in rows {
            let mut parts = key.texts()?.into_iter();
            let installation = installation_of(&key, &mut parts)?;
            let wanted = filter.tenant.as_ref().is_none_or(|t| *t == installation.tenant)
                && filter.connector.as_ref().is_none_or(|c| *c == installation.connector);
            if !wanted {
                continue;
            }
            if states.last().is_none_or(|state| state.installation != installation) {
                states.push(InstallationState {
                    installation: installation.clone(),
                    pin: None,
                    config: None,
                    connections: Vec::new(),
                });
            }
            let Some(state) = states.last_mut() else { continue };
            match (parts.next().as_deref(), parts.next()) {
                (Some(PIN), None) => {
                    state.pin = row::decode::<PinRow>(&key, &row)?.header.of(installation).pin();
                }
                (Some(CONFIG), None) => {
                    state.config = Some(self.config_of(&installation, &key, &row).await?);
                }
                (Some(CONNECTION), Some(slot)) => {
                    let slot = slot.parse().map_err(|error| key.corrupt(error))?;
                    let of = ConnectionRef { installation, slot, user: None };
                    state.connections.extend(connection_of(of, &key, &row)?);
                }
                (Some(USERS), None) => {}
                _ => return Err(key.corrupt("no part of an installation")),
            }
        }
        Ok(states)
    }

    async fn config_at_key(
        &self,
        installation: &Installation,
        key: &Key,
    ) -> Result<Option<Config>, Error> {
        match self.get(key).await? {
            Some(row) => Ok(Some(self.config_of(installation, key, &row).await?)),
            None => Ok(None),
        }
    }

    async fn config_of(
        &self,
        installation: &Installation,
        key: &Key,
        row: &Row,
    ) -> Result<Config, Error> {
        let Decoded { header, body } = row::decode::<ConfigRow>(key, row)?;
        let json = self.body(key, body).await?;
        let json = String::from_utf8(json.into()).map_err(|error| key.corrupt(error))?;
        Ok(Config { json, about: header.of(installation.clone()) })
    }

    async fn body(&self, key: &Key, body: Body) -> Result<Bytes, Error> {
        match body {
            Body::Inline(bytes) => Ok(bytes),
            Body::Blob(digest) => {
                let found = self.blobs().get(&digest).await?;
                found.ok_or_else(|| key.corrupt(format_args!("its blob {digest} is missing")))
            }
        }
    }
}

// === impl Rounds ===

impl Rounds {
    /// Tries one. None means: read again, work it out again. Else the numbers given to its appends.
    pub(crate) async fn attempt(
        &mut self,
        store: &Store,
        commit: Commit,
    ) -> Result<Option<Vec<u64>>, Error> {
        self.0 += 1;
        match store.apply(commit).await? {
            Verdict::Committed { appended } => Ok(Some(appended)),
            Verdict::Refused if self.0 < ROUNDS_MAX => Ok(None),
            Verdict::Refused => Err(Error::Conflict { what: Collision::Contended }),
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

/// Where a release is.
pub(crate) fn release_key(connector: &Connector, version: &Version) -> Key {
    Key::of(Space::Release).part(connector.as_str()).part(version.to_string())
}

/// Where a connection is.
pub(crate) fn connection_key(of: &ConnectionRef) -> Key {
    let ConnectionRef { installation, slot, user } = of;
    match user {
        None => Key::installation(Space::Installation, installation)
            .part(CONNECTION)
            .part(slot.as_str()),
        Some(user) => Key::installation(Space::UserConnection, installation)
            .part(slot.as_str())
            // Their names are longer than a key has room for. 24 bytes of the hash do not collide.
            .part(&Digest::of(user.as_str().as_bytes()).hex()[..48]),
    }
}

/// Where a cell is.
pub(crate) fn cell_key(space: &str, key: &[u8]) -> Key {
    Key::of(Space::Cell).part(space).part(key)
}

/// A key's parts, which must be this many.
fn parts<const N: usize>(key: &Key) -> Result<[String; N], Error> {
    key.texts()?.try_into().map_err(|_| key.corrupt("not its number of parts"))
}

pub(crate) fn installation_of(
    key: &Key,
    parts: &mut impl Iterator<Item = String>,
) -> Result<Installation, Error> {
    let mut next = || parts.next().ok_or_else(|| key.corrupt("a part is missing"));
    Ok(Installation {
        environment: next()?.parse().map_err(|error| key.corrupt(error))?,
        tenant: next()?.parse().map_err(|error| key.corrupt(error))?,
        connector: next()?.parse().map_err(|error| key.corrupt(error))?,
    })
}

/// A connection, unless the row says that it was removed.
fn connection_of(of: ConnectionRef, key: &Key, row: &Row) -> Result<Option<Connection>, Error> {
    let (header, sealed) = row::decode::<ConnectionRow>(key, row)?.inline(key)?;
    Ok(header.of(of, sealed))
}

/// A user's connection, unless the row says that it was removed. Only the row has the user's name.
fn user_connection_of(
    installation: &Installation,
    key: &Key,
    row: &Row,
) -> Result<Option<Connection>, Error> {
    let [.., slot, _] = parts::<5>(key)?;
    let (header, sealed) = row::decode::<ConnectionRow>(key, row)?.inline(key)?;
    let user = header.set.as_ref().and_then(|set| set.user.clone());
    let slot = slot.parse().map_err(|error| key.corrupt(error))?;
    let of = ConnectionRef { installation: installation.clone(), slot, user };
    Ok(header.of(of, sealed))
}

impl From<TokenRow> for Token {
    fn from(row: TokenRow) -> Self {
        Self {
            name: row.name,
            hash: row.hash,
            role: row.role,
            environments: row.environments,
            publisher: row.publisher,
            bounds: row.bounds,
            expires_at: row.expires_at,
            at: row.at,
        }
    }
}
