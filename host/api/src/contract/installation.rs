//! What installations run and are set to: pins, defaults, the matrix, configuration.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::release::ReleaseRef;
use crate::json::present;

/// A pin, wanted.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPin {
    /// A version such as `1.4.0`, or `sha256:` and 12 or more digits of a digest.
    pub release: String,
    /// Why; up to 1024 bytes.
    pub reason: String,
    /// The generation that the caller saw last, 0 for none. Another one now is a conflict, and nothing
    /// changes. Absent: whatever it is now.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub generation: Option<u64>,
    /// Pin also a release that needs scopes which a connection, the tenant's own or a user's, was not granted. The
    /// reason then says which.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_missing_scopes: bool,
}

/// A way back, wanted.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Revert {
    /// Why; up to 1024 bytes.
    pub reason: String,
    /// Back to the pin of this generation. Absent: to the one before the newest.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub to: Option<u64>,
    /// As in `SetPin`.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub generation: Option<u64>,
}

/// Which release an installation runs, since when and why.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Pin {
    /// Where.
    pub environment: String,
    /// Whose.
    pub tenant: String,
    /// What runs.
    pub release: ReleaseRef,
    /// 1 for the first pin, one more with each.
    pub generation: u64,
    /// Who said so.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub at: OffsetDateTime,
    /// The generation whose release this one went back to, for a revert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reverts_to: Option<u64>,
    /// What to think about, in the answer to a change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A page of an installation's pins.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct History {
    /// Newest first.
    pub pins: Vec<Pin>,
    /// `before` of the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next: Option<u64>,
}

/// An environment default, wanted.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetDefault {
    /// As in `SetPin`.
    pub release: String,
    /// Why; up to 1024 bytes.
    pub reason: String,
    /// As in `SetPin`, for every tenant without a pin.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_missing_scopes: bool,
}

/// What installations of an environment run that have no pin.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct EnvironmentDefault {
    /// Where.
    pub environment: String,
    /// What runs.
    pub release: ReleaseRef,
    /// 1 for the first, one more with each.
    pub generation: u64,
    /// Who said so.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub at: OffsetDateTime,
    /// What to think about, in the answer to a change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A page of the matrix: installation by declared by executed release.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Matrix {
    /// By environment, tenant and connector.
    pub rows: Vec<Row>,
    /// `after` of the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next: Option<String>,
}

/// One installation.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Row {
    /// Where.
    pub environment: String,
    /// Whose.
    pub tenant: String,
    /// Of what.
    pub connector: String,
    /// What it should run.
    pub declared: Declared,
    /// What its last call ran; absent before its first call since the host started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub executed: Option<Executed>,
}

/// What an installation should run, and who says so.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Declared {
    /// What says so.
    pub by: DeclaredBy,
    /// What should run; absent if nothing says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub release: Option<ReleaseRef>,
    /// Of the pin or of the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub generation: Option<u64>,
}

/// What says what an installation should run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DeclaredBy {
    /// Its own pin.
    Pin,
    /// The default of its environment.
    Default,
    /// Nothing: calls are refused.
    Nothing,
}

/// What an installation ran last.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Executed {
    /// What ran.
    pub release: ReleaseRef,
    /// When the last call ended.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub at: OffsetDateTime,
    /// Calls of this release that ended since it took over, or since the host started.
    pub calls: u64,
    /// Those of them that failed.
    pub failures: u64,
}

/// An installation's configuration.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Config {
    /// 1 for the first, one more with each.
    pub generation: u64,
    /// SHA-256 of the configuration as kept.
    pub digest: String,
    /// The configuration.
    #[schema(value_type = Object)]
    pub config: Box<RawValue>,
}
