//! What rows hold, byte by byte: the one place where the product's nouns meet an encoding.
//!
//! A value is `[format][form][length of the header, u16][header, JSON][body]`. The header is a struct
//! of this file; what the key says already is not repeated in it. The body is bytes that need no
//! reading to be kept, such as a ciphertext, or the SHA-256 of a blob that holds them.
//!
//! The shapes here are on disk. A new field is added with `#[serde(default)]`; anything else is a new
//! format number, and both are read.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use keyway_core::Digest;
use keyway_core::ids::{Actor, ConnectionRef, Connector, Environment, Installation, User};
use keyway_core::release::ReleaseRef;
use semver::Version;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::backend::{Commit, Row, within};
use crate::error::Error;
use crate::key::Key;
use crate::model::{
    Bounds, By, ConfigGeneration, Connection, DefaultGeneration, Entry, EnvironmentDefault,
    Generation, Role, TakenConfig,
};

/// The one format there is.
const FORMAT: u8 = 1;

/// Form: the body follows.
const INLINE: u8 = 0;

/// Form: the digest of a blob follows.
const BLOB: u8 = 1;

/// Bytes before the header.
const PREAMBLE: usize = 4;

/// A row, read.
pub(crate) struct Decoded<H> {
    /// Its fields.
    pub(crate) header: H,
    /// Its bytes, or where they are.
    pub(crate) body: Body,
}

/// The bytes of a row.
pub(crate) enum Body {
    /// Here they are.
    Inline(Bytes),
    /// In this blob.
    Blob(Digest),
}

/// A reference to a release, as kept.
#[derive(Serialize, Deserialize)]
pub(crate) struct ReleaseRow {
    connector: Connector,
    version: Version,
    digest: Digest,
}

/// A pin, or that there is none from this generation on. The key says for whom and which generation; the newest, kept
/// beside the installation, says its generation itself.
#[derive(Serialize, Deserialize)]
pub(crate) struct PinRow {
    pub(crate) generation: u64,
    release: Option<ReleaseRow>,
    actor: Actor,
    reason: String,
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    reverts_to: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    config: Option<TakenConfig>,
}

/// An environment default.
#[derive(Serialize, Deserialize)]
pub(crate) struct EnvironmentDefaultRow {
    pub(crate) generation: u64,
    /// None once it was unset: the row stays, so that the next has a generation of its own.
    release: Option<ReleaseRow>,
    actor: Actor,
    reason: String,
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
}

/// A configuration; its JSON is the body.
#[derive(Serialize, Deserialize)]
pub(crate) struct ConfigRow {
    pub(crate) generation: u64,
    digest: Digest,
    #[serde(default)]
    removed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<By>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    back_to: Option<u64>,
    #[serde(default)]
    pub(crate) taken: bool,
}

/// A connection; its ciphertext is the body.
#[derive(Serialize, Deserialize)]
pub(crate) struct ConnectionRow {
    pub(crate) generation: u64,
    /// None once it was removed: the row stays, so that the next has a generation of its own.
    pub(crate) set: Option<ConnectionSet>,
}

/// Says that an installation has, or had, connections of users. Those are in a space of their own, and installations
/// are found by theirs: without it, one that nothing else was set for would not be found.
#[derive(Serialize, Deserialize)]
pub(crate) struct UsersRow {}

/// What a connection that is set says besides.
#[derive(Serialize, Deserialize)]
pub(crate) struct ConnectionSet {
    /// Whose key has a hash instead of the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<User>,
    pub(crate) kind: String,
    pub(crate) base_url: Option<String>,
    #[serde(default)]
    pub(crate) epoch: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) account: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scopes: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) facts: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) paused: bool,
    #[serde(default)]
    pub(crate) hold_refresh: bool,
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub(crate) watch_until: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) at: OffsetDateTime,
}

