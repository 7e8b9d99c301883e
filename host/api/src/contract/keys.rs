//! The keys that secrets are sealed with, without the keys themselves.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::json::present;

/// What is exchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Exchanged {
    /// The sealing key: every data key is wrapped anew; what is sealed stays as it is.
    SealingKey,
    /// Data keys: what is sealed from now on is sealed with new ones.
    DataKeys,
}

/// An exchange of keys, wanted.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateKeys {
    /// What is exchanged.
    pub what: Exchanged,
    /// Only data keys of this environment. Absent: of all of them.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub environment: Option<String>,
    /// Only those of this tenant of the environment.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub tenant: Option<String>,
}

/// What an exchange came to.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct KeysRotated {
    /// The sealing key that is current now.
    pub sealing_key: String,
    /// Data keys that were wrapped anew, or made.
    pub data_keys: usize,
}

/// The keys of the host.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Keys {
    /// Where the sealing keys are: `file`, `environment`, `transit`.
    pub service: String,
    /// Why what holds them does not help now; absent if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub problem: Option<String>,
    /// By name.
    pub sealing_keys: Vec<SealingKey>,
    /// Data keys in all.
    pub data_keys: usize,
    /// Those that seal now; the others only open what was sealed before.
    pub data_keys_current: usize,
}

/// A sealing key.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct SealingKey {
    /// Its name.
    pub id: String,
    /// Whether data keys are wrapped with it now.
    pub current: bool,
    /// Whether it is where the sealing keys are. One that is not cannot unwrap anything. Absent while what holds
    /// them does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub present: Option<bool>,
    /// How many data keys are wrapped with it. At 0 nothing needs it but backups.
    pub data_keys: usize,
    /// When the host first saw it.
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>, nullable = false, format = DateTime)]
    pub since: Option<OffsetDateTime>,
}
