//! One HTTP request and the response to it, as typed parts: of a guest, of a caller through the proxy, or of
//! the host itself.
//!
//! What a guest wrote is only data here; the broker parses it, decides, and builds the real request
//! itself.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use secrecy::SecretString;
use time::OffsetDateTime;

use crate::call::Failure;
use crate::credential::Credential;
use crate::descriptor::{Descriptor, HostPattern, SlotSpec};
use crate::ids::{CallId, Environment, Installation, Slot, User};
use crate::ports::IssuedTokens;
use crate::quota::LimitMet;
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
    /// The user that the call is for: then only this user's connections are used.
    pub user: Option<User>,
    /// What is done when the provider asks to wait.
    pub pace: Pace,
    /// Where it is noted that the provider asked for it.
    pub limit_met: LimitMet,
    /// What runs.
    pub release: ReleaseRef,
    /// What the release declared: hosts, slots, redirects.
    pub descriptor: Arc<Descriptor>,
    /// The connection's base URL, where the operator set one.
    pub base_url: Option<Arc<str>>,
    /// Time left for the whole call when the request began.
    pub time_left: Duration,
}

/// What is done when the provider asks to wait, or a budget is used up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Pace {
    /// The caller is told: a 429 comes through as it is.
    #[default]
    PassThrough,
    /// The host waits, within the call's time; where that is too short, it answers 429 itself.
    Throttle,
}

/// A body that is handed on as it comes.
pub type Streamed = UnsyncBoxBody<Bytes, std::io::Error>;

/// A request that a caller sends through the proxy.
#[derive(Debug)]
pub struct Relayed {
    /// Any but `CONNECT`.
    pub method: Method,
    /// Absolute, or a path beginning with `/` on the connection's base URL.
    pub url: String,
    /// The caller's, without what is between the caller and this host.
    pub headers: HeaderMap,
    /// Sent as it comes.
    pub body: Streamed,
    /// The credential slot to use.
    pub slot: Option<Slot>,
    /// Tokens of this host, none of which may be in the body. None where there is no body to look through.
    pub tokens: Option<Arc<dyn IssuedTokens>>,
    /// How the caller sees the proxy of this installation: what a path on the base URL is appended to. Links to declared
    /// hosts then lead there. None leaves them as the provider wrote them.
    pub links: Option<Arc<str>>,
}

/// How a path through the proxy begins that is for a declared host and not for the base URL: `/keyway-host={host}/{path}`.
/// A link can say no more than its address, so the header that says the same is of no use to it.
pub const HOST_SEGMENT: &str = "/keyway-host=";

/// The host that a path names, and the path there.
pub fn named_host(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_prefix(HOST_SEGMENT)?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    Some(rest.split_at(end))
}

/// A response that goes to a caller through the proxy: not decoded, and the body not read yet.
#[derive(Debug)]
pub struct Relay {
    /// 200 to 599.
    pub status: StatusCode,
    /// Without what is between this host and the provider, and without credentials.
    pub headers: HeaderMap,
    /// Scrubbed where it is not compressed.
    pub body: Streamed,
    /// Bytes of the body as the provider said, also where it has been changed since and is longer or shorter.
    pub length: Option<u64>,
}

/// A request that the host sends for itself, such as to a token endpoint.
#[derive(Debug)]
pub struct HostRequest {
    /// What it is for: `token`, `revoke`, `key`.
    pub purpose: &'static str,
    /// Where its stand-ins and policy are looked up.
    pub environment: Option<Environment>,
    /// RFC 9110 method.
    pub method: Method,
    /// Absolute.
    pub url: String,
    /// Hosts that it may go to: those that a descriptor or the operator's configuration names for it.
    pub hosts: Vec<HostPattern>,
    /// Sent as they are; may hold credentials.
    pub headers: HeaderMap,
    /// Sent as it is; may hold credentials.
    pub body: Option<SecretString>,
    /// A credential, put on it as this slot has it.
    pub credential: Option<(SlotSpec, Credential)>,
    /// For the whole exchange.
    pub timeout: Duration,
}

/// Why the host has no whole answer to a request of its own.
#[derive(Clone)]
pub struct Unfinished {
    /// What went wrong.
    pub failure: Failure,
    /// What came of an answer that began and broke off. It is apart from an answer, so that nobody takes it for one by
    /// accident; but what a server has issued stands nowhere else, and neither does why it has not.
    pub partial: Option<Response>,
}

impl fmt::Debug for Unfinished {
    /// Without the bytes that came: there may be tokens in them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let partial = self.partial.as_ref().map(|partial| partial.status);
        f.debug_struct("Unfinished")
            .field("failure", &self.failure)
            .field("partial", &partial)
            .finish()
    }
}

impl From<Failure> for Unfinished {
    /// Nothing came.
    fn from(failure: Failure) -> Self {
        Self { failure, partial: None }
    }
}

/// One exchange that the broker carried, or refused to carry, as the log keeps it. Redacted: no credential
/// and no secret of the connection is in it.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// When it began.
    pub at: OffsetDateTime,
    /// Where; none for what the host does for all of them.
    pub environment: Option<Environment>,
    /// The call it belongs to; none for the host's own.
    pub call: Option<CallId>,
    /// For whom; none for the host's own requests that are for nobody in particular.
    pub installation: Option<Installation>,
    /// For which user.
    pub user: Option<User>,
    /// What ran.
    pub release: Option<ReleaseRef>,
    /// Who asked: `call`, `proxy`, or the purpose of a request of the host's.
    pub purpose: &'static str,
    /// The credential slot used.
    pub slot: Option<Slot>,
    /// RFC 9110 method.
    pub method: String,
    /// Where to, without user and password, with the values of secret parameters masked.
    pub url: String,
    /// As sent, with what is secret in them masked.
    pub request_headers: HeaderMap,
    /// As sent, as far as bodies are kept.
    pub request_body: Option<Bytes>,
    /// Bytes of body sent.
    pub request_bytes: u64,
    /// None if no response came.
    pub status: Option<u16>,
    /// As received, with what is secret in them masked.
    pub response_headers: HeaderMap,
    /// As received and decoded, as far as bodies are kept.
    pub response_body: Option<Bytes>,
    /// Bytes of body received, as they came.
    pub response_bytes: u64,
    /// Why no response was handed on; none if one was.
    pub stopped: Option<&'static str>,
    /// Where the time went.
    pub timings: Timings,
}

/// Where an exchange's time went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timings {
    /// Waiting for budgets and the credential.
    pub waited: Duration,
    /// Looking up and connecting; zero over a kept connection.
    pub connected: Duration,
    /// From sending until the head of the response.
    pub first_byte: Duration,
    /// From beginning to end.
    pub total: Duration,
}
