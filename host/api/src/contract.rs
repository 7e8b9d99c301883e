//! The contract of the HTTP API: every endpoint, and every type that travels as JSON.
//!
//! The only serializable types of the API are here; services speak their own types, and a change to
//! one of theirs does not change an answer by accident. Nothing here handles a request.

pub mod call;
pub mod connect;
pub mod connection;
pub mod endpoint;
pub mod exchange;
pub mod installation;
pub mod keys;
pub mod logged;
pub mod problem;
pub mod quota;
pub mod release;
pub mod token;

pub use endpoint::{Access, ENDPOINTS, Endpoint};
pub use problem::Problem;

/// Request header: milliseconds that a call may take. The host's own limit applies where it is shorter.
pub const TIMEOUT_HEADER: &str = "keyway-timeout-ms";

/// Request header: the user that the call is for. Then only this user's connections are used.
pub const USER_HEADER: &str = "keyway-user";

/// Request header: `pass-through` or `throttle`: what is done when the provider asks to wait.
pub const PACE_HEADER: &str = "keyway-rate-limit";

/// Request header of the proxy: the credential slot to use, where the release has more than one.
pub const SLOT_HEADER: &str = "keyway-slot";

/// Request header of the proxy: the declared host to ask, if not the base URL's.
pub const HOST_HEADER: &str = "keyway-host";

/// Request header of the proxy: `raw`: links come as the provider wrote them, and lead past this host.
pub const LINKS_HEADER: &str = "keyway-links";

/// Response header: `publisher/name@version` of what ran.
pub const RELEASE_HEADER: &str = "keyway-release";

/// Response header: `sha256:…` of what ran.
pub const DIGEST_HEADER: &str = "keyway-digest";

/// Response header: the id of the call, as logs have it.
pub const CALL_HEADER: &str = "keyway-call";

/// Media type of JSON values, one a line.
pub const LINES_TYPE: &str = "application/x-ndjson";

/// Media type of an error code's page: Markdown, which browsers would not show as such (RFC 7763).
pub const PAGE_TYPE: &str = "text/plain; charset=utf-8";

/// Media type of `/metrics`.
pub const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
