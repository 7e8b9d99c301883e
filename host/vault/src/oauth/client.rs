//! OAuth clients: who the operator is at a provider, for each environment.
//!
//! The operator owns the client; a connector's publisher never sees it. Its secret is sealed for the environment and
//! goes only to the token endpoint. One client in two environments means that each can revoke the other's tokens,
//! which is said when it is configured.
//!
//! A secret of usual length is in the client's own cell. A longer one, such as a key that signs assertions, is in cells
//! beside it that are named after the generation: they are written with it, and go with it.

use std::collections::BTreeSet;

use keyway_core::descriptor::{Algorithm, Oauth};
use keyway_core::ids::{Actor, ConnectionRef, Connector, Environment, Slot};
use keyway_core::{Code, Fault};
use keyway_store::model::{Entry, PAYLOAD_BYTES_MAX};
use keyway_store::{Cell, Store, Tx};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::connections::{Vault, host};
use crate::oauth::assertion;
use crate::oauth::confirmed;
use crate::oauth::record::OwnClient;
use crate::seal::{Field, Place, Sealer};

/// Bytes of a client's id or secret.
pub const CLIENT_BYTES_MAX: usize = 1 << 10;

/// Bytes of a key that signs, in PEM. One of RSA with 4,096 bits has 3,300, with 8,192 twice that.
pub const KEY_BYTES_MAX: usize = 8 << 10;

/// Bytes of a key's id. The longest that a provider is known to give is a thumbprint of 64.
const KEY_ID_BYTES_MAX: usize = 256;

/// Bytes of a sealed secret that stands in the client's own cell, in hex, beside an id of the greatest length.
const INLINE_BYTES_MAX: usize = 512;

/// Reads that meet a writer before that is reported as trouble. Clients are set by people.
const READ_ROUNDS: u32 = 3;

/// The store's name for these cells.
const SPACE: &str = "vault/oauth-client";

/// And for those that long secrets are in.
const PARTS: &str = "vault/oauth-client-part";

/// What is said of a secret that cannot be had.
const CLOSED: &str = "the secret of an OAuth client does not open";

/// Which client.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ClientRef {
    /// Where.
    pub environment: Environment,
    /// For which connector.
    pub connector: Connector,
    /// For which of its slots.
    pub slot: Slot,
}

/// A client, as an operator sets it.
#[derive(Debug)]
pub struct ClientSetting {
    /// What the provider calls it.
    pub id: String,
    /// None for a public client.
    pub secret: Option<SecretString>,
    /// What the provider calls the key that it signs with.
    pub key_id: Option<String>,
    /// What its secret may be.
    pub accepted: Accepted,
    /// Where it may be presented: [`confirmed::hosts`] of the releases that there are.
    pub hosts: BTreeSet<String>,
}

/// What the secret of a client may be, as the releases of its connector have it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Accepted {
    /// A text, which is sent.
    text: bool,
    /// A key of one of these, which signs.
    keys: Vec<Algorithm>,
    /// A key comes with its id.
    key_id: bool,
}

/// A client that is set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientInfo {
    /// Which.
    pub of: ClientRef,
    /// What the provider calls it.
    pub id: String,
    /// Whether it has a secret.
    pub secret: bool,
    /// What the provider calls the key that it signs with.
    pub key_id: Option<String>,
    /// 1 for the first, one more with each.
    pub generation: u64,
    /// When it was set.
    pub at: OffsetDateTime,
    /// Where it may be presented.
    pub hosts: BTreeSet<String>,
    /// Other environments that use the same id at the same server, whichever connector it is for.
    pub shared_with: Vec<Environment>,
}

/// A client, ready to be presented.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) secret: Option<SecretString>,
    pub(crate) key_id: Option<String>,
}

/// Keeps clients.
#[derive(Clone)]
pub(crate) struct Clients {
    store: Store,
    sealer: Sealer,
}

#[derive(Serialize, Deserialize)]
struct Row {
    environment: Environment,
    connector: Connector,
    slot: Slot,
    id: String,
    /// Hex, of a secret that is not in cells of its own.
    sealed: Option<String>,
    /// How many cells of its own it is in.
    #[serde(default)]
    parts: usize,
    #[serde(default)]
    key_id: Option<String>,
    #[serde(default)]
    hosts: BTreeSet<String>,
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
}

// === impl ClientRef ===

