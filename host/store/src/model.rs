//! What the store holds, in the product's words.
//!
//! Plain data; `row` says how it is kept. Times are UTC and informative: no
//! correctness depends on them.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use keyway_core::Digest;
use keyway_core::ids::{
    Actor, ConnectionRef, Connector, Environment, Installation, Slot, Tenant, User,
};
use keyway_core::release::ReleaseRef;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// Which release an installation runs, since when and why. Never changed, only followed by another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pin {
    /// For whom.
    pub installation: Installation,
    /// 1 for the first pin, one more with each.
    pub generation: u64,
    /// What runs.
    pub release: ReleaseRef,
    /// Who said so.
    pub actor: Actor,
    /// Why.
    pub reason: String,
    /// When.
    pub at: OffsetDateTime,
    /// The generation whose release this one went back to, for a revert.
    pub reverts_to: Option<u64>,
    /// The configuration that came along, because the one there did not fit the release.
    pub config: Option<TakenConfig>,
}

/// One entry of an installation's history: a pin, or that it has none from then on. Never changed, only followed by
/// another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Generation {
    /// For whom.
    pub installation: Installation,
    /// 1 for the first, one more with each.
    pub number: u64,
    /// What it is pinned to; none: it runs what its environment's default says.
    pub release: Option<ReleaseRef>,
    /// Who said so.
    pub actor: Actor,
    /// Why.
    pub reason: String,
    /// When.
    pub at: OffsetDateTime,
    /// As in [`Pin`].
    pub reverts_to: Option<u64>,
    /// As in [`Pin`].
    pub config: Option<TakenConfig>,
}

/// A configuration that came along with a change of what runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TakenConfig {
    /// The generation that it got by this.
    pub generation: u64,
    /// The generation that it had before; 0: none was set.
    pub back_to: u64,
}

/// What installations of an environment run that have no pin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EnvironmentDefault {
    /// Where.
    pub environment: Environment,
    /// 1 for the first, one more with each.
    pub generation: u64,
    /// What runs.
    pub release: ReleaseRef,
    /// Who said so.
    pub actor: Actor,
    /// Why.
    pub reason: String,
    /// When.
    pub at: OffsetDateTime,
}

/// What was last said of an environment's default.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DefaultGeneration {
    /// Where.
    pub environment: Environment,
    /// 1 for the first, one more with each.
    pub number: u64,
    /// What runs; none: it was unset.
    pub release: Option<ReleaseRef>,
    /// Who said so.
    pub by: By,
}

/// An installation's configuration at one generation. Never changed, only followed by another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// JSON object, `{}` where none is set; held as a blob if it is too large for a row.
    pub json: String,
    /// When, by whom and what else is said of it.
    pub about: ConfigGeneration,
}

/// What is known of a generation of a configuration, without the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigGeneration {
    /// For whom.
    pub installation: Installation,
    /// 1 for the first, one more with each.
    pub generation: u64,
    /// Of the JSON.
    pub digest: Digest,
    /// Whether none is set from then on, as before the first.
    pub removed: bool,
    /// How it came to be; none for what was set before there was a history.
    pub by: Option<By>,
    /// The generation that this one went back to; 0: none was set.
    pub back_to: Option<u64>,
    /// Whether a change of what runs brought it along, so that nobody set it as such.
    pub taken: bool,
}

/// Who said so, why, and when.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct By {
    /// Who.
    pub actor: Actor,
    /// Why, where something was said.
    pub reason: Option<String>,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

/// One credential set of an installation, sealed. The store cannot open it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Connection {
    /// For whom.
    pub installation: Installation,
    /// Which of the connector's slots.
    pub slot: Slot,
    /// Of which user; none means the tenant's own.
    pub user: Option<User>,
    /// 1 for the first, one more with each change.
    pub generation: u64,
    /// The generation with which its secret was last set; part of what the seal authenticates. Tokens that were
    /// refreshed since are kept in cells under it.
    pub epoch: u64,
    /// Scheme of the credential, such as `bearer`: what a listing may show.
    pub kind: String,
    /// What paths are joined to instead of the descriptor's base URL.
    pub base_url: Option<String>,
    /// The provider's name of the account.
    pub account: Option<String>,
    /// What the provider granted, where it said.
    pub scopes: Option<Vec<String>>,
    /// What else is known of it by name: what was filled into the provider's URLs, and what a consent came back with.
    pub facts: BTreeMap<String, String>,
    /// Nothing may use it.
    pub paused: bool,
    /// Its tokens are not refreshed: another system still does.
    pub hold_refresh: bool,
    /// Until when an import is watched.
    pub watch_until: Option<OffsetDateTime>,
    /// Ciphertext, at most 3 KiB.
    pub sealed: Bytes,
    /// When it was set.
    pub at: OffsetDateTime,
}

