//! What is kept of a connection's tokens: cells of the store under the connection's epoch.
//!
//! The first cell is the state, in the clear and without any secret. The others are the sealed tokens, cut to what a
//! cell takes: an access token may well be longer than a row. All of them are written together, each against the
//! version that was read, so of two writers one lands. A new epoch begins with new cells; those of an older one are
//! never read again.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use keyway_core::credential::{Credential, Opened};
use keyway_core::ids::ConnectionRef;
use keyway_core::{Code, Digest, Fault};
use keyway_store::model::{Lease, PAYLOAD_BYTES_MAX};
use keyway_store::{Batch, Store, Tx};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::oauth::denials::Denials;
use crate::oauth::expiry::Life;
use crate::seal::{Field, Place, Sealer};
use crate::standing::Stand;

/// Bytes of one token. The longest that providers are known to issue are a quarter of it.
pub const TOKEN_BYTES_MAX: usize = 16 << 10;

/// The store's name for these cells.
const SPACE: &str = "vault/tokens";

/// The longest wait that a record is believed to ask for: a clock that was set back must not make it longer.
pub(crate) const REST_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads that meet a writer before that is reported as trouble. Each writer is one refresh; there is no queue of them.
const READ_ROUNDS: u32 = 5;

/// What an authorization server issued. Unprintable, wiped when dropped.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// Goes on requests.
    pub access: SecretString,
    /// Gets the next one.
    pub refresh: Option<SecretString>,
    /// What was exchanged for them (RFC 8693), to be exchanged again.
    pub subject: Option<SecretString>,
    /// The client that they are had with, where that is the connection's own and not the operator's.
    pub own: Option<OwnClient>,
}

/// A client of one connection.
#[derive(Clone, Debug, Deserialize)]
pub struct OwnClient {
    /// What the provider calls it.
    pub id: String,
    /// Its secret, or the key that it signs with.
    pub secret: SecretString,
    /// Where it may be presented, or what is signed with it: what the release named when it was given.
    pub hosts: BTreeSet<String>,
    /// What the provider calls the key that it signs with.
    #[serde(default)]
    pub key_id: Option<String>,
}

/// Where a connection stands with its authorization server. Holds no secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct State {
    /// Goes up with each set of tokens.
    pub version: u64,
    /// When these tokens were received.
    #[serde(with = "time::serde::rfc3339::option")]
    pub obtained_at: Option<OffsetDateTime>,
    /// When the access token ends, where the server said.
    #[serde(with = "time::serde::rfc3339::option")]
    pub expires_at: Option<OffsetDateTime>,
    /// What may happen next.
    pub phase: Phase,
    /// Attempts that failed since the last that did not.
    pub failures: u32,
    /// Before this no refresh is attempted.
    #[serde(with = "time::serde::rfc3339::option")]
    pub retry_at: Option<OffsetDateTime>,
    /// What went wrong last, in our words.
    pub problem: Option<String>,
    /// Whether there is something to refresh with.
    pub refreshable: bool,
    /// Whether the provider was seen to take the access token that came by an import.
    #[serde(default)]
    pub tried: bool,
    /// What the server has said against the tokens without a name for it.
    #[serde(default)]
    pub denials: Denials,
    /// Whether the token was set by hand, and is here because it is long: nobody issues another.
    #[serde(default)]
    pub by_hand: bool,
}

/// What may happen next.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Phase {
    /// A refresh may begin.
    Ready,
    /// One has begun, and may have been sent.
    Refreshing {
        /// Of the lease under which it began.
        fence: u64,
        /// When.
        #[serde(with = "time::serde::rfc3339")]
        since: OffsetDateTime,
    },
    /// One was sent, and what came of it is not known.
    Uncertain {
        /// When.
        #[serde(with = "time::serde::rfc3339")]
        since: OffsetDateTime,
    },
    /// The server says that the rights are gone.
    NeedsReauth {
        /// When.
        #[serde(with = "time::serde::rfc3339")]
        since: OffsetDateTime,
    },
}

