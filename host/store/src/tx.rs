//! A change of the control plane, with its audit entry.
//!
//! A [`Tx`] collects what is to change and checks nothing; [`Tx::commit`] reads what is there, checks
//! that each change follows it, and hands all of it to the backend guarded by what it read. It does not
//! decide who may change what.

use bytes::Bytes;
use keyway_core::ids::{Actor, ConnectionRef, Connector, Environment, Installation};
use keyway_core::{Digest, Release};

use crate::backend::{Commit, Write, within};
use crate::batch::CellChange;
use crate::error::{Collision, Error};
use crate::key::{Key, Space};
use crate::model::{By, Config, Connection, Entry, EnvironmentDefault, Generation, Token};
use crate::row::{
    self, AuditRow, ConfigRow, ConnectionRow, DigestRow, EnvironmentDefaultRow, PinRow,
    PublishedRow, TokenNameRow, TokenRow, Touched, UsersRow,
};
use crate::store::{AUDIT, CONFIG, PIN, Rounds, Store, USERS, connection_key, release_key};

/// Changes of the control plane that land together or not at all.
///
/// Nothing happens before [`commit`](Self::commit), and that takes an audit entry:
///
/// ```
/// # async fn example(store: keyway_store::Store, pin: keyway_store::Pin, entry: keyway_store::Entry)
/// # -> Result<(), keyway_store::Error> {
/// let seq = store.tx().pin(pin).commit(entry).await?;
/// # Ok(()) }
/// ```
///
/// A change without one does not type-check:
///
/// ```compile_fail,E0061
/// # async fn example(store: keyway_store::Store, pin: keyway_store::Pin)
/// # -> Result<(), keyway_store::Error> {
/// let seq = store.tx().pin(pin).commit().await?;
/// # Ok(()) }
/// ```
///
/// Two changes of the same thing in one `Tx` contradict each other and are a conflict.
#[must_use = "nothing changes before `commit`"]
pub struct Tx {
    store: Store,
    changes: Vec<Change>,
}

pub(crate) enum Change {
    Publish(Box<Release>),
    Pin(Box<Generation>),
    Default(EnvironmentDefault),
    UnsetDefault { of: (Environment, Connector), generation: u64, by: By },
    Config(Config),
    Connection(Connection),
    Disconnect(ConnectionRef, u64),
    Cell(CellChange),
    AddToken(Token),
    RemoveToken(Actor),
    Erase(Vec<Key>),
}

/// A commit in the making.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) commit: Commit,
    touched: Vec<Touched>,
    /// What must be blobs before the rows that name them.
    spilled: Vec<Bytes>,
}

/// Bytes of a sealed credential. What does not fit a row with its fields is not a credential.
const SEALED_BYTES_MAX: usize = 3 << 10;

// === impl Store ===

impl Store {
    /// Begins a change of the control plane.
    pub fn tx(&self) -> Tx {
        Tx { store: self.clone(), changes: Vec::new() }
    }
}

// === impl Tx ===

impl Tx {
    /// Adds a release. Neither its digest nor its version may have been published before.
    pub fn publish(self, release: Release) -> Self {
        self.with(Change::Publish(Box::new(release)))
    }

    /// Pins an installation, or says that it has no pin any more. The number must be one more than that of its newest
    /// generation.
    pub fn pin(self, generation: impl Into<Generation>) -> Self {
        self.with(Change::Pin(Box::new(generation.into())))
    }

    /// Sets what runs without a pin. The generation must be one more than that of the one there.
    pub fn set_default(self, default: EnvironmentDefault) -> Self {
        self.with(Change::Default(default))
    }

    /// Unsets what runs without a pin. The generation must be one more than that of the one there, and stays taken.
    pub fn unset_default(
        self,
        environment: &Environment,
        connector: &Connector,
        generation: u64,
        by: By,
    ) -> Self {
        let of = (environment.clone(), connector.clone());
        self.with(Change::UnsetDefault { of, generation, by })
    }

