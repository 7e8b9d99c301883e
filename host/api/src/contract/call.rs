//! Bodies of calls: a page read, a batch written. An action's input and output are its own.
//!
//! JSON that belongs to a provider or to a connector stays text on its way through: a number keeps
//! every digit that it came with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// One page, wanted. `null` is the same as left out.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// Fields wanted; empty means the connector's default set.
    #[serde(default)]
    pub fields: Vec<String>,
    /// `next` of the page before. Absent: from the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub cursor: Option<Box<RawValue>>,
    /// RFC 3339 lower bound on modification time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub since: Option<String>,
    /// RFC 3339 upper bound on modification time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub until: Option<String>,
    /// Records wanted, at most as many as the host takes in a page: 1000, unless its operator changed that. Absent: as many
    /// as the release reads at once by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_size: Option<u32>,
    /// What else the connector is told; it says which names it knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra: Vec<Extra>,
}

/// One name and its value beside what the contract fixes: at most 32 in a list, and 8 KiB of them. A name may come more
/// than once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Extra {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// One page, read.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Page {
    /// What it holds.
    pub records: Vec<Record>,
    /// `cursor` of the next page; absent on the last. A page without records may still have a next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>, nullable = false)]
    pub next: Option<Box<RawValue>>,
    /// What the connector says of the page beside that, such as where an incremental API goes on another day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra: Vec<Extra>,
}

/// One provider object.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Record {
    /// The provider's id.
    pub id: String,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub updated_at: Option<String>,
    /// Whether the provider deleted or archived it.
    pub deleted: bool,
    /// The object.
    #[schema(value_type = serde_json::Value)]
    pub data: Box<RawValue>,
    /// What the connector says of it beside that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra: Vec<Extra>,
}

/// One batch, wanted.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Write {
    /// How.
    pub operation: WriteOperation,
    /// The field that `id` of each item holds a value of. Absent: the provider's own id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_on: Option<String>,
    /// One or more, at most as many as the host takes in a batch: 1000, unless its operator changed that.
    #[serde(deserialize_with = "crate::json::objects")]
    pub items: Vec<WriteItem>,
    /// Refuse all if one fails, where the provider can.
    #[serde(default)]
    pub all_or_none: bool,
    /// What else the connector is told; it says which names it knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra: Vec<Extra>,
}

/// A kind of write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WriteOperation {
    /// Make a new record.
    Create,
    /// Change a record that exists.
    Update,
    /// Change it, or make it.
    Upsert,
    /// Remove it, or archive it where the provider archives.
    Delete,
}

/// One write.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WriteItem {
    /// The caller's id for it, unique in the batch, echoed in its outcome.
    pub reference: String,
    /// What it is written to, for update, upsert and delete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What is written.
    #[schema(value_type = serde_json::Value)]
    pub data: Box<RawValue>,
    /// Stable across retries. Absent: SHA-256 over the installation, object, operation, `match_on`,
    /// `reference`, `id` and the text of `data`, so that the same item sent again is the same write. To
    /// mean a second write of the same item, send another `reference` or a key.
    // For the provider. The host keeps no key, so there is no answer that another payload under the same key could get
    // (C92).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// What else the connector is told of the item; it says which names it knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra: Vec<Extra>,
}

/// What became of a batch.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Outcomes {
    /// One for each item.
    pub outcomes: Vec<Outcome>,
}

/// What became of one write: `written` or `refused`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Outcome {
    /// The caller's id for it.
    pub reference: String,
    /// That it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub written: Option<Written>,
    /// Why it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub refused: Option<Refused>,
}

/// A write that was done.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Written {
    /// The provider's id.
    pub id: String,
    /// The provider's view of the record, where it gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>, nullable = false)]
    pub data: Option<Box<RawValue>>,
    /// What the connector says of it beside that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra: Vec<Extra>,
}

/// A write that was refused.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Refused {
    /// Stable, as in a problem document.
    pub code: String,
    /// For people.
    pub detail: String,
    /// Whether the same write can succeed later.
    pub retry: bool,
    /// How long to wait before that, in milliseconds, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub retry_after_ms: Option<u64>,
    /// The provider's own error code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub provider_code: Option<String>,
    /// False when nothing can have reached the provider.
    pub request_sent: bool,
    /// What the connector says of it beside that, such as the provider's own id of the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra: Vec<Extra>,
}

impl From<(String, String)> for Extra {
    fn from((name, value): (String, String)) -> Self {
        Self { name, value }
    }
}

impl From<Extra> for (String, String) {
    fn from(extra: Extra) -> Self {
        (extra.name, extra.value)
    }
}

/// Where a client of the provider reaches an installation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ProxyUrl {
    /// By a host name of its own: for clients that know no base URL, or want none with a path. It says the slot and the user
    /// by itself.
    pub host_url: String,
    /// Below this host's address: for clients that take a base URL with a path.
    pub base_url: String,
    /// What a client has to send along to `base_url`, by name: the slot and the user.
    pub headers: BTreeMap<String, String>,
}