impl ClientRef {
    /// The client that a connection's tokens are had with.
    pub fn of(connection: &ConnectionRef) -> Self {
        Self {
            environment: connection.installation.environment.clone(),
            connector: connection.installation.connector.clone(),
            slot: connection.slot.clone(),
        }
    }

    fn key(&self) -> Vec<u8> {
        format!("{} {} {}", self.environment, self.connector, self.slot).into_bytes()
    }

    fn part_key(&self, generation: u64, part: usize) -> Vec<u8> {
        [self.key(), format!(" {generation} {part}").into_bytes()].concat()
    }

    /// What the audit calls it.
    fn object(&self) -> String {
        format!("{} {} slot {}", self.environment, self.connector, self.slot)
    }

    fn place(&self, version: u64) -> Place<'_> {
        Place {
            field: Field::Client,
            environment: &self.environment,
            tenant: None,
            connector: &self.connector,
            slot: &self.slot,
            user: None,
            version,
        }
    }
}

// === impl Accepted ===

impl Accepted {
    /// A text, and no key.
    pub const TEXT: Self = Self { text: true, keys: Vec::new(), key_id: false };

    /// What a slot wants.
    pub fn of(oauth: &Oauth) -> Self {
        match &oauth.assertion {
            None => Self::TEXT,
            Some(assertion) => {
                Self { text: false, keys: vec![assertion.algorithm], key_id: assertion.key_id }
            }
        }
    }

    /// What one or the other wants.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        self.keys.extend(other.keys);
        Self { text: self.text || other.text, key_id: self.key_id || other.key_id, ..self }
    }

    /// Refuses a client that no release has a use for.
    pub(crate) fn check(
        &self,
        id: &str,
        secret: Option<&SecretString>,
        key_id: Option<&str>,
    ) -> Result<(), Fault> {
        let refuse = |detail: String| Err(Fault::new(Code::CredentialInvalid, detail));
        let rule = format!("1 to {CLIENT_BYTES_MAX} printable ASCII letters");
        if !is_client_text(id) {
            return refuse(format!("`client_id` is not {rule}"));
        }
        if key_id.is_some_and(|id| !is_client_text(id) || id.len() > KEY_ID_BYTES_MAX) {
            return refuse(format!(
                "`key_id` is not 1 to {KEY_ID_BYTES_MAX} printable ASCII letters"
            ));
        }
        let signs = secret.is_some_and(|secret| {
            let fits = secret.expose_secret().len() <= KEY_BYTES_MAX;
            fits && self.keys.iter().any(|algorithm| assertion::is_key(secret, *algorithm))
        });
        let text = secret.is_none_or(|secret| is_client_text(secret.expose_secret()));
        match (signs, key_id) {
            (true, None) if self.key_id => {
                refuse("`key_id` is needed: the provider tells keys by it".to_owned())
            }
            (true, _) => Ok(()),
            (false, Some(_)) => refuse("`key_id` goes with a key that signs".to_owned()),
            (false, None) if self.text && text => Ok(()),
            (false, None) if self.text => refuse(format!("`client_secret` is not {rule}")),
            (false, None) => refuse(format!(
                "`client_secret` is no private key in PEM, of {KEY_BYTES_MAX} bytes at most, that the slot's assertions are signed with"
            )),
        }
    }
}

// === impl Row ===

impl Row {
    fn of(&self) -> ClientRef {
        let Self { environment, connector, slot, .. } = self;
        ClientRef {
            environment: environment.clone(),
            connector: connector.clone(),
            slot: slot.clone(),
        }
    }

    fn has_secret(&self) -> bool {
        self.sealed.is_some() || self.parts > 0
    }

    /// Takes a sealed secret: itself, or with cells that are added to the change.
    fn keep(&mut self, mut tx: Tx, of: &ClientRef, generation: u64, sealed: &[u8]) -> Tx {
        (self.sealed, self.parts) = (None, 0);
        if sealed.len() <= INLINE_BYTES_MAX {
            self.sealed = Some(hex::encode(sealed));
            return tx;
        }
        for (part, bytes) in sealed.chunks(PAYLOAD_BYTES_MAX).enumerate() {
            tx = tx.put_cell(PARTS, &of.part_key(generation, part), None, bytes.to_vec());
            self.parts = part + 1;
        }
        tx
    }

