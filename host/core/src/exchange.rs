//! One HTTP request of a guest and the response to it, as typed parts.
//!
//! What a guest wrote is only data here; the broker parses it, decides, and builds the real request
//! itself.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::descriptor::Descriptor;
use crate::ids::{CallId, Installation};
use crate::release::ReleaseRef;

/// A request as the guest wrote it. Nothing in it is trusted.
#[derive(Clone, Debug)]
pub struct Request {
    /// RFC 9110 method.
    pub method: String,
    /// Absolute, or a path beginning with `/` on the connection's base URL.
    pub url: String,
    /// In the guest's order.
    pub headers: Vec<(String, String)>,
    /// Whole.
    pub body: Option<Bytes>,
    /// The credential slot it asks for.
    pub slot: Option<String>,
    /// For the whole exchange; the host's own limit applies where it is shorter.
    pub timeout: Option<Duration>,
}

/// A response as the guest may see it: decoded, scrubbed, within limits.
#[derive(Clone, Debug)]
pub struct Response {
    /// 200 to 599.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// Whole.
    pub body: Bytes,
}

/// On whose behalf a request is sent.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The call it belongs to.
    pub call: CallId,
    /// Whose credentials and budget it uses.
    pub installation: Installation,
    /// What runs.
    pub release: ReleaseRef,
    /// What the release declared: hosts, slots, redirects.
    pub descriptor: Arc<Descriptor>,
    /// The connection's base URL, where the operator set one.
    pub base_url: Option<Arc<str>>,
    /// Time left for the whole call when the request began.
    pub time_left: Duration,
}