/// A release; its descriptor's JSON is the body.
#[derive(Serialize, Deserialize)]
pub(crate) struct PublishedRow {
    pub(crate) digest: Digest,
    pub(crate) component_bytes: u64,
    pub(crate) exports: Vec<String>,
    pub(crate) contract: Version,
    pub(crate) published_by: Actor,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) published_at: OffsetDateTime,
}

/// Where a digest's release is.
#[derive(Serialize, Deserialize)]
pub(crate) struct DigestRow {
    pub(crate) connector: Connector,
    pub(crate) version: String,
}

/// A token.
#[derive(Serialize, Deserialize)]
pub(crate) struct TokenRow {
    pub(crate) name: Actor,
    pub(crate) hash: Digest,
    pub(crate) role: Role,
    pub(crate) environments: Option<Vec<Environment>>,
    pub(crate) publisher: Option<String>,
    #[serde(default)]
    pub(crate) bounds: Bounds,
    #[serde(with = "time::serde::rfc3339::option")]
    pub(crate) expires_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) at: OffsetDateTime,
}

/// Which hash a token's name has.
#[derive(Serialize, Deserialize)]
pub(crate) struct TokenNameRow {
    pub(crate) hash: Digest,
}

/// An audit entry with what its change touched.
#[derive(Serialize, Deserialize)]
pub(crate) struct AuditRow {
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) at: OffsetDateTime,
    pub(crate) entry: Entry,
    /// None means more than fits: look at everything.
    pub(crate) touched: Option<Vec<Touched>>,
}

/// Something that a change of the control plane changed.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Touched {
    Installation(Installation),
    EnvironmentDefault(Environment, Connector),
    Release(Digest),
    Tokens,
}

/// Who has a lease.
#[derive(Serialize, Deserialize)]
pub(crate) struct HolderRow {
    pub(crate) owner: String,
    pub(crate) fence: u64,
}

/// Until when a lease is held.
#[derive(Serialize, Deserialize)]
pub(crate) struct ExpiryRow {
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) expires_at: OffsetDateTime,
}

/// A cell; its value is the body.
#[derive(Serialize, Deserialize)]
pub(crate) struct CellRow {
    pub(crate) version: u64,
}

/// A message; what was enqueued is the body.
#[derive(Serialize, Deserialize)]
pub(crate) struct MessageRow {
    /// Claims so far. A claim's fence is this number: each claim has another.
    pub(crate) attempts: u32,
    /// When it may be claimed next; none means at once.
    #[serde(with = "time::serde::rfc3339::option")]
    pub(crate) visible_at: Option<OffsetDateTime>,
    /// What the last claimer said when giving it back.
    pub(crate) reason: Option<String>,
}

/// A message that was given up; what was enqueued is the body.
#[derive(Serialize, Deserialize)]
pub(crate) struct DeadRow {
    pub(crate) attempts: u32,
    pub(crate) reason: String,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) at: OffsetDateTime,
}

/// A value with its body in it.
pub(crate) fn encode<H: Serialize>(header: &H, body: &[u8]) -> Result<Bytes, Error> {
    let header = json(header)?;
    // Checked here because the length has two bytes; the whole is checked with its commit.
    within("a row's value", header.len(), Commit::VALUE_BYTES_MAX)?;
    Ok(assemble(INLINE, &header, body))
}

/// A value with its body in it if that fits, else with the digest of a blob to be put first.
pub(crate) fn encode_or_spill<H: Serialize>(
    header: &H,
    body: Bytes,
) -> Result<(Bytes, Option<Bytes>), Error> {
    let text = json(header)?;
    within("a row's value", text.len(), Commit::VALUE_BYTES_MAX)?;
    if PREAMBLE + text.len() + body.len() <= Commit::VALUE_BYTES_MAX {
        return Ok((assemble(INLINE, &text, &body), None));
    }
    let digest = Digest::of(&body);
    Ok((assemble(BLOB, &text, digest.as_bytes()), Some(body)))
}

