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
    /// Pin also a release that takes another kind of credential than the one that is set, of the tenant or of a user.
    /// The reason then says which; calls that need it fail until one of that kind is set.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_other_scheme: bool,
}

/// The end of a pin, wanted.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Unpin {
    /// Why; up to 1024 bytes.
    pub reason: String,
    /// As in `SetPin`.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub generation: Option<u64>,
    /// As in `SetPin`, of the environment's default.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_missing_scopes: bool,
    /// As in `SetPin`, of the environment's default.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_other_scheme: bool,
}

/// A way back, wanted.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Revert {
    /// Why; up to 1024 bytes.
    pub reason: String,
    /// Back to what was so at this generation. Absent: to the newest at which another release was to run than now.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub to: Option<u64>,
    /// As in `SetPin`.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub generation: Option<u64>,
}

/// Which release an installation runs, since when and why. A pin to what is pinned already, and a way back to it, change
/// nothing: the answer is the pin that is there.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Pin {
    /// Where.
    pub environment: String,
    /// Whose.
    pub tenant: String,
    /// What runs. Absent: from this generation on there is no pin, and the environment's default runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub release: Option<ReleaseRef>,
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
    /// The configuration that came along, because the one there did not fit the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub config: Option<TakenConfig>,
    /// What runs without a pin, in the answer to a change; absent if the environment has no default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub default: Option<ReleaseRef>,
    /// What to think about, in the answer to a change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A configuration that came along with a change of what runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct TakenConfig {
    /// The generation that it has now.
    pub generation: u64,
    /// The generation that it had before; 0: none was set.
    pub back_to: u64,
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
    /// As in `SetPin`, for every tenant without a pin.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_other_scheme: bool,
}

/// The end of an environment default, wanted.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UnsetDefault {
    /// Why; up to 1024 bytes.
    pub reason: String,
}

/// That an environment has no default for a connector, since when and why.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct DefaultUnset {
    /// Where.
    pub environment: String,
    /// Of what.
    pub connector: String,
    /// One more than that of the default before.
    pub generation: u64,
    /// Who said so.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub at: OffsetDateTime,
    /// What to think about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
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

/// The end of a tenant in an environment, wanted.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteTenant {
    /// Why; up to 1024 bytes.
    pub reason: String,
}

/// What was removed of a tenant. All zero where there was nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct TenantDeleted {
    /// Where.
    pub environment: String,
    /// Whose.
    pub tenant: String,
    /// Installations.
    pub installations: usize,
    /// Pins, whole histories of them.
    pub pins: usize,
    /// Configurations, likewise.
    pub configs: usize,
    /// Connections, the tenant's own and its users'.
    pub connections: usize,
    /// Those of them whose tokens were revoked at the provider.
    pub revoked: usize,
    /// Those that had tokens which were not.
    pub not_revoked: usize,
    /// The first 100 of these, for whoever revokes them by hand.
    pub to_revoke: Vec<NotRevoked>,
    /// Connect sessions that had begun.
    pub sessions: usize,
    /// Data keys: what they sealed cannot be opened any more. A backup of before has both.
    pub data_keys: usize,
}

/// A connection whose tokens may still be good at the provider.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct NotRevoked {
    /// Of which connector.
    pub connector: String,
    /// Of which slot.
    pub slot: String,
    /// Whose; absent: the tenant's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub user: Option<String>,
    /// Why.
    pub why: String,
}

/// A way back of a configuration, wanted.
#[derive(Clone, Default, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevertConfig {
    /// Why; up to 1024 bytes.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reason: Option<String>,
    /// Back to the configuration of this generation, 0 for none. Absent: to the newest that differs from the one there
    /// and fits the release.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub to: Option<u64>,
    /// The generation that the caller saw last. Another one now is a conflict, and nothing changes. Absent: whatever
    /// it is now.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub generation: Option<u64>,
}

/// A page of an installation's configurations.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ConfigHistory {
    /// Newest first.
    pub configs: Vec<ConfigGeneration>,
    /// `before` of the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next: Option<u64>,
}

/// What is known of a configuration that an installation has or had.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ConfigGeneration {
    /// 1 for the first, one more with each.
    pub generation: u64,
    /// SHA-256 of the configuration as kept.
    pub digest: String,
    /// Whether none was set from then on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
    /// The generation that this one went back to; 0: none was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub back_to: Option<u64>,
    /// Whether it came along with a change of what runs, which `reason` names.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub taken: bool,
    /// Who said so; absent for what was set before there was a history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub actor: Option<String>,
    /// Why, where something was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reason: Option<String>,
    /// When.
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    pub at: Option<OffsetDateTime>,
}

/// An installation's configuration. Setting what is set already changes nothing: the answer is what is there.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Config {
    /// 1 for the first, one more with each.
    pub generation: u64,
    /// The generation that this one went back to; 0: none was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub back_to: Option<u64>,
    /// SHA-256 of the configuration as kept.
    pub digest: String,
    /// The configuration.
    #[schema(value_type = Object)]
    pub config: Box<RawValue>,
}