/// The tokens of a connection, read.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) state: State,
    pub(crate) tokens: Tokens,
    pub(crate) life: Life,
    /// Before this no refresh is attempted: `retry_at`, on the clock that nobody sets.
    pub(crate) rest: Option<Instant>,
    /// Versions of the cells: the state's, then the parts'.
    cells: Vec<u64>,
    /// The access token, once it was used.
    opened: OnceLock<Arc<Opened>>,
}

/// The state's cell.
#[derive(Serialize, Deserialize)]
struct Head {
    state: State,
    parts: usize,
}

/// What is sealed.
#[derive(Serialize)]
struct Plain<'a> {
    access: &'a str,
    refresh: Option<&'a str>,
    subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    own: Option<PlainClient<'a>>,
}

#[derive(Serialize)]
struct PlainClient<'a> {
    id: &'a str,
    secret: &'a str,
    hosts: &'a BTreeSet<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<&'a str>,
}

/// Reads and writes records.
#[derive(Clone)]
pub(crate) struct Records {
    store: Store,
    sealer: Sealer,
}

// === impl OwnClient ===

impl OwnClient {
    /// Letters of it, with what stands between them.
    fn bytes(&self) -> usize {
        let hosts = self.hosts.iter().map(|host| host.len() + 4).sum::<usize>();
        let key_id = self.key_id.as_ref().map_or(0, String::len);
        self.id.len() + self.secret.expose_secret().len() + hosts + key_id + 64
    }
}

// === impl State ===

impl State {
    /// Of tokens that were just received.
    pub(crate) fn issued(
        version: u64,
        now: OffsetDateTime,
        lifetime: Option<Duration>,
        tokens: &Tokens,
    ) -> Self {
        Self {
            version,
            obtained_at: Some(now),
            expires_at: lifetime.and_then(|lifetime| now.checked_add(lifetime.try_into().ok()?)),
            phase: Phase::Ready,
            failures: 0,
            retry_at: None,
            problem: None,
            refreshable: tokens.refresh.is_some() || tokens.subject.is_some(),
            tried: false,
            denials: Denials::default(),
            by_hand: false,
        }
    }
}

// === impl Record ===

impl Record {
    fn new(
        state: State,
        tokens: Tokens,
        life: Life,
        rest: Option<Instant>,
        cells: Vec<u64>,
    ) -> Self {
        Self { state, tokens, life, rest, cells, opened: OnceLock::new() }
    }

    /// The access token, as it is handed out.
    pub(crate) fn opened(&self) -> Arc<Opened> {
        let open = || Arc::new(Opened::new(Credential::Token(self.tokens.access.clone())));
        Arc::clone(self.opened.get_or_init(open))
    }

    /// Goes up with each write of an epoch's state.
    pub(crate) fn written(&self) -> u64 {
        self.cells.first().copied().unwrap_or(0)
    }
}

// === impl Phase ===

impl Phase {
    /// The word for it.
    pub fn as_str(&self) -> &'static str {
        Stand::from(self).as_str()
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Records ===

impl Records {
    pub(crate) const fn new(store: Store, sealer: Sealer) -> Self {
        Self { store, sealer }
    }

    /// The record of an epoch, if it has one.
    pub(crate) async fn load(
        &self,
        of: &ConnectionRef,
        epoch: u64,
        wall: OffsetDateTime,
    ) -> Result<Option<Record>, Fault> {
        for _ in 0..READ_ROUNDS {
            let Some((head, mut cells)) = self.head(of, epoch).await? else { return Ok(None) };
            let sealed = self.parts(of, epoch, head.parts, &mut cells).await?;
            // Written anew between two of the reads: what was read does not belong together.
            if self.head(of, epoch).await?.is_none_or(|(_, now)| now[0] != cells[0]) {
                continue;
            }
            let place = Place::connection(of, Field::Tokens, head.state.version);
            let plain = self.sealer.open(place, &sealed).await;
            let plain =
                plain.map_err(|error| error.fault(format!("the tokens of {of} do not open")))?;
            let State { obtained_at, expires_at, retry_at, .. } = head.state;
            let now = Instant::now();
            let life = Life::restored(now, wall, obtained_at, expires_at);
            let rest = retry_at.and_then(|at| Duration::try_from(at - wall).ok());
            let rest = rest.map(|rest| now + rest.min(REST_MAX));
            let tokens = decode(&plain)?;
            return Ok(Some(Record::new(head.state, tokens, life, rest, cells)));
        }
        Err(Fault::new(Code::Conflict, format!("the tokens of {of} change all the time")))
    }