    /// Sets a configuration. The generation must be one more than that of the one there. Where that is one too many, an
    /// older one is left out of the history.
    pub fn set_config(self, config: Config) -> Self {
        self.with(Change::Config(config))
    }

    /// Sets a connection. The generation must be one more than
    /// [`connection_generation`](Store::connection_generation) says, which counts removed ones.
    pub fn set_connection(self, connection: Connection) -> Self {
        self.with(Change::Connection(connection))
    }

    /// Removes the connection that has this generation. Its ciphertext is gone from the rows at once;
    /// the generation stays taken.
    pub fn remove_connection(self, of: &ConnectionRef, generation: u64) -> Self {
        self.with(Change::Disconnect(of.clone(), generation))
    }

    /// Writes a cell with it; as [`Batch::put_cell`](crate::Batch::put_cell).
    pub fn put_cell(
        self,
        space: &str,
        key: &[u8],
        expected_version: Option<u64>,
        value: impl Into<Bytes>,
    ) -> Self {
        let value = Some(value.into());
        self.with(Change::Cell(CellChange::new(space, key, expected_version, value)))
    }

    /// Removes a cell with it; as [`Batch::remove_cell`](crate::Batch::remove_cell).
    pub fn remove_cell(self, space: &str, key: &[u8], expected_version: u64) -> Self {
        self.with(Change::Cell(CellChange::new(space, key, Some(expected_version), None)))
    }

    /// Adds a token. Neither its name nor its hash may be taken.
    pub fn add_token(self, token: Token) -> Self {
        self.with(Change::AddToken(token))
    }

    /// Removes the token with this name.
    pub fn remove_token(self, name: &Actor) -> Self {
        self.with(Change::RemoveToken(name.clone()))
    }

    /// Makes all of it durable together with `entry`, and answers the entry's number. Numbers have no
    /// gaps. If this future is dropped, the change may or may not land.
    pub async fn commit(self, entry: Entry) -> Result<u64, Error> {
        let Self { store, changes } = self;
        let mut rounds = Rounds::default();
        loop {
            let mut plan = Plan::default();
            for change in &changes {
                plan.add(&store, change).await?;
            }
            plan.commit.once_each()?;
            let _spilling =
                if plan.spilled.is_empty() { None } else { Some(store.0.spilling.read().await) };
            for bytes in plan.spilled.drain(..) {
                store.blobs().put(bytes).await?;
            }
            plan.audit(&store, &entry)?;
            let Some(appended) = rounds.attempt(&store, plan.commit).await? else { continue };
            // The audit's is the only sequence that a `Tx` appends to, and it always does.
            let seq = appended.last().copied();
            let seq = seq.ok_or_else(|| Error::unavailable("a commit without its audit entry"))?;
            store.wake(seq);
            return Ok(seq);
        }
    }

    pub(crate) fn with(mut self, change: Change) -> Self {
        self.changes.push(change);
        self
    }
}

// === impl Plan ===

impl Plan {
    async fn add(&mut self, store: &Store, change: &Change) -> Result<(), Error> {
        match change {
            Change::Publish(release) => self.publish(store, release).await,
            Change::Pin(pin) => self.pin(store, pin).await,
            Change::Default(default) => {
                let of = (&default.environment, &default.release.connector);
                let row = EnvironmentDefaultRow::from(default);
                self.set_default(store, of, row).await
            }
            Change::UnsetDefault { of: (environment, connector), generation, by } => {
                let row = EnvironmentDefaultRow::unset(*generation, by.clone());
                self.set_default(store, (environment, connector), row).await
            }
            Change::Config(config) => self.set_config(store, config).await,
            Change::Connection(connection) => self.set_connection(store, connection).await,
            Change::Disconnect(of, generation) => self.disconnect(store, of, *generation).await,
            Change::Cell(change) => change.plan(store, &mut self.commit).await,
            Change::AddToken(token) => self.add_token(store, token).await,
            Change::RemoveToken(name) => self.remove_token(store, name).await,
            Change::Erase(keys) => self.erase(store, keys).await,
        }
    }

