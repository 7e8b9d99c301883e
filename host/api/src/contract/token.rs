//! Tokens, the audit, and the host's own state.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::json::{present, present_time};

/// What a token may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Look.
    Viewer,
    /// Look, and publish releases.
    Publisher,
    /// Look, pin, revert, configure, connect, call.
    Operator,
    /// All of it, tokens included.
    Admin,
    /// Call, and nothing else, in one environment.
    Caller,
}

/// A token, wanted.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IssueToken {
    /// What it is called; the actor of what it does.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Where. Absent: everywhere.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub environments: Option<Vec<String>>,
    /// For whom it may publish. Absent: for every publisher that its role allows.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub publisher: Option<String>,
    /// Of a caller: only for these tenants. Absent: for all.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub tenants: Option<Vec<String>>,
    /// Of a caller: only with these connectors, `publisher/name`. Absent: with all.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub connectors: Option<Vec<String>>,
    /// Of a caller: only for these of the tenants' users, and never with a tenant's own connection. Where it is one, calls
    /// that name none are for that one. Absent: for all, and for tenants themselves.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub users: Option<Vec<String>>,
    /// Of a caller: only these: `invoke`, `discover`, `read`, `write`, `proxy`, or a method that the proxy may be used with,
    /// such as `GET`. Absent: all.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub verbs: Option<Vec<String>>,
    /// After this it is refused. Absent: never.
    #[serde(
        default,
        serialize_with = "time::serde::rfc3339::option::serialize",
        deserialize_with = "present_time",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>, nullable = false, format = DateTime)]
    pub expires_at: Option<OffsetDateTime>,
}

/// A token, without its secret.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// What it is called.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Where; absent means everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub environments: Option<Vec<String>>,
    /// For whom it may publish; absent means for every publisher that its role allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub publisher: Option<String>,
    /// Of a caller: only for these tenants. Absent: for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub tenants: Option<Vec<String>>,
    /// Of a caller: only with these connectors, `publisher/name`. Absent: with all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub connectors: Option<Vec<String>>,
    /// Of a caller: only for these of the tenants' users, and never with a tenant's own connection. Where it is one, calls
    /// that name none are for that one. Absent: for all, and for tenants themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub users: Option<Vec<String>>,
    /// Of a caller: only these: `invoke`, `discover`, `read`, `write`, `proxy`, or a method that the proxy may be used with,
    /// such as `GET`. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub verbs: Option<Vec<String>>,
    /// After this it is refused.
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>, nullable = false, format = DateTime)]
    pub expires_at: Option<OffsetDateTime>,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub at: OffsetDateTime,
}

// Has no `Debug`, so that it is not logged by accident.
/// A token as its maker sees it, once.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct IssuedToken {
    /// The token itself: `kw_` and 43 characters. It is not shown again.
    pub secret: String,
    /// What is kept of it.
    pub token: Token,
}

/// Every token.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct TokenList {
    /// By name.
    pub tokens: Vec<Token>,
}

/// One change of the control plane.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// 1 for the first, no gaps.
    pub seq: u64,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub at: OffsetDateTime,
    /// Who.
    pub actor: String,
    /// What was done, such as `pin`.
    pub action: String,
    /// To what.
    pub object: String,
    /// Why, where a reason was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reason: Option<String>,
    /// Of what was there before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub before: Option<String>,
    /// Of what is there now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub after: Option<String>,
}

/// A page of the audit.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Audit {
    /// In the order that was asked for.
    pub entries: Vec<AuditEntry>,
    /// `after` of the next page, or `before` where the newest are first; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next: Option<u64>,
}

/// How the host is.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct State {
    /// `alive`, `ready`, or `degraded`: ready, but something needs a person; or `looking`: ready, and the components of what is
    /// routed are looked at for the first time.
    pub state: String,
    /// Releases that installations run, and whose components are missing or damaged. The log names them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub components_lost: Option<usize>,
}