    /// The state of an epoch, without its tokens.
    pub(crate) async fn state(
        &self,
        of: &ConnectionRef,
        epoch: u64,
    ) -> Result<Option<State>, Fault> {
        Ok(self.head(of, epoch).await?.map(|(head, _)| head.state))
    }

    /// Adds the first record of an epoch to a change of the control plane.
    pub(crate) async fn create(
        &self,
        mut tx: Tx,
        of: &ConnectionRef,
        epoch: u64,
        state: &State,
        tokens: &Tokens,
    ) -> Result<Tx, Fault> {
        for (part, value) in self.cells(of, state, tokens).await?.into_iter().enumerate() {
            tx = tx.put_cell(SPACE, &key(of, epoch, part), None, value);
        }
        Ok(tx)
    }

    /// Removes a record together with a change of the control plane.
    pub(crate) async fn remove(
        &self,
        mut tx: Tx,
        of: &ConnectionRef,
        epoch: u64,
    ) -> Result<Tx, Fault> {
        let Some((head, mut cells)) = self.head(of, epoch).await? else { return Ok(tx) };
        self.parts(of, epoch, head.parts, &mut cells).await?;
        for (part, version) in cells.into_iter().enumerate() {
            tx = tx.remove_cell(SPACE, &key(of, epoch, part), version);
        }
        Ok(tx)
    }

    /// Writes another state; the tokens stay.
    pub(crate) async fn restate(
        &self,
        of: &ConnectionRef,
        epoch: u64,
        record: &Record,
        state: State,
        lease: &Lease,
    ) -> Result<Record, keyway_store::Error> {
        let head = encode(&Head { state: state.clone(), parts: record.cells.len() - 1 });
        let key = key(of, epoch, 0);
        let batch = self.store.batch().holding(lease);
        batch.put_cell(SPACE, &key, Some(record.cells[0]), head).commit().await?;
        let mut next = record.clone();
        next.state = state;
        next.cells[0] += 1;
        Ok(next)
    }

    /// Writes new tokens over those of `record`, durably.
    pub(crate) async fn replace(
        &self,
        of: &ConnectionRef,
        epoch: u64,
        record: &Record,
        (state, tokens, life): (State, Tokens, Life),
        lease: &Lease,
    ) -> Result<Record, Unwritten> {
        let values = self.cells(of, &state, &tokens).await.map_err(Unwritten::Fault)?;
        let mut batch: Batch = self.store.batch().holding(lease);
        let mut cells = Vec::with_capacity(values.len());
        for (part, value) in values.into_iter().enumerate() {
            let expected = record.cells.get(part).copied();
            batch = batch.put_cell(SPACE, &key(of, epoch, part), expected, value);
            cells.push(expected.unwrap_or(0) + 1);
        }
        for (part, version) in record.cells.iter().enumerate().skip(cells.len()) {
            batch = batch.remove_cell(SPACE, &key(of, epoch, part), *version);
        }
        batch.commit().await.map_err(Unwritten::Store)?;
        Ok(Record::new(state, tokens, life, None, cells))
    }

    async fn head(
        &self,
        of: &ConnectionRef,
        epoch: u64,
    ) -> Result<Option<(Head, Vec<u64>)>, Fault> {
        let Some(cell) = self.store.cell(SPACE, &key(of, epoch, 0)).await? else {
            return Ok(None);
        };
        let head = serde_json::from_slice(&cell.value).map_err(|error| {
            Fault::new(Code::Internal, format!("the state of {of} is no state")).caused_by(error)
        })?;
        Ok(Some((head, vec![cell.version])))
    }

