//! Rate limits of providers, as the host has counted and learnt them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How one account's rate limit stands. Counted in memory: what nobody has used since the host started, or since its
/// windows were over, is not known.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Quota {
    /// For whom.
    pub tenant: String,
    /// Of which connector.
    pub connector: String,
    /// The provider's name of the account; absent where nobody knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub account: Option<String>,
    /// What the release declares first, then what only the provider told of.
    pub policies: Vec<Policy>,
    /// For how many seconds nothing may go, because the provider said so; absent where it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub blocked_seconds: Option<u64>,
    /// Requests that wait for their turn.
    pub waiting: usize,
}

/// One policy of a rate limit. What is not known is absent.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Policy {
    /// As the release declares it, or as the provider calls it.
    pub name: String,
    /// Requests in a window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub quota: Option<u64>,
    /// Seconds that a window has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub window_seconds: Option<u32>,
    /// Requests left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub remaining: Option<u64>,
    /// Seconds until there are more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reset_seconds: Option<u64>,
}

/// A page of rate limits.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct QuotaList {
    /// By tenant, connector and account.
    pub quotas: Vec<Quota>,
    /// `after` of the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next: Option<String>,
}
