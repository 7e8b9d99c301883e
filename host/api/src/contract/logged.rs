//! Calls as the log has them: those that said something or failed, page by page and as they end.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::release::ReleaseRef;

/// One call that ended.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct LoggedCall {
    /// Later ones have higher ids; ids have gaps.
    pub id: u64,
    /// When it began.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub at: OffsetDateTime,
    /// Which: `keyway-call` of its answer.
    pub call: String,
    /// Where.
    pub environment: String,
    /// For whom.
    pub tenant: String,
    /// Of which connector.
    pub connector: String,
    /// For which of the tenant's users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub user: Option<String>,
    /// What ran.
    pub release: ReleaseRef,
    /// What was asked: `invoke`, `discover`, `read` or `write`.
    pub verb: String,
    /// From beginning to end, in milliseconds.
    pub elapsed_ms: f64,
    /// Why it failed; absent if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub failure: Option<LoggedFailure>,
    /// What the connector said, oldest first, with what is secret by its name masked; only for operators and admins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub lines: Option<Vec<LoggedLine>>,
    /// How many lines came before these, and were not kept.
    pub lines_dropped: u64,
}

/// Why a call failed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct LoggedFailure {
    /// The stable code.
    pub code: String,
    /// Whose fault it is: `tenant`, `connector`, `upstream` or `host`.
    pub whose: String,
    /// What the caller was told; only for operators and admins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub detail: Option<String>,
}

/// One line of what a connector said.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct LoggedLine {
    /// How long after the call began, in milliseconds.
    pub after_ms: f64,
    /// Where it came from: `log`, `stdout`, `stderr`, or `host` for what the host says of the lines.
    pub source: String,
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// The line.
    pub message: String,
    /// What it came with: an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "keyway_core::json::optional")]
    #[schema(nullable = false, value_type = Object)]
    pub fields: Option<Value>,
}

/// A page of calls.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct LoggedCallList {
    /// In the order asked for.
    pub calls: Vec<LoggedCall>,
    /// `after` of the next page; absent on the last. A page may be short, or empty, and not be the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next: Option<u64>,
}

/// One line of a stream. One with neither says that the host is still there; the first line is one.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct LoggedCallLine {
    /// A call that has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub call: Option<Box<LoggedCall>>,
    /// So many went by unread because this reader was too slow, whether or not they fitted. They are in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub missed: Option<u64>,
}