impl Generation {
    /// The pin that it is, if it is one.
    pub fn pin(self) -> Option<Pin> {
        let Self { installation, number, release, actor, reason, at, reverts_to, config } = self;
        release.map(|release| Pin {
            installation,
            generation: number,
            release,
            actor,
            reason,
            at,
            reverts_to,
            config,
        })
    }
}

impl From<Pin> for Generation {
    fn from(pin: Pin) -> Self {
        Self {
            installation: pin.installation,
            number: pin.generation,
            release: Some(pin.release),
            actor: pin.actor,
            reason: pin.reason,
            at: pin.at,
            reverts_to: pin.reverts_to,
            config: pin.config,
        }
    }
}

impl DefaultGeneration {
    /// The default that it is, if it is one.
    pub fn default(self) -> Option<EnvironmentDefault> {
        let Self { environment, number, release, by } = self;
        release.map(|release| EnvironmentDefault {
            environment,
            generation: number,
            release,
            actor: by.actor,
            reason: by.reason.unwrap_or_default(),
            at: by.at,
        })
    }
}

impl ConfigGeneration {
    /// Whether an installation runs the same with both.
    pub fn same_as(&self, other: &Self) -> bool {
        (self.removed, &self.digest) == (other.removed, &other.digest)
    }
}

impl Connection {
    /// Which it is.
    pub fn reference(&self) -> ConnectionRef {
        ConnectionRef {
            installation: self.installation.clone(),
            slot: self.slot.clone(),
            user: self.user.clone(),
        }
    }
}

/// A bearer token of the API. The token itself is not kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// What it is called; the actor of what it does.
    pub name: Actor,
    /// SHA-256 of the token.
    pub hash: Digest,
    /// What it may do.
    pub role: Role,
    /// Where; none means everywhere.
    pub environments: Option<Vec<Environment>>,
    /// For whom it may publish; none means for every publisher that its role allows.
    pub publisher: Option<String>,
    /// Which calls it may make, where its role is to call.
    pub bounds: Bounds,
    /// After this it is refused.
    pub expires_at: Option<OffsetDateTime>,
    /// When it was made.
    pub at: OffsetDateTime,
}

/// What a token may do. From viewer to admin each role may do what the ones before it may, but for `Publisher`, which may
/// look and publish. `Caller` stands apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Look.
    Viewer,
    /// Publish releases.
    Publisher,
    /// Pin, revert, configure, connect, call.
    Operator,
    /// All of it, tokens included.
    Admin,
    /// Call, and nothing else: not even look.
    Caller,
}

/// Which calls a token may make. None of a list means all of them.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Bounds {
    /// Only for these tenants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenants: Option<Vec<Tenant>>,
    /// Only of these connectors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connectors: Option<Vec<Connector>>,
    /// Only for these users of the tenants, and never with a tenant's own connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<Vec<User>>,
    /// Only these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verbs: Option<Vec<Verb>>,
}

/// What a call does. In capitals: a method of HTTP, through the proxy.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum Verb {
    /// Runs an action.
    Invoke,
    /// Asks which objects there are.
    Discover,
    /// Reads an object.
    Read,
    /// Writes to an object.
    Write,
    /// Uses the proxy, whatever the method.
    Proxy,
    /// Uses the proxy with `GET` or `HEAD`.
    Get,
    /// Uses the proxy with `POST`.
    Post,
    /// Uses the proxy with `PUT`.
    Put,
    /// Uses the proxy with `PATCH`.
    Patch,
    /// Uses the proxy with `DELETE`.
    Delete,
    /// Uses the proxy with `OPTIONS`.
    Options,
}