    async fn publish(&mut self, store: &Store, release: &Release) -> Result<(), Error> {
        let reference = &release.reference;
        let at = release_key(&reference.connector, &reference.version);
        let by_digest = Key::digest(Space::Digest, &reference.digest);
        self.new_row(store, &by_digest, Collision::Release).await?;
        self.new_row(store, &at, Collision::Version).await?;
        let header = PublishedRow {
            digest: reference.digest,
            component_bytes: release.component_bytes,
            exports: release.exports.clone(),
            contract: release.contract.clone(),
            published_by: release.published_by.clone(),
            published_at: release.published_at,
        };
        let descriptor = serde_json::to_vec(&release.descriptor).map_err(Error::unavailable)?;
        self.put_spilling(at, &header, descriptor.into())?;
        let version = reference.version.to_string();
        let names = DigestRow { connector: reference.connector.clone(), version };
        self.commit.put(by_digest, row::encode(&names, b"")?);
        self.touched.push(Touched::Release(reference.digest));
        Ok(())
    }

    async fn pin(&mut self, store: &Store, next: &Generation) -> Result<(), Error> {
        let key = Key::installation(Space::Installation, &next.installation).part(PIN);
        let found = store.read::<PinRow>(&key).await?;
        follows(found.as_ref().map(|(_, p)| p.header.generation), next.number, Collision::Pin)?;
        self.commit.unchanged(&key, found.as_ref().map(|(row, _)| row));
        let value = row::encode(&PinRow::from(next), b"")?;
        let history = Key::installation(Space::History, &next.installation).number(next.number);
        self.commit.put(key, value.clone());
        self.commit.put(history, value);
        self.touched.push(Touched::Installation(next.installation.clone()));
        Ok(())
    }

    async fn set_default(
        &mut self,
        store: &Store,
        (environment, connector): (&Environment, &Connector),
        next: EnvironmentDefaultRow,
    ) -> Result<(), Error> {
        let key = Key::environment_default(environment, connector);
        let found = store.read::<EnvironmentDefaultRow>(&key).await?;
        let last = found.as_ref().map(|(_, default)| default.header.generation);
        follows(last, next.generation, Collision::EnvironmentDefault)?;
        self.commit.unchanged(&key, found.as_ref().map(|(row, _)| row));
        self.commit.put(key, row::encode(&next, b"")?);
        self.touched.push(Touched::EnvironmentDefault(environment.clone(), connector.clone()));
        Ok(())
    }

    async fn set_config(&mut self, store: &Store, config: &Config) -> Result<(), Error> {
        let Config { json, about } = config;
        let key = Key::installation(Space::Installation, &about.installation).part(CONFIG);
        let found = store.read::<ConfigRow>(&key).await?;
        let last = found.as_ref().map(|(_, config)| config.header.generation);
        follows(last, about.generation, Collision::Config)?;
        self.commit.unchanged(&key, found.as_ref().map(|(row, _)| row));
        self.trim_configs(store, &about.installation, about.taken).await?;
        let history = Key::installation(Space::ConfigHistory, &about.installation);
        if let (Some((row, _)), Some(last)) = (&found, last) {
            // One that was set before there was a history gets into it now.
            let before = history.clone().number(last);
            if store.get(&before).await?.is_none() {
                self.commit.put(before, row.value.clone());
            }
        }
        let body = Bytes::copy_from_slice(json.as_bytes());
        let (value, spilled) = row::encode_or_spill(&ConfigRow::from(about), body)?;
        self.commit.put(key, value.clone());
        self.commit.put(history.number(about.generation), value);
        self.spilled.extend(spilled);
        self.touched.push(Touched::Installation(about.installation.clone()));
        Ok(())
    }