    /// Whether the provider knows both as one. An id says so at one server only; clients of one connector are taken to
    /// be at one, wherever its releases have moved since.
    fn is_client_of(&self, other: &Self) -> bool {
        let same_server =
            self.connector == other.connector || !self.hosts.is_disjoint(&other.hosts);
        self.id == other.id && same_server
    }
}

// === impl Vault ===

impl Vault {
    /// The client that a connection's tokens are had with: its own, or the operator's. Refuses a server that it was not
    /// set for.
    pub(crate) async fn client_of(
        &self,
        of: &ConnectionRef,
        own: Option<&OwnClient>,
        oauth: &Oauth,
    ) -> Result<Client, Fault> {
        let by = ClientRef::of(of);
        let Some(OwnClient { id, secret, hosts, key_id }) = own else {
            return self.shared.clients.open(&by, oauth).await;
        };
        confirmed::check(&by, hosts, oauth)?;
        Ok(Client { id: id.clone(), secret: Some(secret.clone()), key_id: key_id.clone() })
    }
}

// === impl Clients ===

impl Clients {
    pub(crate) const fn new(store: Store, sealer: Sealer) -> Self {
        Self { store, sealer }
    }

    /// Seals a client and stores it, in one audited change. One that is set as it is already changes nothing.
    pub(crate) async fn set(
        &self,
        of: &ClientRef,
        setting: ClientSetting,
        actor: &Actor,
        at: OffsetDateTime,
    ) -> Result<ClientInfo, Fault> {
        setting.accepted.check(&setting.id, setting.secret.as_ref(), setting.key_id.as_deref())?;
        let cell = self.store.cell(SPACE, &of.key()).await?;
        let expected = cell.as_ref().map(|cell| cell.version);
        let before = cell.filter(|cell| !cell.value.is_empty());
        if let Some(before) = &before
            && let Some(row) = self.unchanged(of, before, &setting).await?
        {
            let shared_with = self.shared_with(&row).await?;
            return Ok(info(row, before.version, shared_with));
        }
        let generation = expected.unwrap_or(0) + 1;
        let mut row = Row {
            environment: of.environment.clone(),
            connector: of.connector.clone(),
            slot: of.slot.clone(),
            id: setting.id,
            sealed: None,
            parts: 0,
            key_id: setting.key_id,
            hosts: setting.hosts,
            at,
        };
        let mut tx = self.without_parts(self.store.tx(), of, before.as_ref()).await?;
        if let Some(secret) = &setting.secret {
            let plain = secret.expose_secret().as_bytes();
            let sealed = self.sealer.seal(of.place(generation), plain).await;
            let sealed = sealed.map_err(|error| error.fault("client not sealed"))?;
            tx = row.keep(tx, of, generation, &sealed);
        }
        let value = encode(&row)?;
        let entry = Entry {
            actor: actor.clone(),
            action: "oauth-client.set".to_owned(),
            object: of.object(),
            reason: None,
            before: before.map(|before| format!("generation {}", before.version)),
            after: Some(format!("{} generation {generation} for {}", row.id, listed(&row.hosts))),
        };
        tx.put_cell(SPACE, &of.key(), expected, value).commit(entry).await?;
        let shared_with = self.shared_with(&row).await?;
        Ok(info(row, generation, shared_with))
    }

    /// The row of a client that is as it is to be set. One whose secret does not open is not.
    async fn unchanged(
        &self,
        of: &ClientRef,
        cell: &Cell,
        setting: &ClientSetting,
    ) -> Result<Option<Row>, Fault> {
        let row = decode(&cell.value)?;
        let said = row.id == setting.id && row.key_id == setting.key_id;
        if !said || row.hosts != setting.hosts || row.has_secret() != setting.secret.is_some() {
            return Ok(None);
        }
        let Some(wanted) = &setting.secret else { return Ok(Some(row)) };
        let Ok(Some(sealed)) = self.sealed(of, &row, cell.version).await else { return Ok(None) };
        let Ok(secret) = self.unseal(of, cell.version, &sealed).await else { return Ok(None) };
        let same = secret.expose_secret() == wanted.expose_secret();
        Ok(same.then_some(row))
    }

