//! Releases, as published and as compared.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use utoipa::ToSchema;

/// Which release.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReleaseRef {
    /// `publisher/name`.
    pub connector: String,
    /// Semantic version.
    pub version: String,
    /// `sha256:` and 64 hexadecimal digits: of the component.
    pub digest: String,
}

/// A release in a list.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReleaseSummary {
    /// Which.
    pub release: ReleaseRef,
    /// One line, by its author.
    pub summary: String,
    /// Who published it.
    pub published_by: String,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub published_at: OffsetDateTime,
}

/// Releases, by connector and version.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReleaseList {
    /// All of them.
    pub releases: Vec<ReleaseSummary>,
}

/// A release.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Release {
    /// Which.
    pub release: ReleaseRef,
    /// Size of the component in bytes.
    pub component_bytes: u64,
    /// Interfaces of the contract that the component exports, such as `reader`.
    pub exports: Vec<String>,
    /// Version of the contract it was built against.
    pub contract: String,
    /// Who published it.
    pub published_by: String,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub published_at: OffsetDateTime,
    /// What the release says of itself.
    #[schema(value_type = Object)]
    #[serde(deserialize_with = "keyway_core::json::field")]
    pub descriptor: Value,
}

/// What differs between two releases of a connector.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Diff {
    /// The first.
    pub before: ReleaseRef,
    /// The second.
    pub after: ReleaseRef,
    /// By path.
    pub differences: Vec<Difference>,
}

/// One thing that differs.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Difference {
    /// JSON Pointer (RFC 6901) into the release.
    pub path: String,
    /// In the first release; absent if only the second has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "keyway_core::json::optional")]
    pub before: Option<Value>,
    /// In the second release; absent if only the first has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "keyway_core::json::optional")]
    pub after: Option<Value>,
}
