//! OAuth clients: who the operator is at a provider, for each environment.
//!
//! The operator owns the client; a connector's publisher never sees it. Its secret is sealed for the environment and
//! goes only to the token endpoint. One client in two environments means that each can revoke the other's tokens,
//! which is said when it is configured.

use std::collections::BTreeSet;

use keyway_core::descriptor::Oauth;
use keyway_core::ids::{Actor, ConnectionRef, Connector, Environment, Slot};
use keyway_core::{Code, Fault};
use keyway_store::model::Entry;
use keyway_store::{Cell, Store};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::connections::{Vault, host};
use crate::oauth::confirmed;
use crate::oauth::record::OwnClient;
use crate::seal::{Field, Place, Sealer};

/// Bytes of a client's id or secret.
pub const CLIENT_BYTES_MAX: usize = 1 << 10;

/// The store's name for these cells.
const SPACE: &str = "vault/oauth-client";

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
    /// Where it may be presented: [`confirmed::hosts`] of the releases that there are.
    pub hosts: BTreeSet<String>,
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
    /// Hex.
    sealed: Option<String>,
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
        let Some(OwnClient { id, secret, hosts }) = own else {
            return self.shared.clients.open(&by, oauth).await;
        };
        confirmed::check(&by, hosts, oauth)?;
        Ok(Client { id: id.clone(), secret: Some(secret.clone()) })
    }
}

// === impl Clients ===

impl Clients {
    pub(crate) const fn new(store: Store, sealer: Sealer) -> Self {
        Self { store, sealer }
    }

    /// Seals a client and stores it, in one audited change.
    pub(crate) async fn set(
        &self,
        of: &ClientRef,
        setting: ClientSetting,
        actor: &Actor,
        at: OffsetDateTime,
    ) -> Result<ClientInfo, Fault> {
        check(&setting)?;
        let cell = self.store.cell(SPACE, &of.key()).await?;
        let expected = cell.as_ref().map(|cell| cell.version);
        let before = cell.filter(|cell| !cell.value.is_empty()).map(|cell| cell.version);
        let generation = expected.unwrap_or(0) + 1;
        let sealed = match &setting.secret {
            None => None,
            Some(secret) => {
                let sealed = self
                    .sealer
                    .seal(of.place(generation), secret.expose_secret().as_bytes())
                    .await
                    .map_err(|error| error.fault("client not sealed"))?;
                Some(hex::encode(sealed))
            }
        };
        let row = Row {
            environment: of.environment.clone(),
            connector: of.connector.clone(),
            slot: of.slot.clone(),
            id: setting.id,
            sealed,
            hosts: setting.hosts,
            at,
        };
        let value = encode(&row)?;
        let entry = Entry {
            actor: actor.clone(),
            action: "oauth-client.set".to_owned(),
            object: of.object(),
            reason: None,
            before: before.map(|generation| format!("generation {generation}")),
            after: Some(format!("{} generation {generation} for {}", row.id, listed(&row.hosts))),
        };
        self.store.tx().put_cell(SPACE, &of.key(), expected, value).commit(entry).await?;
        let shared_with = self.shared_with(&row).await?;
        Ok(info(row, generation, shared_with))
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
        self.store.tx().put_cell(SPACE, &key, version, Vec::new()).commit(entry).await?;
        Ok(true)
    }

    /// The client, opened to be presented to this server.
    pub(crate) async fn open(&self, of: &ClientRef, oauth: &Oauth) -> Result<Client, Fault> {
        let Some(cell) = self.cell(of).await? else {
            let detail = format!(
                "environment {} has no OAuth client for {} slot `{}`",
                of.environment, of.connector, of.slot
            );
            return Err(Fault::new(Code::OauthClientMissing, detail));
        };
        let row = decode(&cell.value)?;
        confirmed::check(of, &row.hosts, oauth)?;
        let secret = match &row.sealed {
            None => None,
            Some(sealed) => {
                let sealed = unhexed(sealed)?;
                let secret = self.unseal(of, cell.version, &sealed).await?;
                if !self.sealer.is_current(&of.place(cell.version), &sealed) {
                    self.change_over(of.clone());
                }
                Some(secret)
            }
        };
        Ok(Client { id: row.id, secret })
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
        let Some(sealed) = &row.sealed else { return Ok(()) };
        self.unseal(&row.of(), cell.version, &unhexed(sealed)?).await.map(drop)
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
        let Some(sealed) = row.sealed.as_deref().and_then(|sealed| hex::decode(sealed).ok()) else {
            return Ok(());
        };
        let generation = cell.version + 1;
        let (from, to) = (of.place(cell.version), of.place(generation));
        let resealed = self.sealer.reseal(from, to, &sealed).await;
        let Some(sealed) = resealed.map_err(|error| error.fault("client not sealed anew"))? else {
            return Ok(());
        };
        row.sealed = Some(hex::encode(sealed));
        let value = encode(&row)?;
        let entry = Entry {
            actor: host(),
            action: "oauth-client.reseal".to_owned(),
            object: of.object(),
            reason: None,
            before: Some(format!("generation {}", cell.version)),
            after: Some(format!("{} generation {generation}", row.id)),
        };
        self.store.tx().put_cell(SPACE, &of.key(), Some(cell.version), value).commit(entry).await?;
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
    let Row { environment, connector, slot, id, sealed, hosts, at } = row;
    let of = ClientRef { environment, connector, slot };
    ClientInfo { of, id, secret: sealed.is_some(), generation, at, hosts, shared_with }
}

/// RFC 6749 appendix A.1 and A.2: printable ASCII.
pub(crate) fn is_client_text(text: &str) -> bool {
    (1..=CLIENT_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
}

fn check(setting: &ClientSetting) -> Result<(), Fault> {
    let secret = setting.secret.as_ref();
    let secret = secret.is_none_or(|secret| is_client_text(secret.expose_secret()));
    if is_client_text(&setting.id) && secret {
        return Ok(());
    }
    let detail =
        format!("a client's id and secret are 1 to {CLIENT_BYTES_MAX} printable ASCII letters");
    Err(Fault::new(Code::CredentialInvalid, detail))
}