    /// Takes away the cells that the secret of a generation is in.
    async fn without_parts(
        &self,
        mut tx: Tx,
        of: &ClientRef,
        cell: Option<&Cell>,
    ) -> Result<Tx, Fault> {
        let Some(cell) = cell else { return Ok(tx) };
        for part in 0..decode(&cell.value)?.parts {
            let key = of.part_key(cell.version, part);
            if let Some(part) = self.store.cell(PARTS, &key).await? {
                tx = tx.remove_cell(PARTS, &key, part.version);
            }
        }
        Ok(tx)
    }

    /// The secret of a generation as it is sealed; none of a public client.
    async fn sealed(
        &self,
        of: &ClientRef,
        row: &Row,
        generation: u64,
    ) -> Result<Option<Vec<u8>>, Fault> {
        if row.parts == 0 {
            return row.sealed.as_deref().map(unhexed).transpose();
        }
        let mut sealed = Vec::new();
        for part in 0..row.parts {
            let cell = self.store.cell(PARTS, &of.part_key(generation, part)).await?;
            let cell = cell.ok_or_else(|| Fault::new(Code::Conflict, CLOSED))?;
            sealed.extend_from_slice(&cell.value);
        }
        Ok(Some(sealed))
    }

    /// Every client of an environment.
    pub(crate) async fn list(&self, environment: &Environment) -> Result<Vec<ClientInfo>, Fault> {
        let mut clients = Vec::new();
        for (row, version) in self.rows().await? {
            if row.environment != *environment {
                continue;
            }
            let shared_with = self.shared_with(&row).await?;
            clients.push(info(row, version, shared_with));
        }
        Ok(clients)
    }

    /// Removes a client. False if there was none. Its cell stays, empty, and its generations go on: a secret of the one
    /// that was removed must not open in the place of a later one.
    pub(crate) async fn remove(&self, of: &ClientRef, actor: &Actor) -> Result<bool, Fault> {
        let Some(cell) = self.cell(of).await? else { return Ok(false) };
        let entry = Entry {
            actor: actor.clone(),
            action: "oauth-client.remove".to_owned(),
            object: of.object(),
            reason: None,
            before: Some(format!("generation {}", cell.version)),
            after: None,
        };
        let (key, version) = (of.key(), Some(cell.version));
        let tx = self.without_parts(self.store.tx(), of, Some(&cell)).await?;
        tx.put_cell(SPACE, &key, version, Vec::new()).commit(entry).await?;
        Ok(true)
    }

    /// The client, opened to be presented to this server.
    pub(crate) async fn open(&self, of: &ClientRef, oauth: &Oauth) -> Result<Client, Fault> {
        let mut round = 1;
        loop {
            match self.open_once(of, oauth).await {
                // Set anew between two of the reads: what was read does not belong together.
                Err(fault) if fault.code == Code::Conflict && round < READ_ROUNDS => round += 1,
                opened => return opened,
            }
        }
    }

    async fn open_once(&self, of: &ClientRef, oauth: &Oauth) -> Result<Client, Fault> {
        let Some(cell) = self.cell(of).await? else {
            let detail = format!(
                "environment {} has no OAuth client for {} slot `{}`",
                of.environment, of.connector, of.slot
            );
            return Err(Fault::new(Code::OauthClientMissing, detail));
        };
        let row = decode(&cell.value)?;
        confirmed::check(of, &row.hosts, oauth)?;
        let secret = match self.sealed(of, &row, cell.version).await? {
            None => None,
            Some(sealed) => {
                let secret = self.unseal(of, cell.version, &sealed).await?;
                if !self.sealer.is_current(&of.place(cell.version), &sealed) {
                    self.change_over(of.clone());
                }
                Some(secret)
            }
        };
        Ok(Client { id: row.id, secret, key_id: row.key_id })
    }

    /// Opens every secret once. Ends with the first fault that is `fatal`; others are only said.
    pub(crate) async fn check_all(&self, fatal: fn(&Fault) -> bool) -> Result<(), Fault> {
        for (key, cell) in self.store.cells(SPACE).await? {
            match self.try_open(&cell).await {
                Ok(()) => {}
                Err(fault) if fatal(&fault) => return Err(fault),
                Err(fault) => {
                    let client = String::from_utf8_lossy(&key);
                    tracing::error!(%client, problem = fault.chain(), "OAuth client does not open");
                }
            }
        }
        Ok(())
    }

