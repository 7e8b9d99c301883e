//! Problem documents (RFC 9457), the one shape of every error.
//!
//! Beside the standard's members stand two that clients of providers look for: `message`, and `error` with a code and a
//! message. Whoever reads an answer of this host as one of a provider sees a refusal in it, and not a success.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::call::Extra;

/// Media type of a problem document.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// What went wrong.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `/codes/` and the code: identifies the kind of problem, and leads to its page on this host. `keyway explain CODE` prints
    /// it too.
    pub r#type: String,
    /// The code in words; the same for every problem of the code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time. For people; may change its wording.
    pub detail: String,
    /// Stable, for programs.
    pub code: String,
    /// How `detail` begins, where many clients look for it.
    #[serde(default)]
    pub message: String,
    /// The code and the same text once more, where others do.
    #[serde(default)]
    pub error: ProblemError,
    /// Whose fault it is: `tenant`, `connector`, `upstream` or `host`.
    pub whose: String,
    /// Whether the same request can succeed later without anybody changing anything.
    pub retry: bool,
    /// How long to wait before that, in milliseconds, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub retry_after_ms: Option<u64>,
    /// The provider's own error code, where a connector reported one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub provider_code: Option<String>,
    /// Of a call only: false when nothing can have reached the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub request_sent: Option<bool>,
    /// Of a call only: what the connector says beside that, such as the provider's own id of the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra: Vec<Extra>,
    /// Of a call whose connector trapped, for whoever operates the host: what the connector printed last, such as a panic's
    /// message or a traceback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub guest_said: Option<String>,
    /// The id under which the host's log has more: of the call, or of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub instance: Option<String>,
}

/// A problem in the words of many providers.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize, ToSchema)]
pub struct ProblemError {
    /// As `code` beside it.
    pub code: String,
    /// How `detail` beside it begins.
    pub message: String,
}