/// Reads a row.
pub(crate) fn decode<H: DeserializeOwned>(key: &Key, row: &Row) -> Result<Decoded<H>, Error> {
    let value = &row.value;
    let short = || key.corrupt("shorter than its own header");
    let &[format, form, high, low] = value.first_chunk::<PREAMBLE>().ok_or_else(short)?;
    if format != FORMAT {
        return Err(key.corrupt(format_args!("row format {format} is not known")));
    }
    let body_at = PREAMBLE + usize::from(u16::from_be_bytes([high, low]));
    let header = value.get(PREAMBLE..body_at).ok_or_else(short)?;
    let header = serde_json::from_slice(header).map_err(|error| key.corrupt(error))?;
    let bytes = value.slice(body_at..);
    let body = match form {
        INLINE => Body::Inline(bytes),
        BLOB => {
            let digest = bytes.as_ref().try_into();
            Body::Blob(Digest::from_bytes(digest.map_err(|_| key.corrupt("no digest"))?))
        }
        form => return Err(key.corrupt(format_args!("form {form} is not known"))),
    };
    Ok(Decoded { header, body })
}

fn assemble(form: u8, header: &[u8], body: &[u8]) -> Bytes {
    let mut value = BytesMut::with_capacity(PREAMBLE + header.len() + body.len());
    value.put_u8(FORMAT);
    value.put_u8(form);
    // The callers have checked that it is at most `VALUE_BYTES_MAX`.
    value.put_u16(header.len() as u16);
    value.put_slice(header);
    value.put_slice(body);
    value.freeze()
}

fn json<H: Serialize>(header: &H) -> Result<Vec<u8>, Error> {
    // Fails only for a time beyond the year 9999, which RFC 3339 cannot write.
    serde_json::to_vec(header).map_err(Error::unavailable)
}

// === impl Decoded ===

impl<H> Decoded<H> {
    /// The bytes of a row that never has them elsewhere.
    pub(crate) fn inline(self, key: &Key) -> Result<(H, Bytes), Error> {
        match self.body {
            Body::Inline(bytes) => Ok((self.header, bytes)),
            Body::Blob(_) => Err(key.corrupt("its bytes should be in it")),
        }
    }
}

// === impl ReleaseRow ===

impl From<&ReleaseRef> for ReleaseRow {
    fn from(release: &ReleaseRef) -> Self {
        Self {
            connector: release.connector.clone(),
            version: release.version.clone(),
            digest: release.digest,
        }
    }
}

impl From<ReleaseRow> for ReleaseRef {
    fn from(row: ReleaseRow) -> Self {
        Self::new(row.connector, row.version, row.digest)
    }
}

// === impl ConnectionRow ===

impl ConnectionRow {
    /// The connection, unless it was removed.
    pub(crate) fn of(self, reference: ConnectionRef, sealed: Bytes) -> Option<Connection> {
        let ConnectionRef { installation, slot, user } = reference;
        self.set.map(|set| Connection {
            installation,
            slot,
            user,
            generation: self.generation,
            // Rows of before there were epochs had a secret with each generation.
            epoch: if set.epoch == 0 { self.generation } else { set.epoch },
            kind: set.kind,
            base_url: set.base_url,
            account: set.account,
            scopes: set.scopes,
            facts: set.facts,
            paused: set.paused,
            hold_refresh: set.hold_refresh,
            watch_until: set.watch_until,
            sealed,
            at: set.at,
        })
    }
}

impl From<&Connection> for ConnectionRow {
    fn from(connection: &Connection) -> Self {
        let set = ConnectionSet {
            user: connection.user.clone(),
            kind: connection.kind.clone(),
            base_url: connection.base_url.clone(),
            epoch: connection.epoch,
            account: connection.account.clone(),
            scopes: connection.scopes.clone(),
            facts: connection.facts.clone(),
            paused: connection.paused,
            hold_refresh: connection.hold_refresh,
            watch_until: connection.watch_until,
            at: connection.at,
        };
        Self { generation: connection.generation, set: Some(set) }
    }
}

// === impl PinRow ===