    async fn parts(
        &self,
        of: &ConnectionRef,
        epoch: u64,
        parts: usize,
        cells: &mut Vec<u64>,
    ) -> Result<Vec<u8>, Fault> {
        let mut sealed = Vec::new();
        for part in 1..=parts {
            // A part that is gone was written anew meanwhile; whoever asks looks at the state again.
            let Some(cell) = self.store.cell(SPACE, &key(of, epoch, part)).await? else { break };
            sealed.extend_from_slice(&cell.value);
            cells.push(cell.version);
        }
        Ok(sealed)
    }

    /// The values of a record's cells.
    async fn cells(
        &self,
        of: &ConnectionRef,
        state: &State,
        tokens: &Tokens,
    ) -> Result<Vec<Bytes>, Fault> {
        let place = Place::connection(of, Field::Tokens, state.version);
        let plain = plain(tokens);
        let sealed = self.sealer.seal(place, &plain).await;
        let sealed =
            sealed.map_err(|error| error.fault(format!("the tokens of {of} are not sealed")))?;
        let parts: Vec<Bytes> =
            sealed.chunks(PAYLOAD_BYTES_MAX).map(Bytes::copy_from_slice).collect();
        let head = encode(&Head { state: state.clone(), parts: parts.len() });
        Ok(std::iter::once(head).chain(parts).collect())
    }
}

/// Why new tokens did not land.
#[derive(Debug)]
pub(crate) enum Unwritten {
    /// They could not be sealed.
    Fault(Fault),
    /// The store said no, or nothing.
    Store(keyway_store::Error),
}

/// A key of fixed length: names alone can be longer than a key.
fn key(of: &ConnectionRef, epoch: u64, part: usize) -> Vec<u8> {
    let name = of.to_string();
    format!("{}.{epoch}.{part}", Digest::of(name.as_bytes()).hex()).into_bytes()
}

fn encode(head: &Head) -> Bytes {
    // Numbers, words and times of this century: there is nothing that JSON could not say.
    serde_json::to_vec(head).unwrap_or_default().into()
}

fn plain(tokens: &Tokens) -> Zeroizing<Vec<u8>> {
    let expose = |token: &'_ SecretString| token.expose_secret().len();
    let bytes = expose(&tokens.access)
        + tokens.refresh.as_ref().map_or(0, expose)
        + tokens.subject.as_ref().map_or(0, expose)
        + tokens.own.as_ref().map_or(0, OwnClient::bytes);
    // Sized up front: a buffer that grew would leave a copy of a secret behind. Tokens have no letter that JSON
    // escapes to more than two bytes.
    let mut text = Zeroizing::new(Vec::with_capacity(bytes * 2 + 64));
    let plain = Plain {
        access: tokens.access.expose_secret(),
        refresh: tokens.refresh.as_ref().map(|token| token.expose_secret()),
        subject: tokens.subject.as_ref().map(|token| token.expose_secret()),
        own: tokens.own.as_ref().map(|OwnClient { id, secret, hosts, key_id }| PlainClient {
            id,
            secret: secret.expose_secret(),
            hosts,
            key_id: key_id.as_deref(),
        }),
    };
    serde_json::to_writer(&mut *text, &plain).unwrap_or_default();
    text
}

fn decode(plain: &[u8]) -> Result<Tokens, Fault> {
    // By value: an escaped letter cannot be borrowed. The copies are wiped as secrets are.
    #[derive(Deserialize)]
    struct Owned {
        access: SecretString,
        refresh: Option<SecretString>,
        subject: Option<SecretString>,
        #[serde(default)]
        own: Option<OwnClient>,
    }
    let Owned { access, refresh, subject, own } = serde_json::from_slice(plain)
        .map_err(|_| Fault::new(Code::Internal, "sealed tokens have an unknown form"))?;
    Ok(Tokens { access, refresh, subject, own })
}