    async fn try_open(&self, cell: &Cell) -> Result<(), Fault> {
        if cell.value.is_empty() {
            return Ok(());
        }
        let row = decode(&cell.value)?;
        let of = row.of();
        let Some(sealed) = self.sealed(&of, &row, cell.version).await? else { return Ok(()) };
        self.unseal(&of, cell.version, &sealed).await.map(drop)
    }

    async fn unseal(
        &self,
        of: &ClientRef,
        version: u64,
        sealed: &[u8],
    ) -> Result<SecretString, Fault> {
        let plain = self.sealer.open(of.place(version), sealed).await;
        let plain = plain.map_err(|error| error.fault(CLOSED))?;
        let text = std::str::from_utf8(&plain);
        Ok(text.map_err(|_| Fault::new(Code::Internal, CLOSED))?.into())
    }

    /// Has a secret under an older data key sealed anew, behind the back of whoever met it.
    fn change_over(&self, of: ClientRef) {
        let clients = self.clone();
        tokio::spawn(async move {
            if let Err(fault) = clients.reseal(&of).await {
                tracing::warn!(environment = %of.environment, connector = %of.connector, slot = %of.slot, problem = fault.chain(), "OAuth client stays under an older data key");
            }
        });
    }

    async fn reseal(&self, of: &ClientRef) -> Result<(), Fault> {
        let Some(cell) = self.cell(of).await? else { return Ok(()) };
        let mut row = decode(&cell.value)?;
        let Some(sealed) = self.sealed(of, &row, cell.version).await? else { return Ok(()) };
        let generation = cell.version + 1;
        let (from, to) = (of.place(cell.version), of.place(generation));
        let resealed = self.sealer.reseal(from, to, &sealed).await;
        let Some(sealed) = resealed.map_err(|error| error.fault("client not sealed anew"))? else {
            return Ok(());
        };
        let tx = self.without_parts(self.store.tx(), of, Some(&cell)).await?;
        let tx = row.keep(tx, of, generation, &sealed);
        let value = encode(&row)?;
        let entry = Entry {
            actor: host(),
            action: "oauth-client.reseal".to_owned(),
            object: of.object(),
            reason: None,
            before: Some(format!("generation {}", cell.version)),
            after: Some(format!("{} generation {generation}", row.id)),
        };
        tx.put_cell(SPACE, &of.key(), Some(cell.version), value).commit(entry).await?;
        Ok(())
    }

    async fn shared_with(&self, of: &Row) -> Result<Vec<Environment>, Fault> {
        let rows = self.rows().await?.into_iter().map(|(row, _)| row);
        let same = rows.filter(|row| row.environment != of.environment && row.is_client_of(of));
        let mut environments: Vec<_> = same.map(|row| row.environment).collect();
        environments.dedup();
        Ok(environments)
    }

    /// The cell of a client that there is.
    async fn cell(&self, of: &ClientRef) -> Result<Option<Cell>, Fault> {
        let cell = self.store.cell(SPACE, &of.key()).await?;
        Ok(cell.filter(|cell| !cell.value.is_empty()))
    }

    async fn rows(&self) -> Result<Vec<(Row, u64)>, Fault> {
        let cells = self.store.cells(SPACE).await?.into_iter();
        let cells = cells.filter(|(_, cell)| !cell.value.is_empty());
        cells.map(|(_, cell)| Ok((decode(&cell.value)?, cell.version))).collect()
    }
}

fn listed(hosts: &BTreeSet<String>) -> String {
    hosts.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
}

fn unhexed(sealed: &str) -> Result<Vec<u8>, Fault> {
    hex::decode(sealed).map_err(|error| Fault::new(Code::Internal, CLOSED).caused_by(error))
}

fn encode(row: &Row) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec(row)
        .map_err(|error| Fault::new(Code::Internal, "client not written").caused_by(error))
}

fn decode(value: &[u8]) -> Result<Row, Fault> {
    serde_json::from_slice(value)
        .map_err(|error| Fault::new(Code::Internal, "OAuth client unreadable").caused_by(error))
}

fn info(row: Row, generation: u64, shared_with: Vec<Environment>) -> ClientInfo {
    let (of, secret) = (row.of(), row.has_secret());
    let Row { id, key_id, hosts, at, .. } = row;
    ClientInfo { of, id, secret, key_id, generation, at, hosts, shared_with }
}

/// RFC 6749 appendix A.1 and A.2: printable ASCII.
fn is_client_text(text: &str) -> bool {
    (1..=CLIENT_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
}