    async fn set_connection(
        &mut self,
        store: &Store,
        connection: &Connection,
    ) -> Result<(), Error> {
        within("a sealed credential", connection.sealed.len(), SEALED_BYTES_MAX)?;
        let key = connection_key(&connection.reference());
        let found = store.read::<ConnectionRow>(&key).await?;
        let last = found.as_ref().map(|(_, connection)| connection.header.generation);
        follows(last, connection.generation, Collision::Connection)?;
        self.commit.unchanged(&key, found.as_ref().map(|(row, _)| row));
        let header = ConnectionRow::from(connection);
        self.commit.put(key, row::encode(&header, &connection.sealed)?);
        if connection.user.is_some() {
            self.mark_users(store, &connection.installation).await?;
        }
        self.touched.push(Touched::Installation(connection.installation.clone()));
        Ok(())
    }

    pub(crate) fn touch(&mut self, installation: Installation) {
        self.touched.push(Touched::Installation(installation));
    }

    /// Without a guard: whoever else writes it writes the same.
    async fn mark_users(&mut self, store: &Store, of: &Installation) -> Result<(), Error> {
        let key = Key::installation(Space::Installation, of).part(USERS);
        if !self.commit.writes_to(&key) && store.get(&key).await?.is_none() {
            self.commit.put(key, row::encode(&UsersRow {}, b"")?);
        }
        Ok(())
    }

    async fn disconnect(
        &mut self,
        store: &Store,
        of: &ConnectionRef,
        generation: u64,
    ) -> Result<(), Error> {
        let key = connection_key(of);
        let found = store.read::<ConnectionRow>(&key).await?;
        let there = found.filter(|(_, connection)| {
            connection.header.generation == generation && connection.header.set.is_some()
        });
        let Some((row, _)) = there else {
            return Err(Error::Conflict { what: Collision::Connection });
        };
        self.commit.unchanged(&key, Some(&row));
        self.commit.put(key, row::encode(&ConnectionRow { generation, set: None }, b"")?);
        self.touched.push(Touched::Installation(of.installation.clone()));
        Ok(())
    }

    async fn add_token(&mut self, store: &Store, token: &Token) -> Result<(), Error> {
        let key = Key::digest(Space::Token, &token.hash);
        let name = token_name_key(&token.name);
        self.new_row(store, &key, Collision::Token).await?;
        self.new_row(store, &name, Collision::Token).await?;
        self.commit.put(key, row::encode(&TokenRow::from(token), b"")?);
        self.commit.put(name, row::encode(&TokenNameRow { hash: token.hash }, b"")?);
        self.touched.push(Touched::Tokens);
        Ok(())
    }

    async fn remove_token(&mut self, store: &Store, name: &Actor) -> Result<(), Error> {
        let key = token_name_key(name);
        let Some((row, found)) = store.read::<TokenNameRow>(&key).await? else {
            return Err(Error::UnknownToken { name: name.clone() });
        };
        self.commit.unchanged(&key, Some(&row));
        self.commit.writes.push(Write::Remove { key });
        let key = Key::digest(Space::Token, &found.header.hash);
        self.commit.writes.push(Write::Remove { key });
        self.touched.push(Touched::Tokens);
        Ok(())
    }

    /// Appends the audit entry, with what the change touched if that fits beside it.
    fn audit(&mut self, store: &Store, entry: &Entry) -> Result<(), Error> {
        let touched = Some(std::mem::take(&mut self.touched));
        let mut header = AuditRow { at: store.time(), entry: entry.clone(), touched };
        let value = match row::encode(&header, b"") {
            Ok(value) if value.len() <= Commit::VALUE_BYTES_MAX => value,
            _ => {
                header.touched = None;
                row::encode(&header, b"")?
            }
        };
        self.commit.writes.push(Write::Append {
            counter: Key::of(Space::Counter).part(AUDIT),
            prefix: Key::of(Space::Audit),
            value,
        });
        Ok(())
    }

    /// Requires that a row is not there.
    async fn new_row(&mut self, store: &Store, key: &Key, what: Collision) -> Result<(), Error> {
        if store.get(key).await?.is_some() {
            return Err(Error::Conflict { what });
        }
        self.commit.unchanged(key, None);
        Ok(())
    }