impl PinRow {
    /// The generation, for the installation that the key names.
    pub(crate) fn of(self, installation: Installation) -> Generation {
        Generation {
            installation,
            number: self.generation,
            release: self.release.map(ReleaseRef::from),
            actor: self.actor,
            reason: self.reason,
            at: self.at,
            reverts_to: self.reverts_to,
            config: self.config,
        }
    }
}

impl From<&Generation> for PinRow {
    fn from(generation: &Generation) -> Self {
        Self {
            generation: generation.number,
            release: generation.release.as_ref().map(ReleaseRow::from),
            actor: generation.actor.clone(),
            reason: generation.reason.clone(),
            at: generation.at,
            reverts_to: generation.reverts_to,
            config: generation.config,
        }
    }
}

// === impl ConfigRow ===

impl ConfigRow {
    /// What is known of it, for the installation that the key names.
    pub(crate) fn of(self, installation: Installation) -> ConfigGeneration {
        ConfigGeneration {
            installation,
            generation: self.generation,
            digest: self.digest,
            removed: self.removed,
            by: self.by,
            back_to: self.back_to,
            taken: self.taken,
        }
    }
}

impl From<&ConfigGeneration> for ConfigRow {
    fn from(about: &ConfigGeneration) -> Self {
        Self {
            generation: about.generation,
            digest: about.digest,
            removed: about.removed,
            by: about.by.clone(),
            back_to: about.back_to,
            taken: about.taken,
        }
    }
}

// === impl EnvironmentDefaultRow ===

impl EnvironmentDefaultRow {
    /// That there is none from this generation on.
    pub(crate) fn unset(generation: u64, by: By) -> Self {
        let By { actor, reason, at } = by;
        Self { generation, release: None, actor, reason: reason.unwrap_or_default(), at }
    }

    /// What was said, for the environment that the key names.
    pub(crate) fn of(self, environment: Environment) -> DefaultGeneration {
        DefaultGeneration {
            environment,
            number: self.generation,
            release: self.release.map(ReleaseRef::from),
            by: By { actor: self.actor, reason: Some(self.reason), at: self.at },
        }
    }
}

impl From<&EnvironmentDefault> for EnvironmentDefaultRow {
    fn from(default: &EnvironmentDefault) -> Self {
        Self {
            generation: default.generation,
            release: Some((&default.release).into()),
            actor: default.actor.clone(),
            reason: default.reason.clone(),
            at: default.at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Space;

    fn key() -> Key {
        Key::of(Space::Cell).part("s").part("k")
    }

    #[test]
    fn a_body_spills_at_the_limit_and_not_before() {
        let header = CellRow { version: 1 };
        let overhead = encode(&header, b"").unwrap().len();
        let fits = Bytes::from(vec![7; Commit::VALUE_BYTES_MAX - overhead]);
        let (value, spilled) = encode_or_spill(&header, fits).unwrap();
        assert_eq!((value.len(), spilled), (Commit::VALUE_BYTES_MAX, None));

        let over = Bytes::from(vec![7; Commit::VALUE_BYTES_MAX - overhead + 1]);
        let (value, spilled) = encode_or_spill(&header, over.clone()).unwrap();
        assert_eq!(spilled.as_ref(), Some(&over));
        let decoded: Decoded<CellRow> = decode(&key(), &Row { revision: 1, value }).unwrap();
        assert!(matches!(decoded.body, Body::Blob(digest) if digest == Digest::of(&over)));
    }

    #[test]
    fn every_cut_and_every_unknown_format_is_refused_or_shorter() {
        let value = encode(&CellRow { version: 1 }, b"").unwrap();
        for len in 0..value.len() {
            let row = Row { revision: 1, value: value.slice(..len) };
            assert!(decode::<CellRow>(&key(), &row).is_err(), "cut to {len}");
        }
        let mut newer = value.to_vec();
        newer[0] = FORMAT + 1;
        assert!(decode::<CellRow>(&key(), &Row { revision: 1, value: newer.into() }).is_err());
    }
}
