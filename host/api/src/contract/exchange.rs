//! Exchanges as the log has them, page by page and as they come.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::release::ReleaseRef;

/// One exchange with a provider, redacted.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Exchange {
    /// Later ones have higher ids; ids have gaps.
    pub id: u64,
    /// When it began.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub at: OffsetDateTime,
    /// Who asked: `call`, `proxy`, or the purpose of a request of the host's own, such as `token`.
    pub purpose: String,
    /// The call it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub call: Option<String>,
    /// Where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub environment: Option<String>,
    /// For whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub tenant: Option<String>,
    /// Of which connector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub connector: Option<String>,
    /// For which of the tenant's users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub user: Option<String>,
    /// What ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub release: Option<ReleaseRef>,
    /// The credential slot used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub slot: Option<String>,
    /// What was sent, or was to be sent.
    pub request: ExchangeRequest,
    /// What came; absent if nothing did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub response: Option<ExchangeResponse>,
    /// Why no response was handed on; absent if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub stopped: Option<String>,
    /// Where the time went.
    pub timings: ExchangeTimings,
}

/// What was sent.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ExchangeRequest {
    /// The method.
    pub method: String,
    /// Where to.
    pub url: String,
    /// As sent; secrets are masked.
    pub headers: Vec<ExchangeHeader>,
    /// Bytes of body sent.
    pub bytes: u64,
    /// The body, as far as it was kept; only for operators and admins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub body: Option<ExchangeBody>,
}

/// What came.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ExchangeResponse {
    /// The status.
    pub status: u16,
    /// As received; secrets are masked.
    pub headers: Vec<ExchangeHeader>,
    /// Bytes of body received, as they came.
    pub bytes: u64,
    /// The body, decoded, as far as it was kept; only for operators and admins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub body: Option<ExchangeBody>,
}

/// A header field.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ExchangeHeader {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// A body: text where it is text.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ExchangeBody {
    /// The body, if it is UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub text: Option<String>,
    /// The body in base64, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub base64: Option<String>,
}

/// Where an exchange's time went, in milliseconds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ExchangeTimings {
    /// Waiting for budgets and the credential.
    pub waited_ms: f64,
    /// Looking up and connecting; 0 over a connection that was kept.
    pub connected_ms: f64,
    /// From sending until the head of the response.
    pub first_byte_ms: f64,
    /// From beginning to end.
    pub total_ms: f64,
}

/// A page of exchanges.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ExchangeList {
    /// In the order asked for.
    pub exchanges: Vec<Exchange>,
    /// `after` of the next page; absent on the last. A page may be short, or empty, and not be the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next: Option<u64>,
}

/// One line of a stream. One with neither says that the host is still there; the first line is one.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct ExchangeLine {
    /// A new exchange.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub exchange: Option<Box<Exchange>>,
    /// So many went by unread because this reader was too slow, whether or not they fitted. They are in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub missed: Option<u64>,
}