/// Text that is no verb.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a verb is one of {}", Verb::ALL.map(Verb::as_str).join(", "))]
pub struct InvalidVerb;

impl Role {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Publisher => "publisher",
            Self::Operator => "operator",
            Self::Admin => "admin",
            Self::Caller => "caller",
        }
    }
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 11] = [
        Self::Invoke,
        Self::Discover,
        Self::Read,
        Self::Write,
        Self::Proxy,
        Self::Get,
        Self::Post,
        Self::Put,
        Self::Patch,
        Self::Delete,
        Self::Options,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invoke => "invoke",
            Self::Discover => "discover",
            Self::Read => "read",
            Self::Write => "write",
            Self::Proxy => "proxy",
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }
}

impl FromStr for Verb {
    type Err = InvalidVerb;

    fn from_str(text: &str) -> Result<Self, InvalidVerb> {
        Self::ALL.into_iter().find(|verb| verb.as_str() == text).ok_or(InvalidVerb)
    }
}

impl TryFrom<String> for Verb {
    type Error = InvalidVerb;

    fn try_from(text: String) -> Result<Self, InvalidVerb> {
        text.parse()
    }
}

impl From<Verb> for &'static str {
    fn from(verb: Verb) -> Self {
        verb.as_str()
    }
}

/// What is written down with every change of the control plane.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Who.
    pub actor: Actor,
    /// What was done, such as `pin` or `release.publish`.
    pub action: String,
    /// To what: an installation, a release, a token's name.
    pub object: String,
    /// Why, where a reason was given.
    pub reason: Option<String>,
    /// Of what was there before.
    pub before: Option<String>,
    /// Of what is there now.
    pub after: Option<String>,
}

/// An entry as kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditEntry {
    /// 1 for the first, no gaps.
    pub seq: u64,
    /// When.
    pub at: OffsetDateTime,
    /// What.
    pub entry: Entry,
}

/// The right to be the only one at something. A write that carries it is refused once somebody else
/// has it, whatever any clock says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease {
    /// What it is for.
    pub name: String,
    /// Who has it: a random id for each start of a process.
    pub owner: String,
    /// Counts up with each new owner; the store checks it.
    pub fence: u64,
    /// By the store's clock.
    pub expires_at: OffsetDateTime,
}

/// A value with the version that a compare-and-swap names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cell {
    /// 1 for the first value, one more with each.
    pub version: u64,
    /// At most 3 KiB.
    pub value: Bytes,
}

/// A message taken from a queue and not yet settled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// Which queue.
    pub queue: String,
    /// Its place.
    pub seq: u64,
    /// How often it has been claimed, this time included.
    pub attempts: u32,
    /// Must be shown to settle it; a later claim has another.
    pub fence: u64,
    /// What was enqueued, at most 3 KiB.
    pub body: Bytes,
}

/// A message that was claimed too often.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadLetter {
    /// The place it had in its queue.
    pub seq: u64,
    /// How often it was claimed.
    pub attempts: u32,
    /// What its last claimer said, or that nobody said anything.
    pub reason: String,
    /// When it was given up.
    pub at: OffsetDateTime,
    /// What was enqueued.
    pub body: Bytes,
}

/// Which installations a listing is about. Empty means all.
#[derive(Clone, Default, Debug)]
pub struct Filter {
    /// Only there.
    pub environment: Option<Environment>,
    /// Only theirs.
    pub tenant: Option<Tenant>,
    /// Only of it.
    pub connector: Option<Connector>,
}

/// Everything about an installation that a route is built from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InstallationState {
    /// Which.
    pub installation: Installation,
    /// Its pin, if it has one now.
    pub pin: Option<Pin>,
    /// Its configuration, as the newest generation says.
    pub config: Option<Config>,
    /// The tenant's own connections, sealed. Those of its users are listed apart: there may be thousands.
    pub connections: Vec<Connection>,
}

/// How far a watcher has seen: the number of the last change of the control plane it knows of.
pub type Watermark = u64;

/// Bytes of a cell's value or a message's body. A row has 4 KiB, the rest is for its fields.
pub const PAYLOAD_BYTES_MAX: usize = 3 << 10;

/// How long a queue message stays claimed before somebody else may take it.
pub const VISIBILITY_DEFAULT: Duration = Duration::from_secs(60);