    fn put_spilling<H: serde::Serialize>(
        &mut self,
        key: Key,
        header: &H,
        body: Bytes,
    ) -> Result<(), Error> {
        let (value, spilled) = row::encode_or_spill(header, body)?;
        self.commit.put(key, value);
        self.spilled.extend(spilled);
        Ok(())
    }
}

/// Refuses a generation that is not the next one.
fn follows(last: Option<u64>, generation: u64, what: Collision) -> Result<(), Error> {
    if last.unwrap_or(0).checked_add(1) == Some(generation) {
        Ok(())
    } else {
        Err(Error::Conflict { what })
    }
}

fn token_name_key(name: &Actor) -> Key {
    Key::of(Space::TokenName).part(name.as_str())
}

impl From<&Token> for TokenRow {
    fn from(token: &Token) -> Self {
        Self {
            name: token.name.clone(),
            hash: Digest::from_bytes(*token.hash.as_bytes()),
            role: token.role,
            environments: token.environments.clone(),
            publisher: token.publisher.clone(),
            bounds: token.bounds.clone(),
            expires_at: token.expires_at,
            at: token.at,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keyway_core::ports::Clock;
    use serde_json::json;
    use time::OffsetDateTime;

    use super::*;
    use crate::Batch;
    use crate::conformance::{self, installation};

    struct Fixed;

    impl Clock for Fixed {
        fn now(&self) -> OffsetDateTime {
            OffsetDateTime::UNIX_EPOCH
        }
    }

    /// As version 0.1.0 wrote them: a pin, a default and a configuration, none of which knew of going back.
    #[tokio::test]
    async fn rows_of_before_there_were_histories_are_read_and_go_on() {
        let store = Store::memory(Arc::new(Fixed));
        let acme = installation("acme");
        let (dev, connector) = (acme.environment.clone(), acme.connector.clone());
        let digest = Digest::of(b"{}");
        let release = json!({"connector": "keyway/hubspot", "version": "1.0.0", "digest": digest});
        let said = json!({"generation": 4, "release": release, "actor": "ann", "reason": "r",
            "at": "2026-02-02T12:00:00Z"});
        let mut pin = said.clone();
        pin["reverts_to"] = json!(2);
        let of = Key::installation(Space::Installation, &acme);
        let mut commit = Commit::default();
        commit.put(of.clone().part(PIN), row::encode(&pin, b"").unwrap());
        let config = json!({"generation": 3, "digest": digest});
        commit.put(of.part(CONFIG), row::encode(&config, b"{}").unwrap());
        let default = Key::environment_default(&dev, &connector);
        commit.put(default, row::encode(&said, b"").unwrap());
        store.apply(commit).await.unwrap();

        let state = store.installation(&acme).await.unwrap().unwrap();
        let (pin, config) = (state.pin.unwrap(), state.config.unwrap());
        assert_eq!((pin.generation, pin.reverts_to, pin.config), (4, Some(2), None));
        assert_eq!((config.json.as_str(), config.about.generation), ("{}", 3));
        assert_eq!((&config.about.by, config.about.removed), (&None, false));
        assert_eq!(store.config_at(&acme, 3).await.unwrap().as_ref(), Some(&config));
        assert_eq!(store.config_history(&acme).await.unwrap(), std::slice::from_ref(&config.about));
        assert_eq!(store.environment_defaults().await.unwrap().len(), 1);

        let next = conformance::config(&acme, 4, r#"{"n":1}"#);
        store.tx().set_config(next.clone()).commit(conformance::entry("x")).await.unwrap();
        assert_eq!(store.config_at(&acme, 3).await.unwrap().as_ref(), Some(&config));
        assert_eq!(store.config_history(&acme).await.unwrap(), [config.about, next.about]);
    }

    /// Handlers and tasks hold these across threads.
    #[test]
    fn every_change_is_a_future_that_may_move() {
        fn send<T: Send>(_: impl FnOnce(&Store, Tx, Batch, Entry) -> T) {}
        send(|_, tx, _, entry| tx.commit(entry));
        send(|_, _, batch, _| batch.commit());
    }
}
